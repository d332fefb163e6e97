"""Textures: xatlas unwraps a mesh, and each texel gets the colour and normal of what the mesh was
made from.

Normals are stored in tangent space with the tangents of MikkTSpace (Mikkelsen, Simulation of
Wrinkled Surfaces Revisited, 2008), as glTF 2.0 requires.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from renderers import render
from scenes.cameras import Cameras
from scenes.gaussians import Gaussians
from scenes.mesh import Mesh, tangent_frame
from scenes.parts import Parts, shaded
from scenes.radiance_field import RadianceField

Painter = Callable[[Float[Tensor, "k 3"], Float[Tensor, "k 3"], Float[Tensor, "k 3"]], Float[Tensor, "k 3"]]
"""From position, unit normal and vertex colour at k texels to sRGB colour."""
Exact = Callable[[Float[Tensor, "k 3"], Float[Tensor, "k 3"]], Float[Tensor, "k 3"]]
"""From position and unit normal of a mesh at k texels to the unit normal of the exact surface."""
TEXELS_AT_ONCE = 1 << 16
MOST_BENT_DEG = 80.0
"""A normal map bends normals by less than 90 degrees. A larger angle means that another sheet of
the surface was found."""


@torch.no_grad()
def bake(mesh: Mesh, paint: Painter, size: int = 1024, exact: Exact | None = None) -> Mesh:
    """The mesh with texture coordinates and a texture of ``size`` x ``size`` texels instead of
    vertex colours. With ``exact`` normals it also gets tangents and a normal map of the same size.

    Vertices are doubled along the seams of the atlas. Merged by position, a closed mesh stays
    closed.
    """
    import xatlas

    if mesh.batch_shape:
        raise ValueError("bake works on a single mesh; index the batch first")
    mesh = mesh.detach()
    faces = mesh.faces.cpu().numpy().astype(np.uint32)
    normals = mesh.normals if mesh.normals is not None else vertex_normals(mesh)
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.float().cpu().numpy(), faces, normals.float().cpu().numpy())
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.bilinear = size, 2, True
    atlas.generate(pack_options=pack)
    origin, corners, uvs = atlas[0]
    if not np.isfinite(uvs).all():
        raise ValueError("the mesh has no surface that could be unwrapped")
    index = torch.from_numpy(origin.astype(np.int64)).to(mesh.vertices.device)
    unwrapped = Mesh(
        mesh.vertices[index],
        torch.from_numpy(corners.astype(np.int64)).to(index.device),
        torch.ones_like(mesh.vertices)[index] if mesh.colors is None else mesh.colors[index],
        normals[index],
    )
    uv = torch.from_numpy(uvs).to(mesh.vertices)
    # The atlas as a picture: texture space seen by a camera for which the plane z = 1 is the image.
    flat = torch.cat([uv[:, :1] * size, (1 - uv[:, 1:]) * size, torch.ones_like(uv[:, :1])], 1)
    camera = Cameras(torch.eye(4)[None].to(uv), torch.eye(3)[None].to(uv), size, size)

    def picture(values: Tensor) -> tuple[Tensor, Tensor]:
        views = render(Mesh(flat, unwrapped.faces, values), camera, background=(0, 0, 0), antialiased=False)
        return views.rgb[0].reshape(-1, 3), views.alpha[0].flatten() > 0

    assert unwrapped.colors is not None and unwrapped.normals is not None
    (position, hit), (normal, _), (color, _) = (
        picture(t) for t in (unwrapped.vertices, unwrapped.normals, unwrapped.colors)
    )
    position, color, normal = position[hit], color[hit], torch.nn.functional.normalize(normal[hit], dim=-1, eps=1e-12)
    spread = _spread(hit.view(size, size))

    def painted(normals: Tensor) -> Tensor:
        pieces = zip(*(t.split(TEXELS_AT_ONCE) for t in (position, normals, color)), strict=True)
        return torch.cat([paint(*some) for some in pieces])

    if exact is None:
        texture = spread(painted(normal).clamp(0, 1))
        return Mesh(unwrapped.vertices, unwrapped.faces, None, unwrapped.normals, uv, texture)
    bent = torch.cat(
        [exact(*some) for some in zip(position.split(TEXELS_AT_ONCE), normal.split(TEXELS_AT_ONCE), strict=True)]
    )
    bent = torch.where((bent * normal).sum(-1, keepdim=True) > math.cos(math.radians(MOST_BENT_DEG)), bent, normal)
    texture = spread(painted(bent).clamp(0, 1))
    tangents = vertex_tangents(unwrapped.vertices, unwrapped.faces, unwrapped.normals, uv)
    (along, _), (side, _) = (picture(t) for t in (tangents[:, :3], tangents[:, 3:].expand(-1, 3)))
    frame = tangent_frame(normal, torch.cat([along, side[:, :1]], -1)[hit])
    # Viewers do not make the frame's columns perpendicular: solved for, what they compute is the
    # normal meant.
    local = torch.nn.functional.normalize(torch.linalg.solve_ex(frame, bent.unsqueeze(-1)).result.squeeze(-1), dim=-1)
    straight = local.new_tensor([0.0, 0.0, 1.0])
    local = torch.where((local[:, 2:] > 0) & local.isfinite().all(-1, keepdim=True), local, straight)
    return Mesh(unwrapped.vertices, unwrapped.faces, None, unwrapped.normals, uv, texture, tangents, spread(local))


def _spread(hit: Bool[Tensor, "h w"]) -> Callable[[Float[Tensor, "k 3"]], Float[Tensor, "h w 3"]]:
    """Makes a picture from values at the k texels that are hit. The texels between charts take the
    nearest value, because bilinear lookups and mipmaps reach over the seams."""
    if not hit.any():
        return lambda values: values.new_zeros(*hit.shape, 3)
    from scipy.ndimage import distance_transform_edt

    found = np.asarray(distance_transform_edt(~hit.cpu().numpy(), return_distances=False, return_indices=True))
    y, x = (torch.from_numpy(i.astype(np.int64)).to(hit.device) for i in found)
    number = (hit.flatten().cumsum(0) - 1).view(hit.shape)[y, x]
    return lambda values: values[number]


@torch.no_grad()
def exact_of_parts(parts: Parts) -> Exact:
    """The normals of one asset's superquadrics."""
    parts = parts.detach().present()

    def exact(positions: Tensor, normals: Tensor) -> Tensor:
        _, found, near = _nearest_part(parts, positions, normals)
        return torch.where(near.unsqueeze(-1), found, normals)

    return exact


