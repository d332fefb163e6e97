"""Whether boxes of parts stand to each other as a relation says."""

import numpy as np
import pytest

from rewards.relations import Box, arranged, related


def box(x: float, y: float, z: float, w: float = 1.0, d: float = 1.0, h: float = 1.0) -> Box:
    """A part whose bottom centre is (x, y, z)."""
    return np.array([[x - w / 2, y - d / 2, z]]), np.array([[x + w / 2, y + d / 2, z + h]])


def both(*parts: Box) -> Box:
    return np.concatenate([low for low, _ in parts]), np.concatenate([high for _, high in parts])


def test_a_thing_on_a_seat_is_below_the_back():
    bench = both(box(0, 0, 0.8, 3, 1, 0.2), box(0, 0.45, 1.0, 3, 0.1, 2.0))
    assert related("on", box(0.5, -0.1, 1.0, 0.6, 0.6, 0.6), bench)
    assert not related("on", box(0.5, -0.1, 0.0, 0.6, 0.6, 0.6), bench)  # under the seat
    assert not related("on", box(0.5, -1.1, 0.0, 0.6, 0.6, 0.6), bench)  # before it
    assert related("under", bench, box(0.5, -0.1, 1.0, 0.6, 0.6, 0.6))


def test_a_hat_on_a_head_that_is_not_over_the_middle():
    dog = both(box(0, 0, 0.5, 0.6, 2, 0.6), box(0, -1.1, 1.0, 0.6, 0.6, 0.6))
    assert related("wearing", dog, box(0, -1.1, 1.58, 0.5, 0.5, 0.4))
    assert not related("wearing", dog, box(0, -1.9, 0, 0.5, 0.5, 0.4))
    assert not related("wearing", box(0, -1.1, 1.58, 0.5, 0.5, 0.4), dog)


@pytest.mark.parametrize("place", [(-1, 0), (1, 0), (0, -1), (0, 1)])
def test_several_things_at_one_side(place):
    x, y = place
    side = {(-1, 0): "left", (1, 0): "right", (0, -1): "front", (0, 1): "behind"}[place]
    row = [box(2 * x + y * k, 2 * y + x * k, 0) for k in (-0.5, 0.5)]
    for kind in ("left", "right", "front", "behind"):
        assert arranged(kind, row, [box(0, 0, 0)]) == float(kind == side)
    assert arranged("next", row, [box(0, 0, 0)]) == 1


def test_between():
    ends = [box(-2, 0, 0), box(2, 0, 0)]
    assert arranged("between", [box(0, 0, 0)], ends) == 1
    assert arranged("between", [box(-4, 0, 0)], ends) == 0  # beyond
    assert arranged("between", [box(0, 2, 0)], ends) == 0  # aside
    assert arranged("between", [box(0, 0, 2)], ends) == 0  # above
    assert arranged("between", [box(0, 0, 0)], ends[:1]) == 0


def test_around():
    sides = [box(-1, 0, 0), box(1, 0, 0), box(0, 1, 0), box(0, -1, 0)]
    centre = [box(0, 0, 0)]
    for count in (2, 3, 4):
        assert arranged("around", sides[:count], centre) == 1
    assert arranged("around", [box(1, 0, 0), box(2, 0, 0)], centre) == 0  # all on one side
    assert arranged("around", [box(1, 0, 0), box(0, 0, 1)], centre) == 0  # one on top


def test_each_of_several_counts():
    table = [box(0, 0, 0, 4, 4, 1)]
    cups = [box(-1, 0, 1, 0.5, 0.5, 0.5), box(1, 0, 1, 0.5, 0.5, 0.5), box(5, 0, 0, 0.5, 0.5, 0.5)]
    assert arranged("on", cups[:2], table) == 1
    assert arranged("on", cups, table) == pytest.approx(2 / 3)
    assert arranged("under", table, cups[:2]) == 1
    assert arranged("on", [], table) == 0
