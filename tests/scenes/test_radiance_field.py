"""The density field of parts: full inside, empty outside, and differentiable everywhere."""

import pytest
import torch

from scenes.parts import Parts
from scenes.radiance_field import PartField


def test_inside_outside_and_colours(make):
    parts = make(
        {"color": (1.0, 0, 0), "half": (0.2, 0.2, 0.2)},
        {"color": (0.0, 0, 1), "centre": (1.0, 0.0, 0.5)},
        {"centre": (0.0, 1.0, 0.5), "existence": -1.0},
    )
    points = torch.tensor([[0.0, 0.1, 0.5], [1.0, 0.03, 0.5], [0.5, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 0.7]])
    density, color = PartField(parts).query(points)
    assert density[:2].min() > 199 and density[2:4].max() < 1e-3, "an absent part is not there"
    assert float(density[4]) == pytest.approx(100, rel=0.01), "half on the surface"
    torch.testing.assert_close(color[:2], torch.tensor([[1.0, 0, 0], [0, 0, 1]]), rtol=0, atol=1e-4)


def test_overlaps_are_no_denser_and_mix_colours(make):
    both = make({"color": (1.0, 0, 0)}, {"color": (0.0, 0, 1)})
    density, color = PartField(both).query(torch.tensor([[0.0, 0.05, 0.5]]))
    assert density[0] <= 200
    torch.testing.assert_close(color[0], torch.tensor([0.5, 0.0, 0.5]))


def test_batches_and_gradients(varied):
    vectors = varied.vectors().requires_grad_()
    points = torch.cat([torch.randn(2, 50, 3), varied.centres], 1).requires_grad_()
    density, color = PartField(Parts.from_vectors(vectors)).query(points)
    assert density.shape == (2, 74) and color.shape == (2, 74, 3)
    alone, _ = PartField(varied[1]).query(points[1])
    torch.testing.assert_close(density[1], alone)
    for gradient in torch.autograd.grad(density.sum() + color.sum(), (vectors, points)):
        assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_density_integrates_to_the_volume(make):
    parts = make({"exponents": (0.3, 0.8), "half": (0.3, 0.2, 0.25)})
    points = torch.rand(200_000, 3) * 0.8 + torch.tensor([-0.4, -0.4, 0.1])
    density, _ = PartField(parts).query(points)
    assert float(density.mean() / 200 * 0.8**3) == pytest.approx(float(parts.masses()[0]), rel=0.02)
