"""Materials of parts: patterns on splats and at points, finishes, and what stays plain."""

import dataclasses

import pytest
import torch

from scenes.asset import PartAsset, part_mesh
from scenes.parts import (
    FINISHES,
    METALLIC,
    PATTERN,
    PATTERNS,
    PLAIN,
    ROUGHNESS,
    SECOND_COLOR,
    SHAPE_SIZE,
    Parts,
    finish_of,
    finished,
    shaded,
)
from scenes.radiance_field import PartField

RED, BLUE = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.2, 0.9])
BOX = {"exponents": (0.1, 0.1), "half": (0.35, 0.2, 0.1), "color": tuple(RED.tolist()), "second": tuple(BLUE.tolist())}


def blue(parts: Parts, count: int = 6000) -> tuple[torch.Tensor, torch.Tensor]:
    """The places of a single part's splats about its centre, and which are blue; all others are
    red."""
    splats = parts.gaussians(count, shade=False)
    second = (splats.colors == BLUE).all(-1)
    assert torch.equal(splats.colors, torch.where(second.unsqueeze(-1), BLUE, RED))
    return splats.means - parts.centres[0], second


def test_stripes_are_seven_bands_along_the_longest_axis(make):
    place, second = blue(make(BOX | {"pattern": "stripes"}))
    band = ((place[:, 0] / 0.35 + 1) / 2 * 7).floor().clamp(0, 6)
    assert torch.equal(second, band % 2 == 1)
    assert not second[band == 0].any() and not second[band == 6].any()


def test_stripes_turn_with_their_part(make):
    turned = make(BOX | {"pattern": "stripes", "rotation": (0.0, 1, 0, -1, 0, 0)})
    place, second = blue(turned)
    assert torch.equal(second, ((place[:, 1] / 0.35 + 1) / 2 * 7).floor().clamp(0, 6) % 2 == 1)


def test_a_face_of_checks_is_a_board(make):
    place, second = blue(make({**BOX, "half": (0.35, 0.35, 0.05), "pattern": "checks"}), 20000)
    top = place[:, 2] > 0.049
    cell = ((place[top, :2] / 0.35 + 1) / 2 * 7).floor().clamp(0, 6)
    parity = cell.sum(-1) % 2 == 1
    assert (parity == second[top]).all() or (parity != second[top]).all()
    assert 0.4 < second.float().mean() < 0.6


def test_spots_are_discs_of_one_size_on_a_flat_face(make):
    place, second = blue(make({**BOX, "half": (0.35, 0.35, 0.05), "pattern": "spots"}), 30000)
    spots = place[(place[:, 2] > 0.049) & second][:, :2]
    spots = spots[spots.abs().amax(-1) < 0.28]
    step = 0.1
    nearest = (spots / step - 0.5).round() + 0.5  # the centres of a board's squares of one colour
    nearest = torch.stack([nearest, (spots / step).round()]) * step
    off = (spots - nearest).norm(dim=-1).amin(0)
    assert len(spots) > 1000 and off.max() < 0.046
    assert 0.25 < second.float().mean() < 0.4


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("half", [(0.3, 0.3, 0.3), (0.5, 0.4, 0.03), (0.03, 0.03, 0.3), (0.3, 0.3, 0.4)])
@pytest.mark.parametrize("exponents", [(0.1, 0.1), (0.1, 1.0), (1.0, 1.0)])
def test_both_colours_are_seen_on_every_shape(make, pattern, half, exponents):
    _, second = blue(make({**BOX, "half": half, "exponents": exponents, "pattern": pattern}))
    assert 0.15 < second.float().mean() < 0.6


def test_the_highest_score_above_zero_is_the_pattern(make):
    parts = make(BOX)
    scores = torch.tensor([[-1.0, -0.1, -2], [0.1, 0.2, 0.0], [3.0, 2, 1], [-1.0, -1, 0.5], [0.0, 0, 0]])
    many = dataclasses.replace(parts[[0] * 5], patterns=scores)
    assert many.pattern.tolist() == [-1, 1, 0, 2, -1]


def test_colours_of_points_are_those_of_splats(make):
    parts = make(
        BOX | {"pattern": "checks"}, BOX | {"pattern": "spots", "centre": (0.0, 0.0, 0.9)}, {"centre": (0.0, 0.0, 1.3)}
    )
    splats = parts.gaussians(3000, shade=False)
    part = parts.distance(splats.means.expand(3, -1, 3)).abs().argmin(0)
    found = parts.colors_at(splats.means.expand(3, -1, 3))[part, torch.arange(3000)]
    assert ((found - splats.colors).abs().amax(-1) < 1e-6).float().mean() > 0.995
    colors = part_mesh(parts).colors
    assert colors is not None and len(colors.unique(dim=0)) == 3
    inside = torch.tensor([[0.0, 0.0, 0.5], [0.1, 0.0, 0.5]])
    _, colors = PartField(parts).query(inside)
    torch.testing.assert_close(colors, parts.colors_at(inside.expand(3, -1, 3))[0], rtol=0, atol=1e-4)


