"""A triangle mesh of any scene, by marching cubes.

Splats and meshes: rendered depth is fused into a truncated signed distance field, and the mesh is
its zero level (Curless and Levoy, A Volumetric Method for Building Complex Models from Range
Images, 1996). Radiance fields: the mesh is a level of the density. Marching cubes is Lorensen and
Cline's, 1987, in the variant of Lewiner et al., 2003, by scikit-image.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from renderers import render
from scenes.cameras import Cameras, sphere
from scenes.gaussians import Gaussians
from scenes.mesh import Mesh
from scenes.radiance_field import RadianceField

QUERY_POINTS = 2**18
"""Points at which a field is queried at once. It bounds the memory."""


@torch.no_grad()
def fuse(
    scene: Gaussians | Mesh,
    cameras: Cameras,
    low: Float[Tensor, "3"],
    high: Float[Tensor, "3"],
    resolution: int,
    *,
    truncation: float = 4.0,
) -> tuple[Float[Tensor, "x y z"], Float[Tensor, "x y z 3"], float]:
    """Signed distances (metres, positive outside), colours, and the size of a voxel in metres.

    The box from ``low`` to ``high`` has ``resolution`` voxels along its longest side. Distances are
    cut off at ``truncation`` voxels. Voxels that no camera sees count as inside.
    """
    low, high = low.to(cameras.viewmats), high.to(cameras.viewmats)
    corners, shape, voxel = _grid(low, high, resolution)
    reach = truncation * voxel
    distance, looks = torch.zeros_like(corners[:, 0]), torch.zeros_like(corners[:, 0])
    color, colored = torch.zeros_like(corners), torch.zeros_like(corners[:, :1])
    for c in range(cameras.count):
        camera = cameras[[c]]
        views = render(scene, camera, background=(0, 0, 0))
        alpha, depth, rgb = (t[0].flatten(0, 1) for t in (views.alpha, views.depth, views.rgb))
        # A ray that meets nothing is free to its end.
        front = torch.where(alpha[:, 0] > 0.5, depth[:, 0], torch.inf)
        x, y, z = (camera.viewmats[0, :3, :3] @ corners.T + camera.viewmats[0, :3, 3:]).unbind(0)
        u, v = (t / z.clamp_min(1e-6) * camera.Ks[0, i, i] + camera.Ks[0, i, 2] for i, t in enumerate((x, y)))
        seen = (z > 1e-6) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        pixel = v.clamp(0, camera.height - 1).long() * camera.width + u.clamp(0, camera.width - 1).long()
        # The gap along the ray stands for the distance. Far behind a surface nothing is known.
        gap = front[pixel] - z
        seen &= gap > -reach
        distance += torch.where(seen, gap.clamp_max(reach), 0.0)
        looks += seen
        near = (seen & (gap < reach)).nonzero().squeeze(-1)
        color[near] += rgb[pixel[near]] / alpha[pixel[near]]
        colored[near] += 1
    mean = torch.where(looks > 0, distance / looks.clamp_min(1), -reach)
    return mean.view(shape), (color / colored.clamp_min(1)).view(*shape, 3), voxel


def extract(
    scene: Gaussians | Mesh | RadianceField,
    *,
    resolution: int = 128,
    views: int = 32,
    size: int | None = None,
    bounds: tuple[Float[Tensor, "3"], Float[Tensor, "3"]] | None = None,
    truncation: float = 4.0,
    smoothing: float = 1.0,
    min_fraction: float = 1e-3,
) -> Mesh:
    """A closed, coloured mesh of one scene. Faces are counter-clockwise seen from outside.

    The box around the scene has ``resolution`` voxels along its longest side. An empty scene gives
    a mesh without faces. Separate pieces with less than ``min_fraction`` of the surface area are
    dropped. Enclosed cavities are filled.

    Splats and meshes are rendered by ``views`` cameras all around, above and below, as images of
    ``size`` pixels (by default two per voxel). ``truncation`` is that of ``fuse``. Small values
    keep thin parts from growing. The depth of overlapping Gaussians ripples, so the distances are
    blurred first, with a standard deviation of ``smoothing`` voxels. Blurring shrinks thin parts.

    A radiance field is meshed by its density alone, at half of its typical density (the median,
    where each point weighs its density). The options of the last paragraph do not apply.
    """
    if scene.batch_shape:
        raise ValueError("extract works on a single scene; index the batch first")
    if resolution < 2 or views < 1:
        raise ValueError(f"a surface needs at least 2 voxels and 1 view, got {resolution} and {views}")
    low, high = bounds or bounding_box(scene)
    longest = float((high - low).max())
    if not longest > 0:
        return _empty(low)
    if isinstance(scene, Gaussians | Mesh):
        margin = 6 * longest / resolution
        low, high = low - margin, high + margin
        cameras = rig(scene, views, size or 2 * resolution, bounds=(low, high))
        distance, color, voxel = fuse(scene, cameras, low, high, resolution, truncation=truncation)
        found = _zero_level(distance, smoothing, min_fraction)
        if found is None:
            return _empty(low)
        vertices, faces = found
        return _mesh(low.cpu() + voxel * vertices, faces, _trilinear(color.cpu(), vertices), low)
    solid, low, voxel = _density_above_level(scene, low, high, resolution)
    found = _zero_level(-solid, 0.0, min_fraction)
    if found is None:
        return _empty(low)
    vertices = low + voxel * found[0].to(low)
    with torch.no_grad():
        colors = torch.cat([scene.query(some)[1] for some in vertices.split(QUERY_POINTS)])
    return _mesh(vertices, found[1], colors.clamp(0, 1), low)


@torch.no_grad()
def _density_above_level(
    field: RadianceField, low: Float[Tensor, "3"], high: Float[Tensor, "3"], resolution: int
) -> tuple[Float[Tensor, "x y z"], Float[Tensor, "3"], float]:
    """Density minus the surface's level on a grid, the grid's first corner, and its voxel size.

    A border of empty voxels closes what reaches the bounds. A field is empty if light that crosses
    the box along its longest side would lose less than half.
    """
    longest = float((high - low).max())
    voxel = longest / resolution
    low, high = low - 2 * voxel, high + 2 * voxel
    corners, shape, _ = _grid(low, high, resolution + 4)
    density = torch.cat([field.query(some)[0] for some in corners.split(QUERY_POINTS)])
    ordered = density.sort().values
    mass = ordered.double().cumsum(0)
    typical = ordered[int(torch.searchsorted(mass, mass[-1] / 2).clamp_max(len(mass) - 1))]
    level = max(float(typical) / 2, math.log(2) / longest)
    # A vertex exactly on a grid point would be there once for every edge that meets it.
    above = density - level
    above = torch.where(above.abs() < 1e-4 * level, 1e-4 * level, above)
    return above.view(shape), low, voxel


def _grid(
    low: Float[Tensor, "3"], high: Float[Tensor, "3"], resolution: int
) -> tuple[Float[Tensor, "k 3"], list[int], float]:
    """Corners of the voxels of a box, how many along each axis, and the size of a voxel."""
    voxel = float((high - low).max()) / resolution
    shape = ((high - low) / voxel).ceil().long().add(1).tolist()
    axes = [low[i] + voxel * torch.arange(shape[i], dtype=low.dtype, device=low.device) for i in range(3)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3), shape, voxel


def _zero_level(
    distance: Float[Tensor, "x y z"], smoothing: float, min_fraction: float
) -> tuple[Float[Tensor, "v 3"], Int[Tensor, "f 3"]] | None:
    """Vertices in voxels, and faces, of the surface where the distance is 0; None without any."""
    from scipy.ndimage import gaussian_filter, label
    from skimage.measure import marching_cubes

    values = distance.cpu().numpy()
    if smoothing and values.min() < 0 < values.max():
        values = gaussian_filter(values, smoothing, mode="nearest")
    if not values.min() < 0 < values.max():
        return None
    # Outside voxels that are not connected to the sides of the box are a cavity.
    outside = label(values > 0)[0]  # type: ignore[index]
    sides = [outside.take([0, -1], axis).ravel() for axis in range(3)]
    cavity = (outside > 0) & ~np.isin(outside, np.concatenate(sides))
    values = np.where(cavity, values.min(), values)
    vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="descent")
    vertices, faces = _without_crumbs(vertices, faces, min_fraction)
    if not len(faces):
        return None
    return torch.from_numpy(vertices.astype(np.float32)), torch.from_numpy(faces.astype(np.int64))


def simplified(mesh: Mesh, max_faces: int) -> Mesh:
    """A coloured mesh with at most ``max_faces`` triangles. The edges whose loss shows least are
    collapsed (Garland and Heckbert, 1997; by fast-simplification, whose thresholds are for edges of
    length 1)."""
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


def face_pieces(vertices: np.ndarray, faces: np.ndarray) -> Int[np.ndarray, "f"]:
    """The number of the connected piece that each face (f, 3) belongs to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(faces))
    count = len(vertices)
    links = sum(coo_array((ones, (faces[:, i], faces[:, i - 1])), shape=(count, count)) for i in (0, 1))
    _, label = connected_components(links, directed=False)
    return np.unique(label[faces[:, 0]], return_inverse=True)[1]


def _without_crumbs(vertices: np.ndarray, faces: np.ndarray, min_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Without the pieces that have less than a fraction of the whole area."""
    piece = face_pieces(vertices, faces)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = np.bincount(piece, np.linalg.norm(np.cross(b - a, c - a), axis=1))
    kept = faces[(area >= min_fraction * area.sum())[piece]]
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


def _empty(like: Tensor) -> Mesh:
    """A mesh without faces."""
    return _mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3), like)


def _mesh(vertices: Tensor, faces: Tensor, colors: Tensor, like: Tensor) -> Mesh:
    return Mesh(vertices.to(like), faces.to(like.device), colors.to(like))


def bounding_box(scene: Gaussians | Mesh | RadianceField) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Lowest and highest corner of the visible scene. Gaussians of opacity above 0.05 count, up to
    two standard deviations."""
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
