"""Joints, overlaps and relations on assets whose statics can be done by hand."""

import pytest
import torch

from rewards import Batch
from rewards.physics import structure
from rewards.physics.penetration import Penetration
from rewards.physics.stacking import Stacking
from rewards.physics.structure import Structure
from rewards.relations import Relation, parse, related


def test_standing_things_are_held_and_floating_ones_are_not(batch, table, part):
    ball = part((0.1, 0.1, 0.1), (0, 0, 0.9), (1.0, 1.0))
    scores = Structure()(batch(table(), [*table(), ball], table("ab"), [part((0.2, 0.2, 0.2), (0, 0, 0.2))]))
    assert scores.verdict.tolist() == [True, False, False, True]
    assert scores.per_part[1, :6].tolist() == pytest.approx([1, 1, 1, 1, 1, 0], abs=1e-6)
    assert scores.values[2] < 0.5
    volume = 1.0 * 0.6 * 0.06 + 4 * 0.06 * 0.06 * 0.53
    assert float(scores.values[1]) == pytest.approx(volume / (volume + 4 / 3 * 3.1416 * 0.001), abs=0.02)


def test_a_touching_block_rests_on_top_but_does_not_hang_below(batch, part):
    """Without overlap a joint has pressure and friction alone: a block lies on a shelf, and falls
    off from under it."""
    post, gap = part((0.1, 0.1, 0.4), (0, 0, 0.4)), 0.002
    above = part((0.1, 0.1, 0.1), (0, 0, 0.9 + gap))
    arm = part((0.3, 0.1, 0.03), (0.35, 0, 0.6))  # let into the post
    on_arm, under_arm = part((0.05, 0.05, 0.05), (0.25, 0, 0.68 + gap)), part((0.05, 0.05, 0.05), (0.25, 0, 0.52 - gap))
    base = part((0.4, 0.2, 0.05), (0.1, 0, 0.03))
    scores = Structure()(batch([post, above], [base, post, arm, on_arm], [base, post, arm, under_arm]))
    assert scores.verdict.tolist() == [True, True, False]
    assert scores.per_part[2, 3] < 0.01 and scores.per_part[2, :3].min() > 0.99


def test_a_long_arm_breaks_a_thin_joint(batch, part, monkeypatch):
    """A cantilever's bending moment grows with the square of its length: what a weak bond holds
    short it does not hold long."""
    monkeypatch.setattr(structure, "BOND", 1.0)
    base = [part((0.5, 0.3, 0.1), (0, 0, 0.1)), part((0.1, 0.1, 0.4), (-0.3, 0, 0.5))]
    arm = lambda length: part((length / 2, 0.02, 0.02), (-0.21 + length / 2, 0, 0.8))  # noqa: E731
    short, long = Structure()(batch([*base, arm(0.06)], [*base, arm(0.9)])).per_part[:, 2].tolist()
    assert short == pytest.approx(1, abs=1e-6) and long < 0.5


def test_overlap_is_a_fraction_of_the_volume(batch, part):
    box = lambda x: part((0.2, 0.2, 0.2), (x, 0, 0.2))  # noqa: E731
    scores = Penetration()(
        batch([box(0), box(0.395)], [box(0), box(0.2)], [box(0), box(0)], [box(0)], [box(0), box(0.6)])
    )
    assert scores.values.tolist() == pytest.approx([1, 0.5, 0, 1, 0.5], abs=0.03), (
        "a box that stands apart counts as nothing"
    )
    small = [part((0.2, 0.2, 0.2), (0, 0, 0.2)), part((0.02, 0.02, 0.02), (0, 0, 0.2))]
    assert Penetration()(batch(small)).per_part[0, :2].tolist() == pytest.approx([1, 0], abs=0.03)


@pytest.mark.parametrize(
    ("prompt", "relation"),
    [
        ("a red ball on top of a blue cube", Relation("on", "red", "blue")),
        ("a 3d model of a navy box to the left of a crimson cone", Relation("left", "blue", "red")),
        ("a golden ring in front of the white box", Relation("front", "yellow", "white")),
        ("a red apple in a brown bowl", Relation("inside", "red", "brown")),
        ("a red apple in a red bowl", None),
        ("a cat on a bench", None),
        ("four red cubes in a row", None),
        ("a red armchair with white legs", None),
        ("", None),
    ],
)
def test_relations_are_read(prompt, relation):
    assert parse(prompt) == relation


def test_an_unknown_word_is_no_relation_of_boxes():
    box = (torch.zeros(3).numpy(), torch.ones(3).numpy())
    above = (box[0] + [0, 0, 1], box[1] + [0, 0, 1])
    assert related("on", above, box) and related("under", box, above) and not related("on", box, above)
    inner = (box[0] + 0.2, box[1] - 0.2)
    assert related("inside", inner, box) and not related("inside", box, inner)


def painted(part, color, *shape) -> torch.Tensor:
    out = part(*shape)
    out[16:] = torch.tensor({"red": [0.84, 0.12, 0.12], "blue": [0.13, 0.32, 0.84]}[color])
    return out


def test_on_top_must_still_be_on_top_after_two_seconds(batch, part):
    low = painted(part, "blue", (0.2, 0.2, 0.2), (0, 0, 0.2))
    at = lambda x, z: painted(part, "red", (0.12, 0.12, 0.12), (x, 0, z))  # noqa: E731
    rests, hovers, slides, beside, absent = (
        [low, at(0, 0.51)],
        [low, at(0, 0.55)],
        [low, at(0.185, 0.56)],
        [low, at(0.5, 0.12)],
        [low],
    )
    assets = batch(rests, hovers, slides, beside, absent).asset
    scores = Stacking()(Batch(["a red cube on top of a blue cube"] * 5, assets))
    assert scores.values.tolist() == pytest.approx([1, 1, 1, 0.2, 0])
    assert scores.verdict.tolist() == [True, True, True, False, False]
    # Over the edge by more than half of it: it was made on top and has fallen off.
    off = Stacking()(Batch(["a red cube on top of a blue cube"], batch([low, at(0.24, 0.56)]).asset))
    assert off.values.item() < 0.51 and not off.verdict


def test_prompts_without_a_relation_score_1(batch, table):
    scores = Stacking()(Batch(["a red table", "a table"], batch(table(), table("ab")).asset))
    assert scores.values.tolist() == [1, 1]
