"""Triangle meshes to images: which triangle a pixel sees comes from a rasteriser; everything else
is differentiable PyTorch.

Inside a triangle, gradients flow through the barycentric coordinates. Across silhouettes they flow
through antialiasing: a pixel beside a silhouette is blended with its neighbour by how far the edge
reaches into it (Laine et al., Modular Primitives for High-Performance Differentiable Rendering,
2020, section 3.6)."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from functools import partial

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
"""Camera-space vertices, faces, intrinsics, width and height to the nearest face of every pixel, -1
where there is none."""


def draw(
    mesh: Mesh, cameras: Cameras, background: Float[Tensor, "s c 3"], rasterize: Rasterizer, *, antialias: bool = True
) -> tuple[
    Float[Tensor, "s c h w 3"], Float[Tensor, "s c h w 1"], Float[Tensor, "s c h w 1"], Float[Tensor, "s c h w 3"]
]:
    """Colour (unlit), alpha, depth and normal (in the world, towards the camera; times alpha) of S
    meshes seen by C cameras each."""
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
    # Volumes that the ray cuts off: barycentric coordinates of where it meets the triangle,
    # perspective and all. (In double precision: a triangle seen nearly edge-on would lose all
    # digits, and a huge one overflow.)
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

    Every silhouette edge says between which pixel centres it runs. (The paper asks only the edges
    of the triangle that a pixel sees, which misses most silhouettes of finely divided meshes.)"""
    s, c, h, w = seen.shape
    far = torch.where(seen >= 0, image[..., 4].detach(), torch.inf).view(s * c, h, w)
    owner, u, v = _silhouettes(points.detach(), faces)
    flat_points = points.reshape(s * c, -1, 3)
    p, q = flat_points[owner, u], flat_points[owner, v]
    focal, centre = K.reshape(s * c, 4)[owner].split(2, -1)
    p_pixel, q_pixel = p[:, :2] / p[:, 2:] * focal + centre, q[:, :2] / q[:, 2:] * focal + centre
    flat, changes = image.view(s * c * h * w, -1), []
    for axis, (length, rows) in enumerate(((w, h), (h, w))):
        run, rise = ((q_pixel - p_pixel)[:, i] for i in (axis, 1 - axis))
        # Edges within 45 degrees of a pair's direction are the other axis's business.
        steep = (rise.abs() >= run.abs()) if axis == 0 else (rise.abs() > run.abs())
        low, high = (
            torch.minimum(p_pixel[:, 1 - axis], q_pixel[:, 1 - axis]),
            torch.maximum(p_pixel[:, 1 - axis], q_pixel[:, 1 - axis]),
        )
        first = (low.detach() - 0.5).ceil().clamp(0, rows)
        crossed = torch.where(steep, (high.detach() - 0.5).ceil().clamp(0, rows) - first, 0).long()
        edge = torch.arange(len(u), device=u.device).repeat_interleave(crossed)
        start = crossed.cumsum(0) - crossed
        row = first.long()[edge] + torch.arange(len(edge), device=u.device) - start[edge]
        way = (row + 0.5 - p_pixel[edge, 1 - axis]) / rise[edge]
        at = p_pixel[edge, axis] + way * run[edge] - 0.5
        inverse = ((1 - way) / p[edge, 2] + way / q[edge, 2]).detach()  # 1 / z is linear on the screen
        left = at.detach().floor()
        kept = ((left >= 0) & (left < length - 1)).nonzero().squeeze(-1)
        edge, row, at, inverse, left = (t[kept] for t in (edge, row, at, inverse, left.long()))
        step = 1 if axis == 0 else w
        pixel = owner[edge] * (h * w) + (row * w + left if axis == 0 else left * w + row)
        z_left, z_right = far.flatten()[pixel], far.flatten()[pixel + step]
        nearer_left = z_left <= z_right
        z_near, z_far = torch.minimum(z_left, z_right), torch.maximum(z_left, z_right)
        fraction = torch.where(nearer_left, at - left, left + 1 - at)  # of the way from the nearer pixel to the other
        # Edges that something hides lie deeper than what the two pixels see.
        visible = (z_near < torch.inf) & ((z_far == torch.inf) | (1 / inverse <= (z_near + z_far) / 2))
        visible &= seen.flatten()[pixel] != seen.flatten()[pixel + step]
        kept = visible.nonzero().squeeze(-1)
        pixel, fraction, nearer_left = pixel[kept], fraction[kept], nearer_left[kept]
        # Of several edges between one pair the outermost ends the surface.
        outermost = torch.zeros_like(flat[:, 0]).scatter_reduce(0, pixel, fraction.detach(), "amax")
        order = torch.arange(len(pixel), device=u.device)
        ends = fraction.detach() == outermost[pixel]
        winner = torch.full_like(seen.flatten(), len(pixel)).scatter_reduce(0, pixel[ends], order[ends], "amin")
        won = winner[pixel] == order
        pixel, fraction, nearer_left = pixel[won], fraction[won], nearer_left[won]
        near_pixel, far_pixel = (
            torch.where(nearer_left, pixel, pixel + step),
            torch.where(nearer_left, pixel + step, pixel),
        )
        over = (fraction - 0.5).unsqueeze(-1)
        difference = flat[near_pixel] - flat[far_pixel]
        changes += [(far_pixel, over.clamp_min(0) * difference), (near_pixel, over.clamp_max(0) * difference)]
    return flat.index_add(0, torch.cat([i for i, _ in changes]), torch.cat([change for _, change in changes])).view(
        image.shape
    )


@torch.no_grad()
def _silhouettes(points: Points, faces: Faces) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Image and two vertices of every edge in front of the camera that has one triangle, or two,
    one of which is seen from behind."""
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
    # Two triangles that run along their edge the same way are turned against each other.
    beyond = front[scene[other], face[other]] ^ (u[index] == u[other]).unsqueeze(-1)
    silhouette = (count != 2).unsqueeze(-1) | (facing != beyond)
    edge, camera = silhouette.nonzero().unbind(-1)
    scene, u, v = scene[index][edge], u[index][edge], v[index][edge]
    ahead = (torch.minimum(points[scene, camera, u, 2], points[scene, camera, v, 2]) > NEAR_PLANE).nonzero().squeeze(-1)
    return (scene * c + camera)[ahead], u[ahead], v[ahead]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """The cross product, exactly the negative when its arguments change places, so that neighbours
    share their edge without a gap."""
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
    """On any device: every pixel against every triangle, some triangles at a time."""
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
    """By PyTorch3D, whose normalised coordinates point left and up, and span the shorter side from
    -1 to 1."""
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
        z_clip_value=NEAR_PLANE,
        cull_backfaces=False,
    )[0].squeeze(-1)
    first = (
        torch.arange(s * c, device=found.device).view(-1, 1, 1) * faces.shape[1]
    )  # its faces are numbered through the batch
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
    _, found = rasterize(
        height,
        width,
        picked[..., 2],
        picked[..., :2].contiguous(),
        torch.zeros_like(picked[..., :1]),
        valid_faces=valid,
    )
    return found.view(s, c, height, width).long()


def _normalized(points: Points, K: Intrinsics, width: int, height: int) -> Points:
    """x to the left and y up, the shorter side of the image from -1 to 1, and depth."""
    z = points[..., 2:]
    # Behind the camera there is no projection; what is there is clipped by its z.
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
"""By name: the rasteriser, why it cannot draw here (or None), and the device it draws on."""
