"""DPOK: the policy gradient with a KL to the reference policy and a learned value as the baseline
(Fan et al., 2023).

The value of a prompt is linear in its text embedding. It is fitted by least squares to all rewards
so far, of which older ones count less: there is no second learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rewards.text import shared_encoder
from rewards.text.minilm import DIM
from rl3d.algorithms.base import Draw, Judgement
from rl3d.algorithms.steps import ClippedObjective
from rl3d.generators.base import Generator

DECAY, RIDGE = 0.98, 0.1
"""What is left of an iteration's rewards one later, and the penalty on the size of the weights, in
samples."""


@dataclass(frozen=True)
class DPOK(ClippedObjective):
    """Settings of ``--objective dpok``."""

    name = "dpok"

    lr: float = 3e-5
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    kl_weight: float = 0.5
    """Weight of the KL to the reference policy."""

    def memory(self, policy: Generator) -> nn.Module:
        return Value()

    def advantages(self, draw: Draw, judgement: Judgement) -> tuple[Float[Tensor, "b"], Float[Tensor, "b u"]]:
        assert isinstance(draw.memory, Value)
        rewards = judgement.rewards.double().cpu()
        text = shared_encoder().encode(draw.prompts).pooled.double().cpu()
        text = torch.cat([text, torch.ones_like(text[:, :1])], 1).repeat_interleave(draw.group_size, 0)
        everyone = draw.gather(rewards)
        # By the value before these rewards were seen; in the first iteration there is none.
        expected = draw.memory(text) if draw.memory.gram.any() else everyone.mean()
        own = (rewards - expected).float()
        draw.memory.add(draw.gather(text), everyone)
        return own, own.unsqueeze(1)


class Value(nn.Module):
    """Ridge regression of rewards on features of prompts, the last of which is 1."""

    gram: Float[Tensor, "f f"]
    moment: Float[Tensor, "f"]

    def __init__(self, features: int = DIM + 1) -> None:
        super().__init__()
        self.register_buffer("gram", torch.zeros(features, features, dtype=torch.float64))
        self.register_buffer("moment", torch.zeros(features, dtype=torch.float64))

    def add(self, features: Float[Tensor, "b f"], rewards: Float[Tensor, "b"]) -> None:
        self.gram.mul_(DECAY).add_(features.T @ features)
        self.moment.mul_(DECAY).add_(features.T @ rewards)

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b"]:
        """The expected rewards."""
        ridge = RIDGE * torch.eye(len(self.gram), dtype=self.gram.dtype)
        ridge[-1, -1] = 1e-9  # the mean is not held back
        return features @ torch.linalg.solve(self.gram + ridge, self.moment)
