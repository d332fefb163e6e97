"""The base of objectives: how an objective collects experience from a policy, and the loss that it
minimises.

An objective is a frozen dataclass: its fields are its settings, with its own defaults. Its
arithmetic is a pure function of tensors in the same file, tested against closed forms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rewards.base import Scores
from rl3d.generators.base import CAPABILITIES, Generator, Rollout, repeat
from scenes.asset import Asset

Metrics = dict[str, Tensor]
"""Means over a minibatch, without gradient: loss, kl, approx_kl, clip_fraction and so on."""


@dataclass(frozen=True)
class Draw:
    """What one iteration samples: P prompts, each G times. Seeds are global: a prompt's samples do
    not depend on how the prompts are split over processes."""

    prompts: list[str]
    group_size: int
    iteration: int
    seed: int
    """Of the run."""
    azimuth_deg: float = 30.0
    """Where the first camera stands."""
    options: Any = None
    """Sampling options of the generator. None: its defaults."""
    updates: int = 1
    """Optimiser steps that will be made on the experience."""
    micro_batch: int = 0
    """Samples of one pass through the network; 0: all at once."""
    first: int = 0
    """Number of the first prompt among those of all processes."""
    total: int | None = None
    """Prompts of all processes. None: these are all."""
    memory: nn.Module | None = None
    """What ``Objective.memory`` gave."""
    gather: Callable[[Tensor], Tensor] = lambda local: local
    """Joins what all processes have, along the first dimension."""
    shared_noise: bool = False
    """Whether the samples of a prompt start from the same noise."""

    def sample(self, policy: Generator) -> tuple[Any, Asset]:
        """Rollout and asset of the draw, without gradient."""
        with torch.no_grad():
            condition = repeat(policy.prepare(self.prompts), self.group_size)
            rollout = policy.sample(condition, seeds=self.seeds, initial_seeds=self.initial_seeds, options=self.options)
            return rollout, policy.decode(rollout)

    def pieces(self, count: int) -> Iterator[Tensor]:
        """Numbers of at most ``micro_batch`` of ``count`` samples at a time."""
        yield from torch.arange(count).split(self.micro_batch or max(count, 1))

    @property
    def seeds(self) -> list[int]:
        """One a sample, (P * G)."""
        return [self._base + self.first * self.group_size + i for i in range(len(self.prompts) * self.group_size)]

    @property
    def initial_seeds(self) -> list[int] | None:
        """Of the noise that the samples start from, one a sample. None: those of the samples."""
        if not self.shared_noise:
            return None
        return [self._base + self.first + i // self.group_size for i in range(len(self.prompts) * self.group_size)]

    @property
    def _base(self) -> int:
        return ((self.seed * 1_000_003 + self.iteration) * 100_000) % 2**62

    def group_noise(self, *shape: int, rng: torch.Generator) -> Float[Tensor, "d b ..."]:
        """Standard normal numbers for each sample, shared by a group. ``shape`` is (D, ...).

        What the samples of a group have in common then cancels in the gradient.
        """
        return self._shared(torch.randn(shape[0], self._total, *shape[1:], generator=rng))

    def group_levels(self, count: int, rng: torch.Generator) -> Float[Tensor, "d b"]:
        """Logit-normal noise levels in (0, 1), as in supervised training, shared by a group. The
        draws of a sample are stratified: each of ``count`` equal shares has one."""
        place = (torch.arange(count)[:, None] + torch.rand(count, self._total, generator=rng)) / count
        return self._shared(torch.sigmoid(torch.special.ndtri(place.double().clamp(1e-6, 1 - 1e-6)).float()))

    @property
    def _total(self) -> int:
        return self.total or len(self.prompts)

    def _shared(self, numbers: Float[Tensor, "d p ..."]) -> Float[Tensor, "d b ..."]:
        """Of numbers for the prompts of all processes, those of this one, repeated in a group."""
        return numbers[:, self.first : self.first + len(self.prompts)].repeat_interleave(self.group_size, 1)

    def torch_rng(self, stream: int) -> torch.Generator:
        """Random numbers of this iteration, ``stream`` 1 to 9 apart from each other."""
        return torch.Generator().manual_seed(((self.seed * 1_000_003 + self.iteration + 1) * 10 + stream) % 2**62)


@dataclass(frozen=True)
class Judgement:
    """What the rewards say of B samples, and the advantages that follow from it."""

    scores: dict[str, Scores]
    rewards: Float[Tensor, "b"]
    """The weighted sum of the rewards."""
    advantages: Float[Tensor, "b"]
    """How much better a sample is than the others of its prompt, over all rewards."""
    unit_advantages: Float[Tensor, "b u"]
    """The same for each unit (part) of a sample, where a reward gives per-part values; U is 1 where
    none does."""
    among: Callable[[Collection[str]], Judgement] | None = None
    """The judgement that only some of the rewards lead to, by their names."""


@runtime_checkable
class Score(Protocol):
    """The rewards of a run."""

    def __call__(self, draw: Draw, asset: Asset) -> Judgement: ...

    def values(self, prompts: list[str], asset: Asset, azimuth_deg: float) -> Float[Tensor, "b"]:
        """The weighted sum of the rewards that have a gradient, with gradient to the asset.
        ValueError if there are none."""
        ...


@dataclass(frozen=True)
class Experience:
    """B samples with all that the loss needs. Indexing selects samples."""

    rollout: Rollout
    advantages: Float[Tensor, "b ..."]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """What was computed for each sample at collection: the samples' dimension comes first."""
    steps: tuple[int, ...] = ()
    """Chosen steps of the trajectories, for objectives that look at steps."""
    group_size: int = 1
    """Samples that stay together in a minibatch."""
    whole_groups: bool = False
    """Whether they also stay together where a minibatch is split into pieces."""
    judgement: Judgement | None = None
    asset: Asset | None = None
    draw: Draw | None = None
    score: Score | None = None
    """For objectives that sample again, with gradient; ``tensors["number"]`` has the samples'
    numbers in the draw."""

    def __len__(self) -> int:
        return len(self.rollout)

    @property
    def among_prompt(self) -> Float[Tensor, "b"]:
        """How much better each sample was judged than the others of its prompt, for any baseline
        that the objective has: what there is to learn from a prompt."""
        if self.judgement is not None:
            return self.judgement.advantages
        return self.advantages.flatten(1).mean(1)

    def __getitem__(self, index: Tensor) -> Experience:
        tensors = {name: value[index] for name, value in self.tensors.items()}
        rollout, advantages = self.rollout[index], self.advantages[index]
        return replace(self, rollout=rollout, advantages=advantages, tensors=tensors, judgement=None, asset=None)

    def minibatches(self, count: int, rng: np.random.Generator) -> Iterator[Experience]:
        """The samples in ``count`` minibatches of whole groups, in random order. For ``count`` 1
        it is all of them, in order."""
        if count == 1:
            yield self
            return
        groups = torch.arange(len(self)).split(self.group_size)
        for chosen in np.array_split(rng.permutation(len(groups)), min(count, len(groups))):
            yield self[torch.cat([groups[k] for k in chosen])]

    def halves(self) -> list[Experience]:
        """Two halves of whole groups, or of a group where it may be split; else all of it."""
        size = self.group_size if self.whole_groups or len(self) > self.group_size else 1
        first = len(self) // size // 2 * size
        return [self[index] for index in torch.arange(len(self)).split([first, len(self) - first]) if len(index)]

    def pieces(self, size: int) -> Iterator[Experience]:
        """At most ``size`` samples at a time, or a group where groups stay whole; all at once for
        0."""
        if self.whole_groups and size:
            size = max(size // self.group_size, 1) * self.group_size
        if not 0 < size < len(self):
            yield self
            return
        for index in torch.arange(len(self)).split(size):
            yield self[index]


@dataclass(frozen=True)
class Objective(ABC):
    """How a policy learns from rewards. Subclasses are frozen dataclasses with a field a
    setting."""

    name: ClassVar[str]
    """As in ``--objective``: set by built-in objectives, else the dotted path ``module:Class``."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Capabilities of the generator that it cannot do without, keys of ``CAPABILITIES``; "a or b"
    for one of two."""
    compares: ClassVar[bool] = True
    """Whether it learns from how the samples of a prompt differ in their rewards."""
    lr: float = 1e-4
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            cls.name = f"{cls.__module__}:{cls.__qualname__}"

    @abstractmethod
    def collect(self, policy: Any, draw: Draw, score: Score) -> Experience:
        """Sample, decode, score, and compute what the loss needs of the old and the reference
        policy."""

    @abstractmethod
    def loss(self, policy: Any, minibatch: Experience) -> tuple[Float[Tensor, ""], Metrics]:
        """The loss of some samples under the present weights, a mean over samples."""

    def options(self, generator: type[Generator]) -> Any:
        """How rollouts of a generator are drawn unless the settings say otherwise."""
        return generator.default_options

    def prompts(self) -> list[str] | None:
        """The prompts that the objective learns from, where it brings its own samples. None: the
        run's settings say which."""
        return None

    def memory(self, policy: Generator) -> nn.Module | None:
        """What the objective keeps from iteration to iteration: averaged weights, statistics. It is
        in ``Draw.memory``, and saved with the run. None: nothing."""
        return None

    def remember(self, policy: Generator, memory: nn.Module | None, iteration: int) -> None:
        """Called with the memory after the updates of every iteration."""
        return

    def check(self, policy: Generator) -> None:
        """ValueError with one line if the generator lacks a capability that the objective needs."""
        missing = [
            names for names in self.needs if not any(isinstance(policy, CAPABILITIES[n]) for n in names.split(" or "))
        ]
        if missing:
            raise ValueError(
                f"objective {self.name!r} needs a generator with {' and '.join(missing)}, which "
                f"{policy.name!r} does not have: choose another --objective or --generator"
            )
