"""Triangle meshes to images. A rasteriser finds the triangle that a pixel sees; everything else is
differentiable PyTorch.

Inside a triangle, gradients flow through the barycentric coordinates. Across silhouettes they flow
through antialiasing: a pixel beside a silhouette is blended with its neighbour by how far the edge
reaches into it (Laine et al., Modular Primitives for High-Performance Differentiable Rendering,
2020, section 3.6).
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from renderers import kernels
from renderers.base import NEAR_PLANE
from scenes.cameras import Cameras
from scenes.mesh import Mesh, tangent_frame

Points = Float[Tensor, "s c v 3"]
Faces = Int[Tensor, "s f 3"]
Intrinsics = Float[Tensor, "s c 4"]
"""fx, fy, cx, cy of every image."""
Rasterizer = Callable[[Points, Faces, Intrinsics, int, int], Int[Tensor, "s c h w"]]
"""From camera-space vertices, faces, intrinsics, width and height to the nearest face of every
pixel, -1 for none."""


def draw(
    mesh: Mesh, cameras: Cameras, background: Float[Tensor, "s c 3"], rasterize: Rasterizer, *, antialias: bool = True
) -> tuple[
    Float[Tensor, "s c h w 3"], Float[Tensor, "s c h w 1"], Float[Tensor, "s c h w 1"], Float[Tensor, "s c h w 3"]
]:
    """Colour (unlit), alpha, depth and normal of S meshes seen by C cameras each. Normals are in
    the world, face the camera, and are multiplied by alpha."""
    (s, c), h, w = cameras.viewmats.shape[:2], cameras.height, cameras.width
    rotation, translation = cameras.viewmats[..., :3, :3], cameras.viewmats[..., :3, 3]
    points = mesh.vertices.unsqueeze(1) @ rotation.transpose(-1, -2) + translation.unsqueeze(-2)
    K = torch.stack([cameras.Ks[..., i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))], -1)
    with torch.no_grad():
        seen = rasterize(points, mesh.faces, K, w, h)
    image = torch.zeros(s * c * h * w, 8, dtype=points.dtype, device=points.device)
    hit = (seen >= 0).nonzero()
    if len(hit):
        image = image.index_copy(
            0, (seen >= 0).flatten().nonzero().squeeze(-1), _shade(mesh, points, K, rotation, hit, seen)
        )
    image = image.view(s, c, h, w, 8)
    if antialias and len(hit):
        image = _antialias(image, points, mesh.faces, K, seen)
    color, alpha, depth, normal = image.split((3, 1, 1, 3), -1)
    return color + (1 - alpha) * background[..., None, None, :], alpha, depth / alpha.clamp_min(1e-10), normal


def _shade(
    mesh: Mesh, points: Points, K: Intrinsics, rotation: Tensor, hit: Int[Tensor, "k 4"], seen: Tensor
) -> Float[Tensor, "k 8"]:
    """Colour, 1, depth and normal of the pixels that see a triangle."""
    s, c, y, x = hit.unbind(-1)
    corners = mesh.faces[s, seen[s, c, y, x]]  # (k, 3) vertices
    a, b, d = points[s.unsqueeze(-1), c.unsqueeze(-1), corners].unbind(-2)
    fx, fy, cx, cy = K[s, c].unbind(-1)
    ray = torch.stack([(x + 0.5 - cx) / fx, (y + 0.5 - cy) / fy, torch.ones_like(fx)], -1)
    # Signed volumes between the ray and the edges give the barycentric coordinates, with
    # perspective. Double precision: float32 loses all digits of triangles seen edge-on, and
    # overflows for huge ones.
    volumes = torch.stack([(_cross(u.double(), v.double()) * ray).sum(-1) for u, v in ((b, d), (d, a), (a, b))], -1)
    total = volumes.sum(-1, keepdim=True)
    barycentric = (volumes / torch.where(total == 0, torch.ones_like(total), total)).to(points)

    def interpolate(attribute: Tensor) -> Tensor:
        return (barycentric.unsqueeze(-1) * attribute[s.unsqueeze(-1), corners]).sum(-2)

    depth = (barycentric * torch.stack([a[..., 2], b[..., 2], d[..., 2]], -1)).sum(-1, keepdim=True)
    color = torch.ones_like(ray) if mesh.colors is None else interpolate(mesh.colors)
    if mesh.texture is not None and mesh.uvs is not None:
        color = color * _texels(mesh.texture, s, interpolate(mesh.uvs))
    if mesh.normals is not None:
        normal = interpolate(mesh.normals)
        if mesh.normal_map is not None and mesh.uvs is not None and mesh.tangents is not None:
            bent = _texels(mesh.normal_map, s, interpolate(mesh.uvs))
            normal = (tangent_frame(normal, interpolate(mesh.tangents)) @ bent.unsqueeze(-1)).squeeze(-1)
    else:
        normal = torch.nn.functional.normalize(_cross((b - a).double(), (d - a).double()), dim=-1, eps=1e-20).to(points)
        normal = (normal.unsqueeze(-2) @ rotation[s, c]).squeeze(-2)
    normal = torch.nn.functional.normalize(normal, dim=-1, eps=1e-20)
    facing = ((rotation[s, c] @ normal.unsqueeze(-1)).squeeze(-1) * ray).sum(-1, keepdim=True)
    normal = torch.where(facing > 0, -normal, normal)
    return torch.cat([color, torch.ones_like(depth), depth, normal], -1)


def _texels(
    texture: Float[Tensor, "s th tw 3"], s: Int[Tensor, " k"], uv: Float[Tensor, "k 2"]
) -> Float[Tensor, "k 3"]:
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
    """Blends the two pixels of every pair of neighbours between which the nearer surface ends.

    All silhouette edges are tested. (The paper tests only the edges of the triangle that a pixel
    sees, which misses most silhouettes of finely divided meshes.)
    """
    s, c, h, w = seen.shape
    nearest = torch.where(seen >= 0, image[..., 4].detach(), torch.inf).flatten()
    edges = _projected_edges(points, faces, K)
    flat, face = image.view(s * c * h * w, -1), seen.flatten()
    indices, changes = [], []
    for axis in (0, 1):
        crossings = _crossings(edges, axis, w, h)
        ends = _surface_ends(crossings, nearest, face)
        for pixel, change in _blended(flat, _outermost(ends, len(flat))):
            indices.append(pixel)
            changes.append(change)
    return flat.index_add(0, torch.cat(indices), torch.cat(changes)).view(image.shape)


class _Edges(NamedTuple):
    """E silhouette edges from p to q, on the screen."""

    image: Int[Tensor, " e"]
    p: Float[Tensor, "e 2"]
    q: Float[Tensor, "e 2"]
    """In pixels."""
    p_depth: Float[Tensor, " e"]
    q_depth: Float[Tensor, " e"]


class _Crossings(NamedTuple):
    """K places where an edge runs between the centres of two neighbouring pixels."""

    first: Int[Tensor, " k"]
    """The left or upper pixel of the pair, numbered through all images."""
    second: Int[Tensor, " k"]
    way: Float[Tensor, " k"]
    """From the first centre to the second, in pixels: 0 to 1."""
    depth: Float[Tensor, " k"]
    """Of the edge there; no gradient."""


class _Ends(NamedTuple):
    """K pairs of neighbouring pixels between which the nearer one's surface ends."""

    pair: Int[Tensor, " k"]
    """The pair's first pixel."""
    near: Int[Tensor, " k"]
    far: Int[Tensor, " k"]
    way: Float[Tensor, " k"]
    """How far the surface reaches from the near centre to the far one: 0 to 1."""


