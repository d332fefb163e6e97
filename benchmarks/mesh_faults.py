"""Faults of printed meshes, made on purpose, which ``rewards.geometry.meshes.inspect`` must
find."""

from __future__ import annotations

import numpy as np
import trimesh


def hole_cut(mesh: trimesh.Trimesh, rng: np.random.Generator) -> trimesh.Trimesh:
    """The triangles within a fiftieth of the extent of a random one's middle are missing, that one
    at least."""
    middles = mesh.triangles_center
    chosen = rng.integers(len(middles))
    away = np.linalg.norm(middles - middles[chosen], axis=1) > mesh.extents.max() / 50
    away[chosen] = False
    return trimesh.Trimesh(mesh.vertices, mesh.faces[away], process=False)


def shell_doubled(mesh: trimesh.Trimesh, rng: np.random.Generator) -> trimesh.Trimesh:
    """The surface once more, 0.4 % of the extent further in, as hollow meshes of generators have
    it."""
    welded = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True, merge_norm=True, merge_tex=True)
    inner = trimesh.Trimesh(
        welded.vertices - 0.004 * mesh.extents.max() * welded.vertex_normals, welded.faces, process=False
    )
    if rng.random() < 0.5:  # some programs turn it inside out, some do not
        inner.invert()
    return trimesh.util.concatenate([welded, inner])


MESH_FAULTS = {fault.__name__: fault for fault in (hole_cut, shell_doubled)}
