"""Part assets: a set of tapered superquadrics, decoded differentiably to Gaussians, meshes, a
density field and rigid bodies.

A part is 19 numbers: existence, two exponents (box ... sphere), taper, centre, log half-size, 6D
rotation, colour. References: Barr, Superquadrics and Angle-Preserving Transformations, 1981; Zhou
et al., On the Continuity of Rotation Representations, 2019 (6D rotations)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scenes.gaussians import Gaussians, matrix_to_quaternion

VECTOR_SIZE = 19
MAX_PARTS = 24
MIN_EXPONENT, MAX_EXPONENT = 0.1, 1.5
MAX_TAPER = 0.97  # below 1, so that no face of a cone's mesh collapses to a line
MIN_HALF_SIZE, MAX_HALF_SIZE = 0.004, 1.0
TOUCH_TOLERANCE = 0.01
"""Two parts touch when the gap between them is at most this many metres."""
LIGHT = (-0.35, -0.75, 0.56)
"""Unit direction towards the light that is baked into the colours of splats."""


@dataclass(frozen=True)
class Parts:
    """P parts of an asset, or of a batch of assets; lengths in metres, colours sRGB in [0, 1].

    ``existence`` is above 0 for a part that is there. ``exponents`` are (north-south, east-west):
    0.1 is box-like, 1 is round. ``taper`` t > 0 shrinks the top to (1 - t), t < 0 the bottom to (1
    + t). ``rotations`` turn part to world."""

    existence: Float[Tensor, "*batch p"]
    exponents: Float[Tensor, "*batch p 2"]
    taper: Float[Tensor, "*batch p"]
    centres: Float[Tensor, "*batch p 3"]
    half_sizes: Float[Tensor, "*batch p 3"]
    rotations: Float[Tensor, "*batch p 3 3"]
    colors: Float[Tensor, "*batch p 3"]

    @staticmethod
    def from_vectors(vectors: Float[Tensor, "*batch p 19"]) -> Parts:
        """Decode the 19 numbers a part (see the module's docstring for their order); out-of-range
        values are clamped."""
        if vectors.shape[-1] != VECTOR_SIZE:
            raise ValueError(f"a part is {VECTOR_SIZE} numbers, got {vectors.shape[-1]}")
        existence, exponents, taper, centres, log_half_sizes, rotation, colors = vectors.split(
            (1, 2, 1, 3, 3, 6, 3), -1
        )
        x = torch.nn.functional.normalize(rotation[..., :3], dim=-1, eps=1e-6)
        y = rotation[..., 3:] - (x * rotation[..., 3:]).sum(-1, keepdim=True) * x
        y = torch.nn.functional.normalize(y, dim=-1, eps=1e-6)
        return Parts(
            existence=existence.squeeze(-1),
            exponents=exponents.clamp(MIN_EXPONENT, MAX_EXPONENT),
            taper=taper.squeeze(-1).clamp(-MAX_TAPER, MAX_TAPER),
            centres=centres,
            half_sizes=log_half_sizes.exp().clamp(MIN_HALF_SIZE, MAX_HALF_SIZE),
            rotations=torch.stack([x, y, torch.linalg.cross(x, y)], -1),
            colors=colors.clamp(0, 1),
        )

    def vectors(self) -> Float[Tensor, "*batch p 19"]:
        """The 19 numbers a part: the inverse of ``from_vectors`` for values in range."""
        rotation = torch.cat([self.rotations[..., 0], self.rotations[..., 1]], -1)
        column = self.existence.unsqueeze(-1), self.exponents, self.taper.unsqueeze(-1), self.centres
        return torch.cat([*column, self.half_sizes.log(), rotation, self.colors], -1)

    @property
    def exists(self) -> Bool[Tensor, "*batch p"]:
        return self.existence > 0

    @property
    def count(self) -> int:
        """Number of part slots, absent ones included."""
        return self.existence.shape[-1]

    def _map(self, fn) -> Parts:
        return Parts(**{f.name: fn(getattr(self, f.name)) for f in dataclasses.fields(self)})

    def __getitem__(self, index) -> Parts:
        """Select assets along the batch dimensions."""
        return self._map(lambda t: t[index])

    def detach(self) -> Parts:
        return self._map(torch.Tensor.detach)

    def to(self, device: torch.device | str) -> Parts:
        return self._map(lambda t: t.to(device))

    def double(self) -> Parts:
        """In double precision: geometry that must not depend on how a batch is laid out."""
        return self._map(torch.Tensor.double)

    def present(self) -> Parts:
        """The parts of a single asset that exist."""
        if self.existence.dim() != 1:
            raise ValueError("present() works on a single asset; index the batch first")
        mask = self.exists
        return self._map(lambda t: t[mask])

    @staticmethod
    def stack(assets: list[Parts], slots: int = MAX_PARTS) -> Parts:
        """Batch single assets, padding each to ``slots`` with absent parts (existence -1)."""
        vectors = []
        for asset in assets:
            v = asset.vectors()
            pad = torch.zeros(slots - len(v), VECTOR_SIZE)
            pad[:, 0] = -1
            pad[:, 10] = pad[:, 14] = 1.0
            vectors.append(torch.cat([v, pad]))
        return Parts.from_vectors(torch.stack(vectors))

    def to_world(self, local: Float[Tensor, "*batch p k 3"]) -> Float[Tensor, "*batch p k 3"]:
        """Points of each part's frame (in metres about its centre), in the world."""
        return local @ self.rotations.transpose(-1, -2) + self.centres.unsqueeze(-2)

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
        """Approximate signed distance in metres of each part's own k world points to its surface,
        negative inside.

        To first order: (g - 1) / |grad g| with g the part's gauge, 1 on the surface and growing in
        proportion along rays from the centre (Taubin, 1991). Exact at flat faces and on the
        surface; near corners and far from curved parts it errs."""
        gauge, gradient = self._gauge(points)
        return (gauge - 1) / gradient.square().sum(-1).add(1e-12).sqrt()

    def normals(self, points: Float[Tensor, "*batch p k 3"]) -> Float[Tensor, "*batch p k 3"]:
        """Outward unit normals (world) of each part's surface at k world points on it; near it, of
        the level of its gauge there."""
        _, gradient = self._gauge(points)
        return torch.nn.functional.normalize(gradient, dim=-1, eps=1e-20) @ self.rotations.transpose(-1, -2)

    def _gauge(
        self, points: Float[Tensor, "*batch p k 3"]
    ) -> tuple[Float[Tensor, "*batch p k"], Float[Tensor, "*batch p k 3"]]:
        """1 on each part's surface, less inside, and its gradient per metre in the part's frame."""
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

    def gaps(self, reach: float = TOUCH_TOLERANCE) -> Float[Tensor, "*batch p p"]:
        """Approximate distance in metres between every two existing parts, at most 0 where they
        overlap; infinite on the diagonal, for absent parts and where it is clearly more than
        ``reach``."""
        batch = self.existence.shape[:-1]
        flat = self._map(lambda t: t.detach().reshape(-1, *t.shape[len(batch) :]))
        # Only parts that exist are looked at, all scenes' in one list: most slots are empty.
        shown, slots = flat[flat.exists], flat.exists
        grid = torch.cat([shown.surface_grid(3).flatten(1, 2), shown.centres.unsqueeze(1)], 1)
        number = torch.zeros_like(slots, dtype=torch.long)
        number[slots] = torch.arange(len(grid), device=number.device)
        low, high = (corner[number] if len(grid) else flat.centres for corner in (grid.amin(1), grid.amax(1)))
        # Boxes tell parts apart along an axis: no gap is less, whatever the approximate distance
        # says.
        apart = torch.maximum(low[:, :, None] - high[:, None], low[:, None] - high[:, :, None]).amax(-1)
        near = (apart <= reach) & slots[:, :, None] & slots[:, None]
        near &= ~torch.eye(self.count, dtype=torch.bool, device=near.device)
        b, i, j = near.nonzero(as_tuple=True)  # how far are points of part i from part j?
        gaps = torch.full(near.shape, torch.inf, device=near.device, dtype=grid.dtype)
        if len(b):
            gaps[b, i, j] = shown[number[b, j]].distance(grid[number[b, i]]).amin(-1).maximum(apart[b, i, j])
        return torch.minimum(gaps, gaps.transpose(1, 2)).view(*batch, self.count, self.count)

    def contacts(self, tolerance: float = TOUCH_TOLERANCE) -> Bool[Tensor, "*batch p p"]:
        """Which pairs of existing parts touch or overlap, up to a gap of ``tolerance`` metres
        (symmetric, false on the diagonal)."""
        return self.gaps(tolerance) <= tolerance

    def components(self, tolerance: float = TOUCH_TOLERANCE) -> Int[Tensor, "*batch p"]:
        """Label of the touching cluster that each part belongs to (the index of its first part), -1
        for absent parts."""
        return clusters(self.contacts(tolerance), self.exists)

    def bottoms(self) -> Float[Tensor, "*batch p"]:
        """Lowest world z of every part."""
        return self.surface_grid(3)[..., 2].amin((-1, -2))

    def gaussians(self, count: int = 3072, *, shade: bool = True, inset: float = 0.0) -> Gaussians:
        """``count`` flat Gaussians spread over the surfaces of the existing parts, differentiable
        in every part parameter.

        Small parts get more than their share of the area, so that an eye is as sharp as a table
        top. ``shade`` bakes a fixed diffuse light into the colours, which is what lets shape be
        read from an image of constant-coloured parts. ``inset`` moves each Gaussian inwards by so
        many of its standard deviations: at the silhouette half of it stands over the surface, and
        the asset looks that much fatter."""
        batch = self.existence.shape[:-1]
        flat = self._map(lambda t: t.reshape(-1, *t.shape[len(batch) :]))
        scenes = len(flat.existence)
        # Only parts that exist are decoded, all scenes' in one list; an asset without any shows its
        # first slot, with opacity 0.
        shown = flat.exists.clone()
        empty = ~shown.any(-1)
        shown[:, 0] |= empty
        scene_of, slot_of = shown.nonzero(as_tuple=True)
        parts = flat._map(lambda t: t[scene_of, slot_of])
        grid = parts.surface_grid(4)
        around = torch.cat([grid, grid[:, :, :1]], 2)
        corners = torch.stack([around[:, :-1, :-1], around[:, :-1, 1:], around[:, 1:, :-1], around[:, 1:, 1:]], 3)
        cells = corners.flatten(1, 2)  # parts, cells, 4 corners, 3
        c00, c01, c10, c11 = cells.unbind(2)
        # Squared norms first: the root of a cell without area has no gradient.
        area = torch.linalg.cross(c01 - c00 + c11 - c10, c10 - c00 + c11 - c01).square().sum(-1).add(1e-18).sqrt() / 4
        part_area = area.sum(-1)
        with torch.no_grad():
            weight = (area * part_area.pow(-0.35).unsqueeze(-1)).double().flatten()
            per_scene = torch.zeros(scenes, dtype=torch.double, device=weight.device).index_add_(
                0, scene_of, weight.view_as(area).sum(-1)
            )
            cdf = weight.cumsum(0)
            before = cdf[-1:].new_zeros(scenes)
            before[1:] = per_scene.cumsum(0)[:-1]
            ticks = before.unsqueeze(-1) + (torch.arange(count, device=cdf.device) + 0.5) / count * per_scene.unsqueeze(
                -1
            )
            chosen = torch.searchsorted(cdf, ticks).clamp_max(len(cdf) - 1)
            part = chosen // area.shape[-1]
            per_part = torch.bincount(part.flatten(), minlength=len(part_area)).clamp_min(1)
            # Within a cell: evenly in one direction by the tick's place in it, by the golden ratio
            # in the other (a rank-1 lattice).
            u = (1 - ((cdf[chosen] - ticks) / weight[chosen].clamp_min(1e-12)).clamp(0, 1)).to(grid).unsqueeze(-1)
            v = ((0.5 + torch.arange(count, device=cdf.device) * 0.6180339887498949) % 1).to(grid).view(1, -1, 1)
        spacing = (part_area / per_part).sqrt()[part]  # side of the patch that one Gaussian stands for
        c00, c01, c10, c11 = cells.flatten(0, 1)[chosen].unbind(2)
        means = (1 - v) * ((1 - u) * c00 + u * c01) + v * ((1 - u) * c10 + u * c11)
        tangent = (1 - v) * (c01 - c00) + v * (c11 - c10)
        other = (1 - u) * (c10 - c00) + u * (c11 - c01)
        # Cells at the poles have a zero edge; the other edges still give the normal.
        normal = torch.nn.functional.normalize(torch.linalg.cross(other, tangent), dim=-1, eps=1e-12)
        tangent = torch.nn.functional.normalize(tangent, dim=-1, eps=1e-12)
        bitangent = torch.linalg.cross(normal, tangent)
        quats = matrix_to_quaternion(torch.stack([tangent, bitangent, normal], -1))
        # A Gaussian must not stick out of a thin part by more than a fraction of its width.
        sigma = torch.minimum(0.62 * spacing, 0.5 * parts.half_sizes.median(-1).values[part])
        scales = torch.stack([sigma, sigma, 0.1 * sigma], -1)
        if inset:
            means = means - inset * sigma.unsqueeze(-1) * normal
        colors = parts.colors[part]
        if shade:
            colors = shaded(colors, normal)
        opacities = torch.sigmoid(10 * parts.existence)[part] * 0.98 * ~empty.unsqueeze(-1)
        out = Gaussians(means, quats, scales, opacities, colors)
        return out._map(lambda t: t.view(*batch, *t.shape[1:]))

    def meshes(self, per_octant: int = 3) -> tuple[Float[Tensor, "*batch p v 3"], Int[Tensor, "f 3"]]:
        """One closed triangle mesh a part, absent ones included: vertices, and faces
        (counter-clockwise) shared by all parts."""
        grid = self.surface_grid(per_octant)
        rings, around = grid.shape[-3], grid.shape[-2]
        body = grid[..., 1:-1, :, :].flatten(-3, -2)
        vertices = torch.cat([grid[..., 0, :1, :], body, grid[..., -1, :1, :]], -2)
        return vertices, _mesh_faces(rings, around).to(grid.device)


def clusters(touching: Bool[Tensor, "*batch p p"], exists: Bool[Tensor, "*batch p"]) -> Int[Tensor, "*batch p"]:
    """Label of the cluster of each part (the index of its first part), -1 for absent ones."""
    count = exists.shape[-1]
    reach = touching | torch.eye(count, dtype=torch.bool, device=exists.device)
    for _ in range(max(1, (count - 1).bit_length())):
        reach = (reach.float() @ reach.float()) > 0
    return torch.where(exists, reach.float().argmax(-1), -1)


def _power_norm(a: Tensor, b: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(a^(2/e) + b^(2/e))^(e/2) of positive a and b, and its derivatives; scaled so that powers up
    to 20 cannot overflow."""
    largest = torch.maximum(a, b)
    norm = largest * ((a / largest) ** (2 / exponent) + (b / largest) ** (2 / exponent)) ** (exponent / 2)
    return norm, (a / norm) ** (2 / exponent - 1), (b / norm) ** (2 / exponent - 1)


def shading(normals: Float[Tensor, "*n 3"], light: Float[Tensor, "3"]) -> Float[Tensor, "*n"]:
    """Brightness factor in [0.5, 1] of a soft hemisphere light: the wrap keeps faces away from the
    light readable."""
    return 0.5 + 0.5 * ((normals @ light) * 0.6 + 0.4 + 0.15 * normals[..., 2]).clamp(0, 1)


def shaded(colors: Float[Tensor, "*n 3"], normals: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Colours in the light that assets are shown in."""
    return colors * shading(normals, torch.tensor(LIGHT, dtype=normals.dtype, device=normals.device)).unsqueeze(-1)


def taper_factor(taper: Tensor, z: Tensor) -> Tensor:
    """Scale of the cross-section at height z in [-1, 1]: 1 at the wide end, 1 - abs(taper) at the
    narrow one."""
    return 1 - taper.clamp_min(0) * (1 + z) / 2 + taper.clamp_max(0) * (1 - z) / 2


def _superellipse_octants(exponent: Float[Tensor, "*b"], per_octant: int, octants: int) -> Float[Tensor, "*b k 2"]:
    """Points on |x|^(2/e) + |y|^(2/e) = 1 from angle 0 (x = 1), counter-clockwise over ``octants``
    eighths of a turn.

    Each octant is sampled evenly in slope, (1, t) / (1 + t^(2/e))^(e/2): even along a box's side as
    along a circle's arc, with a sample exactly at the corner."""
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
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(16)
    # Halves are integrated apart: |z|^(2/e) has a kink at 0 for e > 1.
    nodes, weights = np.concatenate([(nodes - 1) / 2, (nodes + 1) / 2]), np.concatenate([weights, weights]) / 2
    return torch.as_tensor(nodes).to(like), torch.as_tensor(weights).to(like)


def _mesh_faces(rings: int, around: int) -> Int[Tensor, "f 3"]:
    """Faces of a grid closed around the axis, whose first and last rings are single vertices."""
    inner = rings - 2
    last = 1 + inner * around
    i = torch.arange(around)
    j = (i + 1) % around
    top = torch.stack([torch.zeros_like(i), 1 + i, 1 + j], -1)
    low = 1 + (inner - 1) * around
    bottom = torch.stack([torch.full_like(i, last), low + j, low + i], -1)
    quads = []
    for ring in range(inner - 1):
        a, b = 1 + ring * around, 1 + (ring + 1) * around
        quads += [torch.stack([a + i, b + i, b + j], -1), torch.stack([a + i, b + j, a + j], -1)]
    return torch.cat([top, *quads, bottom])
