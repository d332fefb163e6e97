"""A recorded fall against what mechanics says."""

import math

import numpy as np
import pytest

from rewards.physics.simulate import GRAVITY, Trial, drop


def test_a_box_falls_freely_and_lands(batch, part):
    box = batch([part((0.2, 0.2, 0.2), (0, 0, 0.2))]).need_parts()[0]
    height = 0.4
    recording = drop(box, height)
    z = recording.positions[:, 0, 2]
    assert z[0] == pytest.approx(height)
    # Explicit Euler with the simulator's step falls g t dt / 2 further than the parabola.
    in_the_air = int(math.sqrt(2 * height / GRAVITY) * recording.fps)
    t = np.arange(in_the_air) / recording.fps
    assert np.abs(z[:in_the_air] - (height - GRAVITY / 2 * t * (t + Trial().timestep))).max() < 1e-3
    assert abs(z[-1]) < 0.005 and recording.tilt_deg < 2
    np.testing.assert_allclose(recording.rotations[0, 0], np.eye(3))


def test_what_is_loose_falls_as_a_body_of_its_own(batch, part):
    asset = batch([part((0.2, 0.2, 0.1), (0, 0, 0.1)), part((0.05, 0.05, 0.05), (0.6, 0, 0.5))]).need_parts()[0]
    recording = drop(asset, 0.0)
    assert recording.labels.tolist()[:2] == [0, 1] and (recording.labels[2:] == -1).all()
    assert abs(recording.positions[-1, 0, 2]) < 0.005
    # A point of the loose part is where its frame says: it has come down to the ground.
    corner = recording.rotations[-1, 1] @ np.array([0.6, 0, 0.5]) + recording.positions[-1, 1]
    assert 0.02 < corner[2] < 0.09


def test_a_cone_on_its_tip_falls_over(batch, part):
    cone = batch([part((0.3, 0.3, 0.5), (0, 0, 0.5), (0.1, 1.0), -0.97)]).need_parts()[0]
    assert drop(cone).tilt_deg > 45


def test_the_same_asset_falls_the_same_way(batch, table):
    parts = batch(table("abc")).need_parts()[0]
    first, again = drop(parts), drop(parts)
    assert (first.positions == again.positions).all() and (first.rotations == again.rotations).all()


def test_nothing_to_drop(batch):
    with pytest.raises(ValueError, match="has no parts to drop"):
        drop(batch([]).need_parts()[0])
    with pytest.raises(ValueError, match="a single asset"):
        drop(batch([], []).need_parts())
