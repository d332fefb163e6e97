"""Figures of meshes with known faults, and their agreement with the parts' own reward."""

import numpy as np
import pytest
import torch
import trimesh

from rewards.geometry.meshes import inspect
from scenes.parts import Parts
from scenes.solids import joined


def box(side: float = 1.0, at=(0.0, 0.0, 0.0)) -> trimesh.Trimesh:
    out = trimesh.creation.box((side,) * 3)
    out.apply_translation(at)
    return out


def together(*meshes: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.util.concatenate(list(meshes))


def inside_out(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    mesh.invert()
    return mesh


def test_a_box_has_no_fault():
    report = inspect(box())
    assert report.triangles == 12 and report.bodies == 1
    assert report.open_edges == report.odd_edges == report.inner_shells == report.crossings == 0
    assert report.printable and report.score == 1 and report.min_wall == pytest.approx(0.1) and report.extent == 1


def test_doubled_vertices_are_one_place():
    loose = box()
    loose = trimesh.Trimesh(loose.triangles.reshape(-1, 3), np.arange(36).reshape(-1, 3), process=False)
    assert inspect(loose).printable


def test_holes_and_odd_edges():
    whole = box()
    hole = inspect(trimesh.Trimesh(whole.vertices, whole.faces[1:], process=False))
    assert hole.open_edges == 3 and not hole.watertight and hole.score < 0.9
    turned = whole.faces.copy()
    turned[0] = turned[0, ::-1]
    report = inspect(trimesh.Trimesh(whole.vertices, turned, process=False))
    assert report.watertight and not report.manifold and report.odd_edges == 3
    doubled = inspect(trimesh.Trimesh(whole.vertices, np.concatenate([whole.faces, whole.faces]), process=False))
    assert doubled.odd_edges == 18


@pytest.mark.parametrize("turn", [False, True])
def test_shells_within(turn):
    inner = box(0.98)
    report = inspect(together(box(), inside_out(inner) if turn else inner))
    assert (report.bodies, report.inner_shells, report.crossings) == (1, 1, 0)
    assert not report.printable


def test_walls_of_a_hollow_box_and_of_a_wire():
    assert inspect(together(box(), inside_out(box(0.98)))).min_wall == pytest.approx(0.01, rel=0.01)
    wire = inspect(trimesh.creation.torus(0.5, 0.01))
    assert wire.min_wall == pytest.approx(0.02, rel=0.08)
    assert inspect(trimesh.creation.box((1, 1, 0.03))).min_wall == pytest.approx(0.03, rel=0.01)


def test_pieces_and_crossings():
    assert inspect(together(box(), box(at=(3, 0, 0)))).bodies == 2
    crossing = inspect(together(box(), box(at=(0.3, 0.2, 0.1))))
    assert crossing.bodies == 1 and crossing.crossings == 12 and crossing.inner_shells == 0


def test_crossings_are_those_of_all_pairs():
    """The grid finds what comparing every edge with every triangle finds."""
    from rewards.geometry.meshes import _hits, _meet

    rng = np.random.default_rng(0)
    starts, ends = rng.random((200, 3)), rng.random((200, 3))
    triangles = rng.random((300, 1, 3)) + 0.2 * rng.normal(size=(300, 3, 3))
    extent = float((triangles.max((0, 1)) - triangles.min((0, 1))).max())
    s, t, where = _hits(starts, ends, triangles, extent)
    all_s, all_t = (x.ravel() for x in np.meshgrid(np.arange(200), np.arange(300), indexing="ij"))
    expected = _meet(starts[all_s], ends[all_s], triangles[all_t])
    hit = expected > 0
    assert hit.sum() > 100
    np.testing.assert_array_equal(np.stack([s, t]), np.stack([all_s[hit], all_t[hit]]))
    np.testing.assert_array_equal(where, expected[hit])


def test_united_parts_are_one_solid(batch, table):
    vertices, faces = batch(table()).need_parts()[0].present().meshes(3)
    shapes = [trimesh.Trimesh(v.numpy(), faces.numpy(), process=False) for v in vertices]
    apart = inspect(together(*shapes))
    assert apart.bodies == 1 and apart.crossings > 0 and apart.manifold
    solid = joined(shapes, np.zeros((5, 3)), united=True)
    report = inspect(trimesh.Trimesh(solid.vertices.numpy(), solid.faces.numpy(), process=False))
    assert report.printable and report.min_wall == pytest.approx(0.06, rel=0.05)
    assert apart.min_wall == pytest.approx(report.min_wall, rel=0.02)


def test_bad_meshes_get_one_line():
    empty = trimesh.Trimesh(np.zeros((0, 3)), np.zeros((0, 3), int), process=False)
    with pytest.raises(ValueError, match="the mesh has no triangles"):
        inspect(empty)
    nan = box()
    vertices = np.array(nan.vertices)
    vertices[3, 1] = np.nan
    with pytest.raises(ValueError, match="the mesh has 1 vertices that are not finite numbers"):
        inspect(trimesh.Trimesh(vertices, nan.faces, process=False))
    with pytest.raises(ValueError, match="no extent"):
        inspect(trimesh.Trimesh(np.ones((3, 3)), [[0, 1, 2]], process=False))
    line = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 0, 0]], [[0, 1, 2]], process=False)
    with pytest.raises(ValueError, match="only triangles without area"):
        inspect(line)


def test_parts_of_one_kind_make_closed_meshes():
    vectors = torch.tensor([[1.0, 0.5, 0.7, 0.3, 0, 0, 0.5, *np.log([0.2, 0.3, 0.5]), 1, 0, 0, 0, 1, 0, 1, 0, 0]])
    vertices, faces = Parts.from_vectors(vectors).meshes(5)
    assert inspect(trimesh.Trimesh(vertices[0].numpy(), faces.numpy(), process=False)).printable
