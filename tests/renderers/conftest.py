"""Random scenes for the renderers' tests."""

import dataclasses

import pytest
import torch

from scenes.cameras import Cameras, orbit
from scenes.gaussians import Gaussians

FIELDS = ("means", "quats", "scales", "opacities", "colors", "sh_rest")


def _random_scene(n, batch=(), *, seed=0, sh_degree=0, dtype=torch.float32):
    """Specks and blobs, faint and opaque, in a unit cube standing on the ground. The values are
    float32's in any dtype."""
    rng = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*batch, n, *shape, generator=rng)

    scene = Gaussians(
        means=rand(3) - torch.tensor([0.5, 0.5, 0.05]),
        quats=torch.randn(*batch, n, 4, generator=rng),
        scales=torch.exp(3 * rand(3) - 5.5),
        opacities=rand(),
        colors=rand(3),
        sh_rest=0.3 * (rand({1: 3, 2: 8, 3: 15}[sh_degree], 3) - 0.5) if sh_degree else None,
    )
    return scene.to(dtype)


def _cameras(count, width, height, *, batch=()):
    """An orbit with non-square images and the principal point off centre; a batch gets rigs that
    differ."""
    rigs = [orbit(count, size=max(width, height), azimuth_deg=20.0 + 50 * i) for i in range(torch.Size(batch).numel())]
    viewmats, Ks = torch.stack([r.viewmats for r in rigs]), torch.stack([r.Ks for r in rigs])
    Ks[..., 0, 2], Ks[..., 1, 2] = 0.45 * width, 0.55 * height
    return Cameras(viewmats.reshape(*batch, count, 4, 4), Ks.reshape(*batch, count, 3, 3), width, height)


def _with_gradients(scene, cameras, render):
    """The images of a scene, and the gradients of a fixed random linear function of them by
    field."""
    leaves = {f: getattr(scene, f).detach().clone().requires_grad_() for f in FIELDS if getattr(scene, f) is not None}
    views = render(dataclasses.replace(scene, **leaves), cameras)
    images = [views.rgb, views.alpha, views.depth]
    rng = torch.Generator().manual_seed(7)
    weights = [torch.randn(i.shape, generator=rng).to(i) for i in images]
    gradients = torch.autograd.grad(images, list(leaves.values()), weights)
    return [i.detach() for i in images], dict(zip(leaves, gradients, strict=True))


@pytest.fixture(scope="session")
def random_scene():
    return _random_scene


@pytest.fixture(scope="session")
def make_cameras():
    return _cameras


@pytest.fixture(scope="session")
def with_gradients():
    return _with_gradients
