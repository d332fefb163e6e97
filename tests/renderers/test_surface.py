"""Surface extraction against what the scenes were made from: a ball and a box, as splats, field and
mesh."""

import math

import numpy as np
import pytest
import torch
import trimesh

from renderers.surface import bounding_box, extract, face_pieces
from scenes.gaussians import Gaussians
from scenes.mesh import Mesh
from scenes.parts import SHAPE_SIZE, Parts
from scenes.radiance_field import PartField, VoxelField


def ball(radius: float = 0.4) -> Parts:
    return Parts.from_vectors(
        torch.tensor([[1, 1, 1, 0, 0, 0, 0.5, *[math.log(radius)] * 3, 1, 0, 0, 0, 1, 0, 0.9, 0.2, 0.1]])
    )


def as_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy())


@pytest.mark.parametrize("kind", ["splats", "field", "mesh"])
def test_a_ball_comes_back(kind):
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.4)
    scene = {
        "splats": lambda: ball().gaussians(6000, shade=False),
        "field": lambda: PartField(ball(), density=2000.0, softness=0.002),
        "mesh": lambda: Mesh(
            torch.tensor(sphere.vertices).float() + torch.tensor([0, 0, 0.5]), torch.tensor(sphere.faces)
        ),
    }[kind]()
    resolution = {"field": 32}.get(kind, 64)
    surface = as_trimesh(extract(scene, resolution=resolution, views=24))
    assert surface.is_watertight
    assert surface.volume == pytest.approx(4 / 3 * math.pi * 0.4**3, rel=0.06)  # positive: faces point outwards
    radii = (torch.tensor(surface.vertices) - torch.tensor([0, 0, 0.5])).norm(dim=-1)
    assert (radii - 0.4).abs().max() < 2 * 0.8 / resolution


def test_colors_come_along():
    surface = extract(ball().gaussians(6000, shade=False), resolution=48, views=16)
    assert surface.colors is not None
    torch.testing.assert_close(surface.colors.mean(0), torch.tensor([0.9, 0.2, 0.1]), atol=0.03, rtol=0)


def test_an_empty_scene_has_no_surface():
    nothing = Gaussians(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 3))
    assert extract(nothing).faces.shape == (0, 3)
    clear = ball().gaussians(100)
    clear = Gaussians(clear.means, clear.quats, clear.scales, torch.zeros(100), clear.colors)
    assert extract(clear).faces.shape == (0, 3)


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="extract works on a single scene"):
        extract(Parts.stack([ball()]).gaussians(10))


def test_bounding_box_leaves_out_what_is_nearly_clear():
    scene = Gaussians(
        torch.tensor([[0.0, 0, 0], [9, 9, 9]]),
        torch.eye(4)[:1].expand(2, 4),
        torch.full((2, 3), 0.1),
        torch.tensor([0.9, 0.01]),
        torch.ones(2, 3),
    )
    low, high = bounding_box(scene)
    torch.testing.assert_close(high, torch.full((3,), 0.2))
    torch.testing.assert_close(low, torch.full((3,), -0.2))


def crumb() -> Parts:
    """The ball, and a crumb of 2 cm beside it."""
    small = [1, 1, 1, 0, 0.6, 0, 0.5, *[math.log(0.02)] * 3, 1, 0, 0, 0, 1, 0, 0.9, 0.2, 0.1]
    return Parts.from_vectors(torch.cat([ball().vectors()[:, :SHAPE_SIZE], torch.tensor([small])]))


@pytest.mark.parametrize("kind", ["splats", "field"])
def test_crumbs_stay_only_where_asked_for(kind):
    scene = crumb().gaussians(6000) if kind == "splats" else PartField(crumb(), density=2000.0, softness=0.002)
    options = {"resolution": 96, "views": 24, "truncation": 2.0, "smoothing": 0.5}
    assert extract(scene, **options, min_fraction=5e-3).vertices[:, 0].max() < 0.45
    whole = extract(scene, **options, min_fraction=0.0)
    assert whole.vertices[:, 0].max() == pytest.approx(0.62, abs=0.012)
    largest = np.bincount(face_pieces(whole.vertices.numpy(), whole.faces.numpy())).max()
    assert len(whole.faces) - largest > 20


def test_cavities_are_filled():
    """A hollow ball: its inner surface is left out, and so is what floats inside."""
    axis = torch.linspace(-1, 1, 41)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    density = 100.0 * (((radius > 0.5) & (radius < 0.8)) | (radius < 0.2))
    field = VoxelField(density, torch.full((41, 41, 41, 3), 0.5), -torch.ones(3), torch.ones(3))
    surface = as_trimesh(extract(field, resolution=80, min_fraction=0.0))
    assert surface.is_watertight and surface.body_count == 1
    assert surface.volume == pytest.approx(4 / 3 * math.pi * 0.8**3, rel=0.05)


def test_a_field_that_reaches_its_bounds_is_closed():
    field = VoxelField(torch.full((3, 3, 3), 50.0), torch.rand(3, 3, 3, 3), torch.zeros(3), torch.tensor([1.0, 2, 3]))
    surface = as_trimesh(extract(field, resolution=60))
    # The density falls to 0 within a voxel (5 cm). Half of that is added all around.
    assert surface.is_watertight and surface.volume == pytest.approx(1.05 * 2.05 * 3.05, rel=0.01)


def test_the_level_of_a_field_is_half_of_its_typical_density():
    """Fog around a solid and a spike inside it change nothing."""
    axis = torch.linspace(-1, 1, 41)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    density = torch.where(radius < 0.6, 80.0, 0.5)
    density[20, 20, 20] = 1e6
    density[20:22, 20, 20] = 300.0
    field = VoxelField(density, torch.full((41, 41, 41, 3), 0.5), -torch.ones(3), torch.ones(3))
    surface = as_trimesh(extract(field, resolution=80))
    assert surface.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.08)
