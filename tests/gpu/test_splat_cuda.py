"""gsplat on CUDA draws what the CPU renderer draws, and has the same gradients."""

import dataclasses

import pytest
import torch

from renderers import backends, render
from scenes.cameras import orbit
from scenes.gaussians import Gaussians

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(backends()["gsplat"].state != "available", reason=backends()["gsplat"].state),
]

FIELDS = ("means", "quats", "scales", "opacities", "colors", "sh_rest")


def random_scene(n, batch, *, with_sh=False):
    rng = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*batch, n, *shape, generator=rng)

    quats = torch.randn(*batch, n, 4, generator=rng)
    sh_rest = 0.3 * (rand(15, 3) - 0.5) if with_sh else None
    return Gaussians(
        rand(3) - torch.tensor([0.5, 0.5, 0.05]), quats, torch.exp(2 * rand(3) - 5), rand(), rand(3), sh_rest
    )


def images_and_gradients(scene, cameras):
    leaves = {f: getattr(scene, f).detach().clone().requires_grad_() for f in FIELDS if getattr(scene, f) is not None}
    views = render(dataclasses.replace(scene, **leaves), cameras.to(scene.device), background=(0.2, 0.5, 0.9))
    images = [views.rgb, views.alpha, views.depth]
    rng = torch.Generator().manual_seed(7)
    weights = [torch.randn(i.shape, generator=rng).to(i) for i in images]
    gradients = torch.autograd.grad(images, list(leaves.values()), weights)
    return [i.detach().cpu() for i in images], dict(zip(leaves, (g.cpu() for g in gradients), strict=True))


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
@pytest.mark.parametrize("with_sh", [False, True])
def test_gsplat_matches_cpu(batch, with_sh):
    scene, cameras = random_scene(400, batch, with_sh=with_sh), orbit(3, size=100)
    images, gradients = images_and_gradients(scene.to("cuda"), cameras)
    expected_images, expected_gradients = images_and_gradients(scene, cameras)
    for image, expected in zip(images, expected_images, strict=True):
        error = (image - expected).abs().amax(-1)
        # A pixel whose alpha is a rounding error away from a threshold may fall on the other side.
        assert (error > 1e-3).double().mean() <= 1e-4
    for field, expected in expected_gradients.items():
        assert (gradients[field] - expected).norm() <= 1e-2 * expected.norm(), field


def test_degenerate_scenes_have_finite_images_and_gradients():
    cameras = orbit(2, size=40)
    scene = random_scene(20, ())
    scene.quats[:5] = 0.0
    scene.scales[5:10] = 0.0
    scene.opacities[10:15] = 0.0
    images, gradients = images_and_gradients(scene.to("cuda"), cameras)
    assert all(t.isfinite().all() for t in (*images, *gradients.values()))
    empty = render(random_scene(0, (2,)).to("cuda"), cameras)
    assert empty.rgb.shape == (2, 2, 40, 40, 3) and empty.rgb.eq(1).all() and empty.alpha.eq(0).all()
