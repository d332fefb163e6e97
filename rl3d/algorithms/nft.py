"""DiffusionNFT: negative-aware fine-tuning on the forward process (Zheng et al., 2025).

What the network predicts is mirrored at the policy that drew the samples: v+ goes its way, v- the
other. Good samples are matched by v+, bad ones by v-. It needs no log-prob and no SDE.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl3d.algorithms.base import Draw, Experience
from rl3d.algorithms.finished import FinishedObjective, Fit
from rl3d.configs import above_0
from rl3d.generators.base import Generator


@dataclass(frozen=True)
class NFT(FinishedObjective):
    """Settings of ``--objective nft``."""

    name = "nft"
    needs = ("matching",)

    lr: float = 1e-4
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    beta: float = 0.5
    """How far v+ and v- go from the policy that drew the samples."""
    spread: float = 1.0
    """An advantage of this size makes a sample wholly good or wholly bad."""
    old_decay: float = 0.5
    """How much of the weights that draw the samples is kept in an iteration, at most."""
    kl_weight: float = 0.1
    """Weight of the squared distance to the reference policy's predictions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above_0(self, "beta", "spread")
        if not 0 <= self.old_decay < 1:
            raise ValueError(f"--old-decay must be from 0 to less than 1, got {self.old_decay}")

    def memory(self, policy: Generator) -> nn.Module:
        return copy.deepcopy(policy.network).requires_grad_(False)

    @torch.no_grad()
    def remember(self, policy: Generator, memory: nn.Module | None, iteration: int) -> None:
        """The weights that draw follow the present ones, more slowly the longer the run."""
        assert memory is not None
        rate = 1 - min(self.old_decay, 0.01 * iteration)
        for old, present in zip(memory.parameters(), policy.network.parameters(), strict=True):
            old.lerp_(present, rate)

    def drawing(self, policy: Any, draw: Draw) -> AbstractContextManager[Any]:
        assert draw.memory is not None
        return policy.using(draw.memory)

    def sample_loss(self, policy: Any, minibatch: Experience, new: Fit, old: Fit, reference: Fit) -> Float[Tensor, ""]:
        assert new.targets is not None
        return nft_loss(
            new.predictions,
            old.predictions,
            new.targets,
            minibatch.advantages / self.spread,
            policy.kl_weights(minibatch.rollout),
            beta=self.beta,
        )


def nft_loss(
    new: Float[Tensor, "d b u f"],
    old: Float[Tensor, "d b u f"],
    targets: Float[Tensor, "d b u f"],
    advantages: Float[Tensor, "b u"],
    weights: Float[Tensor, "b u f"],
    *,
    beta: float,
) -> Float[Tensor, ""]:
    """mean of [r |v+ - v|^2 + (1 - r) |v- - v|^2] / beta with v± = old ± beta (new - old) and
    r = 1/2 + clip(A, -1, 1) / 2, by unit."""
    good = 0.5 + 0.5 * advantages.clamp(-1, 1)
    moved = beta * (new - old)
    errors = [((old + sign * moved - targets) ** 2 * weights).sum(-1) for sign in (1, -1)]
    return (good * errors[0] + (1 - good) * errors[1]).sum(-1).mean() / beta
