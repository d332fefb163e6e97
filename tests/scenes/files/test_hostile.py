"""Faults that fuzz.py found (python -m tests.scenes.files.fuzz), each with the smallest file that
shows it."""

import json
import struct
import subprocess
import warnings
import zipfile

import numpy as np
import pytest
import torch
import trimesh

from scenes.files import FileError
from scenes.files.glb import base_colors, chunks, read_parts
from scenes.files.meshes import convert_mesh, load_glb
from scenes.files.sog import write_sog
from scenes.files.splats import read_gaussians, write_gaussians
from scenes.files.trees import parse_json, parse_yaml
from scenes.files.usd import write_usd
from scenes.gaussians import Gaussians


def glb(tree: dict, binary: bytes = b"") -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    body = b"".join(
        struct.pack("<I4s", len(data), kind) + data for kind, data in ((b"JSON", text), (b"BIN\0", binary)) if data
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


@pytest.fixture
def ball(tmp_path):
    """A ball as the tree of a .glb file, which can be changed, and how to see it read."""
    tree, binary = chunks(trimesh.Scene(trimesh.creation.icosphere()).export(file_type="glb"))

    def read() -> trimesh.Scene:
        path = tmp_path / "a.glb"
        path.write_bytes(glb(tree, binary))
        return load_glb(path, path.read_bytes())

    return tree, read


def refused(call, *arguments, match: str) -> None:
    with warnings.catch_warnings(), pytest.raises(FileError, match=match) as error:
        warnings.simplefilter("error")
        call(*arguments)
    text = str(error.value)
    assert text.isprintable() and len(text) < 700


def test_what_a_message_quotes_stays_one_short_line():
    text = str(FileError("cannot read a.sog: 'two\nlines\u2028and \x1b[31mred" + 100_000 * "w" + "'; it is damaged"))
    assert (
        text.isprintable()
        and len(text) < 700
        and text.startswith("cannot read a.sog: 'two lines")
        and text.endswith("it is damaged")
    )


def test_trees_too_deep_or_too_long_are_no_trees():
    for text in ("[" * 50_000 + "]" * 50_000, "9" * 5000):
        with pytest.raises(ValueError):
            parse_json(text)
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in (laughs, "[" * 5000 + "]" * 5000, "day: 2020-13-45", "!!timestamp x", "x: " + "w" * 1_000_000):
        with pytest.raises(ValueError):
            parse_yaml(text)
    assert parse_yaml("a: {b: [1, 2.5, null]}") == {"a": {"b": [1, 2.5, None]}}


@pytest.mark.parametrize(
    ("name", "value", "match"), [("SCALE", -1.0, "negative scales"), ("OPACITY", 7.0, "opacities that are not between")]
)
def test_scales_and_opacities_without_meaning_are_refused(tmp_path, make_scene, name, value, match):
    write_gaussians(tmp_path / "a.splat.glb", make_scene(3))
    data = (tmp_path / "a.splat.glb").read_bytes()
    tree, binary = chunks(data)
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"][f"KHR_gaussian_splatting:{name}"]]
    at = tree["bufferViews"][accessor["bufferView"]]["byteOffset"]
    (tmp_path / "a.splat.glb").write_bytes(glb(tree, binary[:at] + struct.pack("<f", value) + binary[at + 4 :]))
    refused(read_gaussians, tmp_path / "a.splat.glb", match=f"1 of 3 Gaussians have {match}")


def test_opacities_rounded_past_one_are_one(tmp_path):
    scene = Gaussians(
        torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1, 3), torch.tensor([1.0]), torch.ones(1, 3)
    )
    write_gaussians(tmp_path / "a.splat.glb", scene)
    tree, binary = chunks((tmp_path / "a.splat.glb").read_bytes())
    (tmp_path / "a.splat.glb").write_bytes(
        glb(tree, binary.replace(struct.pack("<f", 1.0), struct.pack("<f", 1.0000001)))
    )
    assert read_gaussians(tmp_path / "a.splat.glb").opacities.tolist() == [1.0]


