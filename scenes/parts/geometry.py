"""The geometry of parts: surface points, distances, normals, volumes and centroids.

A part is a superquadric (Barr, 1981) with a tapered cross-section. All of it is differentiable in
every number of a part.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scenes.parts.data import PartData


class PartGeometry(PartData):
    """Parts and their surfaces."""

    def surface_grid(self, per_octant: int = 3) -> Float[Tensor, "*batch p rings around 3"]:
        """World points on every part's surface: 4 * per_octant + 1 rings from the top pole to the
        bottom, 8 * per_octant around."""
        meridian = _superellipse_octants(self.exponents[..., 0], per_octant, octants=4)
        equator = _superellipse_octants(self.exponents[..., 1], per_octant, octants=8)[..., :-1, :]
        radius, z = meridian[..., 1], meridian[..., 0]  # the meridian starts at the pole
        radius = radius * taper_factor(self.taper.unsqueeze(-1), z)
        xy = radius[..., :, None, None] * equator[..., None, :, :]
        unit = torch.cat([xy, z[..., :, None, None].expand(*xy.shape[:-1], 1)], -1)
        local = unit * self.half_sizes[..., None, None, :]
        shape = local.shape
        return self.to_world(local.flatten(-3, -2)).view(shape)

    def distance(self, points: Float[Tensor, "*batch p k 3"]) -> Float[Tensor, "*batch p k"]:
        """Approximate signed distance in metres of k world points to the surface of their part,
        negative inside.

        To first order: (g - 1) / |grad g| with the part's gauge g, which is 1 on the surface and
        proportional to the distance from the centre along rays (Taubin, 1991). Exact on flat faces
        and on the surface; inexact near corners and far from curved parts.
        """
        gauge, gradient = self._gauge(points)
        return (gauge - 1) / gradient.square().sum(-1).add(1e-12).sqrt()

    def normals(self, points: Float[Tensor, "*batch p k 3"]) -> Float[Tensor, "*batch p k 3"]:
        """Outward unit normals (world) at k world points on each part's surface. Near the surface,
        the normal of the gauge's level there."""
        _, gradient = self._gauge(points)
        return torch.nn.functional.normalize(gradient, dim=-1, eps=1e-20) @ self.rotations.transpose(-1, -2)

    def _gauge(
        self, points: Float[Tensor, "*batch p k 3"]
    ) -> tuple[Float[Tensor, "*batch p k"], Float[Tensor, "*batch p k 3"]]:
        """The gauge, 1 on each part's surface and less inside, and its gradient per metre in the
        part's frame."""
        local = (points - self.centres.unsqueeze(-2)) @ self.rotations
        half, taper = self.half_sizes.unsqueeze(-2), self.taper.unsqueeze(-1)
        unit = local / half
        inside = (unit[..., 2] > -1) & (unit[..., 2] < 1)
        factor = taper_factor(taper, unit[..., 2].clamp(-1, 1))
        north, east = self.exponents[..., 0, None], self.exponents[..., 1, None]
        x, y = ((unit[..., i] / factor).abs().clamp_min(1e-6) for i in (0, 1))
        z = unit[..., 2].abs().clamp_min(1e-6)
        xy, dx, dy = _power_norm(x, y, east)
        gauge, dxy, dz = _power_norm(xy, z, north)
        # The cross-section shrinks with height, so a tapered side also has a slope along z.
        slope = torch.where(inside, xy * taper / (2 * factor), torch.zeros_like(xy))
        dx, dy = (torch.copysign(dxy * d / factor, unit[..., i]) for i, d in enumerate((dx, dy)))
        return gauge, torch.stack([dx, dy, dz * unit[..., 2].sign() + dxy * slope], -1) / half

    def masses(self) -> tuple[Float[Tensor, "*batch p"], Float[Tensor, "*batch p 3"]]:
        """Volume in cubic metres and centroid (world) of every part, absent ones included."""
        north, east = self.exponents.unbind(-1)
        nodes, weights = _gauss_legendre(self.taper)
        z = nodes.expand(*self.taper.shape, -1)
        radius = (1 - z.abs() ** (2 / north.unsqueeze(-1))).clamp_min(1e-9) ** (north.unsqueeze(-1) / 2)
        slices = (radius * taper_factor(self.taper.unsqueeze(-1), z)) ** 2 * weights
        # Area of the unit superellipse |x|^(2/e) + |y|^(2/e) <= 1: 4 G(1 + e/2)^2 / G(1 + e).
        area = 4 * (2 * torch.lgamma(1 + east / 2) - torch.lgamma(1 + east)).exp()
        total = slices.sum(-1)
        height = (slices * z).sum(-1) / total * self.half_sizes[..., 2]
        centroid = self.centres + self.rotations[..., 2] * height.unsqueeze(-1)
        return area * total * self.half_sizes.prod(-1), centroid

    def bottoms(self) -> Float[Tensor, "*batch p"]:
        """Lowest world z of every part."""
        return self.surface_grid(3)[..., 2].amin((-1, -2))


def taper_factor(taper: Tensor, z: Tensor) -> Tensor:
    """Scale of the cross-section at height z in [-1, 1]: 1 at the wide end, 1 - abs(taper) at the
    narrow one."""
    return 1 - taper.clamp_min(0) * (1 + z) / 2 + taper.clamp_max(0) * (1 - z) / 2


def _power_norm(a: Tensor, b: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(a^(2/e) + b^(2/e))^(e/2) of positive a and b, and its derivatives, scaled so that powers up
    to 20 do not overflow."""
    largest = torch.maximum(a, b)
    norm = largest * ((a / largest) ** (2 / exponent) + (b / largest) ** (2 / exponent)) ** (exponent / 2)
    return norm, (a / norm) ** (2 / exponent - 1), (b / norm) ** (2 / exponent - 1)


def _superellipse_octants(exponent: Float[Tensor, "*b"], per_octant: int, octants: int) -> Float[Tensor, "*b k 2"]:
    """Points on |x|^(2/e) + |y|^(2/e) = 1 from angle 0 (x = 1), counter-clockwise over ``octants``
    eighths of a turn.

    Each octant is sampled evenly in slope, (1, t) / (1 + t^(2/e))^(e/2). This is even along a box's
    side and along a circle's arc, with one sample exactly at the corner.
    """
    t = torch.linspace(0, 1, per_octant + 1, dtype=exponent.dtype, device=exponent.device)
    scale = (1 + t.clamp_min(1e-6) ** (2 / exponent.unsqueeze(-1))) ** (-exponent.unsqueeze(-1) / 2)
    along, across = scale, scale * t
    x, y = [], []
    for octant in range(octants):
        quarter, second = divmod(octant, 2)
        a, b = (along, across) if not second else (across.flip(-1), along.flip(-1))
        # Rotate the first quadrant's arc by quarter turns.
        for _ in range(quarter):
            a, b = -b, a
        keep = slice(None) if octant == octants - 1 else slice(0, -1)
        x.append(a[..., keep])
        y.append(b[..., keep])
    return torch.stack([torch.cat(x, -1), torch.cat(y, -1)], -1)


def _gauss_legendre(like: Tensor) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(16)
    # Halves are integrated apart: |z|^(2/e) has a kink at 0 for e > 1.
    nodes, weights = np.concatenate([(nodes - 1) / 2, (nodes + 1) / 2]), np.concatenate([weights, weights]) / 2
    return torch.as_tensor(nodes).to(like), torch.as_tensor(weights).to(like)
