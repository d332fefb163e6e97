"""Random scenes for the file tests."""

from collections.abc import Callable

import pytest
import torch

from scenes.gaussians import Gaussians


@pytest.fixture
def make_scene() -> Callable[..., Gaussians]:
    def make(n: int = 40, k: int = 0) -> Gaussians:
        rng = torch.Generator().manual_seed(n + k)
        draw = lambda *shape: torch.randn(*shape, generator=rng)  # noqa: E731
        quats = torch.nn.functional.normalize(draw(n, 4), dim=-1)
        return Gaussians(
            draw(n, 3),
            quats,
            (draw(n, 3) - 4).exp(),
            draw(n).sigmoid(),
            draw(n, 3).sigmoid(),
            draw(n, k, 3) if k else None,
        )

    return make
