"""The float64 reference itself: against finite differences, a closed form, and gsplat's own PyTorch
code."""

import dataclasses
import math

import pytest
import torch

from renderers import render, splat_torch
from scenes.cameras import Cameras, orbit
from scenes.gaussians import Gaussians

DOUBLE = torch.float64


def test_gradients_match_finite_differences(random_scene, make_cameras):
    scene, cameras = random_scene(4, dtype=DOUBLE), make_cameras(1, 6, 5).to(DOUBLE)
    scene = dataclasses.replace(scene, scales=scene.scales + 0.1)
    background = torch.tensor([0.1, 0.6, 0.3], dtype=DOUBLE)

    def images(means, quats, scales, opacities, colors, viewmats, background):
        drawn = Gaussians(means, quats, scales, opacities, colors)
        views = render(drawn, dataclasses.replace(cameras, viewmats=viewmats), background=background, backend="torch")
        return views.rgb, views.alpha, views.depth

    inputs = (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, cameras.viewmats, background)
    assert torch.autograd.gradcheck(images, [t.requires_grad_() for t in inputs], fast_mode=True)


def test_one_gaussian_on_the_axis_has_a_closed_form():
    """A round Gaussian of standard deviation s at depth z, seen along the axis: a round image of
    variance (f s / z)^2 + 0.3."""
    camera = orbit(1, size=33, radius=2.1, target=(0.0, 0.0, 0.45)).to(DOUBLE)
    s, z, opacity, f = 0.05, 2.1, 0.8, camera.Ks[0, 0, 0].item()
    color, white = torch.tensor([0.9, 0.2, 0.4], dtype=DOUBLE), torch.ones(3, dtype=DOUBLE)
    one = torch.ones(1, dtype=DOUBLE)
    centre = torch.tensor([[0.0, 0.0, 0.45]], dtype=DOUBLE)
    scene = Gaussians(centre, torch.eye(4, dtype=DOUBLE)[:1], s * one.expand(1, 3), opacity * one, color[None])
    views = render(scene, camera, backend="torch")
    x = torch.arange(33, dtype=DOUBLE) - 16
    squared = x[:, None] ** 2 + x[None] ** 2
    alpha = opacity * torch.exp(-0.5 * squared / ((f * s / z) ** 2 + 0.3))
    alpha = torch.where(alpha >= 1 / 255, alpha, 0)[None, ..., None]
    torch.testing.assert_close(views.alpha, alpha, atol=1e-6, rtol=0)  # the rig is float32
    torch.testing.assert_close(views.rgb, alpha * color + (1 - alpha) * white, atol=1e-6, rtol=0)
    torch.testing.assert_close(views.depth, torch.where(alpha > 0, z, 0.0).to(DOUBLE), atol=1e-6, rtol=0)


def test_nearer_gaussians_hide_farther_ones():
    camera = Cameras(torch.eye(4)[None], torch.tensor([[[20.0, 0, 8], [0, 20.0, 8], [0, 0, 1]]]), 16, 16)
    red, blue = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    means, opacities = torch.tensor([[0.0, 0, 4], [0, 0, 2]]), torch.tensor([0.5, 0.25])
    scene = Gaussians(
        means, torch.eye(4)[:1].expand(2, 4), torch.full((2, 3), 2.0), opacities, torch.stack([blue, red])
    )
    pixel = render(scene, camera, background=(0, 1, 0), backend="torch").rgb[0, 8, 8]
    torch.testing.assert_close(pixel, torch.tensor([0.25, 0.75 * 0.5, 0.75 * 0.5]), atol=2e-3, rtol=0)


def test_projection_matches_gsplat(random_scene, make_cameras):
    gsplat = pytest.importorskip("gsplat.cuda._torch_impl")
    scene, cameras = random_scene(50, dtype=DOUBLE), make_cameras(3, 40, 30).to(DOUBLE)
    covariances, _ = gsplat._quat_scale_to_covar_preci(scene.quats, scene.scales, True, False)
    torch.testing.assert_close(splat_torch.covariances(scene.quats, scene.scales), covariances)
    _, means2d, depths, conics, _ = gsplat._fully_fused_projection(
        scene.means, covariances, cameras.viewmats, cameras.Ks, 40, 30
    )
    for c in range(3):
        mean2d, cov2d, depth = splat_torch.project(
            scene.means, scene.quats, scene.scales, cameras.viewmats[c], cameras.Ks[c], 40, 30
        )
        inverse = torch.linalg.inv(cov2d)
        torch.testing.assert_close(mean2d, means2d[c])
        torch.testing.assert_close(depth, depths[c])
        torch.testing.assert_close(torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1), conics[c])


def test_memory_is_bounded_by_a_tile(random_scene):
    """What the graph keeps grows with the image and the scene, not with their product."""
    kept = 0

    def count(t):
        nonlocal kept
        kept += t.numel()
        return t

    scene = random_scene(200)
    scene = dataclasses.replace(scene, means=scene.means.requires_grad_())
    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        render(scene, orbit(1, size=64), backend="torch")
    assert kept < math.prod((64, 64, 200)) / 4
