"""Normal maps against closed forms: tangents of a plane, a coarse ball that is lit as a true one, a
coarse mesh of a rippled dense one."""

import dataclasses

import pytest
import torch
import trimesh
from torch.nn.functional import normalize

from renderers import render
from renderers.baking import bake, exact_of_mesh, exact_of_parts, vertex_normals, vertex_tangents
from scenes.cameras import orbit
from scenes.mesh import Mesh, tangent_frame
from scenes.parts import CENTRE_Z, EXISTENCE, EXPONENTS, LOG_HALF_SIZE, ROTATION, UPRIGHT, VECTOR_SIZE, Parts


def sphere(subdivisions: int) -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.4)
    return Mesh(torch.tensor(shape.vertices).float(), torch.tensor(shape.faces))


def white(positions, normals, colors):
    return colors


def off_deg(a, b):
    return (a * b).sum(-1).clamp(-1, 1).acos().rad2deg()


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_tangents_of_a_plane(mirrored):
    """In the plane y = 0, seen from -y: x to the right, z up. The texture lies on it turned by a
    quarter, or also mirrored."""
    vertices = torch.tensor([[0.0, 0, 0], [2, 0, 0], [2, 0, 1], [0, 0, 1]])
    faces, normals = torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0.0, -1, 0]]).expand(4, 3)
    u, v = vertices[:, 2], vertices[:, 0] if mirrored else -vertices[:, 0]
    tangents = vertex_tangents(vertices, faces, normals, torch.stack([u, v], -1))
    expected = torch.tensor([0.0, 0, 1, -1 if mirrored else 1]).expand(4, 4)
    torch.testing.assert_close(tangents, expected)
    bitangent = tangent_frame(normals, tangents)[..., 1]
    torch.testing.assert_close(bitangent, torch.tensor([1.0 if mirrored else -1.0, 0, 0]).expand(4, 3))


def test_faces_without_area_have_some_tangent():
    vertices, normals = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), torch.tensor([[0.0, 0, 1]]).expand(3, 3)
    tangents = vertex_tangents(vertices, torch.tensor([[0, 1, 2], [0, 0, 0]]), normals, torch.zeros(3, 2))
    torch.testing.assert_close(tangents[:, :3].norm(dim=-1), torch.ones(3))
    assert tangents[:, 3].abs().eq(1).all() and tangents[:, 2].eq(0).all()


def test_a_coarse_ball_is_lit_as_a_true_one():
    """42 vertices, normals of the faces around. The renderer decodes the map on its own, between
    the texels."""
    coarse, cameras = sphere(1), orbit(4, size=96, target=(0.0, 0.0, 0.0))
    coarse = dataclasses.replace(coarse, normals=normalize(vertex_normals(coarse) + torch.tensor([0.3, 0, 0]), dim=-1))
    baked = bake(coarse, white, 256, lambda positions, normals: normalize(positions, dim=-1))
    assert baked.normal_map is not None and baked.tangents is not None
    assert set(baked.tangents[:, 3].tolist()) == {-1.0, 1.0}, "the atlas mirrors some charts: both hands are tried"
    plain = dataclasses.replace(baked, normal_map=None)
    views, before = (render(mesh, cameras, outputs=("normal",), antialiased=False) for mesh in (baked, plain))
    assert views.normal is not None and before.normal is not None
    for c in range(cameras.count):
        y, x = (views.alpha[c, ..., 0] > 0).nonzero().unbind(-1)
        ray = torch.stack([x + 0.5, y + 0.5, torch.ones(len(x))], -1) @ cameras.Ks[c].inverse().T
        local = ray * views.depth[c, y, x]
        point = (local - cameras.viewmats[c, :3, 3]) @ cameras.viewmats[c, :3, :3]
        towards = (normalize(point, dim=-1) * normalize(cameras.positions[c] - point, dim=-1)).sum(
            -1
        ) > 0.1  # not at the outline
        after, was = (off_deg(v.normal[c, y, x], normalize(point, dim=-1))[towards] for v in (views, before))
        assert after.quantile(0.99) < 1 and was.median() > 8


def test_the_normals_of_parts_where_they_cross():
    """Two crossed boxes: around the seam each face takes the normals of its own part, not of the
    one that is as near."""
    vectors = torch.zeros(3, VECTOR_SIZE)
    vectors[:, EXISTENCE] = torch.tensor([1.0, -1.0, 1.0])
    vectors[:, EXPONENTS] = torch.tensor([[0.1], [1.0], [0.1]])
    vectors[:, CENTRE_Z], vectors[:, ROTATION] = 0.5, torch.tensor(UPRIGHT)
    vectors[:, LOG_HALF_SIZE] = torch.tensor([[0.3, 0.05, 0.05], [0.1, 0.1, 0.1], [0.05, 0.05, 0.3]]).log()
    parts = Parts.from_vectors(vectors)
    up, right = torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0])
    positions = torch.tensor([[0.0501, 0.0, 0.5501], [0.0501, 0.0, 0.5501], [5.0, 0, 0]])
    tilted = normalize(torch.stack([up + 0.2 * right, right + 0.2 * up, up]), dim=-1)
    found = exact_of_parts(parts)(positions, tilted)
    assert off_deg(found, torch.stack([up, right, up])).max() < 2, "and far from all parts the mesh's own"


def test_the_normals_of_a_dense_mesh_without_its_ripples():
    dense, rng = sphere(5), torch.Generator().manual_seed(0)
    true = normalize(dense.vertices, dim=-1)
    rippled = dataclasses.replace(
        dense, vertices=dense.vertices + 1e-3 * torch.randn(len(true), 1, generator=rng) * true
    )
    raw = off_deg(vertex_normals(rippled), true)
    points = normalize(torch.randn(2000, 3, generator=rng), dim=-1)
    found = exact_of_mesh(rippled)(0.4 * points, points)
    assert off_deg(found, points).median() < 0.4 * raw.median()


def test_an_edge_stays_an_edge():
    """Of a finely divided cube whose vertex normals are rounded at the edges."""
    box = trimesh.creation.box((0.4, 0.4, 0.4))
    for _ in range(5):
        box = box.subdivide()
    points = torch.tensor([[0.2, 0.17, 0.0], [0.17, 0.2, 0.0]])
    found = exact_of_mesh(Mesh(torch.tensor(box.vertices).float(), torch.tensor(box.faces)))(
        points, normalize(points, dim=-1)
    )
    assert off_deg(found, torch.tensor([[1.0, 0, 0], [0, 1, 0]])).max() < 3