def test_patterns_have_gradients_to_both_colours(make):
    vectors = make(BOX | {"pattern": "stripes", "finish": (0.3, 0.3)}).vectors().requires_grad_()
    Parts.from_vectors(vectors).gaussians(500).colors.sum().backward()
    assert vectors.grad is not None and vectors.grad.isfinite().all()
    moved = [16, 17, 18, METALLIC, ROUGHNESS, *range(SECOND_COLOR.start, SECOND_COLOR.stop)]
    assert (vectors.grad[0, moved].abs() > 0.1).all()


@pytest.mark.parametrize("finish", [(0.0, 0.95), (0.0, 0.2), (1.0, 0.3), (0.5, 0.5)])
def test_gradients_of_finishes_against_finite_differences(finish):
    rng = torch.Generator().manual_seed(1)
    normals = torch.nn.functional.normalize(torch.randn(64, 3, dtype=torch.float64, generator=rng), dim=-1)
    colors = 0.2 + 0.5 * torch.rand(64, 3, dtype=torch.float64, generator=rng)
    outwards = torch.randn(64, 3, dtype=torch.float64, generator=rng) / 3
    metal, rough = (torch.full((64,), x, dtype=torch.float64) for x in finish)
    inputs = [t.requires_grad_() for t in (colors, normals, outwards, metal, rough)]
    # Where a channel is cut off at 1 or another lamp becomes the nearest there is a kink.
    assert torch.autograd.gradcheck(finished, inputs, eps=1e-7, atol=1e-4)


def test_default_parts_are_drawn_as_without_materials(varied):
    """The light of plain parts is the light of before materials, to the bit."""
    splats, bare = varied.gaussians(600), varied.gaussians(600, shade=False)
    normals = torch.nn.functional.normalize(torch.randn(600, 3), dim=-1)
    plain = [torch.full((600,), x) for x in PLAIN[:2]]
    torch.testing.assert_close(finished(bare.colors[0], normals, normals, *plain), shaded(bare.colors[0], normals))
    mixed = dataclasses.replace(varied, metallic=varied.metallic.index_fill(1, torch.tensor([1]), 1.0))
    other = mixed.gaussians(600)
    part = varied[0].distance(splats.means[0].expand(24, -1, 3)).abs()
    rest = part[1] > 0.01
    assert torch.equal(other.colors[0][rest], splats.colors[0][rest])
    assert not torch.equal(other.colors[0][~rest], splats.colors[0][~rest])


def test_finishes_differ_at_sight(make):
    """On a cube the mean difference between any two finishes is at least 3 % of full brightness."""
    cube = {"exponents": (0.1, 0.1), "half": (0.3, 0.3, 0.3), "color": (0.5, 0.5, 0.5)}
    shown = [make(cube | {"finish": f}).gaussians(2000).colors for f in [(0.0, 0.6), *FINISHES.values()]]
    for i, one in enumerate(shown):
        assert one.min() >= 0 and one.max() <= 1
        assert all((one - other).abs().mean() > 0.03 for other in shown[:i])


def test_finishes_have_names():
    assert [finish_of(*finish) for finish in FINISHES.values()] == list(FINISHES)
    assert finish_of(0.0, 0.6) is None and finish_of(0.1, 0.55) is None
    assert finish_of(0.9, 0.35) == "metallic" and finish_of(0.0, 0.0) == "glossy"


def test_vectors_of_19_numbers_have_the_default_material(make):
    old = make(BOX).vectors()[:, :SHAPE_SIZE]
    parts = Parts.from_vectors(old)
    torch.testing.assert_close(parts.vectors()[:, SHAPE_SIZE:], torch.tensor([PLAIN]), rtol=0, atol=0)
    assert not parts.finished.any() and (parts.pattern == -1).all()
    wild = torch.full((1, 27), 7.0)
    wild = Parts.from_vectors(wild)
    assert wild.metallic == 1 and wild.roughness == 1 and (wild.second_colors == 1).all()
    assert (wild.vectors()[0, PATTERN] == 7).all()


def test_plain_takes_the_materials_away(make):
    parts = make(BOX | {"pattern": "checks", "finish": (1.0, 0.3)})
    plain = parts.plain(BLUE.expand(1, 3))
    torch.testing.assert_close(plain.vectors()[:, SHAPE_SIZE:], torch.tensor([PLAIN]), rtol=0, atol=0)
    assert (plain.gaussians(100, shade=False).colors == BLUE).all()


def test_batches_of_different_sizes_join(make):
    one, two = PartAsset(Parts.stack([make(BOX)])), PartAsset(Parts.stack([make(BOX, {}, {"finish": (1.0, 0.3)})]))
    both = PartAsset.concatenate([one, two])
    assert both.parts.exists.tolist() == [[True, False, False], [True, True, True]]
    torch.testing.assert_close(both.parts[1].vectors(), two.parts[0].vectors(), rtol=0, atol=0)
