"""Volume rendering against closed forms: a slab's transmittance, a ball's outline and depth, and
finite differences."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from renderers import Quadrature, render
from scenes.cameras import Cameras, look_at
from scenes.parts import Parts
from scenes.radiance_field import PartField

RED = torch.tensor([0.9, 0.1, 0.2], dtype=torch.float64)


@dataclass(frozen=True)
class Slab:
    """Constant density between z = 0.4 and z = 0.6, of the same colour everywhere."""

    density: torch.Tensor
    batch_shape = torch.Size()

    @property
    def bounds(self):
        return torch.tensor([-5.0, -5.0, 0.4], dtype=torch.float64), torch.tensor([5.0, 5.0, 0.6], dtype=torch.float64)

    def query(self, points):
        inside = (points[..., 2] > 0.4) & (points[..., 2] < 0.6)
        return self.density * inside, RED.expand_as(points)


def camera_above(size: int, focal: float, height: float = 3.0, dtype: torch.dtype = torch.float64) -> Cameras:
    viewmats = look_at(torch.tensor([[0.0, 0.0, height]], dtype=dtype), torch.zeros(3, dtype=dtype), up=(0, 1, 0))
    K = torch.tensor([[[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]], dtype=dtype)
    return Cameras(viewmats, K, size, size)


@pytest.mark.parametrize("grid", [0, 16])
def test_a_slab_lets_through_what_beer_and_lambert_say(grid: int) -> None:
    views = render(
        Slab(torch.tensor(7.0, dtype=torch.float64)), camera_above(9, 20.0), quadrature=Quadrature(grid=grid)
    )
    offset = torch.arange(9, dtype=torch.float64) + 0.5 - 4.5
    stretch = 0.2 * (1 + (offset[:, None] ** 2 + offset**2) / 20.0**2).sqrt()
    torch.testing.assert_close(views.alpha[0, ..., 0], 1 - torch.exp(-7 * stretch), rtol=1e-6, atol=0)
    torch.testing.assert_close(views.rgb[0], views.alpha[0] * RED + (1 - views.alpha[0]), rtol=1e-6, atol=1e-9)


def test_a_slabs_depth_is_the_mean_of_where_light_is_absorbed() -> None:
    views = render(
        Slab(torch.tensor(7.0, dtype=torch.float64)), camera_above(1, 20.0), quadrature=Quadrature(coarse=512, fine=0)
    )
    # The mean of 2.4 + x over x in (0, 0.2), weighted by exp(-7 x).
    expected = 2.4 + 1 / 7 - 0.2 / math.expm1(7 * 0.2)
    assert views.depth.item() == pytest.approx(expected, abs=1e-5)


def test_gradient_of_the_density_is_the_closed_forms() -> None:
    density = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    render(Slab(density), camera_above(1, 20.0)).alpha.sum().backward()
    assert density.grad is not None
    assert density.grad.item() == pytest.approx(0.2 * math.exp(-7 * 0.2), rel=1e-6)


def ball(*colors: tuple[float, float, float], radius: float = 0.3) -> Parts:
    rows = [[1, 1, 1, 0, 0, 0, 0.5, *[math.log(radius)] * 3, 1, 0, 0, 0, 1, 0, *color] for color in colors]
    return Parts.from_vectors(torch.tensor(rows))


def test_a_ball_has_its_outline_depth_and_normals() -> None:
    size, focal = 64, 120.0
    field = PartField(ball((0.2, 0.4, 0.9)), density=2000.0, softness=0.002)
    views = render(
        field,
        camera_above(size, focal, dtype=torch.float32),
        outputs=("normal",),
        quadrature=Quadrature(coarse=96, fine=96),
    )
    offset = (torch.arange(size) + 0.5 - size / 2) / focal
    x, y = torch.meshgrid(offset, offset, indexing="xy")
    # The ray (x, y, 1) t meets the ball of radius 0.3 about depth 2.5 where (1 + x^2 + y^2) t^2 - 5
    # t + 2.5^2 - 0.3^2 = 0.
    a = 1 + x**2 + y**2
    discriminant = 25 - 4 * a * (2.5**2 - 0.3**2)
    hit = discriminant > 0
    alpha = views.alpha[0, ..., 0]
    assert (alpha[hit & (discriminant > 0.05)] > 0.99).all()
    assert (alpha[discriminant < -0.05] < 0.01).all()
    clear = discriminant > 0.1
    depth = (5 - discriminant.clamp_min(0).sqrt()) / (2 * a)
    assert (views.depth[0, ..., 0] - depth)[clear].abs().max() < 0.01
    assert views.normal is not None
    points = torch.stack([x * depth, -y * depth, 2.5 - depth], -1) / 0.3  # world axes: the camera looks down with +y up
    cosine = (torch.nn.functional.normalize(views.normal[0], dim=-1) * points).sum(-1)
    assert cosine[clear].min() > 0.99


def test_batches_are_their_scenes() -> None:
    parts = Parts.stack([ball((1.0, 0, 0)), ball((0.0, 1, 0), (0.0, 0, 1), radius=0.2)], slots=3)
    cameras = camera_above(12, 20.0, dtype=torch.float32)
    both = render(PartField(parts), cameras)
    assert both.rgb.shape == (2, 1, 12, 12, 3)
    for i in range(2):
        alone = render(PartField(parts[i]), cameras)
        torch.testing.assert_close(both.rgb[i], alone.rgb)


def test_memory_bound_and_jitter_change_nothing_but_noise() -> None:
    field, cameras = PartField(ball((0.2, 0.4, 0.9))), camera_above(20, 40.0, dtype=torch.float32)
    whole = render(field, cameras)
    pieces = render(field, cameras, quadrature=Quadrature(points=3000))
    torch.testing.assert_close(pieces.rgb, whole.rgb, atol=1e-6, rtol=0)
    jittered = render(field, cameras, rng=torch.Generator().manual_seed(0))
    again = render(field, cameras, rng=torch.Generator().manual_seed(0))
    assert torch.equal(jittered.rgb, again.rgb)
    assert 0 < (jittered.rgb - whole.rgb).abs().mean() < 0.01


def test_cameras_have_gradients() -> None:
    """Moving the camera sideways moves the image: the derivative of the outline's moment is that of
    a pinhole."""
    cameras = camera_above(24, 20.0)
    viewmats = cameras.viewmats.clone().requires_grad_()
    field = PartField(Parts.from_vectors(ball((0.9, 0.2, 0.1)).vectors().double()), density=30.0, softness=0.05)
    views = render(field, replace(cameras, viewmats=viewmats), quadrature=Quadrature(coarse=64, fine=0, grid=0))
    x = torch.arange(24, dtype=torch.float64) + 0.5
    moment = (views.alpha[0, ..., 0] * x).sum() / views.alpha.sum()
    (gradient,) = torch.autograd.grad(moment, viewmats)
    # The ball's middle is 2.5 away: a shift by d moves its image by 20 d / 2.5 pixels.
    assert gradient[0, 0, 3].item() == pytest.approx(20 / 2.5, rel=0.05)


def test_empty_views_are_drawn() -> None:
    parts = Parts.stack([ball((1.0, 0, 0))])
    absent = replace(parts, existence=torch.full_like(parts.existence, -1.0))
    cameras = camera_above(5, 20.0, dtype=torch.float32)
    views = render(PartField(absent), cameras, background=(0.2, 0.4, 0.6))
    torch.testing.assert_close(views.rgb, torch.tensor([0.2, 0.4, 0.6]).expand_as(views.rgb))
    assert views.alpha.eq(0).all() and views.depth.eq(0).all()


def test_gradients_of_parts_are_those_of_finite_differences() -> None:
    vectors = ball((0.9, 0.2, 0.1)).vectors().double()
    cameras, quadrature = camera_above(6, 10.0), Quadrature(coarse=40, fine=0, grid=0)

    def brightness(v: torch.Tensor) -> torch.Tensor:
        field = PartField(Parts.from_vectors(v), density=20.0, softness=0.05)
        return (render(field, cameras, background=(0, 0, 0), quadrature=quadrature).rgb ** 2).sum()

    vectors.requires_grad_()
    (gradient,) = torch.autograd.grad(brightness(vectors), vectors)
    for column in (4, 6, 7, 9, 16, 17):
        step = torch.zeros_like(vectors)
        step[0, column] = 1e-5
        with torch.no_grad():
            numeric = (brightness(vectors + step) - brightness(vectors - step)) / 2e-5
        # The box that rays are cut to moves with the parts, which the gradient leaves out: the
        # density at its edge is nearly nil.
        assert gradient[0, column].item() == pytest.approx(numeric.item(), rel=0.02, abs=2e-3), column
