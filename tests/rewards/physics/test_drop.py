"""A recorded fall against what mechanics says."""

import math

import numpy as np
import pytest

from rewards.physics.simulate import GRAVITY, Trial, drop


def test_a_box_falls_freely_and_lands(batch, part):
    box = batch([part((0.2, 0.2, 0.2), (0, 0, 0.2))]).asset
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
    asset = batch([part((0.2, 0.2, 0.1), (0, 0, 0.1)), part((0.05, 0.05, 0.05), (0.6, 0, 0.5))]).asset
    recording = drop(asset, 0.0)
    assert recording.bodies == [0, 1]
    assert abs(recording.positions[-1, 0, 2]) < 0.005
    # The middle of the loose part is where its frame says: it has come down to the ground.
    centre = recording.rotations[-1, 1] @ [0.6, 0, 0.5] + recording.positions[-1, 1]
    assert 0.02 < centre[2] < 0.09
    moved = asset.moved([recording.poses(len(recording.positions) - 1)]).parts
    np.testing.assert_allclose(moved.centres[0, 1], centre, atol=1e-5)


def test_a_cone_on_its_tip_falls_over(batch, part):
    cone = batch([part((0.3, 0.3, 0.5), (0, 0, 0.5), (0.1, 1.0), -0.97)]).asset
    assert drop(cone).tilt_deg > 45


def test_the_same_asset_falls_the_same_way(batch, table):
    asset = batch(table("abc")).asset
    first, again = drop(asset), drop(asset)
    assert (first.positions == again.positions).all() and (first.rotations == again.rotations).all()


def test_an_empty_asset_cannot_be_dropped(batch):
    with pytest.raises(ValueError, match="the asset is empty: there is nothing to drop"):
        drop(batch([]).asset)
    with pytest.raises(ValueError, match="an asset of one scene, got 2"):
        drop(batch([], []).asset)
