"""Toy generators, small enough to reason about, that every part of rl3d must run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from renderers.assets import SplatAsset
from rl3d.generators.base import Generator, TextCondition
from scenes.gaussians import Gaussians

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
        gradient: bool = False,
    ) -> SplatRollout:
        options = self.default_options if options is None else options
        noise = torch.stack([torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        with torch.set_grad_enabled(gradient):
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