@torch.no_grad()
def paint_of_parts(parts: Parts | None) -> Painter:
    """The mesh's colours with the patterns of one asset's parts, in the light of splats and with
    the parts' finishes. Without parts, only the light."""
    if parts is None or not (parts.exists & ((parts.pattern >= 0) | parts.finished)).any():
        return lambda positions, normals, colors: shaded(colors, normals)
    present = parts.detach().present()

    def paint(positions: Tensor, normals: Tensor, colors: Tensor) -> Tensor:
        best, _, near = _nearest_part(present, positions, normals)
        painted = present.painted(best, positions, normals, colors=colors)
        return torch.where(near.unsqueeze(-1), painted, shaded(colors, normals))

    return paint


def _nearest_part(
    parts: Parts, positions: Float[Tensor, "k 3"], normals: Float[Tensor, "k 3"]
) -> tuple[Int[Tensor, "k"], Float[Tensor, "k 3"], Bool[Tensor, "k"]]:
    """The part on whose surface each position is, its normal there, and whether it is near at all.
    If several are near, the one whose normal is closest to the mesh's counts."""
    places = positions.expand(parts.count, -1, 3)
    found = parts.normals(places)
    off = parts.distance(places).abs() / parts.half_sizes.amax(-1, keepdim=True)
    best = (off + 0.1 * (1 - (found * normals).sum(-1))).argmin(0)
    texel = torch.arange(len(positions), device=best.device)
    # In a file that another program has changed the mesh need not lie on the parts.
    return best, found[best, texel], off[best, texel] < 0.1


@torch.no_grad()
def exact_of_mesh(dense: Mesh) -> Exact:
    """The normals of a denser mesh, without the ripples of a surface extracted from splats. A
    bilateral filter smooths them (Zheng et al., Bilateral Normal Filtering for Mesh Denoising,
    2011), which keeps edges."""
    from scipy.spatial import cKDTree

    tree = cKDTree(dense.vertices.cpu().numpy())

    def blend(values: Tensor, positions: Tensor, normals: Tensor, around: int, strictness: int) -> Tensor:
        """Average over the vertices around. Nearer ones weigh more, and those whose values are
        similar to ``normals``."""
        distance, index = tree.query(positions.cpu().numpy(), k=min(around, len(values)))
        near = values[torch.from_numpy(index).to(values.device)]
        distance = torch.from_numpy(distance).to(positions).unsqueeze(-1)
        # The farthest neighbour has weight 0, so that the result is continuous when another one
        # replaces it.
        weight = 1 - distance / distance[:, -1:].clamp_min(1e-12)
        alike = (near * normals.unsqueeze(1)).sum(-1, keepdim=True).clamp_min(0) ** strictness
        total = (weight * alike * near).sum(1)
        return torch.where(
            total.norm(dim=-1, keepdim=True) > 1e-9, torch.nn.functional.normalize(total, dim=-1, eps=1e-12), normals
        )

    rippled = vertex_normals(dense)
    smooth = blend(rippled, dense.vertices, rippled, 128, 16)
    return lambda positions, normals: blend(smooth, positions, normals, 8, 1)


