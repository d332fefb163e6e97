"""Part meshes as one solid: the boolean union of closed meshes, which has no inner walls
(manifold3d)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from scenes.mesh import Mesh

if TYPE_CHECKING:
    import trimesh


SLIVER = 1e-6
"""Metres. Shorter edges of a union are collapsed to a point."""


def joined(shapes: list[trimesh.Trimesh], colors: np.ndarray, *, united: bool, crease_deg: float = 30.0) -> Mesh:
    """Closed meshes as one mesh with normals and vertex colours. ``colors`` (n, 3) has one colour
    per mesh.

    With ``united`` the result is the surface of their union: inner surfaces are removed, and
    vertices coincide where two meshes meet. Vertices are doubled between parts, which have two
    colours, and along edges sharper than ``crease_deg``, which have two normals. ValueError if a
    shape is not closed.
    """
    import trimesh

    shapes = [_outwards(shape) for shape in shapes]
    pieces = _union(shapes) if united else [(i, shape) for i, shape in enumerate(shapes)]
    vertices, faces, normals, tints, start = [], [], [], [], 0
    for i, piece in pieces:
        smooth = trimesh.graph.smooth_shade(piece, angle=math.radians(crease_deg), facet_minarea=None)
        vertices.append(smooth.vertices)
        normals.append(smooth.vertex_normals)
        faces.append(smooth.faces + start)
        tints.append(np.broadcast_to(colors[i], smooth.vertices.shape))
        start += len(smooth.vertices)
    tensors = (torch.from_numpy(np.concatenate(t).astype(np.float32)) for t in (vertices, tints, normals))
    points, tint, normal = tensors
    return Mesh(points, torch.from_numpy(np.concatenate(faces).astype(np.int64)), tint, normal)


def _outwards(shape: trimesh.Trimesh) -> trimesh.Trimesh:
    """A closed mesh with its faces seen from outside. Some programs write meshes inside out."""
    with np.errstate(all="ignore"):  # of what is flat
        if not shape.is_watertight or shape.volume >= 0:
            return shape
    turned = shape.copy()
    turned.invert()
    return turned


def _union(shapes: list[trimesh.Trimesh]) -> list[tuple[int, trimesh.Trimesh]]:
    """The share of each shape's surface that is on the outside of the union."""
    import manifold3d
    import trimesh

    solids, number = [], {}
    for i, shape in enumerate(shapes):
        mesh = manifold3d.Mesh64(np.asarray(shape.vertices, np.float64), np.asarray(shape.faces, np.uint64))
        mesh.merge()
        solid = manifold3d.Manifold(mesh)
        if solid.status() != manifold3d.Error.NoError or solid.is_empty():
            raise ValueError(f"part {i} is not a closed mesh ({solid.status().name})")
        solid = solid.as_original()
        number[solid.original_id()] = i
        solids.append(solid)
    whole = manifold3d.Manifold.batch_boolean(solids, manifold3d.OpType.Add).to_mesh64()
    corners = np.asarray(whole.tri_verts, np.int64)
    places = np.asarray(whole.vert_properties)[:, :3]
    owner = np.empty(len(corners), np.int64)
    bounds = np.asarray(whole.run_index, np.int64) // 3
    for run, original in enumerate(whole.run_original_id):
        owner[bounds[run] : bounds[run + 1]] = number[original]
    corners, kept = _without_slivers(places, corners)
    owner = owner[kept]
    pieces = []
    for i in sorted(set(owner.tolist())):
        kept, index = np.unique(corners[owner == i], return_inverse=True)
        pieces.append((i, trimesh.Trimesh(places[kept], index.reshape(-1, 3), process=False)))
    return pieces


def _without_slivers(places: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces (f, 3) without edges shorter than ``SLIVER``, and their original indices.

    The union of nearly flush parts has edges of a nanometre. Their ends coincide in float32, and
    the faces between them would then overlap.
    """
    import trimesh

    edges = corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    short = edges[np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=-1) < SLIVER]
    if not len(short):
        return corners, np.arange(len(corners))
    _, first, labels = np.unique(
        trimesh.graph.connected_component_labels(short, len(places)), return_index=True, return_inverse=True
    )
    corners = first[labels.reshape(-1)][corners]
    kept = np.flatnonzero((corners != corners[:, [1, 2, 0]]).all(1))
    # After a short edge is collapsed, two faces may lie back to back and enclose no volume.
    _, pair, count = np.unique(np.sort(corners[kept], 1), axis=0, return_inverse=True, return_counts=True)
    kept = kept[count[pair.reshape(-1)] == 1]
    return corners[kept], kept
