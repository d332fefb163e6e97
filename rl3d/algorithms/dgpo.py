"""DGPO, direct group preference optimisation: the good samples of a group against its bad ones
(Luo et al., 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Experience
from rl3d.algorithms.finished import FinishedObjective, Fit
from rl3d.configs import at_least


@dataclass(frozen=True)
class DGPO(FinishedObjective):
    """Settings of ``--objective dgpo``."""

    name = "dgpo"

    lr: float = 1e-4
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    beta: float = 100.0
    """How soon a group that is already preferred stops counting."""
    clip: float = 0.01
    """A unit (part or token) of a sample whose probability ratio has left 1 ± clip in the direction
    of its advantage is not pushed further."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, beta=0, clip=0)

    def sample_loss(self, policy: Any, minibatch: Experience, new: Fit, old: Fit, reference: Fit) -> Float[Tensor, ""]:
        return dgpo_loss(
            new.log_likes,
            old.log_likes,
            reference.log_likes,
            minibatch.advantages,
            minibatch.group_size,
            beta=self.beta,
            clip=self.clip,
        )


def dgpo_loss(
    new: Float[Tensor, "d b u"],
    old: Float[Tensor, "d b u"],
    reference: Float[Tensor, "d b u"],
    advantages: Float[Tensor, "b u"],
    group: int,
    *,
    beta: float,
    clip: float,
) -> Float[Tensor, ""]:
    """-mean of w A L with L the log-likelihood and w = sigmoid(-beta mean over the group of
    A (L - L_ref)), held constant: the gradient of -log sigmoid of the group's margin."""
    gain = (advantages * (new - reference)).sum(-1).detach()  # (D, B)
    margin = gain.unflatten(1, (-1, group)).mean(-1, keepdim=True)
    weight = torch.sigmoid(-beta * margin).expand(-1, -1, group).flatten(1)
    ratio = (new - old).exp()
    done = (ratio > 1 + clip) & (advantages > 0) | (ratio < 1 - clip) & (advantages < 0)
    pushed = torch.where(done, new.detach(), new)
    return -(weight * (advantages * pushed).sum(-1)).mean()