def _projected_edges(points: Points, faces: Faces, K: Intrinsics) -> _Edges:
    """The silhouette edges of all images, with gradients to their ends."""
    image, u, v = _silhouettes(points.detach(), faces)
    flat = points.flatten(0, 1)
    p, q = flat[image, u], flat[image, v]
    focal, centre = K.flatten(0, 1)[image].split(2, -1)
    return _Edges(image, p[:, :2] / p[:, 2:] * focal + centre, q[:, :2] / q[:, 2:] * focal + centre, p[:, 2], q[:, 2])


def _crossings(edges: _Edges, axis: int, width: int, height: int) -> _Crossings:
    """Where edges cross between neighbours in a row (axis 0) or in a column (axis 1).

    An edge that runs within 45 degrees of the axis is left to the other axis.
    """
    length, lines = (width, height) if axis == 0 else (height, width)
    run, rise = ((edges.q - edges.p)[:, i] for i in (axis, 1 - axis))
    steep = (rise.abs() >= run.abs()) if axis == 0 else (rise.abs() > run.abs())
    # The lines through pixel centres that an edge crosses are numbered from the first one.
    ends = torch.stack([edges.p[:, 1 - axis], edges.q[:, 1 - axis]]).detach()
    begin, end = ((t - 0.5).ceil().clamp(0, lines) for t in (ends.amin(0), ends.amax(0)))
    count = torch.where(steep, end - begin, 0).long()
    edge = torch.arange(len(count), device=count.device).repeat_interleave(count)
    within = torch.arange(len(edge), device=count.device) - (count.cumsum(0) - count)[edge]
    line = begin.long()[edge] + within
    along = (line + 0.5 - edges.p[edge, 1 - axis]) / rise[edge]
    at = edges.p[edge, axis] + along * run[edge] - 0.5
    # 1 / depth is linear on the screen.
    inverse = ((1 - along) / edges.p_depth[edge] + along / edges.q_depth[edge]).detach()
    left = at.detach().floor()
    inside = ((left >= 0) & (left < length - 1)).nonzero().squeeze(-1)
    edge, line, at, inverse, left = (t[inside] for t in (edge, line, at, inverse, left.long()))
    first = edges.image[edge] * (height * width) + (line * width + left if axis == 0 else left * width + line)
    return _Crossings(first, first + (1 if axis == 0 else width), at - left, 1 / inverse)


