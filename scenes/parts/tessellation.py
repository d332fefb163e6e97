"""What parts are drawn as: flat Gaussians on their surfaces, and one triangle mesh each."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scenes.gaussians import Gaussians, matrix_to_quaternion
from scenes.parts.light import finished, shaded
from scenes.parts.materials import PartMaterials


class Parts(PartMaterials):
    """A set of tapered superquadrics, or a batch of sets: data, geometry, contacts, materials and
    drawing.

    The fields are those of ``PartData``.
    """

    def gaussians(self, count: int = 3072, *, shade: bool = True, inset: float = 0.0) -> Gaussians:
        """``count`` flat Gaussians on the surfaces of the existing parts, differentiable in every
        part parameter but the scores of patterns.

        Small parts get more than their share of the area, so that an eye is as sharp as a table
        top. ``shade`` bakes a fixed light and each part's finish into the colours, without which
        the shape of uniform parts is hard to see. ``inset`` moves each Gaussian inwards by this
        many of its standard deviations. Without it half of each Gaussian reaches over the
        silhouette, and the asset looks fatter.
        """
        batch = self.existence.shape[:-1]
        flat = self._map(lambda t: t.reshape(-1, *t.shape[len(batch) :]))
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
        chosen, u, v = _spread(area, scene_of, len(flat.existence), count)
        part = chosen // area.shape[-1]
        per_part = torch.bincount(part.flatten(), minlength=len(part_area)).clamp_min(1)
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
        colors = parts.painted(part, means, normal, shade=shade)
        if inset:
            means = means - inset * sigma.unsqueeze(-1) * normal
        opacities = torch.sigmoid(10 * parts.existence)[part] * 0.98 * ~empty.unsqueeze(-1)
        out = Gaussians(means, quats, scales, opacities, colors)
        return out._map(lambda t: t.view(*batch, *t.shape[1:]))

    def painted(
        self,
        part: Int[Tensor, "*k"],
        points: Float[Tensor, "*k 3"],
        normals: Float[Tensor, "*k 3"],
        *,
        colors: Float[Tensor, "*k 3"] | None = None,
        shade: bool = True,
    ) -> Float[Tensor, "*k 3"]:
        """sRGB colours of world points on the surface of one asset (p,), with patterns, and with
        the light unless ``shade`` is off.

        ``part`` is the part of each point. ``colors`` are the points' colours without patterns, by
        default those of their parts.
        """
        colors = self.colors[part] if colors is None else colors
        # Parts of the default material, often all, take the short way.
        patterned, special = self.pattern >= 0, self.finished
        if patterned.any():
            at = patterned[part]
            chosen = self[part[at]]
            other = chosen.in_second_color(points[at].unsqueeze(-2))
            colors = colors.masked_scatter(at.unsqueeze(-1), torch.where(other, chosen.second_colors, colors[at]))
        if not shade:
            return colors
        lit = shaded(colors, normals)
        if special.any():
            at = special[part]
            of = part[at]
            outwards = (points[at] - self.centres[of]) / self.half_sizes.amax(-1, keepdim=True)[of]
            reflecting = finished(colors[at], normals[at], outwards, self.metallic[of], self.roughness[of])
            lit = lit.masked_scatter(at.unsqueeze(-1), reflecting)
        return lit

    def surface_texels(self, size: int) -> Float[Tensor, "*batch p k 3"]:
        """World points of the k = ``size`` x ``size`` texels of a texture around each part, the top
        row first. Rows go from pole to pole and columns once around, as in ``surface_grid``."""
        per_octant = 8
        grid = self.detach().surface_grid(per_octant)
        flat = torch.cat([grid, grid[..., :1, :]], -2).flatten(0, -4).permute(0, 3, 1, 2)  # closed around
        rows = torch.linspace(-1, 1, size, dtype=grid.dtype, device=grid.device)
        columns = (torch.arange(size, dtype=grid.dtype, device=grid.device) + 0.5) / size * 2 - 1
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).expand(len(flat), -1, -1, -1)
        points = torch.nn.functional.grid_sample(flat, places, align_corners=True)
        return points.flatten(2).transpose(1, 2).reshape(*self.existence.shape, size * size, 3)

    def meshes(self, per_octant: int = 3) -> tuple[Float[Tensor, "*batch p v 3"], Int[Tensor, "f 3"]]:
        """One closed triangle mesh per part, absent ones included: vertices, and faces
        (counter-clockwise) shared by all parts."""
        grid = self.surface_grid(per_octant)
        rings, around = grid.shape[-3], grid.shape[-2]
        body = grid[..., 1:-1, :, :].flatten(-3, -2)
        vertices = torch.cat([grid[..., 0, :1, :], body, grid[..., -1, :1, :]], -2)
        return vertices, mesh_faces(rings, around).to(grid.device)


@torch.no_grad()
def _spread(
    area: Float[Tensor, "p cells"], scene_of: Int[Tensor, "p"], scenes: int, count: int
) -> tuple[Int[Tensor, "s n"], Float[Tensor, "s n 1"], Float[Tensor, "1 n 1"]]:
    """``count`` places in each scene: cells, numbered through all parts, and coordinates in [0, 1]
    within them.

    The density of places falls with the area of their part (to the power of 0.35). Within a cell
    they are even in one direction by their rank, and in the other by the golden ratio (a rank-1
    lattice).
    """
    weight = (area * area.sum(-1).pow(-0.35).unsqueeze(-1)).double().flatten()
    per_scene = torch.zeros(scenes, dtype=torch.double, device=weight.device)
    per_scene = per_scene.index_add_(0, scene_of, weight.view_as(area).sum(-1))
    cdf = weight.cumsum(0)
    before = cdf[-1:].new_zeros(scenes)
    before[1:] = per_scene.cumsum(0)[:-1]
    rank = torch.arange(count, device=cdf.device)
    ticks = before.unsqueeze(-1) + (rank + 0.5) / count * per_scene.unsqueeze(-1)
    chosen = torch.searchsorted(cdf, ticks).clamp_max(len(cdf) - 1)
    u = 1 - ((cdf[chosen] - ticks) / weight[chosen].clamp_min(1e-12)).clamp(0, 1)
    v = (0.5 + rank * 0.6180339887498949) % 1
    return chosen, u.to(area).unsqueeze(-1), v.to(area).view(1, -1, 1)


def mesh_faces(rings: int, around: int) -> Int[Tensor, "f 3"]:
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
