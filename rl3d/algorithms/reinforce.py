"""REINFORCE with the mean of the group's other samples as the baseline (RLOO; Kool et al., 2019;
Ahmadian et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Judgement
from rl3d.algorithms.steps import StepObjective


@dataclass(frozen=True)
class Reinforce(StepObjective):
    """Settings of ``--objective reinforce``."""

    name = "reinforce"

    lr: float = 3e-5
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""

    def advantages(self, draw: Draw, judgement: Judgement) -> tuple[Float[Tensor, "b"], Float[Tensor, "b u"]]:
        own = leave_one_out(judgement.rewards.view(-1, draw.group_size)).flatten()
        return own, own.unsqueeze(1)

    def policy_loss(
        self, new: Float[Tensor, "s b"], old: Float[Tensor, "s b"], advantages: Float[Tensor, "s b"]
    ) -> Float[Tensor, "s b"]:
        """-A r with r = exp(log p - log p_old): in the first update -A grad log p, later it is
        weighted by importance."""
        return -advantages * torch.exp(new - old)


def leave_one_out(rewards: Float[Tensor, "p g"]) -> Float[Tensor, "p g"]:
    """Each reward minus the mean of the others of its group."""
    count = rewards.shape[-1]
    return (rewards - rewards.mean(-1, keepdim=True)) * (count / (count - 1))
