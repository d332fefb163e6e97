"""DDPO, denoising diffusion policy optimisation by importance sampling (Black et al., 2024): the
clipped loss on steps, with the mean and standard deviation of each prompt's rewards over the whole
run, and no KL."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rl3d.algorithms.base import Draw, Judgement
from rl3d.algorithms.steps import ClippedObjective
from rl3d.configs import at_least
from rl3d.generators.base import Generator

BUCKETS = 1 << 16
"""Prompts are told apart by a hash of this many values."""


@dataclass(frozen=True)
class DDPO(ClippedObjective):
    """Settings of ``--objective ddpo``."""

    name = "ddpo"

    lr: float = 3e-5
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    least_samples: int = 16
    """A prompt with fewer rewards so far is normalised by those of the whole batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, least_samples=2)

    def memory(self, policy: Generator) -> nn.Module:
        return PromptStatistics()

    def advantages(self, draw: Draw, judgement: Judgement) -> tuple[Float[Tensor, "b"], Float[Tensor, "b u"]]:
        assert isinstance(draw.memory, PromptStatistics)
        rewards = judgement.rewards.double().cpu()
        prompts = torch.tensor([zlib.crc32(p.encode()) % BUCKETS for p in draw.prompts])
        prompts = prompts.repeat_interleave(draw.group_size)
        everyone = draw.gather(rewards)
        draw.memory.add(draw.gather(prompts), everyone)
        own = draw.memory.normalized(prompts, rewards, everyone, self.least_samples).float()
        return own, own.unsqueeze(1)


class PromptStatistics(nn.Module):
    """Number, sum and sum of squares of the rewards of every prompt."""

    sums: Float[Tensor, "3 n"]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(3, BUCKETS, dtype=torch.float64))

    def add(self, prompts: Int[Tensor, "b"], rewards: Float[Tensor, "b"]) -> None:
        powers = torch.stack([torch.ones_like(rewards), rewards, rewards.square()])
        self.sums.index_add_(1, prompts, powers)

    def normalized(
        self, prompts: Int[Tensor, "b"], rewards: Float[Tensor, "b"], everyone: Float[Tensor, "n"], least: int
    ) -> Float[Tensor, "b"]:
        """(r - mean) / (std + 1e-6) of the prompt, or of ``everyone`` where it is seldom known."""
        count, total, squares = self.sums[:, prompts]
        mean = total / count.clamp_min(1)
        std = (squares / count.clamp_min(1) - mean.square()).clamp_min(0).sqrt()
        known = count >= least
        mean = torch.where(known, mean, everyone.mean())
        std = torch.where(known, std, everyone.std(correction=0))
        return (rewards - mean) / (std + 1e-6)
