"""Fields to Gaussians and back: what comes out looks like what went in, from cameras that the fit
has not seen."""

import math

import pytest
import torch

from renderers import render
from renderers.distill import field_to_gaussians, gaussians_of_mesh, gaussians_to_field
from scenes.cameras import orbit
from scenes.gaussians import Gaussians, rotations
from scenes.mesh import Mesh
from scenes.parts import Parts
from scenes.radiance_field import PartField


def snowman() -> Parts:
    rows = [[1, 1, 1, 0, 0, 0, 0.3, *[math.log(0.3)] * 3, 1, 0, 0, 0, 1, 0, 0.9, 0.2, 0.1]]
    rows += [[1, 1, 1, 0, 0, 0, 0.75, *[math.log(0.18)] * 3, 1, 0, 0, 0, 1, 0, 0.1, 0.3, 0.8]]
    return Parts.from_vectors(torch.tensor(rows))


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10((a - b).square().mean().item())


def test_a_field_becomes_gaussians():
    field = PartField(snowman(), density=1000.0, softness=0.003)
    scene = field_to_gaussians(field, 3000, steps=40, size=64, resolution=48)
    cameras = orbit(3, size=64, azimuth_deg=11.0)
    seen, drawn = render(field, cameras), render(scene, cameras)
    assert scene.count == 3000
    assert psnr(seen.rgb, drawn.rgb) > 25
    assert ((seen.alpha > 0.5) == (drawn.alpha > 0.5)).float().mean() > 0.98


def test_gaussians_become_a_field():
    scene = snowman().gaussians(3000, shade=False)
    field = gaussians_to_field(scene, resolution=40, steps=40, size=48)
    cameras = orbit(3, size=48, azimuth_deg=11.0)
    seen, drawn = render(scene, cameras), render(field, cameras)
    assert psnr(seen.rgb, drawn.rgb) > 20
    assert ((seen.alpha > 0.5) == (drawn.alpha > 0.5)).float().mean() > 0.96


def test_gaussians_lie_flat_on_their_triangles():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0.5], [0, 2, 1.0], [0.3, 0.3, -1.0]])
    mesh = Mesh(
        vertices,
        torch.tensor([[0, 1, 2], [0, 3, 1]]),
        colors=torch.rand(4, 3, generator=torch.Generator().manual_seed(0)),
    )
    scene = gaussians_of_mesh(mesh, 500, torch.Generator().manual_seed(0))
    normals = torch.linalg.cross(vertices[[1, 3]], vertices[[2, 1]])
    normals = torch.nn.functional.normalize(normals, dim=-1)
    heights = (scene.means @ normals.T).abs()  # both triangles hold the origin
    owner = heights.argmin(-1)
    assert heights.gather(1, owner[:, None]).max() < 1e-5
    axis = rotations(scene.quats)[..., 2]
    assert ((axis * normals[owner]).sum(-1).abs() > 0.999).all()
    areas = torch.linalg.cross(vertices[[1, 3]], vertices[[2, 1]]).norm(dim=-1)
    assert (owner == 0).double().mean().item() == pytest.approx((areas[0] / areas.sum()).item(), abs=0.06)


def test_an_empty_scene_converts_to_an_empty_scene():
    parts = snowman()
    absent = Parts.from_vectors(parts.vectors() * torch.tensor([-1.0] + [1.0] * 26))
    assert field_to_gaussians(PartField(absent), 100, steps=1).count == 0
    nothing = Gaussians(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 3))
    assert gaussians_to_field(nothing, resolution=8, steps=1, size=8).density.max() < 1.0
