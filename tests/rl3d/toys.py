"""Toy policies that all of rl3d must run on. They share nothing with part flow but the contract of
``rl3d.generators.base``.

``TokenToy``: a categorical policy over tokens whose expected reward can be computed exactly.
``ExampleToy``: the same with examples from a library. ``SplatFlow``: a rectified flow over raw
splats. ``SplatBalls``: raw splats with a solid surface and a floating piece, for export, physics
and the viewer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from renderers.assets import SplatAsset
from rewards.base import Batch, Needs, Scores
from rl3d.generators.base import Examples, Generator, StepStats, TextCondition
from rl3d.generators.flow import Flow, FlowRollout
from scenes.asset import Asset, PartAsset
from scenes.gaussians import Gaussians
from scenes.parts import (
    CENTRE,
    COLOR,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    PLAIN,
    ROTATION,
    SHAPE_SIZE,
    UPRIGHT,
    VECTOR_SIZE,
    Parts,
)

STEPS, VOCABULARY, STOP = 4, 5, 4
"""A sequence is at most 4 tokens; token 4 ends it, and none follows."""
PAINT = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.1, 0.2, 0.9], [0.9, 0.9, 0.1]])


@dataclass(frozen=True)
class TokenOptions:
    """How tokens are drawn."""

    temperature: float = 1.0
    """Above 1 is flatter, below 1 is sharper."""


@dataclass(frozen=True)
class TokenRollout:
    """B sequences; tokens after the first ``STOP`` are not taken."""

    condition: TextCondition
    options: TokenOptions
    tokens: Int[Tensor, "t b"]
    log_probs: Float[Tensor, "t b"]

    @property
    def mask(self) -> Bool[Tensor, "t b"]:
        ended = (self.tokens == STOP).int().cumsum(0)
        return torch.cat([torch.ones_like(ended[:1]), (ended[:-1] == 0).int()]).bool()

    def __len__(self) -> int:
        return self.tokens.shape[1]

    def __getitem__(self, index: Tensor) -> TokenRollout:
        return TokenRollout(self.condition[index], self.options, self.tokens[:, index], self.log_probs[:, index])


class TokenToy(Generator):
    """p(token | step, token before): a table of logits. A sequence is a tower of cubes, a token a
    cube's colour."""

    gives = frozenset({"parts"})
    default_options = TokenOptions()

    def __init__(self, spread: float = 0.3) -> None:
        rng = torch.Generator().manual_seed(0)
        network = nn.Embedding(STEPS * (VOCABULARY + 1), VOCABULARY)
        with torch.no_grad():
            network.weight.copy_(spread * torch.randn(network.weight.shape, generator=rng))
        super().__init__(network, {"spread": spread})

    def logits(self, step: int, before: Int[Tensor, "b"], condition: TextCondition) -> Float[Tensor, "b v"]:
        return self.network(step * (VOCABULARY + 1) + before)

    def sample(
        self,
        condition: TextCondition,
        *,
        seeds: Sequence[int],
        options: TokenOptions | None = None,
        initial_seeds: Sequence[int] | None = None,
    ) -> TokenRollout:
        *_, last = self.stream(condition, seeds=seeds, options=options)
        return last

    def stream(
        self, condition: TextCondition, *, seeds: Sequence[int], options: TokenOptions | None = None
    ) -> Iterator[TokenRollout]:
        options = options or self.default_options
        if len(seeds) != len(condition):
            raise ValueError(f"{len(condition)} prompts need {len(condition)} seeds, got {len(seeds)}")
        draws = torch.stack([torch.rand(STEPS, generator=torch.Generator().manual_seed(s)) for s in seeds], 1)
        before, tokens, log_probs = torch.full((len(seeds),), VOCABULARY), [], []
        with torch.no_grad():
            for step in range(STEPS):
                log_p = (self.logits(step, before, condition) / options.temperature).log_softmax(-1)
                token = (log_p.exp().cumsum(-1) < draws[step].unsqueeze(-1)).sum(-1).clamp_max(VOCABULARY - 1)
                log_probs.append(log_p.gather(1, token.unsqueeze(1)).squeeze(1))
                tokens.append(token)
                before = token
                yield TokenRollout(condition, options, torch.stack(tokens), torch.stack(log_probs))

    def decode(self, rollout: TokenRollout) -> PartAsset:
        return PartAsset(tower(rollout.tokens, rollout.mask))

    def steps(self, rollout: TokenRollout) -> tuple[list[int], list[int]]:
        return list(range(STEPS)), []

    def log_probs(self, rollout: TokenRollout, steps: Sequence[int]) -> StepStats:
        start = torch.full_like(rollout.tokens[:1], VOCABULARY)
        before = torch.cat([start, rollout.tokens[:-1]])
        logits = torch.stack(
            [self.logits(t, before[t], rollout.condition) / rollout.options.temperature for t in steps]
        )
        log_p = logits.log_softmax(-1)
        chosen = log_p.gather(-1, rollout.tokens[list(steps)].unsqueeze(-1)).squeeze(-1)
        return StepStats(chosen, -(log_p.exp() * log_p).sum(-1), log_p)

    def kl(self, rollout: TokenRollout, steps: Sequence[int], new: StepStats, reference: StepStats) -> Tensor:
        return (new.distribution.exp() * (new.distribution - reference.distribution)).sum(-1)

    def expected(self, value: Any) -> Float[Tensor, ""]:
        """Exact expectation of ``value(tokens, mask)`` (b,) under the policy, with gradient."""
        tokens = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=STEPS))).T
        condition = self.condition(["a tower"])
        rollout = TokenRollout(condition, TokenOptions(), tokens, torch.zeros(tokens.shape))
        stats = self.log_probs(rollout, range(STEPS))
        return (stats.log_probs.sum(0).exp() * value(tokens, rollout.mask)).sum()


