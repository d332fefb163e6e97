"""Cameras: where the target lands, which way is up, and that rigs surround the asset."""

import math

import pytest
import torch

from scenes.cameras import Cameras, look_at, orbit, sphere

AT = {"size": 64, "radius": 2.1, "target": (0.0, 0.0, 0.45)}


def project(cameras: Cameras, point: torch.Tensor) -> torch.Tensor:
    """Pixels of a world point in every camera, and its depth."""
    local = cameras.viewmats[:, :3, :3] @ point + cameras.viewmats[:, :3, 3]
    pixel = (cameras.Ks @ local.unsqueeze(-1)).squeeze(-1)
    return torch.cat([pixel[:, :2] / pixel[:, 2:], local[:, 2:]], -1)


@pytest.mark.parametrize(
    "rig", [orbit(7, **AT), sphere(7, **AT), orbit(1, **AT, elevation_deg=90.0), orbit(2, **AT, elevation_deg=-90.0)]
)
def test_the_target_is_in_the_middle_and_up_is_up(rig):
    centre = project(rig, torch.tensor([0.0, 0.0, 0.45]))
    torch.testing.assert_close(centre, torch.tensor([32.0, 32.0, 2.1]).expand(rig.count, 3), rtol=1e-5, atol=1e-4)
    rotation = rig.viewmats[:, :3, :3]
    torch.testing.assert_close(
        rotation @ rotation.transpose(1, 2), torch.eye(3).expand(rig.count, 3, 3), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(rig.count))
    if rotation[0, 2, 2].abs() < 0.99:  # not straight down
        higher = project(rig, torch.tensor([0.0, 0.0, 0.55]))
        assert (higher[:, 1] < 31).all(), "higher points are higher in the image, whose y runs down"
        torch.testing.assert_close(higher[:, 0], torch.full((rig.count,), 32.0), rtol=0, atol=1e-3)


def test_positions_invert_the_view_matrices():
    positions = torch.tensor([[1.0, 2, 3], [-2, 0.5, 0.1]])
    rig = Cameras(look_at(positions, torch.zeros(3)), torch.eye(3).expand(2, 3, 3), 8, 8)
    torch.testing.assert_close(rig.positions, positions)


def test_azimuth_zero_sees_the_front_and_ninety_the_left():
    front, left = orbit(4, **AT, azimuth_deg=0.0, elevation_deg=0.0).positions[:2]
    torch.testing.assert_close(front, torch.tensor([0.0, -2.1, 0.45]))
    torch.testing.assert_close(left, torch.tensor([2.1, 0.0, 0.45]), rtol=0, atol=1e-6)
    right_side = project(orbit(1, **AT, azimuth_deg=0.0), torch.tensor([0.2, 0.0, 0.45]))
    assert right_side[0, 0] > 33, "from the front, +x is on the right of the image"


def test_the_field_of_view_is_the_image():
    rig = orbit(1, **{**AT, "size": 100}, elevation_deg=0.0, azimuth_deg=0.0, fov_deg=50.0)
    edge = project(rig, torch.tensor([2.1 * math.tan(math.radians(25)), 0.0, 0.45]))
    assert float(edge[0, 0]) == pytest.approx(100, abs=1e-3)


def test_sphere_is_seeded_and_within_its_range():
    one, same, other = (sphere(12, **AT, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.viewmats, same.viewmats) and not torch.equal(one.viewmats, other.viewmats)
    offset = one.positions - torch.tensor([0.0, 0.0, 0.45])
    elevation = torch.rad2deg(torch.asin(offset[:, 2] / offset.norm(dim=-1)))
    assert (elevation > 4.9).all() and (elevation < 45.1).all()
    sector = (torch.atan2(offset[:, 0], -offset[:, 1]) % (2 * math.pi)) // (2 * math.pi / 12)
    assert sorted(sector.int().tolist()) == list(range(12)), "stratified: one camera a sector"


def test_selection_and_validation():
    rig = orbit(6)
    assert torch.equal(rig[1:3].viewmats, rig.viewmats[1:3]) and rig[::2].count == 3
    assert rig.to(torch.float64).Ks.dtype == torch.float64
    with pytest.raises(ValueError, match="at least one pixel"):
        Cameras(rig.viewmats, rig.Ks, 0, 8)
    with pytest.raises(ValueError, match="disagree"):
        # Made without __init__, where the run-time shape checks of the tests would be the first to
        # object.
        wrong = object.__new__(Cameras)
        wrong.__dict__.update(viewmats=rig.viewmats, Ks=rig.Ks[..., :2, :], width=8, height=8)
        wrong.__post_init__()
