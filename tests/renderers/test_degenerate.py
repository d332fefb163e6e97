"""Extreme input for the compiled backend: no crash, no hang, and only finite numbers."""

import dataclasses

import pytest
import torch

from renderers import kernels, render
from scenes.cameras import Cameras, orbit
from scenes.gaussians import Gaussians

pytestmark = pytest.mark.skipif(kernels.unavailable() is not None, reason=str(kernels.unavailable()))


def one(**fields) -> Gaussians:
    """One Gaussian in the middle of the view, with some fields replaced."""
    values = {
        "means": torch.tensor([[0.0, 0.0, 0.45]]),
        "quats": torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        "scales": torch.full((1, 3), 0.1),
        "opacities": torch.tensor([0.7]),
        "colors": torch.tensor([[0.9, 0.2, 0.1]]),
    }
    return Gaussians(**{**values, **fields})


def drawn(scene: Gaussians, cameras: Cameras, **options):
    """The images and all gradients, which must be finite."""
    fields = ("means", "quats", "scales", "opacities", "colors")
    leaves = {name: getattr(scene, name).clone().requires_grad_() for name in fields}
    viewmats, Ks = cameras.viewmats.clone().requires_grad_(), cameras.Ks.clone().requires_grad_()
    rig = dataclasses.replace(cameras, viewmats=viewmats, Ks=Ks)
    views = render(Gaussians(**leaves), rig, backend="cpp", outputs=("normal",), **options)
    images = [views.rgb, views.alpha, views.depth, views.normal]
    assert all(image.isfinite().all() for image in images)
    (views.rgb.sum() + views.alpha.square().sum() + views.depth.sum() + views.normal.sum()).backward()
    for name, leaf in {**leaves, "viewmats": viewmats, "Ks": Ks}.items():
        assert leaf.grad.isfinite().all(), name
    return views, {name: leaf.grad for name, leaf in leaves.items()}


EXTREMES = {
    "zero scale": {"scales": torch.zeros(1, 3)},
    "one scale zero": {"scales": torch.tensor([[0.1, 0.1, 0.0]])},
    "huge scale": {"scales": torch.full((1, 3), 1e4)},
    "overflowing scale": {"scales": torch.full((1, 3), 1e30)},
    "needle": {"scales": torch.tensor([[10.0, 1e-6, 1e-6]])},
    "negative scale": {"scales": torch.full((1, 3), -0.1)},
    "zero quaternion": {"quats": torch.zeros(1, 4)},
    "tiny quaternion": {"quats": torch.full((1, 4), 1e-20)},
    "huge quaternion": {"quats": torch.full((1, 4), 1e15)},
    "opacity 0": {"opacities": torch.zeros(1)},
    "opacity 1": {"opacities": torch.ones(1)},
    "opacity above 1": {"opacities": torch.full((1,), 5.0)},
    "negative opacity": {"opacities": torch.full((1,), -1.0)},
    "behind the camera": {"means": torch.tensor([[0.0, -9.0, 2.0]])},
    "far away": {"means": torch.tensor([[0.0, 1e8, 0.0]])},
    "out of numbers": {"means": torch.full((1, 3), 3e38)},
    "huge color": {"colors": torch.full((1, 3), 1e30)},
}


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_gaussians_are_drawn(name, antialiased):
    drawn(one(**EXTREMES[name]), orbit(2, size=24), antialiased=antialiased)


def test_invisible_gaussians_leave_no_trace_and_get_no_gradient():
    cameras = orbit(2, size=24)
    for name in ("opacity 0", "negative opacity", "behind the camera", "far away", "out of numbers"):
        views, gradients = drawn(one(**EXTREMES[name]), cameras)
        assert views.alpha.eq(0).all() and views.rgb.eq(1).all(), name
        assert all(gradient.eq(0).all() for gradient in gradients.values()), name


def test_gaussians_on_the_cameras_plane():
    cameras = orbit(1, size=24)
    axis = cameras.viewmats[0, 2, :3]
    for offset in (0.0, 1e-7, 0.01, 0.0100001, -1e-3):
        for sideways in (0.0, 1e-4, 0.5):
            place = cameras.positions[0] + offset * axis + sideways * cameras.viewmats[0, 0, :3]
            drawn(one(means=place[None]), cameras)


def test_one_pixel_and_empty_scenes():
    cameras = orbit(1, size=1)
    drawn(one(), cameras)
    nothing = Gaussians(*(torch.zeros(0, *shape) for shape in ((3,), (4,), (3,), (), (3,))))
    views, _ = drawn(nothing, cameras)
    assert views.rgb.eq(1).all()


def test_a_large_image():
    scene = one(means=torch.tensor([[0.3, 0.0, 0.9]]))
    cameras = orbit(1, size=4096)
    with torch.no_grad():
        views = render(scene, cameras, backend="cpp")
    small = render(scene, orbit(1, size=128), backend="cpp")
    assert views.rgb.isfinite().all()
    # The same picture, 32 times larger: the blur of a third of a pixel is all that differs.
    shrunk = torch.nn.functional.avg_pool2d(views.alpha[0].permute(2, 0, 1), 32)[0]
    assert (shrunk - small.alpha[0, ..., 0]).abs().max() < 0.01


@pytest.mark.timeout(120)
def test_a_hundred_thousand_gaussians_in_one_pixel():
    n = 100_000
    scene = one()
    scene = Gaussians(
        *(getattr(scene, f).expand(n, *getattr(scene, f).shape[1:]).clone() for f in ("means", "quats")),
        torch.full((n, 3), 1e-4),
        torch.full((n,), 0.01),
        scene.colors.expand(n, 3).clone(),
    )
    views, gradients = drawn(scene, orbit(1, size=16))
    assert views.alpha.max() > 0.99
    assert gradients["opacities"].ne(0).sum() < n  # the pixel ends long before the last


@pytest.mark.parametrize("field", ["means", "quats", "scales", "opacities", "colors"])
def test_what_is_not_a_number_is_refused_by_name(field):
    for value in (float("nan"), float("inf"), -float("inf")):
        bad = getattr(one(), field).clone()
        bad.view(-1)[-1] = value
        with pytest.raises(ValueError, match=rf"Gaussians\.{field} holds {value} at index"):
            render(one(**{field: bad}), orbit(1, size=8), backend="cpp")


def test_features_and_background_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="features holds nan at index"):
        render(one(), orbit(1, size=8), features=torch.full((1, 2), float("nan")))
    with pytest.raises(ValueError, match="background holds inf at index"):
        render(one(), orbit(1, size=8), background=(0, float("inf"), 0))


def test_more_than_memory_holds_is_one_clear_line():
    """Every Gaussian on every tile of a large image would need more entries than there is memory
    for."""
    n = 400_000
    scene = Gaussians(
        torch.zeros(n, 3) + torch.tensor([0.0, 0.0, 0.45]),
        torch.tensor([[1.0, 0, 0, 0]]).expand(n, 4),
        torch.full((n, 3), 50.0),
        torch.full((n,), 0.9),
        torch.ones(n, 3),
    )
    with pytest.raises(
        MemoryError, match="out of memory while drawing 1 images of 400000 Gaussians at 4096x4096: draw fewer at once"
    ):
        render(scene, orbit(1, size=4096), backend="cpp")
