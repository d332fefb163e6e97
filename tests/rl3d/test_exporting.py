"""Export between asset folders, splats and meshes."""

from dataclasses import replace

import pytest
import torch
import trimesh

from rl3d.exporting import export
from scenes.files import FileError
from scenes.files.glb import write_glb
from scenes.files.ply import read_ply, write_ply
from scenes.files.splat import read_splat, write_splat
from scenes.parts import Parts


@pytest.fixture
def parts() -> Parts:
    vectors = torch.zeros(1, 19)
    vectors[:, [0, 1, 2, 10, 14]] = 1
    vectors[:, 7:10] = -1.5
    return Parts.from_vectors(vectors)


@pytest.fixture
def asset(tmp_path, parts):
    folder = tmp_path / "ball"
    folder.mkdir()
    write_ply(folder / "scene.ply", parts.gaussians(100))
    write_glb(folder / "mesh.glb", parts)
    return folder


def test_an_asset_becomes_any_format(asset, tmp_path, parts):
    out = tmp_path / "made" / "on the way"
    for suffix in (".ply", ".splat", ".GLB"):
        export(asset, out / f"ball{suffix}")
    assert read_ply(out / "ball.ply").count == read_splat(out / "ball.splat").count == 100
    assert (out / "ball.GLB").read_bytes() == (asset / "mesh.glb").read_bytes()
    volume = trimesh.load_scene(out / "ball.GLB").to_mesh().volume
    assert volume == pytest.approx(float(parts.masses()[0]), rel=0.02)


def test_single_files(asset, tmp_path):
    export(asset / "scene.ply", tmp_path / "a.splat")
    export(tmp_path / "a.splat", tmp_path / "b.ply")
    torch.testing.assert_close(read_ply(tmp_path / "b.ply").means, read_ply(asset / "scene.ply").means)
    export(asset / "mesh.glb", asset / "mesh.glb")
    assert len(trimesh.load_scene(asset / "mesh.glb").geometry) == 1


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("ball", "a.obj", r"the suffix must be one of \.ply, \.splat, \.glb"),
        ("missing", "a.ply", "there is no such file or folder"),
        ("empty", "a.ply", "the folder has no scene.ply"),
        ("empty", "a.glb", "the folder has no mesh.glb"),
        ("clear.ply", "a.glb", r"cannot export .*clear\.ply to \.glb: its splats show no surface"),
        ("ball/mesh.glb", "a.ply", "it is a mesh"),
        ("text.txt", "a.ply", "give an asset folder"),
        ("text.glb", "a.glb", "it is not a .glb file"),
        ("ball", "text.txt/a.ply", "cannot write .*text.txt/a.ply: Not a directory"),
        ("ball", "empty.glb", "it is a folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(asset, tmp_path, parts, source, target, message):
    for name in ("empty", "empty.glb"):
        (tmp_path / name).mkdir()
    clear = parts.gaussians(10)
    write_ply(tmp_path / "clear.ply", replace(clear, opacities=torch.full_like(clear.opacities, 1e-3)))
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "text.glb").write_text("text")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileError, match=message) as error:
        export(tmp_path / source, tmp_path / target)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_splats_become_a_closed_mesh(asset, tmp_path, parts):
    """Of a file, or of a folder that holds no mesh: red as the splats are, and as large."""
    export(asset / "scene.ply", tmp_path / "a.glb")
    (asset / "mesh.glb").unlink()
    export(asset, tmp_path / "b.glb")
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    mesh = trimesh.load_scene(tmp_path / "a.glb").to_mesh()
    mesh.merge_vertices(merge_norm=True)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(float(parts.masses()[0]), rel=0.15)


def test_splats_of_another_program(tmp_path, parts):
    write_splat(tmp_path / "scan.splat", parts.gaussians(10))
    export(str(tmp_path / "scan.splat"), str(tmp_path / "scan.ply"))
    assert read_ply(tmp_path / "scan.ply").count == 10
