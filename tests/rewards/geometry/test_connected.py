"""Connectedness on assets whose clusters and masses are known in closed form."""

import math

import pytest
import torch

from rewards.base import Batch
from rewards.geometry.connected import Connected, things_standing
from rewards.geometry.contact import Contact
from rewards.geometry.floaters import Floaters


def test_one_piece_is_whole(batch, table):
    scores = Connected()(batch(table()))
    assert scores.values.tolist() == [1]
    assert scores.verdict.tolist() == [True]
    assert scores.per_part.tolist() == [[1] * 5 + [0] * 3]


def test_the_value_is_the_clusters_fraction_of_the_mass(batch, part):
    # Two balls whose volumes are as 8 to 1; the small one floats.
    assets = [part((0.2, 0.2, 0.2), (0, 0, 0.2), (1.0, 1.0)), part((0.1, 0.1, 0.1), (0, 0, 0.7), (1.0, 1.0))]
    scores = Connected()(batch(assets))
    assert scores.values.item() == pytest.approx(8 / 9, abs=1e-4)
    assert scores.per_part[0, :2].tolist() == [1, 0]


def test_small_floating_part_fails_the_verdict_only(batch, table, part):
    scores = Connected()(batch([*table(), part((0.01, 0.01, 0.01), (0, 0, 0.8))]))
    assert 0.999 < scores.values.item() < 1
    assert scores.verdict.tolist() == [False]


def test_the_cluster_must_rest_on_the_ground(batch, part):
    heavy_above = [part((0.3, 0.3, 0.3), (0, 0, 0.8)), part((0.1, 0.1, 0.1), (0, 0, 0.1))]
    scores = Connected()(batch(heavy_above))
    assert scores.values.item() == pytest.approx(1 / 28, abs=1e-4)
    assert scores.per_part[0, :2].tolist() == [0, 1]


def test_largest_of_two_grounded_clusters(batch, part):
    # Heights differ by less than the ground's tolerance: both rest on the ground.
    apart = [part((0.1, 0.1, 0.1), (-0.5, 0, 0.1)), part((0.1, 0.1, 0.2), (0.5, 0, 0.215))]
    assert Connected()(batch(apart)).values.item() == pytest.approx(2 / 3, abs=1e-4)
    lifted = [apart[0], part((0.1, 0.1, 0.2), (0.5, 0, 0.225))]
    assert Connected()(batch(lifted)).values.item() == pytest.approx(1 / 3, abs=1e-4)


def test_height_of_the_whole_asset_does_not_count(batch, table):
    lifted = [v + torch.nn.functional.one_hot(torch.tensor(6), 19) * 0.7 for v in table()]
    assert Connected()(batch(lifted)).values.tolist() == [1]


@pytest.mark.parametrize(
    ("prompt", "standing"),
    [
        ("a cube next to a cylinder", 2),
        ("two cubes around a cylinder", 3),
        ("a cube on a cylinder", 1),
        ("a cube inside a bucket next to a cylinder", 2),
        ("a cylinder under a cube", 1),
        ("a teddy bear wearing a purple hat", 1),
        ("a cube", 1),
        ("something that nobody can read", 1),
    ],
)
def test_things_may_stand_apart_if_the_prompt_names_them(prompt, standing, batch, part):
    """Three cubes apart, and a fourth one in the air: as many may be apart as the prompt has
    standing on the ground."""
    cubes = [part((0.1, 0.1, 0.1), (x, 0, 0.1)) for x in (-0.5, 0.0, 0.5)]
    made = Batch([prompt] * 2, batch(cubes, [*cubes, part((0.1, 0.1, 0.1), (0, 0, 0.8))]).asset)
    assert things_standing(made).tolist() == [standing] * 2
    connected, floaters, contact = Connected()(made), Floaters()(made), Contact()(made)
    assert connected.values.tolist() == pytest.approx([min(standing, 3) / 3, min(standing, 3) / 4], abs=1e-4)
    for scores in (connected, floaters, contact):
        assert scores.verdict.tolist() == [standing >= 3, False]


def test_no_parts_and_broken_parts(batch, table):
    broken = table()
    broken[2] = broken[2].clone()
    broken[2][5] = math.nan
    absent_and_broken = [*table(), broken[2] * 1]
    absent_and_broken[-1][0] = -1
    scores = Connected()(batch([], broken, table(), absent_and_broken))
    assert scores.values.tolist() == [0, 0, 1, 1]
    assert scores.verdict.tolist() == [False, False, True, True]
    assert scores.failed == 1  # an empty asset is no failure, and an absent part may hold anything
    assert scores.per_part[:2].eq(0).all()
