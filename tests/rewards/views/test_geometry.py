"""Pixels to points and back."""

import torch

from rewards.views.geometry import centre_of, local_range, pixel_rays, project
from scenes.cameras import orbit


def test_points_come_back_to_their_pixels():
    rig = orbit(5, size=16)
    rays = pixel_rays(rig).flatten(1, 2)
    for view in range(5):
        points = rig.positions[view] + 2.0 * rays[view]
        pixels, depth = project(rig, view, points)
        assert pixels.tolist() == list(range(256))
        torch.testing.assert_close(depth, torch.full((256,), 2.0))


def test_out_of_the_picture():
    rig = orbit(1, size=16)
    behind = rig.positions[0] * 2 - torch.tensor([0.0, 0.0, 0.45])
    assert project(rig, 0, torch.stack([behind, torch.tensor([0.0, 0.0, 30.0])]))[0].tolist() == [256, 256]


def test_the_rig_looks_at_its_target():
    centre, radius = centre_of(orbit(7, target=(0.1, 0.2, 0.3)))
    torch.testing.assert_close(centre, torch.tensor([0.1, 0.2, 0.3]), atol=0.01, rtol=0)
    assert 0.8 < radius < 0.85  # 2.4 tan 19 degrees


def test_local_range_looks_at_the_mask_alone():
    image = torch.arange(16.0).view(1, 4, 4)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 1] = mask[0, 1, 2] = True
    low, high = local_range(image, mask)
    assert (low[0, 0, 1], high[0, 0, 1]) == (5, 6)
    assert (low[0, 3, 3], high[0, 3, 3]) == (torch.inf, -torch.inf)
