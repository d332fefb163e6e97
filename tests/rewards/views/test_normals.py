"""Normals of depth images against closed forms."""

import torch

from rewards.views.geometry import pixel_rays
from rewards.views.normals import Normals, depth_normals
from scenes.cameras import orbit


def test_normals_of_a_plane_are_exact():
    rig = orbit(3, size=64)
    normal = torch.nn.functional.normalize(torch.tensor([0.2, -0.1, 1.0]), dim=0)
    depth = -(rig.positions @ normal)[:, None, None] / (pixel_rays(rig) @ normal)  # the plane through the origin
    found, smooth = depth_normals(depth[None], torch.ones(1, 3, 64, 64), rig)
    assert smooth[..., 2:-2, 2:-2].float().mean() > 0.5
    torch.testing.assert_close(found[smooth], normal.expand(int(smooth.sum()), 3), atol=1e-3, rtol=0)


def test_flipped_normals_are_found(pictures, spoil):
    reward = Normals()
    whole = reward(pictures(reward.needs))
    spoiled = reward(pictures(reward.needs, spoil("normal", 7, torch.neg)))
    assert (whole.values[:2] > 0.9).all()
    assert (spoiled.values[:2] < whole.values[:2] - 0.05).all()
    assert (spoiled.per_view[:2, 7] < 0.01).all()
