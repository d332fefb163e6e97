"""The pieces of an asset that could come apart: its parts, or the closed shells of its mesh.

``connected``, ``floaters`` and the simulator treat both alike. They use each piece's existence,
volume, lowest point, and distance from the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scenes.asset import Asset, Convex
from scenes.mesh import Mesh
from scenes.parts import TOUCH_TOLERANCE, Parts, clusters
from scenes.shells import shells

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

REACH = 0.1
"""Metres up to which gaps are measured."""
GROUND_TOLERANCE = 0.02
"""A cluster rests on the ground when its lowest point is within this many metres of the asset's
lowest."""
MOST_SHELLS = 64
"""Number of shells of a mesh that are used, the heaviest ones. Every mesh has this number of slots,
so that sums round the same way in any batch."""

SPECK = 1e-5
"""Fraction of a scene's volume below which a loose body of a mesh is noise of its surface. Bodies
so light would make the simulation diverge."""


def bodies_of(asset: Asset) -> list[list[Convex]]:
    """``asset.bodies()`` for the simulator: without specks, if the asset has no parts."""
    scenes = asset.bodies()
    return scenes if asset.parts is not None else [_without_specks(pieces) for pieces in scenes]


def _without_specks(pieces: list[Convex]) -> list[Convex]:
    volumes: dict[int, float] = {}
    for piece in pieces:
        volumes[piece.body] = volumes.get(piece.body, 0.0) + piece.volume
    return [piece for piece in pieces if volumes[piece.body] > SPECK * sum(volumes.values())]


@dataclass(frozen=True)
class Pieces:
    """P pieces of B scenes, detached; lengths in metres."""

    exists: Bool[Tensor, "b p"]
    volumes: Float[Tensor, "b p"]
    """Cubic metres, 0 for absent pieces. The material is the same everywhere: they stand for
    masses."""
    bottoms: Float[Tensor, "b p"]
    """Lowest z, infinite for absent pieces."""
    gaps: Float[Tensor, "b p p"]
    """Distance between pieces, 0 or less where they overlap; infinite beyond ``REACH`` and for
    absent pieces."""

    @staticmethod
    def of_parts(parts: Parts) -> Pieces:
        """The parts (B, P), which must be finite."""
        volumes, bottoms = torch.zeros_like(parts.existence), torch.full_like(parts.existence, torch.inf)
        shown = parts[parts.exists]
        volumes[parts.exists], bottoms[parts.exists] = shown.masses()[0], shown.bottoms()
        return Pieces(parts.exists, volumes, bottoms, parts.gaps(REACH))

    @staticmethod
    def of_meshes(meshes: list[Mesh]) -> Pieces:
        """The shells of one mesh a scene; none of a mesh that is not finite.

        Vertices and the middles of faces stand for a shell: gaps are as exact as the mesh is
        fine."""
        from scipy.spatial import cKDTree  # late: only meshes need it

        shape = len(meshes), MOST_SHELLS
        volumes, bottoms = np.zeros(shape), np.full(shape, np.inf)
        gaps = np.full((*shape, MOST_SHELLS), np.inf)
        for b, mesh in enumerate(meshes):
            found = shells(mesh.vertices.detach().cpu().numpy(), mesh.faces.cpu().numpy())[:MOST_SHELLS]
            trees = [cKDTree(np.concatenate([s.triangles.reshape(-1, 3), s.triangles.mean(1)])) for s in found]
            for i, shell in enumerate(found):
                volumes[b, i], bottoms[b, i] = shell.volume, shell.triangles[..., 2].min()
                for j in range(i):
                    gaps[b, i, j] = gaps[b, j, i] = _gap(trees[i], trees[j])
        tensors = (torch.from_numpy(t) for t in (volumes > 0, volumes, bottoms, gaps))
        return Pieces(*tensors)

    @cached_property
    def components(self) -> Int[Tensor, "b p"]:
        """Touching cluster of every piece: the number of its first piece, -1 for absent pieces."""
        return self.clusters(TOUCH_TOLERANCE)

    def clusters(self, tolerance: float) -> Int[Tensor, "b p"]:
        """``components`` through gaps of ``tolerance`` metres."""
        return clusters(self.gaps <= tolerance, self.exists)

    def main(
        self, labels: Int[Tensor, "b p"], count: Int[Tensor, "b"]
    ) -> tuple[Float[Tensor, "b"], Bool[Tensor, "b p"]]:
        """The heaviest clusters that rest on the ground, up to ``count`` of a scene: their fraction
        of the mass, and which pieces are in them."""
        # member[b, k, p]: piece p belongs to the cluster that is labelled by its first piece, k.
        slots = torch.arange(labels.shape[-1], device=labels.device)
        member = (labels.unsqueeze(1) == slots.view(1, -1, 1)) & self.exists.unsqueeze(1)
        lowest = torch.where(member, self.bottoms.unsqueeze(1), torch.inf).amin(-1)
        grounded = (lowest <= lowest.amin(-1, keepdim=True) + GROUND_TOLERANCE) & member.any(-1)
        masses = torch.where(grounded, (member * self.volumes.unsqueeze(1)).sum(-1), -1)
        place = masses.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        chosen = grounded & (place < count.to(place.device).unsqueeze(-1))
        fraction = torch.where(chosen, masses, 0).sum(-1) / self.volumes.sum(-1).clamp_min(1e-12)
        return fraction, (member & chosen.unsqueeze(-1)).any(1)


def _gap(a: cKDTree, b: cKDTree) -> float:
    """Distance of the nearest two points; infinite beyond ``REACH``."""
    few, many = (a, b) if a.n < b.n else (b, a)
    apart = np.maximum(few.mins - many.maxes, many.mins - few.maxes).max()
    if apart > REACH:
        return np.inf
    distance, _ = many.query(few.data, distance_upper_bound=REACH)
    return float(distance.min())
