"""Online DPO: the best sample of a group against its worst one (Rafailov et al., 2023;
Diffusion-DPO, Wallace et al., 2024; DSO, Li et al., 2025)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience
from rl3d.algorithms.finished import FinishedObjective, Fit
from rl3d.configs import above_0


@dataclass(frozen=True)
class DPO(FinishedObjective):
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

    def chosen(self, draw: Draw, advantages: Float[Tensor, "b"]) -> tuple[Tensor, int]:
        return best_and_worst(advantages, draw.group_size), 2

    def sample_loss(
        self, new: Fit, old: Fit, reference: Fit, minibatch: Experience, weights: Tensor | None
    ) -> Float[Tensor, ""]:
        return dpo_loss(margins(new.log_likes, reference.log_likes), preferred(minibatch.advantages), self.beta)


def best_and_worst(advantages: Float[Tensor, "b"], group: int) -> Tensor:
    """Numbers of the best and the worst sample of each group, one after the other."""
    groups = advantages.view(-1, group)
    pairs = torch.stack([groups.argmax(1), groups.argmin(1)], 1).to(advantages.device)
    return (pairs + group * torch.arange(len(groups), device=pairs.device).unsqueeze(1)).flatten().cpu()


def preferred(advantages: Float[Tensor, "b u"]) -> Float[Tensor, "p"]:
    """1 for pairs of which the first sample is better, 0 for those that are alike."""
    first, second = advantages.mean(1).unflatten(0, (-1, 2)).unbind(1)
    return (first > second).float()


def margins(new: Float[Tensor, "d b u"], reference: Float[Tensor, "d b u"]) -> Float[Tensor, "d p"]:
    """How much more likely the first of each pair has become than the second, since the reference
    policy."""
    gain = (new - reference).sum(-1).unflatten(1, (-1, 2))
    return gain[..., 0] - gain[..., 1]


def dpo_loss(margin: Float[Tensor, "d p"], counted: Float[Tensor, "p"], beta: float) -> Float[Tensor, ""]:
    """-log sigmoid(beta / 2 * margin), a mean over draws and pairs. It is divided by beta / 2: its
    gradient is then of the size of that of the likelihood, whatever beta."""
    return -(F.logsigmoid(0.5 * beta * margin) * counted).mean() / (0.5 * beta)