@torch.no_grad()
def paint_from_views(scene: Gaussians | RadianceField, cameras: Cameras) -> Painter:
    """Colours as the scene's images show them. Of the cameras that see a texel, those that face it
    most directly weigh most."""
    views = render(scene, cameras, background=(0, 0, 0))
    extent = float((cameras.positions.amax(0) - cameras.positions.amin(0)).max())

    def paint(positions: Tensor, normals: Tensor, colors: Tensor) -> Tensor:
        total, weight = torch.zeros_like(positions), torch.zeros_like(positions[:, :1])
        fallback = torch.zeros_like(weight)
        for c in range(cameras.count):
            view, K = cameras.viewmats[c], cameras.Ks[c]
            local = positions @ view[:3, :3].T + view[:3, 3]
            z = local[:, 2:].clamp_min(1e-6)
            pixel = local[:, :2] / z * torch.stack([K[0, 0], K[1, 1]]) + K[:2, 2]
            grid = (2 * pixel / torch.tensor([cameras.width, cameras.height]).to(pixel) - 1).view(1, 1, -1, 2)

            def look(image: Tensor, grid: Tensor = grid) -> Tensor:
                found = torch.nn.functional.grid_sample(image.permute(2, 0, 1)[None], grid, align_corners=False)
                return found.view(image.shape[-1], -1).T

            alpha = look(views.alpha[c])
            color = look(views.rgb[c]) / alpha.clamp_min(1e-3)
            depth = look(views.depth[c] * views.alpha[c]) / alpha.clamp_min(1e-3)
            towards = torch.nn.functional.normalize(cameras.positions[c] - positions, dim=-1)
            facing = (towards * normals).sum(-1, keepdim=True).clamp_min(0)
            seen = (alpha > 0.5) * facing**4
            # A point well behind the surface that the camera sees is hidden. A texel hidden from
            # all cameras takes the colours of the cameras that miss it least.
            visible = seen * ((local[:, 2:] - depth).abs() < 0.01 * extent)
            total += (visible + 1e-4 * seen) * color
            weight += visible + 1e-4 * seen
            fallback += seen
        return torch.where(fallback > 0, total / weight.clamp_min(1e-12), colors)

    return paint


def vertex_normals(mesh: Mesh) -> Float[Tensor, "v 3"]:
    """Unit normals at the vertices of one mesh: the area-weighted mean over adjacent faces."""
    a, b, c = mesh.vertices[mesh.faces].unbind(-2)
    of_faces = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(mesh.vertices)
    for k in range(3):
        total.index_add_(0, mesh.faces[:, k], of_faces)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


def vertex_tangents(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], normals: Float[Tensor, "v 3"], uvs: Float[Tensor, "v 2"]
) -> Float[Tensor, "v 4"]:
    """Tangents as MikkTSpace makes them, with a sign.

    The direction in which the first texture coordinate grows on the adjacent faces, in the vertex's
    tangent plane, weighted by the faces' angles. The sign is 1, or -1 if the texture is mirrored.
    (MikkTSpace also splits vertices between mirrored and other faces; an atlas has none.)
    """
    corners = vertices[faces].double()
    (u1, v1), (u2, v2) = ((uvs[faces[:, i]] - uvs[faces[:, 0]]).double().unbind(-1) for i in (1, 2))
    mirrored = u1 * v2 - u2 * v1 < 0
    along = v2.unsqueeze(-1) * (corners[:, 1] - corners[:, 0]) - v1.unsqueeze(-1) * (corners[:, 2] - corners[:, 0])
    along = torch.where(mirrored.unsqueeze(-1), -along, along)
    # A vertex whose faces have no area has no normal. It gets the one that is written to files.
    up = torch.where(normals.any(-1, keepdim=True), normals, normals.new_tensor([0.0, 0.0, 1.0])).double()

    def flattened(vectors: Tensor, normal: Tensor) -> Tensor:
        return torch.nn.functional.normalize(
            vectors - (vectors * normal).sum(-1, keepdim=True) * normal, dim=-1, eps=1e-30
        )

    total, side = torch.zeros_like(up), torch.zeros_like(up[:, 0])
    for k in range(3):
        normal = up[faces[:, k]]
        one, other = (flattened(corners[:, (k + i) % 3] - corners[:, k], normal) for i in (1, 2))
        angle = (one * other).sum(-1).clamp(-1, 1).acos()
        total.index_add_(0, faces[:, k], angle.unsqueeze(-1) * flattened(along, normal))
        side.index_add_(0, faces[:, k], torch.where(mirrored, -angle, angle))
    # Where faces without area leave none, any direction in the plane will do.
    other = torch.nn.functional.one_hot(up.abs().argmin(-1), 3).to(up)
    total = torch.where(total.norm(dim=-1, keepdim=True) > 1e-9, total, torch.linalg.cross(up, other))
    return torch.cat(
        [torch.nn.functional.normalize(total, dim=-1), torch.where(side < 0, -1.0, 1.0).unsqueeze(-1)], -1
    ).to(vertices)
