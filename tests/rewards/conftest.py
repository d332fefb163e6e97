"""Small assets with known physics."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rewards import Batch
from scenes.asset import PartAsset
from scenes.parts import Parts

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
    vectors = torch.zeros(len(assets), slots, 19)
    vectors[..., 0] = -1
    vectors[..., 10] = vectors[..., 14] = 1
    for b, parts in enumerate(assets):
        for p, vector in enumerate(parts):
            vectors[b, p] = vector
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
