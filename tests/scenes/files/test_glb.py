""".glb, read back with trimesh and its JSON by hand: one closed mesh a part, upright, in the right
colours, edges where there are edges."""

import json
import struct

import numpy as np
import pytest
import torch
import trimesh

from scenes.files import FileError
from scenes.files.glb import Y_UP, base_colors, parts_to_trimesh, read_parts, write_glb
from scenes.parts import PATTERNS, Parts


@pytest.fixture
def chair(make) -> Parts:
    """A box of 0.4 x 0.2 x 0.6 m standing on the ground, an absent part, and a ball in front of it
    (towards -y)."""
    box = {"exponents": (0.1, 0.1), "centre": (0.0, 0.0, 0.3), "half": (0.2, 0.1, 0.3), "color": (0.8, 0.05, 0.5)}
    return make(box, {"existence": -1.0}, {"centre": (0.0, -0.5, 0.1), "color": (0.2, 0.9, 0.1)})


def contents(path) -> dict:
    data = path.read_bytes()
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    return json.loads(data[20 : 20 + size])


def test_every_existing_part_is_a_named_closed_mesh(tmp_path, varied):
    for parts in (varied[0], varied[1]):
        write_glb(tmp_path / "a.glb", parts)
        scene = trimesh.load_scene(tmp_path / "a.glb")
        slots = parts.exists.nonzero().flatten().tolist()
        assert sorted(scene.geometry) == [f"part_{slot:02d}" for slot in slots]
        volumes = parts.masses()[0]
        for slot in slots:
            mesh = scene.geometry[f"part_{slot:02d}"]
            mesh.merge_vertices(merge_norm=True, merge_tex=True)
            assert mesh.is_volume and mesh.euler_number == 2
            assert mesh.volume == pytest.approx(float(volumes[slot]), rel=0.04)


def test_the_scene_is_watertight_before_edges_are_split(varied):
    scene = parts_to_trimesh(varied[0])
    assert all(mesh.is_volume for mesh in scene.geometry.values()) and len(scene.geometry) == 16
    with pytest.raises(ValueError, match="index the batch first"):
        parts_to_trimesh(varied)


def test_y_is_up_and_the_front_is_z(tmp_path, chair):
    write_glb(tmp_path / "a.glb", chair)
    scene = trimesh.load_scene(tmp_path / "a.glb")
    low, high = scene.geometry["part_00"].bounds
    np.testing.assert_allclose([low, high], [[-0.2, 0, -0.1], [0.2, 0.6, 0.1]], atol=1e-3)
    np.testing.assert_allclose(scene.geometry["part_02"].bounds.mean(0), [0, 0.1, 0.5], atol=1e-3)


def test_colours_are_linear_and_exact(tmp_path, chair):
    write_glb(tmp_path / "a.glb", chair)
    materials = {m["name"]: m["pbrMetallicRoughness"] for m in contents(tmp_path / "a.glb")["materials"]}
    assert materials["part_00"]["baseColorFactor"] == pytest.approx([0.603827, 0.003936, 0.214041, 1], abs=1e-5)
    assert materials["part_02"]["baseColorFactor"] == pytest.approx([0.033105, 0.787412, 0.010023, 1], abs=1e-5)
    assert all(m["metallicFactor"] == 0 and 0.5 < m["roughnessFactor"] <= 1 for m in materials.values())


def test_boxes_have_edges_and_balls_do_not(tmp_path, chair):
    write_glb(tmp_path / "a.glb", chair)
    scene = trimesh.load_scene(tmp_path / "a.glb", process=False)
    attributes = [mesh["primitives"][0]["attributes"] for mesh in contents(tmp_path / "a.glb")["meshes"]]
    assert all({"POSITION", "NORMAL"} <= set(a) for a in attributes)
    box, ball = scene.geometry["part_00"], scene.geometry["part_02"]
    faces = box.vertex_normals[box.faces]
    assert (np.abs(faces).max(-1) > 0.94).mean() > 0.93, "a box has flat sides up to its slightly rounded edges"
    centred = ball.vertices - ball.bounds.mean(0)
    radial = (ball.vertex_normals * centred).sum(-1) / np.linalg.norm(centred, axis=-1)
    assert radial.min() > 0.99
    assert len(ball.vertices) == len(np.unique(ball.vertices.round(6), axis=0)), "a ball has no seam"


def test_an_empty_asset_is_not_written(tmp_path, make):
    with pytest.raises(FileError, match="the asset has no parts"):
        write_glb(tmp_path / "a.glb", make({"existence": -1.0}))
    broken = make({}).vectors()
    broken[0, 4] = torch.nan
    with pytest.raises(FileError, match="parts whose centres are not finite numbers"):
        write_glb(tmp_path / "a.glb", Parts.from_vectors(broken))
    assert list(tmp_path.iterdir()) == []


