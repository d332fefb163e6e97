"""Radiance fields to images: emission and absorption along rays (Mildenhall et al., NeRF, 2020),
with empty space skipped.

A ray is sampled evenly where the field's occupancy grid is not empty, then again where light was
absorbed. The image is the sum over both sets. Plain PyTorch on any device, differentiable in the
field and in the cameras.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from renderers.base import NEAR_PLANE
from scenes.cameras import Cameras
from scenes.radiance_field import RadianceField


@dataclass(frozen=True)
class Quadrature:
    """How finely rays are sampled."""

    coarse: int = 48
    """Even samples on the stretch of a ray inside the field's bounds."""
    fine: int = 48
    """Further samples, drawn where the coarse ones absorb light. 0 turns them off."""
    grid: int = 64
    """Cells per side of the occupancy grid. 0 queries the field everywhere."""
    empty: float = 0.02
    """Optical depth of a cell's edge below which it is skipped."""
    points: int = 2**18
    """Points queried at once. This bounds the memory: gradients are recomputed piece by piece."""
    float16: bool = True
    """On CUDA, query the field under autocast to float16, which speeds up matrix products. Sums
    along rays stay in float32."""

    def __post_init__(self) -> None:
        if self.coarse < 1 or min(self.fine, self.grid) < 0 or self.points < 1 or self.empty < 0:
            raise ValueError(f"a quadrature needs at least one coarse sample and no negative number, got {self}")


