"""The base of generators (policies). The training loop, the objectives and the commands use only
this.

A generator is a subclass of ``Generator``: a small core that every policy has. What only some
policies have is a capability, a protocol below: ``HasLogProbs``, ``HasMatching``,
``HasSampleGradient``, ``HasCleanStates``, ``Encodes``, ``Retrieves``, ``Completes``, ``Streams``.
An objective names those it needs. docs/generators.md shows how to bring your own.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rewards.text import TextFeatures, shared_encoder
from scenes.asset import Asset, PartAsset


@runtime_checkable
class Condition(Protocol):
    """The condition of B prompts, as a generator encodes it. Other code only takes its length and
    indexes it."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Condition: ...


@runtime_checkable
class Rollout(Protocol):
    """B samples and how they were drawn. Other code only takes the length and indexes it."""

    @property
    def condition(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Rollout: ...


C = TypeVar("C", bound=Condition)
Examples = list[list[PartAsset]]
"""For each of B prompts, up to K assets of one scene each on the CPU, the nearest first."""


def repeat(condition: C, group_size: int) -> C:
    """Each prompt ``group_size`` times in a row: B * G entries."""
    return condition[torch.arange(len(condition)).repeat_interleave(group_size)]  # type: ignore[return-value]


@dataclass(frozen=True)
class TextCondition:
    """B prompts and their text features: the condition of generators that read MiniLM's tokens."""

    prompts: list[str]
    text: TextFeatures

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, index: Tensor) -> TextCondition:
        return TextCondition([self.prompts[i] for i in index.tolist()], self.text[index])


