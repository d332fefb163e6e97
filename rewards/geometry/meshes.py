"""What a slicer or a simulator needs of a triangle mesh: closed, manifold, one body, no inner
shells, thick walls, no self-intersections.

Triangles that share edges form a shell. The winding number decides whether a point is inside a
closed shell (Jacobson et al., 2013). Intersections and wall thickness come from tests of segments
against triangles (Möller and Trumbore, 1997) in the cells of a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from scenes.shells import numbered, welded

if TYPE_CHECKING:
    import trimesh

WALL = 0.012
"""Thinnest wall that prints, over the largest extent: 1.2 mm, three lines of a 0.4 mm nozzle, at
ten centimetres."""
WALL_REACH = 0.1
"""Walls thicker than this fraction of the largest extent are not measured."""
RAYS = 3000
THINNEST_FRACTION = 0.01
"""Fraction of the surface that may be thinner than the thickness reported: the tips of cones, and
cells at sharp edges."""
MAX_TRIANGLES = 2_000_000
_EDGE = 1e-6


@dataclass(frozen=True)
class MeshReport:
    """Figures of one mesh; lengths in its own unit, metres for assets."""

    triangles: int
    open_edges: int
    """Edges with a single triangle."""
    odd_edges: int
    """Edges with more than two, or with two that wind against each other."""
    bodies: int
    """Pieces that neither cross nor contain one another."""
    inner_shells: int
    """Shells within another one: a cavity, or a wall that is there twice."""
    crossings: int
    """Edges that pass through a triangle of which they are no part."""
    min_wall: float
    """Thickness of the solid that all but ``THINNEST_FRACTION`` of its surface reaches; at most
    ``WALL_REACH`` of the extent."""
    extent: float
    """Largest side of its box."""

    @property
    def watertight(self) -> bool:
        return self.open_edges == 0

    @property
    def manifold(self) -> bool:
        return self.open_edges == 0 and self.odd_edges == 0

    @property
    def printable(self) -> bool:
        """No fault at all."""
        return (
            self.manifold
            and self.bodies == 1
            and not self.inner_shells
            and not self.crossings
            and self.min_wall >= WALL * self.extent
        )

    @property
    def score(self) -> float:
        """Mean of six marks in [0, 1]: watertight, manifold, one body, no inner shells, no
        self-intersections, thick walls."""
        marks = (
            1 / (1 + self.open_edges),
            1 / (1 + self.open_edges + self.odd_edges),
            1 / self.bodies,
            1 / (1 + self.inner_shells),
            1 / (1 + self.crossings),
            min(1.0, self.min_wall / (WALL * self.extent)),
        )
        return float(np.mean(marks))


def inspect(mesh: trimesh.Trimesh) -> MeshReport:
    """Inspect one mesh. Vertices in the same place count as one: files double them along creases.

    ValueError if it has no triangles, too many, or numbers that are not finite.
    """
    vertices, faces = np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int64)
    if not len(faces):
        raise ValueError("the mesh has no triangles")
    if len(faces) > MAX_TRIANGLES:
        raise ValueError(f"the mesh has {len(faces):,} triangles; at most {MAX_TRIANGLES:,} can be inspected")
    used = vertices[faces]
    if not np.isfinite(used).all():
        raise ValueError(
            f"the mesh has {int((~np.isfinite(vertices).all(1)).sum())} vertices that are not finite numbers"
        )
    extent = float((used.max((0, 1)) - used.min((0, 1))).max())
    if extent <= 0:
        raise ValueError("the mesh has no extent: all its vertices lie in one place")
    vertices, faces = welded(vertices, faces, extent)
    if not len(faces):
        raise ValueError("the mesh has only triangles without area")
    shell, open_edges, odd_edges, closed = numbered(faces)
    edges = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    owner = np.zeros(len(vertices), np.int64)
    owner[faces] = shell[:, None]
    triangles = vertices[faces]
    edge, face, _ = _hits(vertices[edges[:, 0]], vertices[edges[:, 1]], triangles, extent)
    apart = ~(faces[face][:, :, None] == edges[edge][:, None]).any((1, 2))
    edge, face = edge[apart], face[apart]
    crossed = np.stack([owner[edges[edge, 0]], shell[face]], 1)
    nested = _nested(vertices, faces, shell, closed, crossed)
    links = np.concatenate([crossed, nested])
    count = len(closed)
    bodies, _ = connected_components(
        coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), (count, count)), directed=False
    )
    solid = _united(triangles, shell, closed) if (crossed[:, 0] != crossed[:, 1]).any() else triangles
    return MeshReport(
        triangles=len(mesh.faces),
        open_edges=open_edges,
        odd_edges=odd_edges,
        bodies=int(bodies),
        inner_shells=len(set(nested[:, 0].tolist())),
        crossings=len(np.unique(edge)),
        min_wall=_wall(solid, extent),
        extent=extent,
    )


def _nested(
    vertices: np.ndarray, faces: np.ndarray, shell: np.ndarray, closed: np.ndarray, crossed: Int[np.ndarray, "k 2"]
) -> Int[np.ndarray, "n 2"]:
    """Pairs (inner, outer) of shells of which one lies wholly within the other."""
    corners = vertices[faces]
    low, high = np.full((len(closed), 3), np.inf), np.full((len(closed), 3), -np.inf)
    np.minimum.at(low, shell, corners.min(1))
    np.maximum.at(high, shell, corners.max(1))
    first = np.zeros(len(closed), np.int64)
    first[shell[::-1]] = np.arange(len(shell))[::-1]  # the first triangle of each shell
    met = set(map(tuple, np.sort(crossed, 1).tolist()))
    pairs = []
    for outer in np.flatnonzero(closed):
        boxed = ((low >= low[outer]) & (high <= high[outer])).all(1)
        boxed[outer] = False
        candidates = [inner for inner in np.flatnonzero(boxed) if (min(inner, outer), max(inner, outer)) not in met]
        if candidates:
            wall = corners[shell == outer]
            pairs += [
                (inner, outer) for inner in candidates if abs(_winding(corners[first[inner]].mean(0), wall)) > 0.5
            ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _winding(point: Float[np.ndarray, "3"], triangles: Float[np.ndarray, "t 3 3"]) -> float:
    """How often the triangles go around the point: 1 inside a closed shell, 0 outside (van Oosterom
    and Strackee, 1983)."""
    a, b, c = (triangles[:, i] - point for i in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
    volume = (a * np.cross(b, c)).sum(1)
    below = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return float(np.arctan2(volume, below).sum() / (2 * np.pi))


def _united(triangles: np.ndarray, shell: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Triangles of the solid that shells which cross make together; as they are where one of them
    is not closed."""
    import manifold3d

    if not closed.all():
        return triangles
    solids = []
    for k in range(len(closed)):
        points = triangles[shell == k].reshape(-1, 3)
        mesh = manifold3d.Mesh64(points, np.arange(len(points), dtype=np.uint64).reshape(-1, 3))
        mesh.merge()
        solid = manifold3d.Manifold(mesh)
        if solid.status() != manifold3d.Error.NoError:
            return triangles
        solids.append(solid)
    whole = manifold3d.Manifold.batch_boolean(solids, manifold3d.OpType.Add).to_mesh64()
    return np.asarray(whole.vert_properties)[:, :3][np.asarray(whole.tri_verts, np.int64)]