def _surface_ends(crossings: _Crossings, nearest: Float[Tensor, " n"], face: Int[Tensor, " n"]) -> _Ends:
    """The crossings at which a surface is seen to end.

    ``nearest`` and ``face`` are the depth and the triangle that each pixel sees. An edge deeper
    than half way between the pair's depths is hidden by the nearer surface.
    """
    first_depth, second_depth = nearest[crossings.first], nearest[crossings.second]
    first_is_near = first_depth <= second_depth
    near_depth, far_depth = torch.minimum(first_depth, second_depth), torch.maximum(first_depth, second_depth)
    visible = (far_depth == torch.inf) | (crossings.depth <= (near_depth + far_depth) / 2)
    visible &= near_depth < torch.inf
    visible &= face[crossings.first] != face[crossings.second]
    kept = visible.nonzero().squeeze(-1)
    first, second, way = crossings.first[kept], crossings.second[kept], crossings.way[kept]
    forward = first_is_near[kept]
    return _Ends(
        first,
        torch.where(forward, first, second),
        torch.where(forward, second, first),
        torch.where(forward, way, 1 - way),
    )


def _outermost(ends: _Ends, pixels: int) -> _Ends:
    """One end per pair: at the outermost of several edges, the first among equals."""
    way, order = ends.way.detach(), torch.arange(len(ends.way), device=ends.way.device)
    farthest = torch.zeros(pixels, dtype=way.dtype, device=way.device).scatter_reduce(0, ends.pair, way, "amax")
    ties = way == farthest[ends.pair]
    winner = torch.full((pixels,), len(order), device=order.device)
    winner = winner.scatter_reduce(0, ends.pair[ties], order[ties], "amin")
    won = winner[ends.pair] == order
    return _Ends(*(t[won] for t in ends))


