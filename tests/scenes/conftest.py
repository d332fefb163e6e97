"""Part assets that several tests build on."""

from collections.abc import Callable

import pytest
import torch

from scenes.parts import Parts


def build(*parts: dict) -> Parts:
    """Parts from the fields that differ from a ball of half-size 0.1 at (0, 0, 0.5)."""
    rows = []
    for part in parts:
        row = torch.zeros(19)
        row[0] = part.get("existence", 1.0)
        row[1:3] = torch.tensor(part.get("exponents", (1.0, 1.0)))
        row[3] = part.get("taper", 0.0)
        row[4:7] = torch.tensor(part.get("centre", (0.0, 0.0, 0.5)))
        row[7:10] = torch.tensor(part.get("half", (0.1, 0.1, 0.1))).log()
        row[10:16] = torch.tensor(part.get("rotation", (1.0, 0, 0, 0, 1, 0)))
        row[16:19] = torch.tensor(part.get("color", (0.5, 0.5, 0.5)))
        rows.append(row)
    return Parts.from_vectors(torch.stack(rows))


@pytest.fixture
def make() -> Callable[..., Parts]:
    return build


@pytest.fixture
def varied() -> Parts:
    """Two assets of 24 parts over all shapes, tapers and turns, every third part absent."""
    rng = torch.Generator().manual_seed(5)
    vectors = torch.randn(2, 24, 19, generator=rng)
    vectors[..., 0] = torch.where(torch.arange(24) % 3 == 2, -1.0, 1.0)
    vectors[..., 1:3] = 0.1 + 1.4 * torch.rand(2, 24, 2, generator=rng)
    vectors[..., 3] = -0.97 + 1.94 * torch.rand(2, 24, generator=rng)
    vectors[..., 7:10] = torch.empty(2, 24, 3).uniform_(0.02, 0.5, generator=rng).log()
    vectors[..., 16:19] = torch.rand(2, 24, 3, generator=rng)
    return Parts.from_vectors(vectors)
