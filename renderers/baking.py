"""Textures: a mesh is unwrapped by xatlas, and the colour of every texel is asked of what the mesh was made from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from renderers import render
from scenes.cameras import Cameras
from scenes.gaussians import Gaussians
from scenes.mesh import Mesh
from scenes.radiance_field import RadianceField

Painter = Callable[[Float[Tensor, "k 3"], Float[Tensor, "k 3"], Float[Tensor, "k 3"]], Float[Tensor, "k 3"]]
"""Position, unit normal and vertex colour at k texels to their sRGB colour."""


@torch.no_grad()
def bake(mesh: Mesh, paint: Painter, size: int = 1024) -> Mesh:
    """The mesh with texture coordinates and a texture of ``size`` x ``size`` texels, in place of its vertex colours.

    Vertices are doubled along the seams of the atlas; merged by position, a closed mesh is closed still.
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
    (position, hit), (normal, _), (color, _) = (picture(t) for t in (unwrapped.vertices, unwrapped.normals, unwrapped.colors))
    texture = torch.zeros_like(position)
    if hit.any():
        texture[hit] = paint(position[hit], torch.nn.functional.normalize(normal[hit], dim=-1, eps=1e-12), color[hit]).clamp(0, 1)
        # Texels between charts take the colour of the nearest that has one: bilinear lookups and mipmaps reach over the seams.
        from scipy.ndimage import distance_transform_edt

        empty = ~hit.view(size, size).cpu().numpy()
        nearest = np.asarray(distance_transform_edt(empty, return_distances=False, return_indices=True))
        y, x = (torch.from_numpy(i.astype(np.int64)) for i in nearest)
        texture = texture[(y * size + x).flatten().to(texture.device)]
    return Mesh(unwrapped.vertices, unwrapped.faces, None, unwrapped.normals, uv, texture.view(size, size, 3))


@torch.no_grad()
def paint_from_views(scene: Gaussians | RadianceField, cameras: Cameras) -> Painter:
    """Colours as the scene's images show them: of the cameras that see a texel, those that look at it most squarely count most."""
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
            # What lies well behind what the camera sees is hidden from it; a texel that all miss takes what the least bad of them show.
            visible = seen * ((local[:, 2:] - depth).abs() < 0.01 * extent)
            total += (visible + 1e-4 * seen) * color
            weight += visible + 1e-4 * seen
            fallback += seen
        return torch.where(fallback > 0, total / weight.clamp_min(1e-12), colors)

    return paint


def vertex_normals(mesh: Mesh) -> Float[Tensor, "v 3"]:
    """Unit normals at the vertices of one mesh: those of the faces around, weighted by area."""
    a, b, c = mesh.vertices[mesh.faces].unbind(-2)
    of_faces = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(mesh.vertices)
    for k in range(3):
        total.index_add_(0, mesh.faces[:, k], of_faces)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)
