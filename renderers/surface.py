"""A triangle mesh of any scene: rendered depth is fused into a truncated signed distance field,
whose zero is taken by marching cubes.

Curless and Levoy, A Volumetric Method for Building Complex Models from Range Images, 1996; Lorensen
and Cline, Marching Cubes, 1987 (by scikit-image, the variant of Lewiner et al., 2003)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from renderers import render
from scenes.cameras import Cameras, sphere
from scenes.gaussians import Gaussians
from scenes.mesh import Mesh
from scenes.radiance_field import RadianceField


@torch.no_grad()
def fuse(
    scene: Gaussians | Mesh | RadianceField,
    cameras: Cameras,
    low: Float[Tensor, "3"],
    high: Float[Tensor, "3"],
    resolution: int,
    *,
    truncation: float | None = None,
) -> tuple[Float[Tensor, "x y z"], Float[Tensor, "x y z 3"], float]:
    """Signed distance (metres, positive outside, at most ``truncation`` which is 4 voxels unless
    given), colour, and size of a voxel.

    The box from ``low`` to ``high`` has ``resolution`` voxels along its longest side. What no
    camera sees counts as inside."""
    low, high = low.to(cameras.viewmats), high.to(cameras.viewmats)
    voxel = float((high - low).max()) / resolution
    reach = truncation or 4 * voxel
    shape = ((high - low) / voxel).ceil().long().add(1).tolist()
    axes = [low[i] + voxel * torch.arange(shape[i], dtype=low.dtype, device=low.device) for i in range(3)]
    corners = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)
    distance, looks = torch.zeros_like(corners[:, 0]), torch.zeros_like(corners[:, 0])
    color, colored = torch.zeros_like(corners), torch.zeros_like(corners[:, :1])
    for c in range(cameras.count):
        camera = cameras[[c]]
        views = render(scene, camera, background=(0, 0, 0))
        alpha, depth, rgb = (t[0].flatten(0, 1) for t in (views.alpha, views.depth, views.rgb))
        local = corners @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
        z = local[:, 2]
        x, y = (local[:, i] / z.clamp_min(1e-6) * camera.Ks[0, i, i] + camera.Ks[0, i, 2] for i in (0, 1))
        index = ((z > 1e-6) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)).nonzero().squeeze(-1)
        pixel = y[index].long() * camera.width + x[index].long()
        # Where nothing is, the ray is free to its end.
        gap = torch.where(alpha[pixel, 0] > 0.5, depth[pixel, 0], torch.inf) - z[index]
        # Far behind a surface nothing is known. Before it and just behind it, the distance along
        # the ray stands for the distance.
        index, pixel, gap = (t[gap > -reach] for t in (index, pixel, gap))
        distance[index] += gap.clamp_max(reach)
        looks[index] += 1
        index, pixel = (t[gap < reach] for t in (index, pixel))
        color[index] += rgb[pixel] / alpha[pixel]
        colored[index] += 1
    mean = torch.where(looks > 0, distance / looks.clamp_min(1), -reach)
    return mean.view(shape), (color / colored.clamp_min(1)).view(*shape, 3), voxel


def extract(
    scene: Gaussians | Mesh | RadianceField,
    *,
    resolution: int = 128,
    views: int = 32,
    size: int | None = None,
    bounds: tuple[Float[Tensor, "3"], Float[Tensor, "3"]] | None = None,
    smoothing: float = 1.0,
) -> Mesh:
    """A coloured mesh of one scene, faces counter-clockwise seen from outside; without any face if
    the scene is empty.

    ``views`` cameras all around, above and below take images of ``size`` pixels (two a voxel unless
    given). The depth of overlapping Gaussians ripples: the distances are blurred by ``smoothing``
    voxels (standard deviation) first. Crumbs of less than a thousandth of the surface are dropped.
    """
    if scene.batch_shape:
        raise ValueError("extract works on a single scene; index the batch first")
    if resolution < 2 or views < 1:
        raise ValueError(f"a surface needs at least 2 voxels and 1 view, got {resolution} and {views}")
    low, high = bounds or bounding_box(scene)
    longest = float((high - low).max())
    if not longest > 0:
        return _mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3), low)
    margin = 6 * longest / resolution
    low, high = low - margin, high + margin
    cameras = rig(scene, views, size or 2 * resolution, bounds=(low, high))
    distance, color, voxel = fuse(scene, cameras, low, high, resolution)
    if not (distance.min() < 0 < distance.max()):
        return _mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3), low)
    from scipy.ndimage import gaussian_filter
    from skimage.measure import marching_cubes

    smooth = gaussian_filter(distance.cpu().numpy(), smoothing, mode="nearest") if smoothing else distance.cpu().numpy()
    if not (smooth.min() < 0 < smooth.max()):
        return _mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3), low)
    vertices, faces, _, _ = marching_cubes(smooth, 0.0, gradient_direction="descent")
    vertices, faces = _without_crumbs(vertices, faces)
    grid = torch.from_numpy(np.ascontiguousarray(vertices, dtype=np.float32))
    return _mesh(low.cpu() + voxel * grid, torch.from_numpy(faces.astype(np.int64)), _trilinear(color.cpu(), grid), low)


def simplified(mesh: Mesh, max_faces: int) -> Mesh:
    """A coloured mesh with at most ``max_faces`` triangles: edges are collapsed where it shows
    least (Garland and Heckbert, 1997; by fast-simplification, whose thresholds are for edges about
    1 long)."""
    if len(mesh.faces) <= max_faces:
        return mesh
    import fast_simplification
    from scipy.spatial import cKDTree

    assert mesh.colors is not None
    dense, faces = mesh.vertices.double().cpu().numpy(), mesh.faces.cpu().numpy()
    unit = np.linalg.norm(dense[faces[:, 0]] - dense[faces[:, 1]], axis=-1).mean()
    vertices, faces = fast_simplification.simplify(dense / unit, faces.astype(np.int32), target_count=max_faces)[:2]
    _, nearest = cKDTree(dense).query(vertices * unit)
    colors = mesh.colors[torch.from_numpy(nearest).to(mesh.device)]
    return _mesh(torch.from_numpy(vertices * unit), torch.from_numpy(faces.astype(np.int64)), colors, mesh.vertices)


def _without_crumbs(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the connected pieces that have less than a thousandth of the whole area."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(faces))
    count = len(vertices)
    links = sum(coo_array((ones, (faces[:, i], faces[:, i - 1])), shape=(count, count)) for i in (0, 1))
    _, label = connected_components(links, directed=False)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = np.bincount(label[faces[:, 0]], np.linalg.norm(np.cross(b - a, c - a), axis=1), label.max() + 1)
    kept = faces[(area >= 1e-3 * area.sum())[label[faces[:, 0]]]]
    used, index = np.unique(kept, return_inverse=True)
    return vertices[used], index.reshape(-1, 3)


def rig(
    scene: Gaussians | Mesh | RadianceField,
    views: int,
    size: int,
    *,
    bounds: tuple[Float[Tensor, "3"], Float[Tensor, "3"]] | None = None,
) -> Cameras:
    """``views`` cameras all around, above and below a scene, that see all of it."""
    low, high = bounds or bounding_box(scene)
    x, y, z = ((low + high) / 2).tolist()
    radius = max(3 * float((high - low).norm()) / 2, 1e-3)
    cameras = sphere(views, size=size, elevation_deg=(-70.0, 80.0), radius=radius, fov_deg=40.0, target=(x, y, z))
    return Cameras(cameras.viewmats.to(low), cameras.Ks.to(low), size, size)


def _mesh(vertices: Tensor, faces: Tensor, colors: Tensor, like: Tensor) -> Mesh:
    return Mesh(vertices.to(like), faces.to(like.device), colors.to(like))


def bounding_box(scene: Gaussians | Mesh | RadianceField) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Lowest and highest corner of what can be seen of a scene: two standard deviations of its
    Gaussians that are not nearly clear."""
    if isinstance(scene, Gaussians):
        seen = scene.detach().select(scene.opacities > 0.05)
        reach = 2 * seen.scales.amax(-1, keepdim=True)
        points = torch.cat([seen.means - reach, seen.means + reach])
    elif isinstance(scene, Mesh):
        points = scene.vertices.detach()[scene.faces.flatten()]
    else:
        low, high = scene.bounds
        points = torch.stack([low, high])
    if not len(points):
        points = points.new_zeros(1, 3)
    return points.amin(0), points.amax(0)


def _trilinear(grid: Float[Tensor, "x y z 3"], places: Float[Tensor, "v 3"]) -> Float[Tensor, "v 3"]:
    """Colours at places in units of voxels."""
    size = grid.new_tensor(grid.shape[:3]) - 1
    unit = (places / size * 2 - 1).flip(-1).view(1, -1, 1, 1, 3)
    values = torch.nn.functional.grid_sample(
        grid.permute(3, 0, 1, 2).unsqueeze(0), unit, align_corners=True, padding_mode="border"
    )
    return values.view(3, -1).T.contiguous()
