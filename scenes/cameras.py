"""Pinhole cameras in the OpenCV convention (x right, y down, z forward), as gsplat takes them, and
rigs around an asset."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """C cameras, with optional leading batch dimensions (one rig per scene).

    ``viewmats`` map world to camera. ``Ks`` are intrinsics in pixels, for images of ``width`` x
    ``height``.
    """

    viewmats: Float[Tensor, "*batch c 4 4"]
    Ks: Float[Tensor, "*batch c 3 3"]
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.viewmats.shape[-2:] != (4, 4) or self.Ks.shape != (*self.viewmats.shape[:-2], 3, 3):
            shapes = f"{tuple(self.viewmats.shape)} and {tuple(self.Ks.shape)}"
            raise ValueError(f"viewmats (..., c, 4, 4) and Ks (..., c, 3, 3) disagree: {shapes}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"an image needs at least one pixel, got {self.width}x{self.height}")

    @property
    def count(self) -> int:
        return self.viewmats.shape[-3]

    @property
    def positions(self) -> Float[Tensor, "*batch c 3"]:
        """Camera centres in world coordinates."""
        rotation, translation = self.viewmats[..., :3, :3], self.viewmats[..., :3, 3]
        return -(rotation.transpose(-1, -2) @ translation.unsqueeze(-1)).squeeze(-1)

    def to(self, *args, **kwargs) -> Cameras:
        return Cameras(self.viewmats.to(*args, **kwargs), self.Ks.to(*args, **kwargs), self.width, self.height)

    def __getitem__(self, index: slice | list[int]) -> Cameras:
        """Select cameras (not batch entries) by a slice or a list of indices."""
        return Cameras(self.viewmats[..., index, :, :], self.Ks[..., index, :, :], self.width, self.height)


def look_at(
    positions: Float[Tensor, "*c 3"], target: Float[Tensor, "3"], up: tuple[float, float, float] = (0, 0, 1)
) -> Float[Tensor, "*c 4 4"]:
    """World-to-camera matrices of cameras at ``positions`` that look at ``target``."""
    forward = torch.nn.functional.normalize(target - positions, dim=-1)
    up_vector = torch.tensor(up, dtype=positions.dtype, device=positions.device).expand_as(forward)
    right = torch.linalg.cross(forward, up_vector)
    vertical = right.norm(dim=-1, keepdim=True) < 1e-6
    right = torch.where(
        vertical, torch.tensor([1.0, 0, 0], dtype=positions.dtype, device=positions.device).expand_as(right), right
    )
    right = torch.nn.functional.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], -2)
    viewmats = torch.eye(4, dtype=positions.dtype, device=positions.device).expand(*positions.shape[:-1], 4, 4).clone()
    viewmats[..., :3, :3] = rotation
    viewmats[..., :3, 3] = -(rotation @ positions.unsqueeze(-1)).squeeze(-1)
    return viewmats


def pinhole(viewmats: Float[Tensor, "*batch c 4 4"], fov_deg: float, width: int, height: int) -> Cameras:
    """Cameras with images of ``width`` x ``height`` pixels that see ``fov_deg`` from top to bottom.
    Pixels are square, and the optical axis passes through the middle."""
    focal = 0.5 * height / math.tan(math.radians(fov_deg) / 2)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Cameras(viewmats, K.expand(*viewmats.shape[:-2], 3, 3).clone(), width, height)


def orbit(
    count: int,
    *,
    size: int = 128,
    azimuth_deg: float = 35.0,
    elevation_deg: float = 20.0,
    radius: float = 2.4,
    fov_deg: float = 38.0,
    target: tuple[float, float, float] = (0.0, 0.0, 0.45),
) -> Cameras:
    """``count`` cameras evenly spaced on a circle around ``target``. Azimuth 0 sees the asset's
    front (from -y), 90 its left side (+x)."""
    azimuth = torch.deg2rad(azimuth_deg + torch.arange(count) * (360.0 / count))
    elevation = torch.deg2rad(torch.full((count,), elevation_deg))
    return _around(azimuth, elevation, size, radius, fov_deg, target)


def sphere(
    count: int,
    *,
    seed: int = 0,
    size: int = 128,
    elevation_deg: tuple[float, float] = (5.0, 45.0),
    radius: float = 2.4,
    fov_deg: float = 38.0,
    target: tuple[float, float, float] = (0.0, 0.0, 0.45),
) -> Cameras:
    """``count`` cameras at random azimuths (stratified) and random elevations in the given range,
    from a seed."""
    rng = torch.Generator().manual_seed(seed)
    azimuth = (torch.arange(count) + torch.rand(count, generator=rng)) * (2 * math.pi / count)
    low, high = elevation_deg
    elevation = torch.deg2rad(low + (high - low) * torch.rand(count, generator=rng))
    return _around(azimuth, elevation, size, radius, fov_deg, target)


def _around(
    azimuth: Tensor, elevation: Tensor, size: int, radius: float, fov_deg: float, target: tuple[float, float, float]
) -> Cameras:
    centre = torch.tensor(target)
    direction = torch.stack([elevation.cos() * azimuth.sin(), -elevation.cos() * azimuth.cos(), elevation.sin()], -1)
    return pinhole(look_at(centre + radius * direction, centre), fov_deg, size, size)
