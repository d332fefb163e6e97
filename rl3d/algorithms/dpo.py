"""DPO: of two samples the better one becomes likelier than the worse one (Rafailov et al., 2023;
Diffusion-DPO, Wallace et al., 2024; DSO, Li et al., 2025). Online, with the best and the worst
sample of a group, or offline, from stored pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Experience
from rl3d.algorithms.finished import Fit
from rl3d.algorithms.pairs import PairObjective, margins, preferred
from rl3d.configs import above_0


@dataclass(frozen=True)
class DPO(PairObjective):
    """Settings of ``--objective dpo``."""

    name = "dpo"

    lr: float = 1e-4
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    beta: float = 500.0
    """How far the policy may go from the reference policy: less for a larger beta. For tokens,
    whose log-probs are sums, about 0.1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above_0(self, "beta")

    def sample_loss(self, policy: Any, minibatch: Experience, new: Fit, old: Fit, reference: Fit) -> Float[Tensor, ""]:
        return dpo_loss(margins(new.log_likes, reference.log_likes), preferred(minibatch.advantages), self.beta)


def dpo_loss(margin: Float[Tensor, "d p"], counted: Float[Tensor, "p"], beta: float) -> Float[Tensor, ""]:
    """-log sigmoid(beta / 2 * margin), a mean over draws and pairs. It is divided by beta / 2: its
    gradient is then of the size of that of the likelihood, whatever beta."""
    return -(F.logsigmoid(0.5 * beta * margin) * counted).mean() / (0.5 * beta)
