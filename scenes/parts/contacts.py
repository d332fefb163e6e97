"""Contacts between parts: gaps, which pairs touch, and the clusters that touching parts form."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scenes.parts.geometry import PartGeometry

TOUCH_TOLERANCE = 0.01
"""Two parts touch when the gap between them is at most this many metres."""


class PartContacts(PartGeometry):
    """Parts and how they touch. Nothing here has a gradient."""

    def gaps(self, reach: float = TOUCH_TOLERANCE) -> Float[Tensor, "*batch p p"]:
        """Approximate distance in metres between every two existing parts, at most 0 if they
        overlap. Infinite on the diagonal, for absent parts, and for pairs clearly farther apart
        than ``reach``."""
        batch = self.existence.shape[:-1]
        flat = self._map(lambda t: t.detach().reshape(-1, *t.shape[len(batch) :]))
        # Only parts that exist are looked at, all scenes' in one list: most slots are empty.
        shown, slots = flat[flat.exists], flat.exists
        grid = torch.cat([shown.surface_grid(3).flatten(1, 2), shown.centres.unsqueeze(1)], 1)
        number = torch.zeros_like(slots, dtype=torch.long)
        number[slots] = torch.arange(len(grid), device=number.device)
        low, high = (corner[number] if len(grid) else flat.centres for corner in (grid.amin(1), grid.amax(1)))
        # Boxes tell parts apart along an axis: no gap is less, whatever the approximate distance
        # says.
        apart = torch.maximum(low[:, :, None] - high[:, None], low[:, None] - high[:, :, None]).amax(-1)
        near = (apart <= reach) & slots[:, :, None] & slots[:, None]
        near &= ~torch.eye(self.count, dtype=torch.bool, device=near.device)
        b, i, j = near.nonzero(as_tuple=True)  # how far are points of part i from part j?
        gaps = torch.full(near.shape, torch.inf, device=near.device, dtype=grid.dtype)
        if len(b):
            gaps[b, i, j] = shown[number[b, j]].distance(grid[number[b, i]]).amin(-1).maximum(apart[b, i, j])
        return torch.minimum(gaps, gaps.transpose(1, 2)).view(*batch, self.count, self.count)

    def contacts(self, tolerance: float = TOUCH_TOLERANCE) -> Bool[Tensor, "*batch p p"]:
        """Which pairs of existing parts touch or overlap, up to a gap of ``tolerance`` metres.
        Symmetric, false on the diagonal."""
        return self.gaps(tolerance) <= tolerance

    def components(self, tolerance: float = TOUCH_TOLERANCE) -> Int[Tensor, "*batch p"]:
        """Label of each part's touching cluster (the index of its first part), -1 if absent."""
        return clusters(self.contacts(tolerance), self.exists)


def clusters(touching: Bool[Tensor, "*batch p p"], exists: Bool[Tensor, "*batch p"]) -> Int[Tensor, "*batch p"]:
    """Label of the cluster of each part (the index of its first part), -1 for absent ones."""
    count = exists.shape[-1]
    reach = touching | torch.eye(count, dtype=torch.bool, device=exists.device)
    for _ in range(max(1, (count - 1).bit_length())):
        reach = (reach.float() @ reach.float()) > 0
    return torch.where(exists, reach.float().argmax(-1), -1)
