"""The surface of part assets as sampled points, and how deep points lie in the parts.

Only parts that exist are sampled, those of the whole batch in one list. Double precision keeps an
asset's figures independent of the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scenes.parts import Parts

PER_OCTANT = 2
"""How finely a part is sampled: 128 cells."""
HIDDEN = 1e-3
"""Metres inside another part, from which on a point of the surface is hidden."""


@dataclass(frozen=True)
class Skin:
    """N parts of a batch of ``assets`` assets with C cells each; metres, in the order of the
    batch's slots."""

    parts: Parts
    """(n,) the parts that exist."""
    asset: Int[Tensor, "n"]
    slot: Int[Tensor, "n"]
    shape: tuple[int, int]
    """Assets and slots of the batch."""
    points: Float[Tensor, "n c 3"]
    normals: Float[Tensor, "n c 3"]
    """Outwards, unit; zero where a cell has no area."""
    areas: Float[Tensor, "n c"]

    @staticmethod
    def of(parts: Parts, per_octant: int = PER_OCTANT) -> Skin:
        """Of a batch (b, p)."""
        asset, slot = parts.exists.nonzero(as_tuple=True)
        flat = parts.detach().double()[asset, slot]
        grid = flat.surface_grid(per_octant)
        around = torch.cat([grid, grid[:, :, :1]], 2)
        a, b, c, d = around[:, :-1, :-1], around[:, :-1, 1:], around[:, 1:, :-1], around[:, 1:, 1:]
        across = torch.linalg.cross(c - b, d - a).flatten(1, 2) / 2
        areas = across.norm(dim=-1)
        normals = across / areas.clamp_min(1e-12).unsqueeze(-1)
        points = ((a + b + c + d) / 4).flatten(1, 2)
        # Outwards, whichever way the grid runs.
        outwards = ((points - flat.centres.unsqueeze(1)) * normals).sum(-1, keepdim=True)
        return Skin(flat, asset, slot, (len(parts.existence), parts.count), points, normals * outwards.sign(), areas)

    @cached_property
    def number(self) -> Int[Tensor, "b p"]:
        """Which of the N parts is in each of the batch's slots, -1 where none is."""
        out = torch.full(self.shape, -1, device=self.asset.device)
        out[self.asset, self.slot] = torch.arange(len(self.asset), device=out.device)
        return out

    def depths(
        self, points: Float[Tensor, "n k 3"], *, others: bool = False
    ) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
        """Signed distance of each part's k points to the nearest part of its asset (negative
        inside) and that part's number among the N; infinite where there is none. With ``others``,
        not to the part itself."""
        nearest = torch.full(points.shape[:2], torch.inf, dtype=points.dtype, device=points.device)
        which = torch.zeros(points.shape[:2], dtype=torch.long, device=points.device)
        for slot in range(self.shape[1]):
            number = self.number[self.asset, slot]
            there = (number >= 0) & (self.slot != slot if others else True)
            if not there.any():
                continue
            rows, number = there.nonzero().squeeze(1), number[there]
            distance, before = self.parts[number].distance(points[rows]), nearest[rows]
            nearer = distance < before
            nearest[rows] = torch.where(nearer, distance, before)
            which[rows] = torch.where(nearer, number.unsqueeze(-1), which[rows])
        return nearest, which

    @cached_property
    def visible(self) -> Bool[Tensor, "n c"]:
        """Cells that no other part of the asset hides."""
        return self.covered > -HIDDEN

    @cached_property
    def covered(self) -> Float[Tensor, "n c"]:
        """Signed distance of each cell to the nearest other part of its asset; infinite where there
        is none."""
        return self.depths(self.points, others=True)[0]

    def total(self, values: Float[Tensor, "n"]) -> Float[Tensor, "b"]:
        """Sum over the parts of each asset."""
        return torch.zeros(self.shape[0], dtype=values.dtype, device=values.device).index_add_(0, self.asset, values)

    def mean(self, values: Float[Tensor, "n"], weights: Float[Tensor, "n"] | None = None) -> Float[Tensor, "b"]:
        """Mean over the parts of each asset; 0 for an asset without parts."""
        weights = torch.ones_like(values) if weights is None else weights
        return self.total(values * weights) / self.total(weights).clamp_min(1e-12)

    def per_part(self, values: Float[Tensor, "n"]) -> Float[Tensor, "b p"]:
        """In the batch's slots, 0 for absent parts; as ``Scores`` want it."""
        out = torch.zeros(self.shape, dtype=values.dtype, device=values.device)
        out[self.asset, self.slot] = values
        return out.float().cpu()