class Generator(ABC):
    """A policy: a prompt in, an asset out.

    A subclass sets the class attributes, takes the settings of its network as keyword arguments,
    and implements ``sample`` and ``decode``. Checkpoints hold ``config`` and the ``network``'s
    weights: ``type(self)(**config)`` must build the same network again.
    """

    name: ClassVar[str]
    """As in ``--generator``: set by built-in generators, else the dotted path ``module:Class``."""
    gives: ClassVar[frozenset[str]] = frozenset()
    """What its assets have beside Gaussians, meshes and bodies: "parts", "motion"."""
    default_options: ClassVar[Any]
    """How assets that are kept are sampled: an instance of a frozen dataclass. Its fields are the
    options of the command line, ``--sampling.NAME``."""
    exploration: ClassVar[Any] = None
    """The same for rollouts with log-probs. None: ``default_options``."""
    units_are_parts: ClassVar[bool] = False
    """Whether unit i of a state is part i of the asset: a part's reward then moves its own unit."""
    parallel_steps: ClassVar[bool] = False
    """Whether one pass through the network gives the log-probs of all steps, as for tokens."""
    objectives: ClassVar[Mapping[str, Mapping[str, Any]]] = {"awm": {}}
    """Objectives that suit the generator, its usual one first, each with the settings that differ
    from the objective's defaults."""
    source: dict[str, str]
    """File name and SHA-256 of the weights, where they came from a file."""

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            cls.name = f"{cls.__module__}:{cls.__qualname__}"

    def __init__(self, network: nn.Module, config: dict[str, Any]) -> None:
        self.network = network
        self.config = config
        self.source = {}
        self.bfloat16 = False
        """Whether training wants matrix products in bfloat16. A network may ignore it."""
        self.find_examples: Callable[[list[str]], Examples] | None = None
        """Gives the examples of prompts to a generator that ``Retrieves``. None: no examples."""
        self.given: PartAsset | None = None
        """A scene whose parts every asset of a generator that ``Completes`` begins with."""
        self._reference: nn.Module | None = None

    @property
    def options(self) -> type:
        """The type of the sampling options."""
        return type(self.default_options)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Generator:
        """Move the weights; returns the generator itself."""
        self.network.to(device)
        return self

    def parameters(self) -> list[nn.Parameter]:
        """What training changes: all weights, or those of an adapter."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def condition(self, prompts: list[str]) -> Condition:
        """The prompts as the network reads them, without gradient: layers to be trained belong into
        the network's forward pass. ValueError for an empty prompt."""
        return TextCondition(prompts, shared_encoder().encode(prompts).to(self.device))

    def prepare(self, prompts: list[str]) -> Condition:
        """The condition of the prompts, with their examples if ``find_examples`` is set, and the
        parts that are given. Both are set only for generators that can use them."""
        condition: Any = self.condition(prompts)
        if self.find_examples is not None:
            assert isinstance(self, Retrieves)
            condition = self.with_examples(condition, self.find_examples(prompts))
        if self.given is not None:
            assert isinstance(self, Completes)
            condition = self.with_given(condition, [self.given] * len(prompts))
        return condition

    @abstractmethod
    def sample(
        self,
        condition: Any,
        *,
        seeds: Sequence[int],
        options: Any = None,
        initial_seeds: Sequence[int] | None = None,
    ) -> Rollout:
        """Draw one sample for each entry of ``condition``.

        ``seeds`` (one an entry) fix all randomness: the same seed gives the same sample, whatever
        the batch. ``initial_seeds`` fix the first noise apart from the rest, so that a group can
        start from the same noise; a generator without such noise ignores them. ``options`` None
        means ``default_options``.
        """

    @abstractmethod
    def decode(self, rollout: Any) -> Asset:
        """The samples as a batch of assets, with gradient where the decoder has one."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        options: Any = None,
        batch_size: int = 64,
        on_partial: Callable[[Asset], None] | None = None,
    ) -> Asset:
        """One asset a prompt, without gradient, ``batch_size`` at a time. Of a generator that
        ``Streams``, ``on_partial`` gets what there is of a batch's first asset after each part."""
        assets = []
        with torch.no_grad():
            for start in range(0, len(prompts), batch_size):
                piece = slice(start, start + batch_size)
                condition = self.prepare(list(prompts[piece]))
                if on_partial is not None and isinstance(self, Streams):
                    for rollout in self.stream(condition, seeds=seeds[piece], options=options):
                        on_partial(self.decode(rollout[torch.tensor([0])]))
                    asset = self.decode(rollout)
                else:
                    asset = self.decode(self.sample(condition, seeds=seeds[piece], options=options))
                assets.append(asset)
        return assets[0] if len(assets) == 1 else type(assets[0]).concatenate(assets)

    def keep_reference(self) -> None:
        """Make the present weights the reference policy."""
        self._reference = copy.deepcopy(self.network).requires_grad_(False)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside this context, the policy has the weights of the last call of ``keep_reference``.
        RuntimeError if there was none."""
        if self._reference is None:
            raise RuntimeError("there is no reference policy yet: call keep_reference() first")
        with self.using(self._reference):
            yield

    def coarse(self, rollout: Any) -> Bool[Tensor, "t"]:
        """The steps of a rollout that make the coarse shape; the others make detail and colour. Of
        a generator that does not say so, it is the first half."""
        count = len(rollout.log_probs)
        return torch.arange(count, device=self.device) < count / 2

    @contextmanager
    def using(self, network: nn.Module) -> Iterator[None]:
        """The same policy with the weights of another network."""
        present, self.network = self.network, network
        try:
            yield
        finally:
            self.network = present


@dataclass(frozen=True)
class StepStats:
    """Log-probs of S chosen steps of B samples under the present weights, with gradient."""

    log_probs: Float[Tensor, "s b"]
    """Averaged over the numbers that a step draws, so that a clip range means the same for all."""
    entropy: Float[Tensor, "s b"] | None = None
    distribution: Any = None
    """What ``HasLogProbs.kl`` compares, a tensor (S, B, ...): means of Gaussian steps, log-probs of
    all tokens."""


@runtime_checkable
class HasLogProbs(Protocol):
    """Flows sampled by an SDE, and token models. Their rollouts have ``log_probs`` (T, B) of every
    step under the policy that drew them, and ``mask`` (T, B), false for steps that a sample did not
    take. Where each step draws one unit (part), they also have ``units`` (T, B), its number or -1:
    a unit's reward then moves its own steps."""

    def steps(self, rollout: Any) -> tuple[list[int], list[int]]:
        """The steps with a log-prob, and the deterministic ones, which only the KL looks at."""
        ...

    def log_probs(self, rollout: Any, steps: Sequence[int]) -> StepStats: ...

    def kl(self, rollout: Any, steps: Sequence[int], new: StepStats, reference: StepStats) -> Float[Tensor, "s b"]:
        """KL of the chosen steps to the reference policy's, with gradient to ``new``. Where some
        numbers weigh more in it than in the log-probs, ``unweighted_kl`` is the exact one."""
        ...


