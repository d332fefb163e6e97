"""Gaussians: what is refused, how scenes are batched, and the harmonics against gsplat's."""

import numpy as np
import pytest
import torch

from scenes.gaussians import Gaussians, sh_basis, view_colors


def scene(n: int = 5, k: int = 0) -> Gaussians:
    sh_rest = torch.randn(n, k, 3) if k else None
    return Gaussians(torch.randn(n, 3), torch.randn(n, 4), torch.rand(n, 3), torch.rand(n), torch.rand(n, 3), sh_rest)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("means", (5, 2), r"Gaussians.means must have shape \(..., n, 3\), got \(5, 2\)"),
        ("quats", (5, 3), r"Gaussians.quats must have shape \(5, 4\) to match means, got \(5, 3\)"),
        ("scales", (4, 3), r"Gaussians.scales must have shape \(5, 3\)"),
        ("opacities", (5, 1), r"Gaussians.opacities must have shape \(5,\)"),
        ("colors", (1, 5, 3), r"Gaussians.colors must have shape \(5, 3\)"),
        ("sh_rest", (5, 4, 3), r"Gaussians.sh_rest must have shape \(..., 5, 3\|8\|15, 3\), got \(5, 4, 3\)"),
    ],
)
def test_wrong_shapes_are_named(name, shape, message):
    fields = {"means": (5, 3), "quats": (5, 4), "scales": (5, 3), "opacities": (5,), "colors": (5, 3), name: shape}
    # Made without __init__, where the run-time shape checks of the tests would be the first to
    # object.
    values = object.__new__(Gaussians)
    for field in ("means", "quats", "scales", "opacities", "colors", "sh_rest"):
        object.__setattr__(values, field, torch.zeros(fields[field]) if field in fields else None)
    with pytest.raises(ValueError, match=message):
        values.__post_init__()


def test_stack_pads_with_invisible_gaussians():
    one, two = scene(3, k=8), scene(5, k=8)
    both = Gaussians.stack([one, two])
    assert (both.batch_shape, both.count, both.sh_degree) == ((2,), 5, 2)
    assert torch.equal(both[0].select(torch.arange(3)).means, one.means) and torch.equal(both[1].sh_rest, two.sh_rest)
    assert (
        (both.opacities[0, 3:] == 0).all()
        and (both.quats[0, 3:].norm(dim=-1) == 1).all()
        and (both.scales[0, 3:] > 0).all()
    )
    with pytest.raises(IndexError, match="no batch dimension"):
        one[0]
    with pytest.raises(ValueError, match="index the batch first"):
        both.select(torch.arange(2))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_harmonics_are_those_of_gsplat(degree):
    reference = pytest.importorskip("gsplat.cuda._torch_impl")._spherical_harmonics
    directions = torch.nn.functional.normalize(torch.randn(64, 3, dtype=torch.float64), dim=-1)
    coefficients = torch.randn(64, (degree + 1) ** 2, 3, dtype=torch.float64)
    coefficients[:, 0] = 0
    ours = (sh_basis(directions, degree).unsqueeze(-1) * coefficients[:, 1:]).sum(-2)
    torch.testing.assert_close(ours, reference(degree, directions, coefficients), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_harmonics_are_orthonormal(degree):
    polar, weights = (torch.as_tensor(a) for a in np.polynomial.legendre.leggauss(8))
    azimuth = torch.arange(16, dtype=torch.float64) * (2 * torch.pi / 16)
    z = polar[:, None].expand(8, 16)
    ring = (1 - z * z).sqrt()
    directions = torch.stack([ring * azimuth.cos(), ring * azimuth.sin(), z], -1).reshape(-1, 3)
    measure = (weights[:, None].expand(8, 16) * (2 * torch.pi / 16)).reshape(-1, 1)
    basis = sh_basis(directions, degree)
    torch.testing.assert_close(
        basis.T @ (measure * basis), torch.eye(basis.shape[1], dtype=torch.float64), rtol=0, atol=1e-9
    )


def test_view_colors_depend_on_where_one_stands():
    one = Gaussians(torch.zeros(1, 3), torch.eye(4)[:1], torch.ones(1, 3), torch.ones(1), torch.full((1, 3), 0.5))
    cameras = torch.tensor([[0.0, 0, 2], [0, 0, -2]])
    assert (view_colors(one, cameras) == 0.5).all()
    lit = Gaussians(
        one.means, one.quats, one.scales, one.opacities, one.colors, torch.tensor([[[0.0] * 3, [1.0, 0, 0], [0.0] * 3]])
    )
    above, below = view_colors(lit, cameras)[:, 0]
    # The direction is from the camera to the Gaussian: seen from above it is -z.
    torch.testing.assert_close(above, torch.tensor([0.5 - 0.4886025, 0.5, 0.5]))
    torch.testing.assert_close(below, torch.tensor([0.5 + 0.4886025, 0.5, 0.5]))


def test_a_batch_pads_gaussians_and_harmonics():
    scenes = [scene(5, 3), scene(3), scene(4, 8)]
    batch = Gaussians.stack(scenes)
    assert batch.means.shape == (3, 5, 3) and batch.sh_degree == 2
    assert batch.sh_rest is not None and scenes[0].sh_rest is not None
    for b, one in enumerate(scenes):
        torch.testing.assert_close(batch.means[b, : one.count], one.means, rtol=0, atol=0)
        assert batch.opacities[b, one.count :].eq(0).all()
    torch.testing.assert_close(batch.sh_rest[0, :, :3], scenes[0].sh_rest, rtol=0, atol=0)
    assert batch.sh_rest[0, :, 3:].eq(0).all() and batch.sh_rest[1].eq(0).all()
    assert Gaussians.stack([scene(2), scene(1)]).sh_rest is None


@pytest.mark.parametrize("k", [0, 8])
def test_some_gaussians_are_replaced(k):
    before, others, index = scene(6, k), scene(2, k), torch.tensor([4, 1])
    found = before.replaced(index, others)
    kept = torch.tensor([0, 2, 3, 5])
    for name, value in vars(found).items():
        if value is not None:
            torch.testing.assert_close(value[index], getattr(others, name), rtol=0, atol=0)
            torch.testing.assert_close(value[kept], getattr(before, name)[kept], rtol=0, atol=0)
    with pytest.raises(ValueError, match="Gaussians of its SH degree"):
        before.replaced(index, scene(2, 15))
