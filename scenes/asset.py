"""What a generator makes: a batch of B scenes.

Rewards, export, the viewer and evaluation use assets through ``Asset`` alone. Assets of parts are
defined here. Assets of raw Gaussians and of radiance fields are in ``renderers.assets``, one floor
up, because their meshes come from rendering.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scenes.gaussians import Gaussians, matrix_to_quaternion
from scenes.mesh import Mesh
from scenes.parts import Parts

INSET = 0.45
"""Kept assets have their Gaussians moved inwards by this many standard deviations, so that their
silhouettes agree with the mesh (``Parts.gaussians``)."""
HULL_PER_OCTANT = 2
"""Sampling of a part's hull; see ``Parts.meshes``."""
Solid = Literal["box", "cylinder", "ellipsoid", "hull"]
SOLIDS: tuple[Solid, ...] = ("hull", "box", "cylinder", "ellipsoid")
HULL, BOX, CYLINDER, ELLIPSOID = range(4)
"""Indices into ``SOLIDS``, as ``collision_solids`` returns them."""


@dataclass(frozen=True)
class Convex:
    """One rigid convex piece of a scene, in world coordinates (metres)."""

    solid: Solid
    size: Float[np.ndarray, "3"]
    """Half sizes in metres. A cylinder has radius, half height and 0."""
    position: Float[np.ndarray, "3"]
    quaternion: Float[np.ndarray, "4"]
    """wxyz."""
    centroid: Float[np.ndarray, "3"]
    volume: float
    """Cubic metres."""
    bottom: float
    """Lowest z."""
    hull: Float[np.ndarray, "v 3"] | None
    """Vertices in the world, for a ``hull`` only."""
    body: int
    """Number of the piece's rigid body. Pieces of one body move together."""
    part: int
    """Slot of the part. In assets without parts, the number of the connected piece of the mesh."""