def _wall(triangles: Float[np.ndarray, "t 3 3"], extent: float) -> float:
    """Thickness below the surface, along the normal, that all but the thinnest fraction of it
    reaches."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    total = areas.cumsum()
    if total[-1] <= 0:
        return 0.0
    # Even in area, at a place within each triangle that moves on by the golden ratio.
    ticks = (np.arange(RAYS) + 0.5) / RAYS * total[-1]
    chosen = np.searchsorted(total, ticks).clip(max=len(total) - 1)
    u, v = (np.arange(RAYS) * 0.7548776662466927) % 1, (np.arange(RAYS) * 0.5698402909980532) % 1
    u, v = np.where(u + v > 1, 1 - u, u)[:, None], np.where(u + v > 1, 1 - v, v)[:, None]
    a, b, c = triangles[chosen].transpose(1, 0, 2)
    inwards = -normals[chosen] / areas[chosen, None]
    start, reach = a + u * (b - a) + v * (c - a), WALL_REACH * extent
    ray, _, far = _hits(start + 1e-5 * extent * inwards, start + reach * inwards, triangles, extent)
    depth = np.full(RAYS, 1.0)
    np.minimum.at(depth, ray, far)
    return float(np.quantile(depth, THINNEST_FRACTION) * reach)


def _hits(
    starts: Float[np.ndarray, "s 3"],
    ends: Float[np.ndarray, "s 3"],
    triangles: Float[np.ndarray, "t 3 3"],
    extent: float,
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Segments that pass through the inside of a triangle: segment, triangle, and where on the
    segment in (0, 1)."""
    origin = triangles.min((0, 1)) - 1e-3 * extent
    cells = int(np.clip(np.sqrt(len(triangles)) / 1.5, 1, 96))
    boxes = (np.minimum(starts, ends), np.maximum(starts, ends)), (triangles.min(1), triangles.max(1))
    while True:
        size = 1.01 * extent / cells
        grids = [
            tuple(np.clip(((corner - origin) // size), 0, cells - 1).astype(np.int64) for corner in box)
            for box in boxes
        ]
        if cells == 1 or sum(int((high - low + 1).prod(1).sum()) for low, high in grids) < 20_000_000:
            break
        cells //= 2
    (segment, there), (triangle, here) = (_cells(low, high, cells) for low, high in grids)
    order = np.argsort(here, kind="stable")
    here, triangle = here[order], triangle[order]
    first, last = np.searchsorted(here, there, "left"), np.searchsorted(here, there, "right")
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    bounds = np.searchsorted((last - first).cumsum(), np.arange(0, (last - first).sum() + 1, 4_000_000))
    for low, high in zip(bounds, [*bounds[1:], len(there)], strict=True):
        count = (last - first)[low:high]
        s = np.repeat(segment[low:high], count)
        within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
        t = triangle[np.repeat(first[low:high], count) + within]
        pair = np.unique(s * len(triangles) + t)
        s, t = pair // len(triangles), pair % len(triangles)
        where = _meet(starts[s], ends[s], triangles[t])
        hit = where > 0
        found.append((s[hit], t[hit], where[hit]))
    s, t, where = (np.concatenate(columns) for columns in zip(*found, strict=True))
    _, once = np.unique(s * len(triangles) + t, return_index=True)
    return s[once], t[once], where[once]


def _cells(low: np.ndarray, high: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Which item reaches into which cell of the grid, all pairs."""
    span = high - low + 1
    count = span.prod(1)
    item = np.repeat(np.arange(len(low)), count)
    within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    x, rest = np.divmod(within, (span[:, 1] * span[:, 2])[item])
    y, z = np.divmod(rest, span[item, 2])
    at = low[item] + np.stack([x, y, z], 1)
    return item, (at[:, 0] * cells + at[:, 1]) * cells + at[:, 2]


def _meet(starts: np.ndarray, ends: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Where on each segment it passes through its triangle, in (0, 1); -1 where it does not."""
    a, along = triangles[:, 0], ends - starts
    one, two = triangles[:, 1] - a, triangles[:, 2] - a
    across = np.cross(along, two)
    determinant = (one * across).sum(1)
    # Relative to the lengths: a sliver is a triangle, too.
    flat = np.abs(determinant) <= 1e-12 * np.linalg.norm(along, axis=1) * np.linalg.norm(one, axis=1) * np.linalg.norm(
        two, axis=1
    )
    inverse = 1 / np.where(flat, 1, determinant)
    to = starts - a
    u = (to * across).sum(1) * inverse
    turned = np.cross(to, one)
    v = (along * turned).sum(1) * inverse
    where = (two * turned).sum(1) * inverse
    inside = (u > _EDGE) & (v > _EDGE) & (u + v < 1 - _EDGE) & (where > _EDGE) & (where < 1 - _EDGE) & ~flat
    return np.where(inside, where, -1)
