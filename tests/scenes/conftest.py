"""Part assets that several tests build on."""

from collections.abc import Callable

import pytest
import torch

from scenes.parts import (
    CENTRE,
    COLOR,
    DEFAULT_ROUGHNESS,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    METALLIC,
    PATTERN,
    PATTERNS,
    PLAIN,
    ROTATION,
    ROUGHNESS,
    SECOND_COLOR,
    SHAPE_SIZE,
    TAPER,
    VECTOR_SIZE,
    Parts,
)


def build(*parts: dict) -> Parts:
    """Parts from the fields that differ from a ball of half-size 0.1 at (0, 0, 0.5)."""
    rows = []
    for part in parts:
        row = torch.zeros(VECTOR_SIZE)
        row[EXISTENCE] = part.get("existence", 1.0)
        row[EXPONENTS] = torch.tensor(part.get("exponents", (1.0, 1.0)))
        row[TAPER] = part.get("taper", 0.0)
        row[CENTRE] = torch.tensor(part.get("centre", (0.0, 0.0, 0.5)))
        row[LOG_HALF_SIZE] = torch.tensor(part.get("half", (0.1, 0.1, 0.1))).log()
        row[ROTATION] = torch.tensor(part.get("rotation", (1.0, 0, 0, 0, 1, 0)))
        row[COLOR] = torch.tensor(part.get("color", (0.5, 0.5, 0.5)))
        row[SHAPE_SIZE:] = torch.tensor(PLAIN)
        row[METALLIC], row[ROUGHNESS] = part.get("finish", (0.0, DEFAULT_ROUGHNESS))
        if "pattern" in part:
            row[PATTERN.start + PATTERNS.index(part["pattern"])] = 1.0
        row[SECOND_COLOR] = torch.tensor(part.get("second", (0.0, 0.0, 0.0)))
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
    vectors[..., EXISTENCE] = torch.where(torch.arange(24) % 3 == 2, -1.0, 1.0)
    vectors[..., EXPONENTS] = 0.1 + 1.4 * torch.rand(2, 24, 2, generator=rng)
    vectors[..., TAPER] = -0.97 + 1.94 * torch.rand(2, 24, generator=rng)
    vectors[..., LOG_HALF_SIZE] = torch.empty(2, 24, 3).uniform_(0.02, 0.5, generator=rng).log()
    vectors[..., COLOR] = torch.rand(2, 24, 3, generator=rng)
    return Parts.from_vectors(vectors)
