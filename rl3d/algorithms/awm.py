"""Advantage-weighted matching: policy optimisation over the matching loss of finished samples
(Xue et al., AWM, 2025).

The error of the prediction on a noised sample stands in for -log p of the sample. Unlike a step of
the reverse SDE, its target is the sample itself and not that sample's noise, so its gradient is far
less noisy. The error is a sum over the units (parts) of a sample, so a floating part can have
another advantage than the rest. Noise levels are shared by a group and stratified, as in V-GRPO
(2026).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Experience
from rl3d.algorithms.finished import FinishedObjective, Fit
from rl3d.algorithms.steps import clipped_policy_loss
from rl3d.configs import at_least


@dataclass(frozen=True)
class AWM(FinishedObjective):
    """Settings of ``--objective awm``."""

    name = "awm"
    needs = ("matching",)

    lr: float = 1e-4
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    clip: float = 5e-3
    """Range of the probability ratio of a unit (part) around 1. The stand-in for its log-prob is
    its share of an average over about 150 numbers, so ratios stay near 1."""
    kl_weight: float = 0.1
    """Weight of the KL to the reference policy."""
    timesteps_per_iteration: int = 3
    """Noise levels at which each sample is matched, drawn anew in every iteration."""
    normalized: bool = False
    """Whether the error of a noised sample is divided by its own size before the update, so that
    every noise level weighs the same. The clip range is then relative."""
    bound: float = 0.0
    """Advantages A become bound * tanh(A / bound), so that no sample outweighs the others. 0: they
    stay as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, clip=0, bound=0)

    def sample_loss(self, policy: Any, minibatch: Experience, new: Fit, old: Fit, reference: Fit) -> Float[Tensor, ""]:
        """The mean over draws and samples of the clipped loss, summed over units."""
        advantages = minibatch.advantages
        if self.bound:
            advantages = self.bound * torch.tanh(advantages / self.bound)
        return clipped_policy_loss(*self.likes(new, old), advantages.unsqueeze(0), self.clip).sum(-1).mean()

    def likes(self, new: Fit, old: Fit) -> tuple[Float[Tensor, "d b u"], Float[Tensor, "d b u"]]:
        size = old.log_likes.sum(-1, keepdim=True).abs().clamp_min(1e-6) if self.normalized else 1.0
        return new.log_likes / size, old.log_likes / size
