"""``rl3d generate`` end to end with the shipped weights. Other libraries read its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import plyfile
import pytest
import trimesh
from PIL import Image

import rl3d
from rl3d.cli import main
from rl3d.generators.load import TUNED
from scenes.files.tensors import read_tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("assets") / "armchair"
    assert main(["generate", "a red armchair with white legs", "--out", str(out), "--seed", "3"]) == 0
    return out


def test_all_files_are_there_and_nothing_else(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == [
        "card.json",
        "mesh.glb",
        "preview.png",
        "scene.ply",
        "turntable.mp4",
    ]


def test_splats_open_elsewhere(folder: Path) -> None:
    vertices = plyfile.PlyData.read(str(folder / "scene.ply"))["vertex"]
    assert len(vertices) == 16384
    points = np.stack([vertices[axis] for axis in "xyz"], -1)
    shown = vertices["opacity"] > 0
    assert 0.7 < np.ptp(points[shown], axis=0).max() < 1.4
    assert abs(points[shown, 2].min()) < 0.15


def test_mesh_opens_elsewhere_and_every_part_is_solid(folder: Path) -> None:
    scene = trimesh.load(folder / "mesh.glb")
    assert isinstance(scene, trimesh.Scene)
    card = json.loads((folder / "card.json").read_text())
    assert len(scene.geometry) == card["parts"] >= 4
    for mesh in scene.geometry.values():
        merged = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
        assert merged.is_watertight and merged.volume > 0


def test_preview_shows_a_red_thing(folder: Path) -> None:
    pixels = np.asarray(Image.open(folder / "preview.png").convert("RGB")).astype(int)
    red = (pixels[..., 0] > pixels[..., 1] + 60) & (pixels[..., 0] > pixels[..., 2] + 60)
    assert 0.05 < red.mean() < 0.8


def test_turntable_is_a_video(folder: Path) -> None:
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(folder / "turntable.mp4"))
    meta = next(reader)
    frames = sum(1 for _ in reader)
    assert meta["size"] == (256, 256) and frames == 48


def test_card_says_how_it_was_made(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    assert card["prompt"] == "a red armchair with white legs" and card["seed"] == 3
    assert card["generator"]["sha256"] == read_tensors(TUNED).sha256
    assert set(card["rewards"]) == {"stability", "connected", "alignment"}
    assert all(0 <= r["value"] <= 1 and r["version"] for r in card["rewards"].values())


def test_the_same_seed_makes_the_same_scene(folder: Path, tmp_path: Path) -> None:
    assert main(["generate", "a red armchair with white legs", "--out", str(tmp_path), "--seed", "3"]) == 0
    assert (tmp_path / "scene.ply").read_bytes() == (folder / "scene.ply").read_bytes()


def test_best_of_keeps_the_best(tmp_path: Path) -> None:
    def total(asset: rl3d.GeneratedAsset) -> float:
        return sum(r["value"] for r in asset.rewards.values())

    generator = rl3d.load_generator()
    every = rl3d.generate("a brown table", rl3d.GenerateConfig(num=6, seed=10), generator=generator)
    best = rl3d.generate("a brown table", rl3d.GenerateConfig(num=2, best_of=3, seed=10), generator=generator)
    for i, asset in enumerate(best):
        assert total(asset) == pytest.approx(max(total(a) for a in every[3 * i : 3 * i + 3]), abs=2e-3)