def test_nodes_that_overflow_are_refused_without_a_warning(tmp_path, make_scene):
    write_gaussians(tmp_path / "a.splat.glb", make_scene(3))
    tree, binary = chunks((tmp_path / "a.splat.glb").read_bytes())
    for node in (
        {"scale": [1e200] * 3},
        {"translation": [1e308, 0, 0], "scale": [1e-200, 1, 1]},
        {"matrix": [1e308] * 16},
    ):
        tree["nodes"] = [{"children": [1], **node}, {"mesh": 0, **node}]
        (tmp_path / "a.splat.glb").write_bytes(glb(tree, binary))
        refused(read_gaussians, tmp_path / "a.splat.glb", match="one of its nodes|not finite")


def test_a_sog_with_numbers_beyond_floats_is_refused(tmp_path, make_scene):
    write_sog(tmp_path / "a.sog", make_scene(4))
    with zipfile.ZipFile(tmp_path / "a.sog") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(files["meta.json"])
    meta["scales"]["codebook"][3] = 10**400
    with zipfile.ZipFile(tmp_path / "a.sog", "w") as archive:
        for name, content in {**files, "meta.json": json.dumps(meta).encode()}.items():
            archive.writestr(name, content)
    refused(read_gaussians, tmp_path / "a.sog", match=r"its meta\.json is not that of a \.sog file")


def test_a_ply_of_numbers_that_signal_is_refused_without_a_warning(tmp_path, make_scene):
    write_gaussians(tmp_path / "a.ply", make_scene(2, 3))
    data = bytearray((tmp_path / "a.ply").read_bytes())
    start = data.index(b"end_header\n") + 11
    data[start + 4 * 9 : start + 4 * 10] = struct.pack("<I", 0x7FA00000)  # f_rest_0
    (tmp_path / "a.ply").write_bytes(data)
    refused(read_gaussians, tmp_path / "a.ply", match="sh_rest that are not finite")
    names = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 1\n" + "".join(
        f"property double {name}\n" for name in names
    )
    (tmp_path / "a.ply").write_bytes(
        f"{header}end_header\n".encode() + struct.pack("<Q", 0x7FF4000000000000) + bytes(8 * 13)
    )
    refused(read_gaussians, tmp_path / "a.ply", match="means that are not finite")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda tree: tree["accessors"].append({"count": 2**40, "type": "VEC3", "componentType": 5126}),
            "more entries than the file",
        ),
        (lambda tree: tree["bufferViews"].extend([tree["bufferViews"][0]] * 99), "more entries than the file"),
        (
            lambda tree: (
                tree["nodes"].append({"children": [0] * 4000})
                or tree["scenes"][0].update(nodes=[len(tree["nodes"]) - 1])
            ),
            "a tree",
        ),
        (lambda tree: tree["nodes"][0].update(scale=[1e300] * 3, children=[0]), "a tree|not a finite number"),
        (lambda tree: tree["accessors"][0].update(sparse={}), "sparsely|it is not a valid"),
        (lambda tree: tree["accessors"][1].update(normalized=True), "quantised"),
        (lambda tree: tree["meshes"][0]["primitives"][0].update(mode=0), "it holds no mesh"),
        (
            lambda tree: tree["meshes"][0]["primitives"][0].update(extensions={"KHR_draco_mesh_compression": {}}),
            "Draco",
        ),
        (lambda tree: tree["nodes"][-1].update(translation=[1e30, 0, 0]), "more than 1000 km away"),
        (lambda tree: tree["nodes"][-1].update(scale=[1e200, 1, 1]), "more than 1000 km away"),
    ],
)
def test_a_damaged_mesh_that_trimesh_accepts_is_refused(ball, change, match):
    tree, read = ball
    change(tree)
    refused(read, match=match)


def test_materials_without_a_colour_are_refused(ball):
    tree, _ = ball
    for factor in ([0.5], "red", [1, 2, None, 1], [1e309, 0, 0, 1]):
        tree["materials"] = [{"name": "a", "pbrMetallicRoughness": {"baseColorFactor": factor}}]
        with pytest.raises(ValueError):
            base_colors(glb(tree))


def test_triangles_of_vertices_that_are_not_there_are_refused(tmp_path):
    shape = trimesh.creation.box()
    tree, binary = chunks(trimesh.Scene(shape).export(file_type="glb"))
    used = tree["accessors"][tree["meshes"][0]["primitives"][0]["indices"]]
    at = tree["bufferViews"][used["bufferView"]].get("byteOffset", 0)
    data = glb(tree, binary[:at] + b"\x63" + binary[at + 1 :])
    refused(load_glb, tmp_path / "a.glb", data, match="vertices that do not exist")


