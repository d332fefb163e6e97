"""DRO, direct reward optimisation (Li et al., DSO, 2025): of two samples the better one becomes
likelier, the worse one less likely. As published it has no bound and destroys the policy in the
end; here each pair's margin is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Experience
from rl3d.algorithms.finished import Fit
from rl3d.algorithms.pairs import PairObjective, margins, preferred
from rl3d.configs import above_0


@dataclass(frozen=True)
class DRO(PairObjective):
    """Settings of ``--objective dro``."""

    name = "dro"

    lr: float = 1e-4
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    bound: float = 0.02
    """The margin to which a pair can be driven, relative to the reference policy. For tokens, whose
    log-probs are sums, about 10."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above_0(self, "bound")

    def sample_loss(self, policy: Any, minibatch: Experience, new: Fit, old: Fit, reference: Fit) -> Float[Tensor, ""]:
        """-bound * tanh(margin / bound), a mean over draws and pairs."""
        margin = margins(new.log_likes, reference.log_likes)
        return -(self.bound * torch.tanh(margin / self.bound) * preferred(minibatch.advantages)).mean()
