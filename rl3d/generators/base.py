"""What a generator is: everything in rl3d.algorithms and rl3d.training speaks to a policy only
through this file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rewards.text import TextFeatures
from rl3d.generators.sde import Sampling
from scenes.parts import Parts


@dataclass(frozen=True)
class Condition:
    """B prompts and their text features."""

    prompts: list[str]
    text: TextFeatures

    def __len__(self) -> int:
        return len(self.prompts)

    def repeat(self, group: int) -> Condition:
        """Each prompt ``group`` times in a row: B * G entries."""
        index = torch.arange(len(self)).repeat_interleave(group)
        return self[index]

    def __getitem__(self, index: Tensor) -> Condition:
        return Condition([self.prompts[i] for i in index.tolist()], self.text[index])


@dataclass(frozen=True)
class Rollout:
    """Trajectories of B samples over T steps: ``states[t + 1]`` was drawn from N(``means[t]``,
    ``stds[t]``^2)."""

    condition: Condition
    sampling: Sampling
    states: Float[Tensor, "t1 b *state"]
    means: Float[Tensor, "t b *state"]
    stds: Float[Tensor, "t"]
    log_probs: Float[Tensor, "t b"]

    def __len__(self) -> int:
        return self.states.shape[1]


@dataclass(frozen=True)
class StepStats:
    """Log-probs (averaged over the counted dimensions) and means of S chosen steps, recomputed with
    gradient."""

    log_probs: Float[Tensor, "s b"]
    means: Float[Tensor, "s b *state"]
    stds: Float[Tensor, "s"]


@dataclass(frozen=True)
class MatchingStats:
    """Of D draws of noise for each finished sample: the squared error of the velocity, split over
    the U units (parts) that the sample is made of so that their sum is its mean over the counted
    dimensions, and the velocities themselves."""

    errors: Float[Tensor, "d b u"]
    velocities: Float[Tensor, "d b *state"]


class Generator(Protocol):
    """A policy. ``network`` holds the trainable parameters; the other methods never change them."""

    network: nn.Module

    def condition(self, prompts: list[str]) -> Condition: ...

    def rollout(
        self, condition: Condition, *, seeds: list[int], sampling: Sampling, noise_seeds: list[int] | None = None
    ) -> Rollout:
        """Sample one asset per entry of ``condition``. ``seeds`` fix all randomness;
        ``noise_seeds``, where given, fix the initial noise apart from it (a group that shares its
        initial noise)."""
        ...

    def log_probs(self, rollout: Rollout, steps: list[int]) -> StepStats:
        """Statistics of the chosen steps under the present weights, with gradient."""
        ...

    def matching(
        self, rollout: Rollout, sigmas: Float[Tensor, "d b"], noise: Float[Tensor, "d b *state"]
    ) -> MatchingStats:
        """The flow-matching errors of the final states, noised to levels ``sigmas`` in (0, 1), with
        gradient."""
        ...

    def held(self, rollout: Rollout) -> Float[Tensor, "b *state"]:
        """Weight of each number of the state in the KL to the reference: 1 over their count, more
        where it is to be held tighter."""
        ...

    def decode(self, rollout: Rollout) -> Parts:
        """The final states as one batch of assets."""
        ...
