"""Triangle meshes to images: which triangle a pixel sees comes from a rasteriser; everything else is differentiable PyTorch.

Inside a triangle, gradients flow through the barycentric coordinates. Across silhouettes they flow through antialiasing: a pixel beside
a silhouette is blended with its neighbour by how far the edge reaches into it (Laine et al., Modular Primitives for High-Performance
Differentiable Rendering, 2020, section 3.6).
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from renderers import kernels
from renderers.base import NEAR_PLANE
from scenes.cameras import Cameras
from scenes.mesh import Mesh

Points = Float[Tensor, "s c v 3"]
Faces = Int[Tensor, "s f 3"]
Intrinsics = Float[Tensor, "s c 4"]
"""fx, fy, cx, cy of every image."""
Rasterizer = Callable[[Points, Faces, Intrinsics, int, int], Int[Tensor, "s c h w"]]
"""Camera-space vertices, faces, intrinsics, width and height to the nearest face of every pixel, -1 where there is none."""


def draw(
    mesh: Mesh, cameras: Cameras, background: Float[Tensor, "s c 3"], rasterize: Rasterizer, *, antialias: bool = True
) -> tuple[Float[Tensor, "s c h w 3"], Float[Tensor, "s c h w 1"], Float[Tensor, "s c h w 1"], Float[Tensor, "s c h w 3"]]:
    """Colour (unlit), alpha, depth and normal (in the world, towards the camera; times alpha) of S meshes seen by C cameras each."""
    (s, c), h, w = cameras.viewmats.shape[:2], cameras.height, cameras.width
    rotation, translation = cameras.viewmats[..., :3, :3], cameras.viewmats[..., :3, 3]
    points = mesh.vertices.unsqueeze(1) @ rotation.transpose(-1, -2) + translation.unsqueeze(-2)
    K = torch.stack([cameras.Ks[..., i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))], -1)
    with torch.no_grad():
        seen = rasterize(points, mesh.faces, K, w, h)
    image = torch.zeros(s * c * h * w, 8, dtype=points.dtype, device=points.device)
    hit = (seen >= 0).nonzero()
    if len(hit):
        image = image.index_copy(0, (seen >= 0).flatten().nonzero().squeeze(-1), _shade(mesh, points, K, rotation, hit, seen))
    image = image.view(s, c, h, w, 8)
    if antialias and len(hit):
        image = _antialias(image, points, mesh.faces, K, seen)
    color, alpha, depth, normal = image.split((3, 1, 1, 3), -1)
    return color + (1 - alpha) * background[..., None, None, :], alpha, depth / alpha.clamp_min(1e-10), normal


def _shade(mesh: Mesh, points: Points, K: Intrinsics, rotation: Tensor, hit: Int[Tensor, "k 4"], seen: Tensor) -> Float[Tensor, "k 8"]:
    """Colour, 1, depth and normal of the pixels that see a triangle."""
    s, c, y, x = hit.unbind(-1)
    corners = mesh.faces[s, seen[s, c, y, x]]  # (k, 3) vertices
    a, b, d = points[s.unsqueeze(-1), c.unsqueeze(-1), corners].unbind(-2)
    fx, fy, cx, cy = K[s, c].unbind(-1)
    ray = torch.stack([(x + 0.5 - cx) / fx, (y + 0.5 - cy) / fy, torch.ones_like(fx)], -1)
    # Volumes that the ray cuts off: barycentric coordinates of where it meets the triangle, perspective and all.
    volumes = torch.stack([(torch.linalg.cross(u, v) * ray).sum(-1) for u, v in ((b, d), (d, a), (a, b))], -1)
    total = volumes.sum(-1, keepdim=True)
    barycentric = volumes / torch.where(total == 0, torch.ones_like(total), total)

    def interpolate(attribute: Tensor) -> Tensor:
        return (barycentric.unsqueeze(-1) * attribute[s.unsqueeze(-1), corners]).sum(-2)

    depth = (barycentric * torch.stack([a[..., 2], b[..., 2], d[..., 2]], -1)).sum(-1, keepdim=True)
    color = torch.ones_like(ray) if mesh.colors is None else interpolate(mesh.colors)
    if mesh.texture is not None and mesh.uvs is not None:
        color = color * _texels(mesh.texture, s, interpolate(mesh.uvs))
    if mesh.normals is not None:
        normal = interpolate(mesh.normals)
    else:
        normal = (torch.linalg.cross(b - a, d - a).unsqueeze(-2) @ rotation[s, c]).squeeze(-2)
    normal = torch.nn.functional.normalize(normal, dim=-1, eps=1e-20)
    facing = ((rotation[s, c] @ normal.unsqueeze(-1)).squeeze(-1) * ray).sum(-1, keepdim=True)
    normal = torch.where(facing > 0, -normal, normal)
    return torch.cat([color, torch.ones_like(depth), depth, normal], -1)


def _texels(texture: Float[Tensor, "s th tw 3"], s: Int[Tensor, " k"], uv: Float[Tensor, "k 2"]) -> Float[Tensor, "k 3"]:
    """Bilinear lookup, repeating beyond [0, 1]."""
    th, tw = texture.shape[1:3]
    x, y = uv[:, 0] * tw - 0.5, (1 - uv[:, 1]) * th - 0.5
    x0, y0 = x.detach().floor(), y.detach().floor()
    out = torch.zeros(len(s), 3, dtype=texture.dtype, device=texture.device)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (1 - (x - x0 - dx).abs()) * (1 - (y - y0 - dy).abs())
            out = out + weight.unsqueeze(-1) * texture[s, (y0 + dy).long() % th, (x0 + dx).long() % tw]
    return out


def _antialias(image: Float[Tensor, "s c h w 8"], points: Points, faces: Faces, K: Intrinsics, seen: Tensor) -> Tensor:
    """Blends the two pixels of every pair of neighbours between which the nearer surface ends."""
    far = torch.where(seen >= 0, image[..., 4].detach(), torch.inf)
    z = points[..., 2].clamp_min(NEAR_PLANE)
    screen = points[..., :2] / z.unsqueeze(-1) * K[..., None, :2] + K[..., None, 2:]
    opposite = _opposite_corners(faces, points.shape[-2])
    flat, out = image.view(-1, image.shape[-1]), image.view(-1, image.shape[-1])
    index = torch.arange(seen.numel(), device=seen.device).view(seen.shape)
    for axis, dim in ((0, -1), (1, -2)):
        n = seen.shape[dim]
        first, second = (t.narrow(dim, 0, n - 1) for t in (seen, far)), (t.narrow(dim, 1, n - 1) for t in (seen, far))
        (face_a, far_a), (face_b, far_b) = first, second
        s, c, y, x = (face_a != face_b).nonzero().unbind(-1)
        step = (0, 1) if axis == 0 else (1, 0)
        pixel_a, pixel_b = index[s, c, y, x], index[s, c, y + step[0], x + step[1]]
        nearer_a = far_a[s, c, y, x] <= far_b[s, c, y, x]
        face = torch.where(nearer_a, face_a[s, c, y, x], face_b[s, c, y, x])
        centre = torch.stack([x, y], -1) + 0.5
        # The first edge of the nearer triangle that ends its surface between the two centres, and at which fraction of the way from the
        # nearer pixel to the other.
        reach, found = torch.zeros(len(s), dtype=image.dtype, device=image.device), torch.zeros_like(nearer_a)
        for k in range(3):
            u, v = faces[s, face, (k + 1) % 3], faces[s, face, (k + 2) % 3]
            p, q = screen[s, c, u], screen[s, c, v]
            ends, across = _ends_surface(screen, points, s, c, u, v, faces[s, face, k], opposite[s, face, k]), 1 - axis
            rise = q[:, across] - p[:, across]
            at = p[:, axis] + (q[:, axis] - p[:, axis]) * (centre[:, across] - p[:, across]) / torch.where(rise == 0, 1, rise)
            fraction = torch.where(nearer_a, at - centre[:, axis], centre[:, axis] + 1 - at)
            spans = (p[:, across] <= centre[:, across]) != (q[:, across] <= centre[:, across])
            # Edges within 45 degrees of the pair's direction are the other axis's business.
            steep = rise.abs() >= (q[:, axis] - p[:, axis]).abs()
            takes = ends & spans & steep & (fraction >= 0) & (fraction <= 1) & ~found
            reach, found = torch.where(takes, fraction, reach), found | takes
        near_pixel, far_pixel = torch.where(nearer_a, pixel_a, pixel_b)[found], torch.where(nearer_a, pixel_b, pixel_a)[found]
        over = (reach[found] - 0.5).unsqueeze(-1)
        difference = flat[near_pixel] - flat[far_pixel]
        out = out.index_add(0, far_pixel, over.clamp_min(0) * difference).index_add(0, near_pixel, over.clamp_max(0) * difference)
    return out.view(image.shape)


def _ends_surface(
    screen: Float[Tensor, "s c v 2"],
    points: Points,
    s: Int[Tensor, " k"],
    c: Int[Tensor, " k"],
    u: Int[Tensor, " k"],
    v: Int[Tensor, " k"],
    inner: Int[Tensor, " k"],
    outer: Int[Tensor, " k"],
) -> Bool[Tensor, " k"]:
    """Edges (u, v) that are silhouettes: without a second triangle, or with both on the same side of the edge as the camera sees it."""
    with torch.no_grad():
        p, q, a, b = (screen[s, c, i] for i in (u, v, inner, outer.clamp_min(0)))
        side_a, side_b = ((q - p)[:, 0] * (t - p)[:, 1] - (q - p)[:, 1] * (t - p)[:, 0] for t in (a, b))
        in_front = (points[s, c, u, 2] > NEAR_PLANE) & (points[s, c, v, 2] > NEAR_PLANE)
        return in_front & ((outer < 0) | (side_a * side_b > 0))


def _opposite_corners(faces: Faces, vertices: int) -> Int[Tensor, "s f 3"]:
    """For the edge opposite each corner of a face, the third vertex of the face beyond it; -1 if there is none, or more than one."""
    s, f, _ = faces.shape
    u, v = faces[..., [1, 2, 0]].long(), faces[..., [2, 0, 1]].long()
    key = (
        (torch.arange(s, device=faces.device).view(-1, 1, 1) * vertices + torch.minimum(u, v)) * vertices + torch.maximum(u, v)
    ).flatten()
    order = key.argsort(stable=True)
    key, corner = key[order], faces.flatten()[order].long()
    same = torch.nn.functional.pad(key[1:] == key[:-1], (1, 1))
    before, after = same[:-1], same[1:]  # equal to the one before, to the one after
    runs_on_before = torch.nn.functional.pad(before[:-1], (1, 0)) & before
    runs_on_after = torch.nn.functional.pad(after[1:], (0, 1)) & after
    other = torch.full_like(corner, -1)
    other = torch.where(after & ~before & ~runs_on_after, corner.roll(-1), other)
    other = torch.where(before & ~after & ~runs_on_before, corner.roll(1), other)
    return torch.empty_like(other).index_copy_(0, order, other).view(s, f, 3)


# --- which triangle a pixel sees ---


class _Problem(ctypes.Structure):
    """struct MeshProblem of kernels/mesh.cpp."""

    _fields_ = [
        *((n, ctypes.c_int64) for n in ("images", "vertices", "faces", "images_per_mesh", "width", "height")),
        *((n, ctypes.c_void_p) for n in ("points", "triangles", "intrinsics", "face")),
    ]


def rasterize_cpp(points: Points, faces: Faces, K: Intrinsics, width: int, height: int) -> Int[Tensor, "s c h w"]:
    """By the kernel on the CPU."""
    s, c, v, _ = points.shape
    points, triangles, K = points.detach().float().contiguous(), faces.int().contiguous(), K.detach().float().contiguous()
    face = torch.empty(s, c, height, width, dtype=torch.int32)
    pointers = (t.data_ptr() for t in (points, triangles, K, face))
    problem = _Problem(s * c, v, faces.shape[1], c, width, height, *pointers)
    if not kernels.library().rl3d_mesh_rasterize(ctypes.byref(problem), kernels.thread_count()):
        raise MemoryError(f"out of memory while drawing {s * c} meshes at {width}x{height}")
    return face.long()


def rasterize_torch(points: Points, faces: Faces, K: Intrinsics, width: int, height: int, *, budget: int = 2**24) -> Int[Tensor, "s c h w"]:
    """On any device: every pixel against every triangle, some triangles at a time."""
    s, c = points.shape[:2]
    x, y = (torch.arange(n, device=points.device, dtype=points.dtype) + 0.5 for n in (width, height))
    out = torch.full((s, c, height, width), -1, device=points.device)
    for i in range(s):
        for j in range(c):
            fx, fy, cx, cy = K[i, j]
            grid = torch.stack(torch.meshgrid((y - cy) / fy, (x - cx) / fx, indexing="ij")[::-1], -1).view(-1, 2)
            rays = torch.nn.functional.pad(grid, (0, 1), value=1.0)
            nearest = torch.zeros(len(rays), dtype=points.dtype, device=points.device)
            winner = torch.full((len(rays),), -1, device=points.device)
            for first in range(0, faces.shape[1], max(1, budget // len(rays))):
                corner = points[i, j, faces[i, first : first + max(1, budget // len(rays))].long()]
                a, b, d = corner.unbind(-2)
                determinant = (a * torch.linalg.cross(b, d)).sum(-1)
                edges = torch.stack([torch.linalg.cross(b, d), torch.linalg.cross(d, a), torch.linalg.cross(a, b)])
                inside = ((edges @ rays.T) * determinant.sign().unsqueeze(-1) >= 0).all(0) & (determinant != 0).unsqueeze(-1)
                inverse = (edges.sum(0) @ rays.T) / torch.where(determinant == 0, torch.ones_like(determinant), determinant).unsqueeze(-1)
                inverse = torch.where(inside & (inverse <= 1 / NEAR_PLANE), inverse, 0)
                best, which = inverse.max(0)
                winner = torch.where(best > nearest, which + first, winner)
                nearest = torch.maximum(nearest, best)
            out[i, j] = winner.view(height, width)
    return out


def rasterize_pytorch3d(points: Points, faces: Faces, K: Intrinsics, width: int, height: int) -> Int[Tensor, "s c h w"]:
    """By PyTorch3D, whose normalised coordinates point left and up, and span the shorter side from -1 to 1."""
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    s, c, v, _ = points.shape
    corners = _normalized(points, K, width, height).view(s * c, v, 3)
    meshes = Meshes(verts=corners, faces=faces.unsqueeze(1).expand(s, c, -1, 3).reshape(s * c, -1, 3))
    found = rasterize_meshes(
        meshes, image_size=(height, width), blur_radius=0.0, faces_per_pixel=1, z_clip_value=NEAR_PLANE, cull_backfaces=False
    )[0].squeeze(-1)
    first = torch.arange(s * c, device=found.device).view(-1, 1, 1) * faces.shape[1]  # its faces are numbered through the batch
    return torch.where(found >= 0, found - first, -1).view(s, c, height, width)


def rasterize_kaolin(points: Points, faces: Faces, K: Intrinsics, width: int, height: int) -> Int[Tensor, "s c h w"]:
    """By Kaolin, whose cameras look along -z, and whose images span -1 to 1 with y up."""
    from kaolin.render.mesh import rasterize

    s, c, v, _ = points.shape
    corners = _normalized(points, K, width, height)
    shorter = min(width, height)
    corners = corners * corners.new_tensor([-shorter / width, shorter / height, -1.0])
    index = faces.long().unsqueeze(1).expand(s, c, -1, 3).reshape(s * c, -1, 3)
    picked = corners.view(s * c, v, 3)[torch.arange(s * c, device=index.device).view(-1, 1, 1), index]
    valid = (picked[..., 2] < -NEAR_PLANE).all(-1)
    _, found = rasterize(height, width, picked[..., 2], picked[..., :2].contiguous(), torch.zeros_like(picked[..., :1]), valid_faces=valid)
    return found.view(s, c, height, width).long()


def _normalized(points: Points, K: Intrinsics, width: int, height: int) -> Points:
    """x to the left and y up, the shorter side of the image from -1 to 1, and depth."""
    z = points[..., 2:]
    # Behind the camera there is no projection; what is there is clipped by its z.
    pixels = points[..., :2] / torch.where(z.abs() < 1e-6, torch.full_like(z, 1e-6), z) * K[..., None, :2] + K[..., None, 2:]
    centred = (pixels - pixels.new_tensor([width, height]) / 2) * (2 / min(width, height))
    return torch.cat([-centred, z], -1)


def unavailable_library(name: str) -> str | None:
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed: see its installation page, its wheels depend on torch and CUDA"
    return None


def _needs_cuda(name: str) -> str | None:
    return unavailable_library(name) or (None if torch.cuda.is_available() else "no CUDA device")


RASTERIZERS: dict[str, tuple[Rasterizer, Callable[[], str | None], str]] = {
    "mesh-cpp": (rasterize_cpp, kernels.unavailable, "cpu"),
    "mesh-torch": (rasterize_torch, lambda: None, "any"),
    "pytorch3d": (rasterize_pytorch3d, partial(unavailable_library, "pytorch3d"), "any"),
    "kaolin": (rasterize_kaolin, partial(_needs_cuda, "kaolin"), "cuda"),
}
"""By name: the rasteriser, why it cannot draw here (or None), and the device it draws on."""