def _blended(flat: Float[Tensor, "n 8"], ends: _Ends) -> list[tuple[Tensor, Tensor]]:
    """Pixels and what is added to them. A surface that reaches more than half way covers part of
    the far pixel. Otherwise part of its own pixel shows the far colour."""
    over = (ends.way - 0.5).unsqueeze(-1)
    difference = flat[ends.near] - flat[ends.far]
    return [(ends.far, over.clamp_min(0) * difference), (ends.near, over.clamp_max(0) * difference)]


@torch.no_grad()
def _silhouettes(points: Points, faces: Faces) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Image and two vertices of every silhouette edge in front of the camera: an edge with one
    triangle, or with two of which one is seen from behind."""
    s, c, vertices, _ = points.shape
    corners = faces.long()
    u, v = corners[..., [1, 2, 0]].flatten(), corners[..., [2, 0, 1]].flatten()
    scene = torch.arange(s, device=faces.device).view(-1, 1, 1).expand(faces.shape).flatten()
    face = torch.arange(faces.shape[1], device=faces.device).view(1, -1, 1).expand(faces.shape).flatten()
    real = (u != v).nonzero().squeeze(-1)  # padding has no edges
    u, v, scene, face = u[real], v[real], scene[real], face[real]
    key = (scene * vertices + torch.minimum(u, v)) * vertices + torch.maximum(u, v)
    order = key.argsort(stable=True)
    u, v, scene, face, key = (t[order] for t in (u, v, scene, face, key))
    begins = torch.cat([torch.ones_like(key[:1], dtype=torch.bool), key[1:] != key[:-1]]) if len(key) else key.bool()
    index = begins.nonzero().squeeze(-1)
    count = torch.cat([index[1:], index.new_tensor([len(key)])]) - index if len(index) else index
    other = (index + 1).clamp_max(max(0, len(key) - 1))
    a, b, d = (
        points[torch.arange(s, device=points.device)[:, None], :, corners[..., k]].double() for k in range(3)
    )  # (s, f, c, 3)
    front = (a * _cross(b, d)).sum(-1) > 0
    facing = front[scene[index], face[index]]  # (edges, c)
    # Two triangles that traverse their edge in the same direction have opposite orientations.
    beyond = front[scene[other], face[other]] ^ (u[index] == u[other]).unsqueeze(-1)
    silhouette = (count != 2).unsqueeze(-1) | (facing != beyond)
    edge, camera = silhouette.nonzero().unbind(-1)
    scene, u, v = scene[index][edge], u[index][edge], v[index][edge]
    ahead = (torch.minimum(points[scene, camera, u, 2], points[scene, camera, v, 2]) > NEAR_PLANE).nonzero().squeeze(-1)
    return (scene * c + camera)[ahead], u[ahead], v[ahead]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """The cross product. Swapping the arguments gives exactly the negative, so neighbours share
    their edge without a gap."""
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


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
    points, triangles, K = (
        points.detach().float().contiguous(),
        faces.int().contiguous(),
        K.detach().float().contiguous(),
    )
    face = torch.empty(s, c, height, width, dtype=torch.int32)
    pointers = (t.data_ptr() for t in (points, triangles, K, face))
    problem = _Problem(s * c, v, faces.shape[1], c, width, height, *pointers)
    if not kernels.library().rl3d_mesh_rasterize(ctypes.byref(problem), kernels.thread_count()):
        raise MemoryError(f"out of memory while drawing {s * c} meshes at {width}x{height}")
    return face.long()


def rasterize_torch(
    points: Points, faces: Faces, K: Intrinsics, width: int, height: int, *, budget: int = 2**24
) -> Int[Tensor, "s c h w"]:
    """On any device: every pixel is tested against every triangle, some triangles at a time."""
    s, c = points.shape[:2]
    x, y = (torch.arange(n, device=points.device, dtype=points.dtype) + 0.5 for n in (width, height))
    out = torch.full((s, c, height, width), -1, device=points.device)
    for i in range(s):
        for j in range(c):
            fx, fy, cx, cy = K[i, j]
            grid = torch.stack(torch.meshgrid((y - cy) / fy, (x - cx) / fx, indexing="ij")[::-1], -1).view(-1, 2)
            rays, step = grid.double(), max(1, budget // len(grid))
            nearest = torch.zeros(len(rays), dtype=torch.float64, device=points.device)
            winner = torch.full((len(rays),), -1, device=points.device)
            for first in range(0, faces.shape[1], step):
                a, b, d = points[i, j, faces[i, first : first + step].long()].double().unbind(-2)
                determinant = (a * _cross(b, d)).sum(-1)
                edges = torch.stack([_cross(b, d), _cross(d, a), _cross(a, b)]).unsqueeze(-2)
                values = edges[..., 0] * rays[:, 0] + (edges[..., 1] * rays[:, 1] + edges[..., 2])
                inside = (values * determinant.sign().unsqueeze(-1) >= 0).all(0) & (determinant != 0).unsqueeze(-1)
                inverse = values.sum(0) / torch.where(
                    determinant == 0, torch.ones_like(determinant), determinant
                ).unsqueeze(-1)
                inverse = torch.where(inside & (inverse <= 1 / NEAR_PLANE), inverse, 0)
                best, which = inverse.max(0)
                winner = torch.where(best > nearest, which + first, winner)
                nearest = torch.maximum(nearest, best)
            out[i, j] = winner.view(height, width)
    return out


def rasterize_pytorch3d(points: Points, faces: Faces, K: Intrinsics, width: int, height: int) -> Int[Tensor, "s c h w"]:
    """By PyTorch3D.

    Its normalised coordinates point left and up, and the shorter side of the image spans -1 to 1.
    It numbers faces through the batch.
    """
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    s, c, v, _ = points.shape
    corners = _normalized(points, K, width, height).view(s * c, v, 3)
    meshes = Meshes(verts=corners, faces=faces.unsqueeze(1).expand(s, c, -1, 3).reshape(s * c, -1, 3))
    found = rasterize_meshes(
        meshes,
        image_size=(height, width),
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=True,
        z_clip_value=NEAR_PLANE,
        cull_backfaces=False,
    )[0].squeeze(-1)
    first = torch.arange(s * c, device=found.device).view(-1, 1, 1) * faces.shape[1]
    return torch.where(found >= 0, found - first, -1).view(s, c, height, width)


def rasterize_kaolin(points: Points, faces: Faces, K: Intrinsics, width: int, height: int) -> Int[Tensor, "s c h w"]:
    """By Kaolin.

    Its images span -1 to 1 both ways, x to the right and y up. A pixel sees the face with the
    largest z there, which Kaolin interpolates linearly on the screen. That is exact for 1 / depth,
    so the faces get this as their z.
    """
    from kaolin.render.mesh import rasterize

    s, c, v, _ = points.shape
    corners = _normalized(points, K, width, height)
    shorter = min(width, height)
    on_image = corners[..., :2] * corners.new_tensor([-shorter / width, shorter / height])
    depth = corners[..., 2]
    valid = depth > NEAR_PLANE
    nearness = 1 / torch.where(valid, depth, 1.0)
    index = faces.long().unsqueeze(1).expand(s, c, -1, 3).reshape(s * c, -1, 3)
    image = torch.arange(s * c, device=index.device).view(-1, 1, 1)
    picked = nearness.view(s * c, v)[image, index]
    _, found = rasterize(
        height,
        width,
        picked,
        on_image.view(s * c, v, 2)[image, index].contiguous(),
        torch.zeros_like(picked).unsqueeze(-1),
        valid_faces=valid.view(s * c, v)[image, index].all(-1),
    )
    return found.view(s, c, height, width).long()


def _normalized(points: Points, K: Intrinsics, width: int, height: int) -> Points:
    """x to the left and y up, with -1 to 1 along the shorter side of the image, and depth."""
    z = points[..., 2:]
    # Points behind the camera have no projection. They are clipped by their z.
    pixels = (
        points[..., :2] / torch.where(z.abs() < 1e-6, torch.full_like(z, 1e-6), z) * K[..., None, :2] + K[..., None, 2:]
    )
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
"""By name: the rasteriser, the reason why it cannot draw here (or None), and its device."""
