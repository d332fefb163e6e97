"""Convex decomposition of a mesh into what a rigid-body simulator takes.

Wei et al., Approximate Convex Decomposition for 3D Meshes with Collision-Aware Concavity and Tree
Search, 2022, by the authors' package coacd.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from renderers.surface import face_pieces, simplified
from scenes.asset import Convex
from scenes.mesh import Mesh
from scenes.parts import TOUCH_TOLERANCE

FACES = 600
"""Most triangles of a piece that is decomposed. The time grows with them."""
CONVEX = 0.92
"""A piece that fills this fraction of its convex hull counts as convex."""
SMALL = 0.01
"""A piece with less than this fraction of the scene's volume becomes its convex hull. This bounds
the time for scenes of many crumbs."""
CONCAVITY = 0.1
"""coacd's threshold, for a piece scaled to [-1, 1]: about 5 cm of a piece 1 m long."""
SEARCH = {
    "mcts_nodes": 8,
    "mcts_iterations": 20,
    "mcts_max_depth": 1,
    "resolution": 300,
    "merge": False,
    "preprocess_mode": "off",
}
"""coacd's tree search, much shorter than its default: about 10 times as fast, for a third more
hulls. Its preprocessing, which repairs open meshes, would take longer than all the rest."""
HULL_VERTICES = 64
"""Most vertices of a hull."""


def decomposed(mesh: Mesh) -> tuple[list[Convex], Int[np.ndarray, "v"]]:
    """The convex pieces of a closed mesh, and the body that each of its vertices belongs to.

    ``Convex.part`` is the number of the connected piece of the mesh. Pieces whose gap is at most
    ``TOUCH_TOLERANCE`` form one body. ``Convex.body`` is the number of its first piece. The hulls
    of a piece share its volume in proportion to theirs, so that a body has the mesh's volume. A
    piece so flat that it has no hull is left out; the body of its vertices is -1.

    The result is the same each time. It takes 0.5 s on one core for an asset of the corpus
    (``python -m benchmarks.assets``).
    """
    vertices, faces = mesh.vertices.double().cpu().numpy(), mesh.faces.cpu().numpy()
    piece_of_vertex = np.full(len(vertices), -1)
    if not len(faces):
        return [], piece_of_vertex
    piece_of_face = face_pieces(vertices, faces)
    piece_of_vertex[faces] = piece_of_face[:, None]
    count = int(piece_of_face.max()) + 1
    meshes = [_submesh(vertices, faces[piece_of_face == p]) for p in range(count)]
    volumes = np.array([_volume(*one) for one in meshes])
    small = SMALL * volumes.sum()
    hulls = [_hulls(*one, large=bool(volume >= small)) for one, volume in zip(meshes, volumes)]
    body_of_piece = _bodies([points for points, _ in meshes], np.array([len(some) > 0 for some in hulls]))
    out = []
    for p, some in enumerate(hulls):
        measured = [_centroid(hull) for hull in some]
        total = sum(volume for volume, _ in measured)
        for hull, (volume, centroid) in zip(some, measured):
            fraction = float(volume / total * volumes[p])
            place = centroid, np.array([1.0, 0, 0, 0]), centroid, fraction, float(hull[:, 2].min())
            half = (hull.max(0) - hull.min(0)) / 2
            out.append(Convex("hull", half, *place, hull, int(body_of_piece[p]), p))
    return out, np.where(piece_of_vertex >= 0, body_of_piece[piece_of_vertex], -1)


def _submesh(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    used, index = np.unique(faces, return_inverse=True)
    return vertices[used], index.reshape(-1, 3)


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, i]] - vertices[0] for i in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def _hulls(vertices: np.ndarray, faces: np.ndarray, *, large: bool) -> list[Float[np.ndarray, "v 3"]]:
    """Vertices of the convex hulls that a connected piece is made of; none if it is flat."""
    from scipy.spatial import ConvexHull, QhullError, cKDTree

    try:
        hull = ConvexHull(vertices)
    except QhullError:
        return []
    volume = _volume(vertices, faces)
    if volume <= 0:
        return []
    if not large or volume >= CONVEX * hull.volume:
        return [_reduced(vertices[hull.vertices])]
    fine = Mesh(torch.from_numpy(vertices), torch.from_numpy(faces), torch.zeros(len(vertices), 3).double())
    coarse = simplified(fine, FACES)
    # Collapsed edges may stick out: a leg would end below the ground.
    _, nearest = cKDTree(vertices).query(coarse.vertices.numpy())
    found = _coacd().run_coacd(
        _coacd().Mesh(vertices[nearest], coarse.faces.numpy()), threshold=CONCAVITY, seed=0, **SEARCH
    )
    out = []
    for points, _ in found:
        try:
            out.append(_reduced(points[ConvexHull(points).vertices]))
        except QhullError:
            continue
    return out or [_reduced(vertices[hull.vertices])]


@functools.cache
def _coacd() -> ModuleType:
    import coacd

    coacd.set_log_level("off")
    return coacd


def _reduced(hull: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "w 3"]:
    """At most ``HULL_VERTICES`` of a hull's vertices: those farthest out in as many directions."""
    if len(hull) <= HULL_VERTICES:
        return hull
    return hull[np.unique((hull @ _directions().T).argmax(0))]


@functools.cache
def _directions() -> Float[np.ndarray, "64 3"]:
    """The six axes, and a Fibonacci spiral over the sphere."""
    i = np.arange(HULL_VERTICES - 6) + 0.5
    z, angle = 1 - 2 * i / len(i), math.pi * (1 + math.sqrt(5)) * i
    radius = np.sqrt(1 - z * z)
    return np.concatenate([np.eye(3), -np.eye(3), np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)])


def _centroid(hull: Float[np.ndarray, "v 3"]) -> tuple[float, Float[np.ndarray, "3"]]:
    """Volume and centroid of a convex hull, from the tetrahedra about a point inside it."""
    from scipy.spatial import ConvexHull

    inner = hull.mean(0)
    a, b, c = (hull[ConvexHull(hull).simplices][:, i] - inner for i in range(3))
    volumes = np.abs((np.cross(a, b) * c).sum(1)) / 6
    return float(volumes.sum()), inner + (volumes[:, None] * (a + b + c)).sum(0) / 4 / volumes.sum()


def _bodies(pieces: list[Float[np.ndarray, "_ 3"]], solid: Bool[np.ndarray, "p"]) -> Int[np.ndarray, "p"]:
    """The number of the first piece of each piece's touching cluster; -1 for those without a hull.

    Gaps are between vertices, which lie a voxel apart at most."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    low, high = (np.array([getattr(points, end)(0) for points in pieces]) for end in ("min", "max"))
    apart = np.maximum(low[:, None] - high[None], low[None] - high[:, None]).max(-1)
    near = np.argwhere(np.triu(apart <= TOUCH_TOLERANCE, 1) & solid[:, None] & solid)
    trees = {p: cKDTree(pieces[p]) for p in np.unique(near).tolist()}
    touching = [
        (i, j)
        for i, j in near.tolist()
        if trees[i].query(pieces[j], distance_upper_bound=TOUCH_TOLERANCE)[0].min() < np.inf
    ]
    i, j = np.array(touching, dtype=int).reshape(-1, 2).T
    links = coo_array((np.ones(len(i)), (i, j)), shape=(len(pieces), len(pieces)))
    _, label = connected_components(links, directed=False)
    _, first, index = np.unique(label, return_index=True, return_inverse=True)
    return np.where(solid, first[index], -1)