@dataclass(frozen=True)
class ExampleCondition(TextCondition):
    """Prompts, and the number of cubes of each colour in their examples."""

    votes: Float[Tensor, "b v"]

    def __getitem__(self, index: Tensor) -> ExampleCondition:
        text = super().__getitem__(index)
        return ExampleCondition(text.prompts, text.text, self.votes[index])


class _Copying(nn.Embedding):
    """Logits, and how strongly the colours of examples are copied."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.copy = nn.Parameter(torch.tensor(1.0))


class ExampleToy(TokenToy):
    """A ``TokenToy`` that takes up to two examples and copies their colours."""

    def __init__(self, spread: float = 0.3) -> None:
        super().__init__(spread)
        network = _Copying(*self.network.weight.shape)
        network.load_state_dict(self.network.state_dict(), strict=False)
        self.network = network

    def with_examples(self, condition: TextCondition, examples: Examples) -> ExampleCondition:
        if max(map(len, examples)) > 2:
            raise ValueError(f"this generator takes 2 examples for each prompt, got {max(map(len, examples))}")
        votes = torch.zeros(len(condition), VOCABULARY)
        for row, some in zip(votes, examples, strict=True):
            for asset in some:
                colors = asset.parts[0].present().colors
                row += torch.bincount(torch.cdist(colors, PAINT).argmin(-1), minlength=VOCABULARY)
        return ExampleCondition(condition.prompts, condition.text, votes)

    def logits(self, step: int, before: Int[Tensor, "b"], condition: TextCondition) -> Float[Tensor, "b v"]:
        logits = super().logits(step, before, condition)
        return logits + self.network.copy * condition.votes if isinstance(condition, ExampleCondition) else logits


def tower(tokens: Int[Tensor, "t b"], mask: Bool[Tensor, "t b"]) -> Parts:
    """Cubes of 20 cm on one another, as many as there are tokens before ``STOP``."""
    t, b = tokens.shape
    there = (mask & (tokens != STOP)).T
    centres = torch.zeros(b, t, 3)
    centres[..., 2] = 0.1 + 0.2 * torch.arange(t)
    vectors = torch.zeros(b, t, VECTOR_SIZE)
    vectors[..., EXISTENCE] = torch.where(there, 1.0, -1.0)
    vectors[..., EXPONENTS] = 0.1
    vectors[..., CENTRE], vectors[..., LOG_HALF_SIZE] = centres, math.log(0.1)
    vectors[..., ROTATION], vectors[..., COLOR] = torch.tensor(UPRIGHT), PAINT[tokens.T.clamp_max(3)]
    vectors[..., SHAPE_SIZE:] = torch.tensor(PLAIN)
    return Parts.from_vectors(vectors)


def redness(tokens: Int[Tensor, "t b"], mask: Bool[Tensor, "t b"]) -> Float[Tensor, "b"]:
    """Fraction of the four places that hold a red cube: ``Red`` as a function of tokens."""
    return ((tokens == 0) & mask).float().mean(0)


class Red:
    """Fraction of the four places that hold a red cube."""

    name, version, needs = "red", "1", Needs(parts=True)
    instead = "vivid"

    def __call__(self, batch: Batch) -> Scores:
        parts = batch.need_parts()
        reds = (parts.colors[..., 0] > 0.5) & (parts.colors[..., 1] < 0.5) & parts.exists
        per_part = torch.where(parts.exists, reds.float(), torch.nan)
        values = reds.float().mean(-1)
        return Scores(values, verdict=values > 0.5, per_part=per_part)


UNITS, NUMBERS = 32, 11


class SplatFlow(Flow):
    """A rectified flow over 32 Gaussians: centre, log scale, opacity's logit, colour's logit and a
    number that means nothing."""

    def __init__(self, width: int = 32) -> None:
        torch_state = torch.random.get_rng_state()
        torch.manual_seed(0)
        inner = NUMBERS + 1 + 16
        super().__init__(nn.Sequential(nn.Linear(inner, width), nn.SiLU(), nn.Linear(width, NUMBERS)), {"width": width})
        torch.random.set_rng_state(torch_state)

    @property
    def shape(self) -> tuple[int, int]:
        return UNITS, NUMBERS

    def velocity(self, x: Tensor, sigma: Tensor, condition: TextCondition, guidance: float) -> Tensor:
        text = 10 * condition.text.pooled[:, None, :16].expand(-1, UNITS, -1)
        return self.network(torch.cat([x, sigma[:, None, None].expand(-1, UNITS, 1), text], -1)).float()

    def counted(self, final: Tensor) -> Tensor:
        counted = torch.ones_like(final)
        counted[..., -1] = 0
        return counted

    def decode(self, rollout: FlowRollout) -> SplatAsset:
        state = rollout.states[-1]
        means = 0.25 * state[..., :3] + torch.tensor([0, 0, 0.45], device=state.device)
        scales = (0.3 * state[..., 3:6] - 3).exp()
        quats = state.new_tensor([1.0, 0, 0, 0]).expand(*state.shape[:-1], 4)
        opacities, colors = torch.sigmoid(state[..., 6] + 2), torch.sigmoid(state[..., 7:10])
        return SplatAsset(Gaussians(means, quats, scales, opacities, colors))

    def encode(self, asset: Asset, condition: TextCondition) -> FlowRollout:
        scene = asset.gaussians(UNITS)
        if scene.count != UNITS:
            raise ValueError(f"this flow encodes scenes of {UNITS} Gaussians, got {scene.count}")
        state = torch.cat(
            [
                (scene.means - torch.tensor([0, 0, 0.45])) / 0.25,
                (scene.scales.log() + 3) / 0.3,
                torch.logit(scene.opacities.unsqueeze(-1), 1e-5) - 2,
                torch.logit(scene.colors, 1e-5),
                torch.zeros_like(scene.means[..., :1]),
            ],
            -1,
        ).unsqueeze(0)
        none = state.new_zeros(0)
        return FlowRollout(condition, self.default_options, state, state[:0], none, none.new_zeros(0, len(asset)))


class Low:
    """How low the Gaussians lie, by opacity: a reward of views' assets that needs no parts."""

    name, version, needs = "low", "1", Needs()

    def __call__(self, batch: Batch) -> Scores:
        values = self.values(batch).detach().cpu()
        return Scores(values, verdict=values > 0.5)

    def values(self, batch: Batch) -> Float[Tensor, "b"]:
        scene = batch.asset.gaussians(UNITS)  # type: ignore[union-attr]
        return (1 - scene.means[..., 2].mean(-1)).clamp(0, 1)


