"""Part assets: their numbers, surfaces, volumes, contacts and Gaussians."""

import dataclasses
import functools
import math

import pytest
import torch
import trimesh

from scenes.gaussians import Gaussians, matrix_to_quaternion
from scenes.parts import (
    AXIS_X,
    AXIS_Y,
    CENTRE,
    CENTRE_X,
    CENTRE_Y,
    CENTRE_Z,
    COLOR,
    EAST,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    LOG_HALF_X,
    LOG_HALF_Y,
    LOG_HALF_Z,
    METALLIC,
    NORTH,
    PATTERN,
    ROTATION,
    ROUGHNESS,
    SECOND_COLOR,
    SHAPE_SIZE,
    TAPER,
    UPRIGHT,
    VECTOR_SIZE,
    Parts,
    shading,
)


def test_vectors_round_trip(varied):
    again = Parts.from_vectors(varied.vectors())
    for name in (
        "existence",
        "exponents",
        "taper",
        "centres",
        "half_sizes",
        "rotations",
        "colors",
        "metallic",
        "roughness",
        "patterns",
        "second_colors",
    ):
        torch.testing.assert_close(getattr(again, name), getattr(varied, name), rtol=1e-5, atol=1e-6)


def test_names_of_the_numbers_cover_a_vector_once():
    numbers = list(range(VECTOR_SIZE))
    whole = [numbers[EXISTENCE], *numbers[EXPONENTS], numbers[TAPER], *numbers[CENTRE]]
    whole += [*numbers[LOG_HALF_SIZE], *numbers[ROTATION], *numbers[COLOR]]
    assert len(whole) == SHAPE_SIZE
    whole += [numbers[METALLIC], numbers[ROUGHNESS], *numbers[PATTERN], *numbers[SECOND_COLOR]]
    assert whole == numbers
    assert numbers[EXPONENTS] == [NORTH, EAST]
    assert numbers[CENTRE] == [CENTRE_X, CENTRE_Y, CENTRE_Z]
    assert numbers[LOG_HALF_SIZE] == [LOG_HALF_X, LOG_HALF_Y, LOG_HALF_Z]
    assert numbers[ROTATION] == numbers[AXIS_X] + numbers[AXIS_Y]


def test_out_of_range_numbers_are_clamped_and_wrong_counts_refused():
    wild = Parts.from_vectors(torch.full((1, 19), 50.0))
    assert (
        wild.exponents.max() == 1.5
        and wild.taper == pytest.approx(0.97)
        and wild.half_sizes.max() == 1
        and wild.colors.max() == 1
    )
    with pytest.raises(ValueError, match="a part is 27 or 19 numbers, got 18"):
        unchecked(Parts.from_vectors)(torch.zeros(1, 18))


def unchecked(function):
    """A class method as users call it, without the run-time shape checks of the tests."""
    plain = getattr(function.__func__, "__wrapped__", function.__func__)
    return functools.partial(plain, function.__self__)


