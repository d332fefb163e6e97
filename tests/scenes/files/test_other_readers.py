"""Other programs read our files: Khronos' validator, PlayCanvas' splat-transform and MikkTSpace,
all run by Node.js, and Open3D.

The first three are installed by npm install --no-save --no-package-lock --prefix build/readers
gltf-validator @playcanvas/splat-transform mikktspace (.ci/run does), Open3D by  pip install open3d
(0.4 GB); where they are not, these tests skip."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from rl3d.export import export
from scenes.files.glb import chunks, write_glb
from scenes.files.splats import read_gaussians, write_gaussians
from scenes.gaussians import Gaussians

MODULES = Path(__file__).parents[3] / "build" / "readers" / "node_modules"
VALIDATE = """
const validator = require("gltf-validator"), fs = require("fs");
(async () => {
  for (const path of process.argv.slice(1)) {
    const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(path)));
    console.log(JSON.stringify({ path, messages: report.issues.messages }));
  }
})();
"""
TANGENTS = """
const { generateTangents } = require("mikktspace"), fs = require("fs");
const floats = (path) => new Float32Array(new Uint8Array(fs.readFileSync(path)).buffer);
const [positions, normals, uvs, out] = process.argv.slice(1);
fs.writeFileSync(out, Buffer.from(generateTangents(floats(positions), floats(normals), floats(uvs)).buffer));
"""


def needs(name: str) -> pytest.MarkDecorator:
    there = shutil.which("node") is not None and (MODULES / name).is_dir()
    return pytest.mark.skipif(
        not there, reason=f"Node.js or its package {name} is not installed (see the top of this file)"
    )


def node(*arguments: object) -> str:
    run = subprocess.run(
        ["node", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NODE_PATH": str(MODULES)},
    )
    assert run.returncode == 0, run.stderr + run.stdout
    return run.stdout


@needs("gltf-validator")
def test_the_khronos_validator_finds_nothing(tmp_path, varied, make_scene):
    folder = tmp_path / "asset"
    folder.mkdir()
    write_glb(folder / "mesh.glb", varied[0])
    write_gaussians(folder / "scene.ply", varied[0].gaussians(4000))
    export(folder, tmp_path / "copy.glb")
    export(folder, tmp_path / "united.glb", united=True)
    export(folder, tmp_path / "textured.glb", texture=256)
    export(folder, tmp_path / "both.glb", united=True, texture=256)
    export(folder / "scene.ply", tmp_path / "scan.glb")
    export(folder / "scene.ply", tmp_path / "baked.glb", texture=256, max_faces=3000)
    for n, k in ((0, 0), (1, 0), (300, 3), (300, 15)):
        write_gaussians(tmp_path / f"{n}_{k}.splat.glb", make_scene(n, k))
    files = sorted(tmp_path.glob("*.glb"))
    assert len(files) == 10
    for line in node("-e", VALIDATE, *files).splitlines():
        report = json.loads(line)
        # The validator does not know the extension yet: it takes its attributes' names for
        # mistakes.
        wrong = [m for m in report["messages"] if m["severity"] <= 1 and "KHR_gaussian_splatting:" not in m["pointer"]]
        assert wrong == [], report["path"]


@needs("mikktspace")
def test_tangents_are_those_of_mikktspace(tmp_path, varied):
    """So that a viewer that makes its own tangents sees the same."""
    folder = tmp_path / "asset"
    folder.mkdir()
    write_glb(folder / "mesh.glb", varied[0])
    export(folder, tmp_path / "a.glb", texture=256)
    tree, binary = chunks((tmp_path / "a.glb").read_bytes())
    (primitive,) = tree["meshes"][0]["primitives"]

    def numbers(index: int, dtype: str) -> np.ndarray:
        view = tree["bufferViews"][tree["accessors"][index]["bufferView"]]
        data = binary[view.get("byteOffset", 0) : view.get("byteOffset", 0) + view["byteLength"]]
        return np.frombuffer(data, dtype).reshape(tree["accessors"][index]["count"], -1)

    corners = numbers(primitive["indices"], "<u4").flatten()
    at = {name: numbers(index, "<f4")[corners] for name, index in primitive["attributes"].items()}
    files = [tmp_path / f"{name}.bin" for name in ("POSITION", "NORMAL", "TEXCOORD_0")]
    for file in files:
        at[file.stem].tofile(file)
    node("-e", TANGENTS, *files, tmp_path / "theirs.bin")
    theirs = np.fromfile(tmp_path / "theirs.bin", "<f4").reshape(-1, 4)
    # It takes texture coordinates to grow upwards; glTF's grow downwards.
    assert (at["TANGENT"][:, 3] == -theirs[:, 3]).mean() > 0.999
    cosine = (at["TANGENT"][:, :3] * theirs[:, :3]).sum(-1)
    assert (cosine > np.cos(np.radians(0.5))).mean() > 0.99


@needs("@playcanvas/splat-transform")
@pytest.mark.parametrize("suffix", [".spz", ".sog", ".splat"])
@pytest.mark.parametrize("k", [0, 15])
def test_splat_transform_reads_what_we_wrote(tmp_path, make_scene, suffix, k):
    """Their reading, as a .ply, is ours, which other tests hold to what was written; harmonics
    too."""
    scene = make_scene(500, k)
    rest = None if scene.sh_rest is None else 0.2 * scene.sh_rest.clamp(-4, 4)
    scene = Gaussians(scene.means, scene.quats, scene.scales, scene.opacities.clamp(0.01, 0.99), scene.colors, rest)
    write_gaussians(tmp_path / f"a{suffix}", scene)
    node(MODULES / "@playcanvas/splat-transform/bin/cli.mjs", "-w", tmp_path / f"a{suffix}", tmp_path / "theirs.ply")
    ours, theirs = read_gaussians(tmp_path / f"a{suffix}"), read_gaussians(tmp_path / "theirs.ply")
    torch.testing.assert_close(theirs.means, ours.means, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(theirs.scales, ours.scales, atol=0, rtol=1e-4)
    torch.testing.assert_close(theirs.colors, ours.colors, atol=1e-4, rtol=0)
    torch.testing.assert_close(theirs.opacities, ours.opacities, atol=3e-3, rtol=0)
    assert (1 - (theirs.quats * ours.quats).sum(-1).abs()).max() < 1e-4
    if k and suffix != ".splat":
        torch.testing.assert_close(theirs.sh_rest, ours.sh_rest, atol=1e-4, rtol=0)


@needs("@playcanvas/splat-transform")
def test_we_read_what_splat_transform_wrote(tmp_path, make_scene):
    """.spz of version 4, which we do not write, and their .sog, both from our .ply; their order is
    their own."""
    scene = make_scene(500, 0)
    scene = Gaussians(scene.means, scene.quats, scene.scales, scene.opacities.clamp(0.01, 0.99), scene.colors)
    write_gaussians(tmp_path / "a.ply", scene)
    for suffix, reach in ((".spz", 3e-4), (".sog", 1e-3)):
        gpu = ["-g", "cpu"] if suffix == ".sog" else []
        node(
            MODULES / "@playcanvas/splat-transform/bin/cli.mjs",
            "-w",
            *gpu,
            tmp_path / "a.ply",
            tmp_path / f"theirs{suffix}",
        )
        theirs = read_gaussians(tmp_path / f"theirs{suffix}")
        distance, nearest = torch.cdist(scene.means.double(), theirs.means.double()).min(1)
        assert theirs.count == scene.count and distance.max() < reach
        assert (1 - (theirs.quats[nearest] * scene.quats).sum(-1).abs()).max() < 1e-4
        torch.testing.assert_close(theirs.colors[nearest], scene.colors, atol=0.02, rtol=0)


def test_open3d_loads_every_mesh(tmp_path, varied):
    """The same triangles in the same place, with colours or a texture where the format has them."""
    open3d = pytest.importorskip("open3d")
    folder = tmp_path / "asset"
    folder.mkdir()
    write_glb(folder / "mesh.glb", varied[0])
    write_gaussians(folder / "scene.ply", varied[0].gaussians(4000))
    variants = {"parts": {}, "united": {"united": True}, "textured": {"texture": 64}, "scan": {"max_faces": 3000}}
    for name, options in variants.items():
        for suffix in (".glb", ".obj", ".stl"):
            path = export(folder / "scene.ply" if name == "scan" else folder, tmp_path / f"{name}{suffix}", **options)
            ours = trimesh.load_scene(path, process=False).to_mesh()
            model = open3d.io.read_triangle_model(str(path)) if suffix != ".stl" else None
            parts = [open3d.io.read_triangle_mesh(str(path))] if model is None else [part.mesh for part in model.meshes]
            points = np.concatenate([np.asarray(part.vertices) for part in parts])
            np.testing.assert_allclose(
                [points.min(0), points.max(0)], ours.bounds, atol=2e-4 * ours.scale, err_msg=path.name
            )
            area = sum(part.get_surface_area() for part in parts)
            assert area == pytest.approx(ours.area, rel=1e-3), path.name
            if model is not None:
                assert len(parts) == (int(varied[0].exists.sum()) if name == "parts" else 1), path.name
                pictures = [material.albedo_img for material in model.materials if material.albedo_img is not None]
                assert [np.asarray(p).shape[:2] for p in pictures] == ([(64, 64)] if name == "textured" else []), (
                    path.name
                )