def draw(
    field: RadianceField,
    cameras: Cameras,
    background: Float[Tensor, "*b c 3"],
    *,
    normals: bool,
    quadrature: Quadrature,
    rng: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour (*b, c, h, w, 3), alpha (..., 1), expected depth (..., 1) and normal (..., 3) in the
    world, towards lower density.

    ``cameras`` have the field's batch dimensions. With ``rng`` the coarse samples are jittered
    within their strata, for training; otherwise they are the middles. Normals cost a second pass
    through the field; without them they are zeros.
    """
    batch, (c, h, w) = field.batch_shape, (cameras.count, cameras.height, cameras.width)
    low, high = (t.unsqueeze(-2) for t in field.bounds)
    occupied = occupancy(field, quadrature) if quadrature.grid else None
    origins, directions = rays(cameras)
    # Along a ray t is the depth along the camera's axis, for directions have unit z in the camera.
    with torch.no_grad():
        # A ray along a side of the box meets its planes at infinity; one in such a plane must not
        # divide zero by zero.
        slope = torch.where(directions.abs() < 1e-12, 1e-12, directions)
        to_low, to_high = (low - origins) / slope, (high - origins) / slope
        near = torch.minimum(to_low, to_high).amax(-1).clamp_min(NEAR_PLANE)
        far = torch.maximum(to_low, to_high).amin(-1).maximum(near)
    step = max(1, quadrature.points // (max(1, batch.numel()) * (quadrature.coarse + quadrature.fine)))
    pieces = []
    for some in torch.arange(c * h * w, device=origins.device).split(step):
        middle = torch.full((*batch, len(some), quadrature.coarse), 0.5, dtype=origins.dtype, device=origins.device)
        jitter = middle if rng is None else torch.rand(middle.shape, generator=rng, dtype=origins.dtype).to(middle)
        start, way = origins[..., some, :], directions[..., some, :]
        arguments = field, occupied, start, way, near[..., some], far[..., some], jitter, quadrature, normals
        # Without this the graph would hold every intermediate of every sample of the image.
        pieces.append(
            checkpoint(_integrate, *arguments, use_reentrant=False)
            if torch.is_grad_enabled()
            else _integrate(*arguments)
        )
    image = torch.cat(pieces, -2).view(*batch, c, h, w, 8)
    rgb, alpha, depth, normal = image.split((3, 1, 1, 3), -1)
    return rgb + (1 - alpha) * background[..., None, None, :], alpha, depth / alpha.clamp_min(1e-10), normal


def rays(cameras: Cameras) -> tuple[Float[Tensor, "*b r 3"], Float[Tensor, "*b r 3"]]:
    """Origins and directions (of unit z in the camera) through the centres of all pixels, camera by
    camera, row by row."""
    like = cameras.viewmats
    v, u = torch.meshgrid(
        torch.arange(cameras.height, dtype=like.dtype, device=like.device) + 0.5,
        torch.arange(cameras.width, dtype=like.dtype, device=like.device) + 0.5,
        indexing="ij",
    )
    fx, fy, cx, cy = (cameras.Ks[..., i, j, None, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    x, y = (u - cx) / fx, (v - cy) / fy
    local = torch.stack([x, y, torch.ones_like(x)], -1).flatten(-3, -2)
    directions = (local @ cameras.viewmats[..., :3, :3]).flatten(-3, -2)
    return cameras.positions.repeat_interleave(cameras.width * cameras.height, -2), directions


@torch.no_grad()
def occupancy(field: RadianceField, quadrature: Quadrature) -> Bool[Tensor, "*b g g g"]:
    """Cells of the field's bounds that may hold something: those with a corner that is not empty,
    and their neighbours."""
    low, high = field.bounds
    g = quadrature.grid
    steps = torch.linspace(0, 1, g + 1, dtype=low.dtype, device=low.device)
    corners = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).view(-1, 3)
    step = max(1, quadrature.points // max(1, field.batch_shape.numel()))
    places = (low.unsqueeze(-2) + (high - low).unsqueeze(-2) * some for some in corners.split(step))
    density = torch.cat([field.query(some)[0] for some in places], -1).view(-1, 1, g + 1, g + 1, g + 1)
    full = density * ((high - low).amax(-1).view(-1, 1, 1, 1, 1) / g) > quadrature.empty
    cells = torch.nn.functional.max_pool3d(full.to(low.dtype), 2, stride=1)
    return torch.nn.functional.max_pool3d(cells, 3, stride=1, padding=1).view(*field.batch_shape, g, g, g) > 0


def _integrate(
    field: RadianceField,
    occupied: Tensor | None,
    origins: Float[Tensor, "*b r 3"],
    directions: Float[Tensor, "*b r 3"],
    near: Float[Tensor, "*b r"],
    far: Float[Tensor, "*b r"],
    jitter: Float[Tensor, "*b r s"],
    quadrature: Quadrature,
    normals: bool,
) -> Float[Tensor, "*b r 8"]:
    """Sums over each ray of weight times colour, 1, depth and normal."""
    count = jitter.shape[-1]
    span, length = (far - near).unsqueeze(-1), directions.norm(dim=-1, keepdim=True)
    t = near.unsqueeze(-1) + span * (torch.arange(count, dtype=near.dtype, device=near.device) + jitter) / count

    def ask(t: Tensor) -> Tensor:
        return _ask(field, occupied, origins, directions, t, far > near, quadrature, normals)

    values = ask(t)
    if quadrature.fine:
        with torch.no_grad():
            absorbed = _weights(values[..., 0], _widths(t, near, far) * length)
            more = _draw_where(absorbed, near, span, quadrature.fine)
        t, order = torch.cat([t, more], -1).sort(-1)
        values = torch.cat([values, ask(more)], -2)
        values = values.gather(-2, order.unsqueeze(-1).expand(*order.shape, values.shape[-1]))
    weights = _weights(values[..., 0], _widths(t, near, far) * length)
    seen = torch.cat([values[..., 1:4], torch.ones_like(t).unsqueeze(-1), t.unsqueeze(-1), values[..., 4:]], -1)
    return (weights.unsqueeze(-1) * seen).sum(-2)


def _ask(
    field: RadianceField,
    occupied: Tensor | None,
    origins: Float[Tensor, "*b r 3"],
    directions: Float[Tensor, "*b r 3"],
    t: Float[Tensor, "*b r s"],
    hit: Bool[Tensor, "*b r"],
    quadrature: Quadrature,
    normals: bool,
) -> Float[Tensor, "*b r s 7"]:
    """Density, colour and normal at the samples; zeros where the grid is empty, and on rays that do
    not hit the field's bounds."""
    points = (origins.unsqueeze(-2) + t.unsqueeze(-1) * directions.unsqueeze(-2)).flatten(-3, -2)
    wanted = hit.unsqueeze(-1).expand(t.shape).flatten(-2)
    if occupied is not None:
        low, high = (b.unsqueeze(-2) for b in field.bounds)
        g = occupied.shape[-1]
        x, y, z = ((points.detach() - low) / (high - low).clamp_min(1e-12) * g).long().clamp(0, g - 1).unbind(-1)
        wanted = wanted & occupied.flatten(-3).gather(-1, (x * g + y) * g + z)
    # Scenes of a batch need different numbers of points. Each scene's points come first, and all
    # are padded to the largest number.
    most = int(wanted.sum(-1).max()) if wanted.numel() else 0
    values = torch.zeros(*points.shape[:-1], 7, dtype=t.dtype, device=t.device)
    if most:
        index = wanted.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[..., :most].unsqueeze(-1)
        asked = points.gather(-2, index.expand(*index.shape[:-1], 3))
        answer = _query(field, asked, quadrature, normals) * wanted.unsqueeze(-1).gather(-2, index)
        values = values.scatter(-2, index.expand(*index.shape[:-1], 7), answer)
    return values.unflatten(-2, t.shape[-2:])


def _query(
    field: RadianceField, points: Float[Tensor, "*b k 3"], quadrature: Quadrature, normals: bool
) -> Float[Tensor, "*b k 7"]:
    wanted = torch.is_grad_enabled()
    with torch.autocast(points.device.type, torch.float16, enabled=quadrature.float16 and points.is_cuda):
        if not normals:
            density, color = field.query(points)
            return torch.cat([density.to(points).unsqueeze(-1), color.to(points), torch.zeros_like(points)], -1)
        with torch.enable_grad():
            places = points if points.requires_grad else points.detach().requires_grad_()
            density, color = field.query(places)
            (slope,) = torch.autograd.grad(density.sum(), places, create_graph=wanted)
    normal = -torch.nn.functional.normalize(slope, dim=-1, eps=1e-12)
    values = torch.cat([density.to(points).unsqueeze(-1), color.to(points), normal], -1)
    return values if wanted else values.detach()


def _widths(
    t: Float[Tensor, "*b r s"], near: Float[Tensor, "*b r"], far: Float[Tensor, "*b r"]
) -> Float[Tensor, "*b r s"]:
    """Length of the ray that each sample stands for: up to half way to its neighbours."""
    edges = torch.cat([near.unsqueeze(-1), (t[..., 1:] + t[..., :-1]) / 2, far.unsqueeze(-1)], -1)
    return edges.diff(dim=-1)


def _weights(density: Float[Tensor, "*b r s"], widths: Float[Tensor, "*b r s"]) -> Float[Tensor, "*b r s"]:
    """Fraction of the light that each sample absorbs: T (1 - exp(-density width)), equation 3 of
    the NeRF paper."""
    depth = density * widths
    before = depth.cumsum(-1) - depth
    return torch.exp(-before) * -torch.expm1(-depth)


def _draw_where(
    weights: Float[Tensor, "*b r s"], near: Float[Tensor, "*b r"], span: Float[Tensor, "*b r 1"], count: int
) -> Float[Tensor, "*b r f"]:
    """``count`` positions along each ray, distributed like its weights, by inverting their
    cumulative sum (section 5.2 of the paper)."""
    cdf = torch.nn.functional.pad((weights + 1e-5).cumsum(-1), (1, 0))
    cdf = cdf / cdf[..., -1:]
    u = (
        ((torch.arange(count, dtype=cdf.dtype, device=cdf.device) + 0.5) / count)
        .expand(*cdf.shape[:-1], count)
        .contiguous()
    )
    upper = torch.searchsorted(cdf, u, right=True).clamp(1, weights.shape[-1])
    below, above = cdf.gather(-1, upper - 1), cdf.gather(-1, upper)
    inside = (u - below) / (above - below).clamp_min(1e-12)
    return near.unsqueeze(-1) + span * (upper - 1 + inside) / weights.shape[-1]