def test_rotations_are_rotations_even_from_a_useless_6d_vector():
    vectors = torch.randn(200, 19)
    rotations = Parts.from_vectors(vectors).rotations
    torch.testing.assert_close(rotations @ rotations.transpose(1, 2), torch.eye(3).expand(200, 3, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(200))
    vectors[:, ROTATION] = 0
    assert Parts.from_vectors(vectors).rotations.isfinite().all()


@pytest.mark.parametrize("per_octant", [1, 3, 5])
def test_meshes_are_closed_and_face_outwards(varied, per_octant):
    vertices, faces = varied.meshes(per_octant)
    for asset in range(2):
        for slot in range(24):
            mesh = trimesh.Trimesh(vertices[asset, slot].double().numpy(), faces.numpy(), process=False)
            assert mesh.is_volume, "watertight, consistently wound and of positive volume"
            assert mesh.euler_number == 2 and mesh.body_count == 1


def test_masses_are_those_of_a_fine_mesh(varied):
    volumes, centroids = varied.masses()
    vertices, faces = varied.meshes(14)
    for asset in range(2):
        for slot in range(24):
            mesh = trimesh.Trimesh(vertices[asset, slot].double().numpy(), faces.numpy(), process=False)
            assert float(volumes[asset, slot]) == pytest.approx(mesh.volume, rel=0.02)
            offset = torch.as_tensor(mesh.center_mass) - centroids[asset, slot]
            assert offset.norm() < 0.01 * varied.half_sizes[asset, slot].max()


@pytest.mark.parametrize(
    ("part", "volume"),
    [
        ({}, 4 / 3 * math.pi * 1e-3),
        ({"exponents": (0.1, 1.0)}, math.pi * 2e-3),  # nearly a cylinder
        ({"exponents": (0.1, 0.1)}, 8e-3),  # nearly a box
        ({"exponents": (0.1, 1.0), "taper": 0.97}, math.pi * 2e-3 * (1 + 0.03 + 0.03**2) / 3),  # nearly a cone
    ],
)
def test_masses_of_solids_known_by_formula(make, part, volume):
    assert float(make(part).masses()[0]) == pytest.approx(volume, rel=0.03)


def test_distance_is_zero_on_the_surface_and_signed(varied):
    grid = varied.surface_grid(4).flatten(-3, -2)
    size = varied.half_sizes.amin(-1)[..., None]
    assert (varied.distance(grid).abs() < 1e-3 * size + 1e-5).all()
    centre = varied.centres.unsqueeze(-2)
    inside, outside = varied.distance(centre + 0.9 * (grid - centre)), varied.distance(centre + 1.1 * (grid - centre))
    near = taper_is_mild(varied)
    assert (inside[near] < 0).all() and (outside[near] > 0).all()


def taper_is_mild(parts: Parts) -> torch.Tensor:
    """Parts that are star-shaped about their centre with room to spare."""
    return (parts.taper.abs() < 0.9) & (parts.exponents <= 1).all(-1)


def test_distance_of_a_ball_is_exact(make):
    ball = make({"half": (0.2, 0.2, 0.2)})
    points = torch.randn(1, 300, 3)
    expected = (points - torch.tensor([0.0, 0, 0.5])).norm(dim=-1) - 0.2
    torch.testing.assert_close(ball.distance(points), expected, rtol=1e-4, atol=1e-5)


def test_normals_are_those_of_a_fine_surface(varied):
    grid = varied.surface_grid(24)[..., 1:-1, :, :]  # without the poles, where cells have no area
    around = torch.cat([grid, grid[..., :1, :]], -2)
    c00, c01, c10, c11 = (
        around[..., :-1, :-1, :],
        around[..., :-1, 1:, :],
        around[..., 1:, :-1, :],
        around[..., 1:, 1:, :],
    )
    of_cells = torch.linalg.cross(c11 - c01 + c10 - c00, c11 - c10 + c01 - c00)
    found = varied.normals(((c00 + c01 + c10 + c11) / 4).flatten(-3, -2))
    torch.testing.assert_close(found.norm(dim=-1), torch.ones_like(found[..., 0]))
    cosine = (found * torch.nn.functional.normalize(of_cells, dim=-1, eps=1e-20).flatten(-3, -2)).sum(-1)
    off_deg = cosine.clamp(-1, 1).acos().rad2deg()
    assert off_deg.median() < 0.5 and off_deg.quantile(0.95) < 5, "cells at edges are not flat"


def test_contacts(make):
    box = {"exponents": (0.1, 0.1)}
    parts = make(
        {**box, "centre": (0.0, 0.0, 0.1)},
        {**box, "centre": (0.0, 0.0, 0.3)},  # stands on the first
        {**box, "centre": (0.0, 0.0, 0.52)},  # 2 cm above it
        {**box, "centre": (0.1, 0.0, 0.1), "half": (0.01, 0.01, 0.01)},  # inside the first's side
        {**box, "centre": (0.0, 0.0, 0.2), "existence": -1.0},  # in the middle of all, but absent
    )
    expected = torch.zeros(5, 5, dtype=torch.bool)
    for i, j in [(0, 1), (0, 3)]:
        expected[i, j] = expected[j, i] = True
    assert torch.equal(parts.contacts(), expected)
    assert parts.components().tolist() == [0, 0, 2, 0, -1]
    assert parts.contacts(tolerance=0.03)[1, 2] and parts.components(tolerance=0.03).tolist() == [0, 0, 0, 0, -1]


def test_a_gap_is_never_less_than_between_the_boxes_nor_depends_on_how_far_is_looked(varied):
    gaps, grid = varied.gaps(1.0), varied.surface_grid(3).flatten(-3, -2)
    low, high = grid.amin(-2), grid.amax(-2)
    apart = torch.maximum(low[:, :, None] - high[:, None], low[:, None] - high[:, :, None]).amax(-1)
    assert (gaps >= apart).all() and (apart > 0.01).any() and gaps.isfinite().sum() > 100
    for reach in (0.0, 0.01, 0.1):
        assert torch.equal(varied.gaps(reach) <= reach, gaps <= reach)


def test_a_small_part_inside_a_large_one_touches_it(make):
    assert make({"half": (0.3, 0.3, 0.3)}, {"half": (0.02, 0.02, 0.02)}).contacts()[0, 1]


def test_chains_are_one_component_and_batches_are_apart(make):
    chain = make(*({"centre": (0.19 * i, 0.0, 0.5)} for i in range(9)))
    broken = make(*({"centre": (0.19 * i + (i > 4), 0.0, 0.5)} for i in range(9)))
    labels = Parts.stack([chain, broken]).components()
    assert labels.tolist() == [[0] * 9, [0] * 5 + [5] * 4]
    labels = Parts.stack([chain, broken], slots=24).components()
    assert labels[0].tolist() == [0] * 9 + [-1] * 15 and labels[1].tolist() == [0] * 5 + [5] * 4 + [-1] * 15


def test_lowest_points_are_those_of_the_meshes(make):
    turned = math.sqrt(0.5)
    parts = make({"centre": (0.0, 0.0, 0.1)}, {"exponents": (0.1, 0.1), "rotation": (1.0, 0, 0, 0, turned, turned)})
    assert parts.bottoms().tolist() == pytest.approx([0.0, 0.5 - 0.1 * math.sqrt(2)], abs=0.015)


def test_gaussians_lie_on_the_surfaces(varied):
    splats = varied.gaussians(600)
    assert splats.batch_shape == (2,) and splats.count == 600
    points = splats.means.unsqueeze(1).expand(2, 24, 600, 3)
    distance = varied.distance(points).abs()
    distance = distance.masked_fill(~varied.exists.unsqueeze(-1), torch.inf).amin(1)
    # A Gaussian lies on a chord of the surface's grid, a little inside.
    assert distance.median() < 0.004 and distance.max() < 0.05
    assert (splats.scales.amin(-1) < 0.11 * splats.scales.amax(-1)).all(), "they are flat"
    torch.testing.assert_close(splats.quats.norm(dim=-1), torch.ones(2, 600))


def test_every_existing_part_gets_gaussians_of_its_colour_and_an_absent_one_none(make):
    parts = make(
        {"color": (1.0, 0, 0)},
        {"color": (0.0, 1, 0), "existence": -1.0},
        {"color": (0.0, 0, 1), "half": (0.01, 0.01, 0.01)},
    )
    colors = parts.gaussians(500, shade=False).colors
    found = [int((colors == torch.tensor(c)).all(-1).sum()) for c in ((1.0, 0, 0), (0.0, 1, 0), (0.0, 0, 1))]
    assert found[1] == 0 and found[0] + found[2] == 500 and found[2] >= 5


def test_an_empty_asset_is_invisible(make):
    empty = Parts.stack([make({"existence": -1.0}), make({})]).gaussians(50)
    assert (empty.opacities[0] == 0).all() and (empty.opacities[1] > 0.9).all()
    assert all(t.isfinite().all() for t in (empty.means, empty.quats, empty.scales, empty.colors))


def test_shading_follows_the_light():
    normals = torch.nn.functional.normalize(torch.randn(100, 3), dim=-1)
    light = torch.tensor([0.0, 0.0, 1.0])
    values = shading(normals, light)
    assert (values >= 0.5).all() and (values <= 1).all()
    assert shading(light[None], light) > shading(-light[None], light)


def test_batches_decode_as_their_assets_do(varied):
    together = varied.gaussians(300)
    for i in range(2):
        alone = varied[i].gaussians(300)
        for name in ("means", "scales", "opacities", "colors"):
            torch.testing.assert_close(getattr(together[i], name), getattr(alone, name), rtol=1e-4, atol=1e-4)


def test_gradients_are_finite_for_every_number(varied):
    vectors = varied.vectors().requires_grad_()
    parts = Parts.from_vectors(vectors)
    splats = parts.gaussians(400)
    volume, centroid = parts.masses()
    fields = (splats.means, splats.quats, splats.scales, splats.opacities, splats.colors)
    total = sum(
        (f * torch.randn(f.shape, generator=torch.Generator().manual_seed(i))).sum() for i, f in enumerate(fields)
    )
    (gradient,) = torch.autograd.grad(total + volume.sum() + centroid.sum() + parts.bottoms().sum(), vectors)
    assert gradient.isfinite().all()
    present = gradient[varied.exists]
    assert (present[:, :SHAPE_SIZE].abs().sum(0) > 0).all(), "each of the 19 numbers moves something"


@pytest.mark.parametrize("column", [1, 2, 3, 4, 6, 7, 9, 10, 14, 16])
def test_gradients_of_the_surface_against_finite_differences(varied, column):
    vectors = varied.vectors()[0, :6].double()
    weights = torch.randn(6, 13, 24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(column))

    def value(v: torch.Tensor) -> torch.Tensor:
        parts = Parts.from_vectors(v)
        return (parts.surface_grid(3) * weights).sum() + parts.masses()[0].sum() + parts.colors.sum()

    (gradient,) = torch.autograd.grad(value(vectors.requires_grad_()), vectors)
    step = torch.zeros_like(vectors)
    step[:, column] = 1e-6
    with torch.no_grad():
        numeric = (value(vectors + step) - value(vectors - step)) / 2e-6
    assert float(gradient[:, column].sum()) == pytest.approx(float(numeric), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("columns", [[4], [5, 6], [7, 8, 9], [11, 13]])
def test_gradients_of_gaussians_against_finite_differences(make, columns):
    # Which cell a Gaussian stands in is a discrete choice by relative area: moving, turning and
    # enlarging a part leave it as it is. A Gaussian's size follows the spacing, which is held
    # constant in the gradient, so it is left out.
    vectors = make({"taper": 0.3, "half": (0.2, 0.1, 0.3), "exponents": (0.5, 0.8)}).vectors()
    weights = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))

    def value(v: torch.Tensor) -> torch.Tensor:
        splats = Parts.from_vectors(v).gaussians(200)
        return (splats.means * weights).sum() + (splats.colors * weights).sum()

    (gradient,) = torch.autograd.grad(value(vectors.requires_grad_()), vectors)
    step = torch.zeros_like(vectors)
    step[0, columns] = 3e-3
    with torch.no_grad():
        numeric = (value(vectors + step) - value(vectors - step)) / 6e-3
    assert float(gradient[0, columns].sum()) == pytest.approx(float(numeric), rel=2e-3, abs=2e-3)


