import numpy as np
import pytest
import torch

from rl3d.corpus import Item, sample
from scenes.parts import Parts


@pytest.fixture(scope="session")
def items() -> list[Item]:
    """A thousand assets of the train split."""
    rng = np.random.default_rng(1)
    return [sample(rng) for _ in range(1000)]


@pytest.fixture(scope="session")
def assets(items: list[Item]) -> list[Parts]:
    return [Parts.from_vectors(torch.from_numpy(item.vectors)) for item in items]


@pytest.fixture(scope="session")
def batch(assets: list[Parts]) -> Parts:
    return Parts.stack(assets)
