"""Depth and colours that do and do not agree between views."""

import pytest
import torch

from rewards.views.reprojection import Reprojection, neighbours
from scenes.cameras import orbit


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("depth", lambda image: image * 1.05),
        ("depth", lambda image: image * 0.95),
        ("rgb", lambda image: torch.where(image.amin(-1, keepdim=True) < 0.9, 1 - image.roll(1, -1), image)),
        ("alpha", torch.zeros_like),
    ],
)
def test_a_spoiled_view_is_found(pictures, spoil, name, change):
    reward = Reprojection()
    whole = reward(pictures(reward.needs))
    spoiled = reward(pictures(reward.needs, spoil(name, 5, change)))
    assert (whole.values[:2] > 0.97).all()
    assert (spoiled.values[:2] < whole.values[:2] - 0.03).all()
    assert spoiled.per_view[:2].argmin(-1).tolist() == [5, 5]


def test_neighbours_stand_next_to_each_other():
    assert [sorted(pair) for pair in neighbours(orbit(5)).tolist()] == [[1, 4], [0, 2], [1, 3], [2, 4], [0, 3]]