def test_quaternions_turn_as_their_matrices():
    from renderers.splat_torch import covariances

    rotations = Parts.from_vectors(torch.randn(500, 19)).rotations
    half_turns = torch.stack([torch.diag(torch.tensor(d)) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])])
    for matrices in (rotations, half_turns):
        scales = torch.tensor([1.0, 2.0, 3.0]).expand(len(matrices), 3)
        expected = matrices @ torch.diag(torch.tensor([1.0, 4.0, 9.0])) @ matrices.transpose(1, 2)
        torch.testing.assert_close(covariances(matrix_to_quaternion(matrices), scales), expected, rtol=1e-4, atol=1e-4)


def test_present_and_stack(make):
    parts = make({}, {"existence": -1.0}, {"centre": (1.0, 0.0, 0.5)})
    assert parts.present().count == 2 and parts.present().centres[1, 0] == 1
    batch = Parts.stack([parts, make({})])
    assert batch.existence.shape == (2, 3) and batch.exists.sum(-1).tolist() == [2, 1]
    torch.testing.assert_close(batch[0].vectors(), parts.vectors(), rtol=0, atol=0)
    padded = Parts.stack([parts, make({})], slots=5)
    torch.testing.assert_close(padded[:, :3].vectors(), batch.vectors(), rtol=0, atol=0)
    assert not padded.exists[:, 3:].any() and not padded[:, 3:].finished.any()
    with pytest.raises(ValueError, match="an asset of 3 parts does not fit into 2"):
        parts.padded(2)
    with pytest.raises(ValueError, match="index the batch first"):
        batch.present()
    assert isinstance(batch.gaussians(10), Gaussians)


def test_a_thin_leg_flush_under_the_corner_of_a_slab_touches_it() -> None:
    """The radial distance to a slab is ten times too long near its corners; contacts once missed
    such legs."""

    def box(centre: tuple[float, float, float], half: tuple[float, float, float]) -> Parts:
        vector = torch.zeros(1, VECTOR_SIZE)
        vector[0, EXISTENCE], vector[0, EXPONENTS] = 1.0, 0.14
        vector[0, CENTRE], vector[0, LOG_HALF_SIZE] = torch.tensor(centre), torch.tensor(half).log()
        vector[0, ROTATION] = torch.tensor(UPRIGHT)
        return Parts.from_vectors(vector)

    slab = box((0.0, 0.0, 0.5), (0.5, 0.5, 0.03))
    for gap, expected in ((0.005, True), (0.03, False)):
        leg = box((0.44, 0.44, (0.47 - gap) / 2), (0.02, 0.02, (0.47 - gap) / 2))
        both = Parts(
            **{f.name: torch.cat([getattr(slab, f.name), getattr(leg, f.name)]) for f in dataclasses.fields(Parts)}
        )
        assert both.contacts()[0, 1].item() is expected
