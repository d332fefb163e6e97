"""The connected pieces of triangle meshes, told apart along their edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

WELD = 1e-6
"""Vertices closer than this fraction of the extent count as one."""


@dataclass(frozen=True)
class Shell:
    """One connected piece of a mesh, closed or not."""

    triangles: Float[np.ndarray, "t 3 3"]
    """Corners in metres."""
    volume: float
    """Cubic metres, cavities within taken off."""


def shells(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> list[Shell]:
    """The connected pieces of a mesh that hold a volume, the largest first; none of a mesh that is
    not finite.

    A piece turned inside out within another is a cavity: it is no piece, and its volume is taken
    off. Vertices in the same place count as one."""
    vertices, faces = np.asarray(vertices, float), np.asarray(faces, np.int64)
    used = vertices[faces]
    if not len(faces) or not np.isfinite(used).all():
        return []
    extent = float((used.max((0, 1)) - used.min((0, 1))).max())
    if extent <= 0:
        return []
    vertices, faces = welded(vertices, faces, extent)
    number = numbered(faces)[0]
    triangles = vertices[faces]
    # About the mesh's middle: far from the origin the sum would lose its digits.
    a, b, c = np.moveaxis(triangles - triangles.mean((0, 1)), 1, 0)
    volumes = np.bincount(number, (a * np.cross(b, c)).sum(1) / 6)
    solid = [k for k in np.argsort(-volumes, kind="stable") if volumes[k] > 0]
    pieces = {k: triangles[number == k] for k in solid}
    for k in np.flatnonzero(volumes < 0):
        inner = triangles[number == k]
        around = [
            s
            for s in solid
            if (pieces[s].min((0, 1)) <= inner.min((0, 1))).all() and (pieces[s].max((0, 1)) >= inner.max((0, 1))).all()
        ]
        if around:  # the smallest that holds it
            volumes[around[-1]] += volumes[k]
    return [Shell(pieces[k], float(volumes[k])) for k in solid if volumes[k] > 0]


def welded(vertices: np.ndarray, faces: np.ndarray, extent: float) -> tuple[np.ndarray, np.ndarray]:
    """With vertices in one place made one, and without triangles that have lost their area."""
    places = np.round((vertices[faces.ravel()] - vertices[faces].min((0, 1))) / (extent * WELD)).astype(np.int64)
    _, kept, index = np.unique(places, axis=0, return_index=True, return_inverse=True)
    welded = index.reshape(-1, 3)
    whole = (welded[:, 0] != welded[:, 1]) & (welded[:, 1] != welded[:, 2]) & (welded[:, 2] != welded[:, 0])
    return vertices[faces.ravel()][kept], welded[whole]


def numbered(faces: Int[np.ndarray, "f 3"]) -> tuple[Int[np.ndarray, "f"], int, int, Bool[np.ndarray, "s"]]:
    """Shell of every triangle, numbers of open and of odd edges, and which shells are closed."""
    from scipy.sparse import coo_matrix  # late: only meshes need it
    from scipy.sparse.csgraph import connected_components

    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    owner = np.repeat(np.arange(len(faces)), 3)
    _, edge, count = np.unique(np.sort(directed, 1), axis=0, return_inverse=True, return_counts=True)
    edge = edge.reshape(-1)
    forward = np.bincount(edge, directed[:, 0] < directed[:, 1], len(count))
    odd = (count > 2) | ((count == 2) & (forward != 1))
    order = np.argsort(edge, kind="stable")
    same = edge[order][1:] == edge[order][:-1]
    a, b = owner[order][:-1][same], owner[order][1:][same]
    number, shell = connected_components(
        coo_matrix((np.ones(len(a)), (a, b)), (len(faces), len(faces))), directed=False
    )
    closed = np.ones(number, bool)
    closed[shell[owner[(count == 1)[edge]]]] = False
    return shell, int((count == 1).sum()), int(odd.sum()), closed