@dataclass(frozen=True)
class MatchingStats:
    """What the network predicts for D draws of noise on each of B finished samples, with gradient.

    A state (U, F) is U units of F numbers: parts, Gaussians, or latent tokens.
    """

    errors: Float[Tensor, "d b u"]
    """Squared error of the prediction by unit. The sum over units is the mean over the numbers that
    count."""
    predictions: Float[Tensor, "d b u f"]
    targets: Float[Tensor, "d b u f"]


@runtime_checkable
class HasMatching(Protocol):
    """Flows and diffusion models, which are trained to match a target at given noise."""

    def final(self, rollout: Any) -> Float[Tensor, "b u f"]:
        """The finished samples, as the network sees them."""
        ...

    def matching(self, rollout: Any, sigmas: Float[Tensor, "d b"], noise: Float[Tensor, "d b u f"]) -> MatchingStats:
        """The matching errors of the finished samples at noise levels ``sigmas`` in (0, 1)."""
        ...

    def kl_weights(self, rollout: Any) -> Float[Tensor, "b u f"]:
        """Per-element KL weights. They sum to 1 over the numbers that count; elements that must
        stay close to the reference weigh more on top."""
        ...


@runtime_checkable
class HasSampleGradient(Protocol):
    """Generators whose samples carry gradient to the weights: a reward that has a gradient trains
    them directly."""

    def sample_with_gradient(
        self,
        condition: Any,
        *,
        seeds: Sequence[int],
        options: Any = None,
        initial_seeds: Sequence[int] | None = None,
        last: int | None = None,
    ) -> Rollout:
        """The samples of ``sample``, with gradient through their last steps; None: through all."""
        ...


@dataclass(frozen=True)
class CleanStates:
    """States on the way of B samples, and where they lead."""

    states: Float[Tensor, "b ..."]
    """They take gradient."""
    std: float
    """Standard deviation of the Gaussian that they were drawn from."""
    rollout: Rollout
    """Its samples are the clean ones that the network predicts from the states, with gradient."""


@runtime_checkable
class HasCleanStates(Protocol):
    """Flows and diffusion models with log-probs that can predict the sample a state leads to: its
    reward then has a gradient at the state."""

    def clean(self, rollout: Any, step: int) -> CleanStates:
        """The states after a step; ``log_probs(...).distribution`` has their means."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """Assets back to samples: for pairs of assets and for supervised training."""

    def encode(self, asset: Asset, condition: Any) -> Rollout:
        """A rollout that decodes to ``asset``. ValueError for an asset that it cannot express."""
        ...


@runtime_checkable
class Retrieves(Protocol):
    """Generators that look at examples: assets of a library whose captions are near the prompt
    (retrieval-augmented generation)."""

    def with_examples(self, condition: Any, examples: Examples) -> Condition:
        """The condition with the examples of each of its B entries.

        An entry without examples is sampled as if it had not been passed here. ValueError with one
        line for more examples than the generator takes.
        """
        ...


@runtime_checkable
class Completes(Protocol):
    """Generators that go on from parts that are given."""

    def with_given(self, condition: Any, given: Sequence[PartAsset]) -> Condition:
        """The condition with the parts that the sample of each of its B entries begins with: a
        batch of one scene each. They stay as they are.

        ValueError with one line for more parts than can be gone on from.
        """
        ...


@runtime_checkable
class Streams(Protocol):
    """Generators whose samples can be seen while they are drawn."""

    def stream(self, condition: Any, *, seeds: Sequence[int], options: Any = None) -> Iterator[Rollout]:
        """What there is of the samples after each part. The last one is what ``sample`` gives."""
        ...


CAPABILITIES: dict[str, type] = {
    "log-probs": HasLogProbs,
    "matching": HasMatching,
    "sample gradient": HasSampleGradient,
    "clean states": HasCleanStates,
    "encode": Encodes,
    "retrieve": Retrieves,
    "complete": Completes,
    "stream": Streams,
}
"""What a generator may have, by the name that messages use."""


def capabilities(generator: Generator) -> list[str]:
    """The names of the capabilities that a generator has."""
    return [name for name, kind in CAPABILITIES.items() if isinstance(generator, kind)]


def valid_mask(log_probs: Float[Tensor, "t b"]) -> Bool[Tensor, "t b"]:
    """The mask of rollouts in which every sample takes every step."""
    return torch.ones_like(log_probs, dtype=torch.bool)
