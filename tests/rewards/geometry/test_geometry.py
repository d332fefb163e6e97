"""Floaters, joints, symmetry and printability on assets whose figures are known."""

import pytest
import torch

from rewards.geometry.contact import Contact
from rewards.geometry.floaters import Floaters
from rewards.geometry.printable import Printable
from rewards.geometry.skin import Skin
from rewards.geometry.symmetry import Symmetry


def test_skin_has_the_area_of_its_shapes(batch, part):
    skin = Skin.of(
        batch([part((0.3, 0.3, 0.3), (0, 0, 0.3), (1.0, 1.0)), part((0.1, 0.2, 0.3), (0, 2, 0.3))]).need_parts()
    )
    ball, box = skin.areas.sum(-1).tolist()
    assert ball == pytest.approx(4 * torch.pi * 0.09, rel=0.06) and box == pytest.approx(
        8 * (0.02 + 0.03 + 0.06), rel=0.08
    )
    outwards = ((skin.points - skin.parts.centres.unsqueeze(1)) * skin.normals).sum(-1)
    assert (outwards > 0).all() and skin.visible.all()


def test_depth_is_that_of_the_nearest_part(batch, part):
    skin = Skin.of(
        batch(
            [part((0.1, 0.1, 0.1), (0, 0, 0.1)), part((0.1, 0.1, 0.1), (0.5, 0, 0.1))], [part((0.1,) * 3, (0, 0, 5))]
        ).need_parts()
    )
    points = torch.tensor([[0.0, 0.0, 0.19], [0.45, 0.0, 0.1], [0.25, 0.0, 0.1]]).double().expand(3, 3, 3)
    depth, which = skin.depths(points)
    assert depth[0].tolist() == pytest.approx([-0.01, -0.05, 0.15], abs=0.01)
    assert which[0].tolist()[:2] == [0, 1] and depth[2].min() > 4
    assert skin.depths(points, others=True)[0][2].isinf().all()


def test_floaters_are_counted_by_piece_and_by_distance(batch, table, part):
    crumb = lambda z: part((0.02, 0.02, 0.02), (0, 0, 0.56 + 0.02 + z))  # noqa: E731
    scores = Floaters()(batch(table(), [*table(), crumb(-0.01)], [*table(), crumb(0.05)], [*table(), crumb(0.4)],
                              [*table(), crumb(0.3), crumb(0.7)]))  # fmt: skip
    assert scores.values.tolist() == pytest.approx([1, 1, 1 / 1.5, 1 / 2, 1 / 3], abs=0.1)
    assert scores.values[2] > scores.values[3] > scores.values[4]
    assert scores.verdict.tolist() == [True, True, False, False, False]
    assert scores.per_part[3, :6].tolist() == [1, 1, 1, 1, 1, 0]


def test_joints_score_by_depth(batch, part):
    base = part((0.2, 0.2, 0.2), (0, 0, 0.2))
    joint = lambda depth: [base, part((0.1, 0.1, 0.1), (0, 0, 0.5 - depth))]  # noqa: E731
    scores = Contact()(batch(joint(0.02), joint(0.005), joint(0), joint(-0.005), joint(-0.05), [base]))
    assert scores.values.tolist() == pytest.approx([1, 0.75, 0.5, 0.25, 0, 1], abs=0.05)
    assert scores.verdict.tolist() == [True, True, True, False, False, True]


def test_parts_that_float_together_are_not_held(batch, part):
    base, top = part((0.2, 0.2, 0.2), (0, 0, 0.2)), [part((0.1, 0.1, 0.1), (0, 0, z)) for z in (0.48, 0.66)]
    pair = [base, *(v.clone() for v in top)]
    for v in pair[1:]:
        v[6] += 0.2
    scores = Contact()(batch([base, *top], pair))
    assert scores.values.tolist() == pytest.approx([1, 0], abs=0.01) and scores.verdict.tolist() == [True, False]
    assert scores.per_part[0, :3].tolist() == pytest.approx([1, 1, 1]) and scores.per_part[1, :3].tolist() == [0, 0, 0]


def test_a_symmetric_asset_scores_one_at_any_place(batch, table, part):
    moved = [v.clone() for v in table()]
    for v in moved:
        v[4] += 0.37
    cone = [part((0.3, 0.3, 0.4), (0, 0, 0.4), (0.3, 1.0), 0.6)]
    assert Symmetry()(batch(table(), moved, cone)).values.min() > 0.99


def test_what_breaks_symmetry(batch, table, part):
    gray, red = table(), [v.clone() for v in table()]
    red[1][16:] = torch.tensor([0.9, 0.0, 0.0])
    ball = part((0.1, 0.1, 0.1), (0.3, 0.2, 0.65), (1.0, 1.0))
    whole, missing, painted, loaded = Symmetry()(batch(gray, table("abc"), red, [*table(), ball])).values.tolist()
    assert whole > max(missing, painted, loaded) + 0.03
    assert (
        Symmetry()(batch([*table(), ball])).per_part[0].argmin() >= 5
        or Symmetry()(batch([*table(), ball])).per_part[0, 5] < 0.5
    )


def test_one_mirror_plane_is_enough(batch, part):
    """Left and right as each other, front and back not: an animal."""
    body, head = part((0.15, 0.3, 0.15), (0, 0, 0.3)), part((0.1, 0.1, 0.1), (0, -0.35, 0.5), (1.0, 1.0))
    legs = [part((0.04, 0.04, 0.1), (x, y, 0.09)) for x in (-0.1, 0.1) for y in (-0.2, 0.2)]
    assert Symmetry()(batch([body, head, *legs])).values.item() > 0.99


def test_printable(batch, table, part):
    swallowed = [part((0.3, 0.3, 0.3), (0, 0, 0.3)), part((0.05, 0.05, 0.05), (0, 0, 0.3))]
    thin = [part((0.3, 0.3, 0.004), (0, 0, 0.004))]
    pieces = [part((0.1, 0.1, 0.1), (0, 0, 0.1)), part((0.1, 0.1, 0.1), (0.5, 0, 0.1))]
    scores = Printable()(batch(table(), swallowed, thin, pieces))
    assert scores.verdict.tolist() == [True, False, False, False]
    assert scores.values.tolist() == pytest.approx([1, 5 / 6, 2 / 3, 5 / 6], abs=0.03)
    assert scores.per_part[1, :2].tolist() == [1, 0]
