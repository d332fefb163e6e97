"""Small assets with known physics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from rewards import Batch
from scenes.asset import Convex, PartAsset
from scenes.mesh import Mesh
from scenes.parts import PLAIN, SHAPE_SIZE, VECTOR_SIZE, Parts

BOX, BALL, ROUND = (0.1, 0.1), (1.0, 1.0), (0.1, 1.0)


def make_part(
    half, centre, exponents=BOX, taper: float = 0.0, rotation: Tensor | None = None, existence: float = 1.0
) -> Tensor:
    """The 19 numbers of one part."""
    rotation = torch.eye(3) if rotation is None else rotation
    vector = [torch.tensor(v, dtype=torch.float32) for v in ([existence], exponents, [taper], centre)]
    return torch.cat([*vector, torch.tensor(half).log(), rotation[:, 0], rotation[:, 1], torch.tensor([0.5, 0.5, 0.5])])


def make_table(
    legs: str = "abcd",
    width: float = 1.0,
    depth: float = 0.6,
    height: float = 0.5,
    leg: float = 0.06,
    lift: float = 0.0,
) -> list[Tensor]:
    """A table on the legs named, which reach into its top; ``lift`` shortens the first of them from
    below."""
    x, y = width / 2 - leg, depth / 2 - leg
    corners = {"a": (-x, -y), "b": (x, -y), "c": (-x, y), "d": (x, y), "m": (0.0, y)}
    parts = [make_part((width / 2, depth / 2, 0.03), (0, 0, height + 0.03))]
    for k, name in enumerate(legs):
        up = lift if k == 0 else 0.0
        parts.append(
            make_part((leg / 2, leg / 2, (height + 0.03 - up) / 2), (*corners[name], (height + 0.03 + up) / 2))
        )
    return parts


def turn(axis: str, degrees: float) -> Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }
    return torch.tensor(rows[axis], dtype=torch.float32)


def make_batch(*assets: list[Tensor], slots: int = 8) -> Batch:
    """Assets as lists of part vectors, padded with absent parts."""
    vectors = torch.zeros(len(assets), slots, VECTOR_SIZE)
    vectors[..., SHAPE_SIZE:] = torch.tensor(PLAIN)
    vectors[..., 0] = -1
    vectors[..., 10] = vectors[..., 14] = 1
    for b, parts in enumerate(assets):
        for p, vector in enumerate(parts):
            vectors[b, p, : len(vector)] = vector
    return Batch([f"asset {b}" for b in range(len(assets))], PartAsset(Parts.from_vectors(vectors)))


@pytest.fixture
def part() -> Callable[..., Tensor]:
    return make_part


@pytest.fixture
def table() -> Callable[..., list[Tensor]]:
    return make_table


@pytest.fixture
def rotation() -> Callable[[str, float], Tensor]:
    return turn


@pytest.fixture
def batch() -> Callable[..., Batch]:
    return make_batch


@dataclass(frozen=True)
class MeshAsset:
    """Scenes of triangle meshes: an asset without parts whose figures are exact. Each shell is a
    convex body."""

    scenes: list[Mesh]
    parts = None
    motion = None
    device = torch.device("cpu")

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index) -> MeshAsset:
        chosen = torch.arange(len(self))[index].tolist()
        return MeshAsset([self.scenes[k] for k in chosen])

    def gaussians(self, count: int = 3072, *, fine: bool = False):
        raise NotImplementedError

    def meshes(self) -> list[Mesh]:
        return self.scenes

    def bodies(self) -> list[list[Convex]]:
        out = []
        for mesh in self.scenes:
            found = []
            if mesh.vertices.isfinite().all():
                found = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).split()
            out.append([_convex(piece, k) for k, piece in enumerate(found)])
        return out

    def moved(self, poses) -> MeshAsset:
        raise NotImplementedError

    @classmethod
    def concatenate(cls, assets) -> MeshAsset:
        return cls([mesh for asset in assets for mesh in asset.scenes])

    def to(self, device) -> MeshAsset:
        return self

    def detach(self) -> MeshAsset:
        return self


def _convex(piece: trimesh.Trimesh, number: int) -> Convex:
    at, corners = piece.centroid, np.asarray(piece.vertices)
    place = at, np.array([1.0, 0, 0, 0]), piece.center_mass, float(piece.volume), float(corners[:, 2].min())
    return Convex("hull", np.zeros(3), *place, corners, number, number)


@pytest.fixture
def mesh_batch() -> Callable[..., Batch]:
    """A batch of assets without parts: lists of closed trimesh shapes."""

    def make(*assets: list[trimesh.Trimesh]) -> Batch:
        scenes = []
        for shapes in assets:
            whole = trimesh.util.concatenate(shapes) if shapes else trimesh.Trimesh()
            vertices, faces = np.asarray(whole.vertices).reshape(-1, 3), np.asarray(whole.faces).reshape(-1, 3)
            points = torch.from_numpy(vertices.astype(np.float32))
            scenes.append(Mesh(points, torch.from_numpy(faces.astype(np.int64)), torch.full_like(points, 0.5)))
        return Batch([f"asset {k}" for k in range(len(scenes))], MeshAsset(scenes))

    return make


@pytest.fixture
def block() -> Callable[..., trimesh.Trimesh]:
    """A closed box of half sizes about a centre, with edges of at most two centimetres."""

    def make(half, centre) -> trimesh.Trimesh:
        box = trimesh.creation.box(extents=2 * np.array(half))
        return box.subdivide_to_size(0.02).apply_translation(centre)

    return make