def test_nested_and_repeated_nodes_keep_their_places(tmp_path):
    """In a .3mf a child lost its turn, and lines and points were named but not there."""
    nested, shape = trimesh.Scene(), trimesh.creation.box()
    nested.add_geometry(shape, node_name="a", transform=np.diag([2.0, 2, 2, 1]))
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 0, 0])
    nested.add_geometry(shape, node_name="b", parent_node_name="a", transform=turn)
    nested.add_geometry(trimesh.PointCloud(shape.vertices))
    (tmp_path / "a.glb").write_bytes(nested.export(file_type="glb"))
    low, high = load_glb(tmp_path / "a.glb", (tmp_path / "a.glb").read_bytes()).bounds
    np.testing.assert_allclose(high, nested.bounds[1], atol=1e-5)
    for suffix, unit in ((".3mf", 1000), (".stl", 1000), (".obj", 1)):
        convert_mesh(tmp_path / "a.glb", tmp_path / f"a{suffix}")
        found = trimesh.load_scene(tmp_path / f"a{suffix}").extents
        np.testing.assert_allclose(sorted(found), sorted(unit * (high - low)), rtol=1e-4)


def test_a_mesh_without_colours_goes_into_usd(tmp_path, ball):
    pytest.importorskip("pxr")
    _, read = ball
    write_usd(tmp_path / "a.usdc", None, read())
    assert (tmp_path / "a.usdc").stat().st_size > 500


def test_a_usd_file_that_crashes_or_hangs_openusd_is_refused(tmp_path, make_scene, monkeypatch):
    """Its parser crashed on one damaged .usdc in 3,000: it runs in a process of its own."""
    pytest.importorskip("pxr")
    write_gaussians(tmp_path / "a.usdc", make_scene(3))
    script = tmp_path / "crash.py"
    monkeypatch.setattr("scenes.files.usd.usd_reader.__file__", str(script))
    script.write_text("import os; os.abort()")
    refused(read_gaussians, tmp_path / "a.usdc", match="OpenUSD crashed")

    def slow(command, *, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr("subprocess.run", slow)
    refused(read_gaussians, tmp_path / "a.usdc", match="did not finish reading it in 30 s")


@pytest.mark.parametrize("largest", [1e308, 1e5])
def test_a_sog_with_infinite_positions_is_refused(tmp_path, largest):
    write_sog(
        tmp_path / "a.sog",
        Gaussians(torch.rand(4, 3), torch.ones(4, 4), torch.ones(4, 3), torch.ones(4), torch.ones(4, 3)),
    )
    with zipfile.ZipFile(tmp_path / "a.sog") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(files["meta.json"])
    meta["means"] |= {"mins": [-largest] * 3, "maxs": [largest] * 3}
    with zipfile.ZipFile(tmp_path / "b.sog", "w") as archive:
        for name, content in (files | {"meta.json": json.dumps(meta).encode()}).items():
            archive.writestr(name, content)
    refused(read_gaussians, tmp_path / "b.sog", match="means")


@pytest.mark.parametrize("scale", [1e-320, 1e300])
def test_splats_without_a_size_are_refused(tmp_path, scale):
    write_gaussians(tmp_path / "a.splat.glb", Gaussians(*(torch.ones(2, *k) for k in ((3,), (4,), (3,), (), (3,)))))
    tree, binary = chunks((tmp_path / "a.splat.glb").read_bytes())
    tree["nodes"][0] |= {"scale": [scale] * 3, "rotation": [0.5] * 4}
    (tmp_path / "b.splat.glb").write_bytes(glb(tree, binary))
    refused(read_gaussians, tmp_path / "b.splat.glb", match="shears, mirrors or stretches|not finite")


def test_numbers_of_parts_that_no_float_can_hold(tmp_path):
    tree = {"asset": {"version": "2.0"}, "nodes": [{"extras": {"rl3d_part": [10**400] * 19}}]}
    refused(read_parts, tmp_path / "a.glb", glb(tree), match=r"its parts are not 27 \(or 19\) finite numbers each")


def test_factors_of_a_material_are_in_range(ball):
    tree, read = ball
    tree["materials"] = [{"pbrMetallicRoughness": {"metallicFactor": 1e30}}]
    tree["meshes"][0]["primitives"][0]["material"] = 0
    refused(read, match="metallicFactor that is not in")