def test_the_same_asset_gives_the_same_bytes(tmp_path, chair):
    for name in ("a.glb", "b.glb"):
        write_glb(tmp_path / name, chair)
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_parts_come_back_from_the_file(tmp_path, varied):
    for parts in (varied[0], varied[1]):
        write_glb(tmp_path / "a.glb", parts)
        again = read_parts(tmp_path / "a.glb", (tmp_path / "a.glb").read_bytes())
        torch.testing.assert_close(again.vectors(), parts.present().vectors(), atol=1e-6, rtol=1e-6)


def test_materials_come_back_from_the_file(tmp_path, make):
    box = {"exponents": (0.1, 0.1), "half": (0.3, 0.2, 0.1), "color": (0.8, 0.1, 0.1), "second": (0.1, 0.2, 0.9)}
    parts = make({"finish": (1.0, 0.3)}, box | {"pattern": "stripes", "finish": (0.0, 0.15)}, {})
    write_glb(tmp_path / "a.glb", parts)
    data = (tmp_path / "a.glb").read_bytes()
    torch.testing.assert_close(read_parts("a.glb", data).vectors(), parts.vectors(), atol=1e-6, rtol=1e-6)
    scene = trimesh.load_scene(tmp_path / "a.glb")
    materials = [scene.geometry[f"part_{slot:02d}"].visual.material for slot in range(3)]
    finishes = [[m.metallicFactor, m.roughnessFactor] for m in materials]
    np.testing.assert_allclose(finishes, [[1, 0.3], [0, 0.15], [0, 0.6]], atol=1e-6)
    assert [m.baseColorTexture is not None for m in materials] == [False, True, False]
    np.testing.assert_allclose(base_colors(data)["part_01"], box["color"], atol=1e-6)


@pytest.mark.parametrize("exponents", [(0.1, 0.1), (0.1, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_viewer_sees_the_pattern_where_the_splats_have_it(tmp_path, make, pattern, exponents):
    """Looked up in the texture at points on the mesh, the colours are those of the part there."""
    part = {"exponents": exponents, "half": (0.3, 0.25, 0.2), "color": (0.8, 0.1, 0.1), "second": (0.1, 0.2, 0.9)}
    parts = make(part | {"pattern": pattern, "rotation": (0.8, 0.6, 0, -0.6, 0.8, 0)})
    write_glb(tmp_path / "a.glb", parts)
    mesh = trimesh.load_scene(tmp_path / "a.glb").geometry["part_00"]
    places, faces = trimesh.sample.sample_surface(mesh, 4000, seed=0)
    corners = trimesh.triangles.points_to_barycentric(mesh.triangles[faces], places)
    uv = (mesh.visual.uv[mesh.faces[faces]] * corners[..., None]).sum(1)
    seen = trimesh.visual.color.uv_to_color(uv, mesh.visual.material.baseColorTexture)[:, :3] / 255
    points = torch.from_numpy(places @ Y_UP[:3, :3]).float()[None]
    expected = parts.colors_at(points)[0].numpy()
    assert (np.abs(seen - expected).max(-1) < 0.01).mean() > 0.95, "all but points near an edge of the pattern"
    mesh.merge_vertices(merge_norm=True, merge_tex=True)
    assert mesh.is_volume and mesh.volume == pytest.approx(float(parts.masses()[0]), rel=0.01)


def test_a_file_of_before_materials_is_read(tmp_path, chair):
    write_glb(tmp_path / "a.glb", chair)

    def shorten(tree):
        for node in tree["nodes"]:
            if "extras" in node:
                node["extras"]["rl3d_part"] = node["extras"]["rl3d_part"][:19]

    again = read_parts("a.glb", rewritten(tmp_path / "a.glb", shorten))
    torch.testing.assert_close(again.vectors(), chair.present().vectors(), atol=1e-6, rtol=1e-6)


def rewritten(path, change) -> bytes:
    """The file with its JSON changed."""
    tree = contents(path)
    change(tree)
    data = path.read_bytes()
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + int.from_bytes(data[12:16], "little") :]
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest


@pytest.mark.parametrize(
    "numbers", [[1.0] * 18, [float("nan")] * 19, ["x"] * 19, 5, {"a": 1}, [[1.0]] * 19, [1e400] * 19]
)
def test_damaged_part_numbers_are_refused(tmp_path, chair, numbers):
    write_glb(tmp_path / "a.glb", chair)
    data = rewritten(tmp_path / "a.glb", lambda tree: [n.update(extras={"rl3d_part": numbers}) for n in tree["nodes"]])
    with pytest.raises(FileError, match=r"a\.glb: (its parts are not 27 \(or 19\) finite numbers|it names)"):
        read_parts(tmp_path / "a.glb", data)


@pytest.mark.parametrize("extras", [None, 5, [], "rl3d_part", {}])
def test_other_programs_nodes_hold_no_parts(tmp_path, chair, extras):
    write_glb(tmp_path / "a.glb", chair)
    assert (
        read_parts(
            "a.glb", rewritten(tmp_path / "a.glb", lambda tree: [n.update(extras=extras) for n in tree["nodes"]])
        )
        is None
    )
