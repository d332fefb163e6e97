"""Materials of parts: named finishes, and patterns as solid textures (Peachey, Solid Texturing of
Complex Surfaces, 1985): the colour of a point depends on its place in the part's frame alone."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scenes.parts.contacts import PartContacts
from scenes.parts.layout import DEFAULT_ROUGHNESS, PATTERNS, PLAIN

P = TypeVar("P", bound="PartMaterials")

FINISHES: dict[str, tuple[float, float]] = {
    "matte": (0.0, 0.95),
    "glossy": (0.0, 0.15),
    "metallic": (1.0, 0.3),
    "brushed": (1.0, 0.6),
}
"""Metallic and roughness of each named finish."""
BANDS = 7
"""Bands along the longest axis of a striped part. An odd number: both ends have the first
colour."""
SPOT_RADIUS = 0.45
"""Radius of a spot, in steps of the lattice of spots."""
THIN = 0.8
"""A part thinner than so many steps has a flat lattice of spots."""
_PREFERRED = (1.05, 1.0, 1.1)
"""Among axes of about the same length the bands go along z, or else along x."""


def finish_of(metallic: float, roughness: float) -> str | None:
    """The named finish nearest to the two numbers of a part, None if plain plastic is nearest."""
    found = {None: (0.0, DEFAULT_ROUGHNESS), **FINISHES}
    return min(found, key=lambda name: abs(found[name][0] - metallic) + abs(found[name][1] - roughness))


class PartMaterials(PartContacts):
    """Parts and the colours of their points."""

    @property
    def pattern(self) -> Int[Tensor, "*batch p"]:
        """Number of each part's pattern in ``PATTERNS``, -1 for a part of one colour."""
        best = self.patterns.detach().max(-1)
        return torch.where(best.values > 0, best.indices, -1)

    @property
    def finished(self) -> Bool[Tensor, "*batch p"]:
        """Parts whose metallic and roughness are not the default."""
        return (self.metallic != 0) | (self.roughness != DEFAULT_ROUGHNESS)

    def plain(self: P, colors: Float[Tensor, "*batch p 3"]) -> P:
        """The same parts in the default material, without patterns, in other colours."""
        none = colors.new_tensor(PLAIN)
        return dataclasses.replace(
            self,
            colors=colors,
            metallic=none[0].expand_as(self.metallic),
            roughness=none[1].expand_as(self.roughness),
            patterns=none[2:5].expand_as(self.patterns),
            second_colors=none[5:].expand_as(self.second_colors),
        )

    def in_second_color(self, points: Float[Tensor, "*batch p k 3"]) -> Bool[Tensor, "*batch p k"]:
        """Which of k world points of each part have the second colour. No gradient."""
        parts = self.detach()
        local = (points.detach() - parts.centres.unsqueeze(-2)) @ parts.rotations
        unit = (local / parts.half_sizes.unsqueeze(-2)).clamp(-1, 1)
        longest, middle = parts.half_sizes.topk(2, -1).values.unsqueeze(-1).unbind(-2)
        step = torch.minimum(2 / BANDS * longest, 2 * middle)  # (*batch, p, 1)
        counts = (2 * parts.half_sizes / step).round()
        # Around a cylinder, 6 cells across would leave slivers at 45 degrees; 5 do not.
        squares = torch.where(counts == 6, 5, counts.clamp_min(2)).unsqueeze(-2)
        axis = (parts.half_sizes * parts.half_sizes.new_tensor(_PREFERRED)).argmax(-1)
        along = unit.gather(-1, axis[..., None, None].expand(*unit.shape[:-1], 1)).squeeze(-1)
        stripes = _cells(along, BANDS) % 2 == 1
        checks = _cells(unit, squares).sum(-1) % 2 == 1
        # A plate much thinner than a step has one layer of spots, which go through it.
        layers = torch.where(2 * parts.half_sizes < THIN * step, 0, counts.clamp_min(1))
        spots = _spots(unit, layers.unsqueeze(-2), parts.half_sizes.unsqueeze(-2))
        found = torch.stack([stripes, spots, checks], -1)
        kinds = torch.arange(len(PATTERNS), device=found.device)
        return (found & (self.pattern[..., None, None] == kinds)).any(-1)

    def colors_at(self, points: Float[Tensor, "*batch p k 3"]) -> Float[Tensor, "*batch p k 3"]:
        """sRGB colours of k world points of each part, without light. Differentiable in both
        colours."""
        first, second = self.colors.unsqueeze(-2), self.second_colors.unsqueeze(-2)
        if not (self.exists & (self.pattern >= 0)).any():
            return first.expand_as(points)
        return torch.where(self.in_second_color(points).unsqueeze(-1), second, first)


def _cells(unit: Tensor, count: Tensor | int) -> Tensor:
    """Number of the cell of places in [-1, 1] that are cut into ``count`` equal cells."""
    return ((unit + 1) / 2 * count).floor().clamp_min(0).minimum(torch.as_tensor(count - 1).to(unit))


def _spots(unit: Tensor, counts: Tensor, half: Tensor) -> Tensor:
    """Whether places in [-1, 1] are in a ball of a face-centred lattice, which has points on every
    face of the part's box: the nearest point whose three numbers have an even sum is near. An axis
    of 0 steps does not count."""
    place = (unit + 1) / 2 * counts
    nearest = place.round()
    # If the sum is odd, the number that was rounded farthest is rounded the other way.
    off = place - nearest
    worst = torch.nn.functional.one_hot(off.abs().argmax(-1), 3) * torch.where(off < 0, -1.0, 1.0).to(off)
    nearest = nearest + worst * (nearest.sum(-1, keepdim=True) % 2)
    step = torch.where(counts > 0, 2 * half / counts.clamp_min(1), torch.inf)
    away = torch.where(counts > 0, (place - nearest) * step, 0)
    return away.norm(dim=-1) < SPOT_RADIUS * step.amin(-1)