COUNT = 600


@dataclass(frozen=True)
class SplatOptions:
    """How the toy samples."""

    spread: float = 0.05
    """Standard deviation of the ball's radius in metres."""


@dataclass(frozen=True)
class SplatRollout:
    """B samples: a radius and a colour each."""

    condition: TextCondition
    states: Float[Tensor, "b 4"]

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: Tensor) -> SplatRollout:
        return SplatRollout(self.condition[index], self.states[index])


class SplatBalls(Generator):
    """Raw splats on the surface of a ball that stands on the ground, with a smaller ball floating
    beside it: two bodies, no parts."""

    default_options = SplatOptions()

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 4), {})
        with torch.no_grad():
            self.network.weight.zero_()
            self.network.bias.copy_(torch.tensor([0.3, 0.9, 0.2, 0.1]))

    def sample(
        self,
        condition: TextCondition,
        *,
        seeds: Sequence[int],
        options: Any = None,
        initial_seeds: Sequence[int] | None = None,
    ) -> SplatRollout:
        options = self.default_options if options is None else options
        noise = torch.stack([torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        with torch.no_grad():
            mean = self.network(torch.zeros(len(seeds), 1))
            return SplatRollout(condition, mean + options.spread * noise)

    def decode(self, rollout: SplatRollout) -> SplatAsset:
        return SplatAsset.of([_balls(state) for state in rollout.states])


def _balls(state: Float[Tensor, "4"]) -> Gaussians:
    radius = state[0].clamp(0.15, 0.45)
    large, small = _sphere(COUNT), _sphere(COUNT // 4)
    means = torch.cat([radius * large + torch.tensor([0.0, 0, 1]) * radius, 0.08 * small + torch.tensor([0.6, 0, 0.7])])
    normals = torch.cat([large, small])
    sizes = torch.cat([radius.expand(COUNT) * 0.09, torch.full((COUNT // 4,), 0.012)])
    return Gaussians(
        means=means,
        quats=_facing(normals),
        scales=torch.stack([sizes, sizes, torch.full_like(sizes, 1e-3)], -1),
        opacities=torch.full_like(sizes, 0.98),
        colors=state[1:].clamp(0, 1).expand(len(means), 3),
    )


def _sphere(count: int) -> Float[Tensor, "n 3"]:
    """Even points on the unit sphere (a golden spiral)."""
    k = torch.arange(count) + 0.5
    polar, around = (1 - 2 * k / count).acos(), torch.pi * (1 + 5**0.5) * k
    return torch.stack([around.cos() * polar.sin(), around.sin() * polar.sin(), polar.cos()], -1)


def _facing(normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4"]:
    """Rotations (wxyz) that turn z to the normals."""
    axis = torch.linalg.cross(torch.tensor([0.0, 0, 1]).expand_as(normals), normals)
    return nn.functional.normalize(torch.cat([1 + normals[:, 2:], axis], -1) + torch.tensor([1e-6, 0, 0, 0]), dim=-1)