@dataclass(frozen=True)
class Pose:
    """A rigid motion: x goes to ``rotation @ x + translation``."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]


@runtime_checkable
class Asset(Protocol):
    """A batch of B scenes. Selecting, moving between devices and detaching give an asset again."""

    @property
    def parts(self) -> Parts | None:
        """The parts (B, P), where the asset is made of parts."""
        ...

    @property
    def motion(self) -> None:
        """None: the asset is static."""
        ...

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> Asset:
        """Some of the scenes, as a batch again."""
        ...

    def gaussians(self, count: int = 3072, *, fine: bool = False) -> Gaussians:
        """The scenes as Gaussians (B, N). Differentiable where the generator's decoder is.

        N is ``count`` if they are sampled from surfaces. Raw splats are returned unchanged.
        ``fine`` is for assets that are kept: their silhouettes agree with the mesh.
        """
        ...

    def meshes(self) -> list[Mesh]:
        """One triangle mesh per scene, with vertex colours, on the CPU."""
        ...

    def bodies(self) -> list[list[Convex]]:
        """The rigid convex pieces of each scene, for the simulator."""
        ...

    def moved(self, poses: Sequence[Mapping[int, Pose]]) -> Asset:
        """Every body of every scene moved by its pose; bodies without one stay where they are."""
        ...

    @classmethod
    def concatenate(cls, assets: Sequence[Any]) -> Asset:
        """Several batches of one kind as one."""
        ...

    def to(self, device: torch.device | str) -> Asset: ...

    def detach(self) -> Asset: ...


@dataclass(frozen=True)
class PartAsset:
    """Scenes of parts (B, P)."""

    parts: Parts
    motion = None

    def __post_init__(self) -> None:
        if self.parts.existence.dim() != 2:
            raise ValueError(f"an asset is a batch of scenes (B, P), got parts {tuple(self.parts.existence.shape)}")

    @property
    def device(self) -> torch.device:
        return self.parts.centres.device

    def __len__(self) -> int:
        return len(self.parts.existence)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> PartAsset:
        return PartAsset(self.parts[index])

    def gaussians(self, count: int = 3072, *, fine: bool = False) -> Gaussians:
        return self.parts.gaussians(count, inset=INSET if fine else 0.0)

    def meshes(self) -> list[Mesh]:
        return [part_mesh(self.parts[b].present()) for b in range(len(self))]

    def bodies(self) -> list[list[Convex]]:
        return part_bodies(self.parts, self.parts.components())

    def moved(self, poses: Sequence[Mapping[int, Pose]]) -> PartAsset:
        return PartAsset(moved_parts(self.parts, self.parts.components(), poses))

    @classmethod
    def concatenate(cls, assets: Sequence[PartAsset]) -> PartAsset:
        most = max(asset.parts.count for asset in assets)
        fields, padded = dataclasses.fields(Parts), [asset.parts.padded(most) for asset in assets]
        return PartAsset(Parts(**{f.name: torch.cat([getattr(parts, f.name) for parts in padded]) for f in fields}))

    def to(self, device: torch.device | str) -> PartAsset:
        return PartAsset(self.parts.to(device))

    def detach(self) -> PartAsset:
        return PartAsset(self.parts.detach())


def part_mesh(parts: Parts, per_octant: int = 5) -> Mesh:
    """The closed meshes of one asset's parts (p,) as one mesh, each part in its own colours.

    Patterns are sampled at the vertices; textures show them sharper (``renderers.baking``)."""
    parts = parts.detach().to("cpu")
    vertices, faces = parts.meshes(per_octant)
    count, each = vertices.shape[:2]
    start = each * torch.arange(count).view(-1, 1, 1)
    colors = parts.colors_at(vertices)
    return Mesh(vertices.flatten(0, 1), (faces + start).flatten(0, 1), colors.flatten(0, 1))


def collision_solids(parts: Parts) -> Int[Tensor, "*batch p"]:
    """The collision solid of every part: a primitive if its exponents fit, else ``HULL``."""
    north, east = parts.exponents[..., 0], parts.exponents[..., 1]
    straight = parts.taper.abs() < 0.05
    boxy_up, boxy_around = north < 0.22, east < 0.22
    round_up, round_around = (north - 1).abs() < 0.15, (east - 1).abs() < 0.15
    circular = (parts.half_sizes[..., 0] / parts.half_sizes[..., 1] - 1).abs() < 0.05
    box = straight & boxy_up & boxy_around
    cylinder = straight & boxy_up & round_around & circular
    ellipsoid = straight & round_up & round_around
    return torch.where(box, BOX, torch.where(cylinder, CYLINDER, torch.where(ellipsoid, ELLIPSOID, HULL)))


def part_bodies(parts: Parts, labels: Int[Tensor, "b p"]) -> list[list[Convex]]:
    """The convex pieces of a batch of part assets. ``labels`` is the body of each part, -1 if it is
    absent.

    A part near a primitive becomes that primitive, because contacts between primitives are exact
    and cheap. Its edges are then sharper than the superquadric's. Any other part becomes its convex
    hull, whose facets (22 degrees) keep a rounded part from rolling.
    """
    parts = parts.detach()
    volumes, centroids = parts.masses()
    vertices, _ = parts.meshes(HULL_PER_OCTANT)
    quaternions = matrix_to_quaternion(parts.rotations)
    fields = volumes, centroids, vertices, parts.centres, parts.half_sizes, parts.rotations, quaternions
    volumes, centroids, vertices, centres, halves, rotations, quaternions = (t.double().cpu().numpy() for t in fields)
    down = np.abs(rotations[..., 2, :]) * halves  # how far the box reaches down along each of its axes
    bottoms: dict[Solid, np.ndarray] = {
        "box": centres[..., 2] - down.sum(-1),
        "cylinder": centres[..., 2] - np.hypot(down[..., 0], down[..., 1]) - down[..., 2],
        "ellipsoid": centres[..., 2] - np.linalg.norm(down, axis=-1),
        "hull": vertices[..., 2].min(-1),
    }
    solids = collision_solids(parts).tolist()
    out: list[list[Convex]] = []
    for b, row in enumerate(labels.tolist()):
        pieces = []
        for p, label in enumerate(row):
            if label < 0:
                continue
            solid, size = SOLIDS[solids[b][p]], halves[b, p]
            if solid == "cylinder":
                size = np.array([np.sqrt(size[0] * size[1]), size[2], 0])
            hull, bottom = vertices[b, p] if solid == "hull" else None, float(bottoms[solid][b, p])
            place = centres[b, p], quaternions[b, p], centroids[b, p], float(volumes[b, p])
            pieces.append(Convex(solid, size, *place, bottom, hull, label, p))
        out.append(pieces)
    return out


def moved_parts(parts: Parts, labels: Int[Tensor, "b p"], poses: Sequence[Mapping[int, Pose]]) -> Parts:
    """The parts with every body moved by its pose."""
    centres, rotations = parts.centres.clone(), parts.rotations.clone()
    for b, moves in enumerate(poses):
        for p, label in enumerate(labels[b].tolist()):
            if label in moves:
                turn, shift = (
                    torch.from_numpy(t).to(centres) for t in (moves[label].rotation, moves[label].translation)
                )
                centres[b, p] = turn @ centres[b, p] + shift
                rotations[b, p] = turn @ rotations[b, p]
    return dataclasses.replace(parts, centres=centres, rotations=rotations)
