"""Runs for nerfstudio: their content, and, if nerfstudio is installed, what it shows of them."""

import importlib.util
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from renderers import render
from rl3d.cli import main
from rl3d.export import export
from rl3d.nerfstudio.run import FIELDS, VIEWS, write_run
from rl3d.viewer import nerfstudio as viewer_nerfstudio
from rl3d.viewer.nerfstudio import free_port, serve_run
from scenes.cameras import Cameras
from scenes.files import FileError
from scenes.files.glb import write_glb
from scenes.files.ply import write_ply
from scenes.gaussians import Gaussians
from scenes.parts import Parts
from tests.rl3d.viewer.browser import CHROMIUM

needs_nerfstudio = pytest.mark.skipif(
    importlib.util.find_spec("nerfstudio") is None, reason="nerfstudio is not installed"
)


BALL = (0.6, 0.2, 0.7)
"""Centre of the ball in metres."""


def asset() -> Parts:
    """A red box with a green ball beside it. It looks different when it is turned or mirrored."""
    vectors = torch.zeros(2, 19)
    vectors[:, [0, 10, 14]] = 1
    vectors[0, 1:3], vectors[1, 1:3] = 0.1, 1.0
    vectors[:, 6] = 0.3
    vectors[1, 4:7] = torch.tensor(BALL)
    vectors[0, 7:10], vectors[1, 7:10] = float(np.log(0.3)), float(np.log(0.15))
    vectors[0, 16], vectors[1, 17] = 0.9, 0.6
    return Parts.from_vectors(vectors)


def splats(degree: int = 0) -> Gaussians:
    scene = asset().gaussians(2048)
    if not degree:
        return scene
    rest = 0.1 * torch.randn(scene.count, (degree + 1) ** 2 - 1, 3, generator=torch.Generator().manual_seed(0))
    return Gaussians(scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, rest)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "box"
    folder.mkdir()
    write_ply(folder / "scene.ply", splats())
    write_glb(folder / "mesh.glb", asset())
    return folder


def dataset(run: Path) -> tuple[dict, Cameras, list[np.ndarray]]:
    """transforms.json, its cameras as ``Cameras``, and the images as numbers."""
    found = json.loads((run / "transforms.json").read_text())
    poses = torch.tensor([frame["transform_matrix"] for frame in found["frames"]])
    K = torch.tensor([[found["fl_x"], 0, found["cx"]], [0, found["fl_y"], found["cy"]], [0, 0, 1]])
    viewmats = torch.diag(torch.tensor([1.0, -1, -1, 1])) @ torch.linalg.inv(poses)
    images = [np.asarray(Image.open(run / frame["file_path"])).astype(int) for frame in found["frames"]]
    return found, Cameras(viewmats, K.expand(len(poses), 3, 3), found["w"], found["h"]), images


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_checkpoint_holds_the_scene_in_tensors_and_ints_alone(tmp_path, degree):
    scene = splats(degree)
    write_run(tmp_path / "a.nerfstudio", scene)
    (file,) = (tmp_path / "a.nerfstudio/nerfstudio_models").iterdir()
    assert file.name == "step-000000000.ckpt", "nerfstudio reads a number out of every name there"
    loaded = torch.load(file, weights_only=True)
    assert set(loaded) == {"step", "pipeline"} and loaded["step"] == 0
    kept = {name: loaded["pipeline"][f"_model.{name}"] for name in FIELDS}
    if not degree:
        assert kept.pop("sh_rest").shape == (scene.count, 0, 3)
    for name, tensor in kept.items():
        assert torch.equal(tensor, getattr(scene, name)), name


def test_the_dataset_shows_the_scene_where_its_cameras_say(tmp_path):
    scene = splats()
    run = write_run(tmp_path / "a.nerfstudio", scene)
    found, cameras, images = dataset(run)
    assert len(images) == VIEWS and {path.name for path in (run / "images").iterdir()} == {
        Path(f["file_path"]).name for f in found["frames"]
    }
    drawn = render(scene, cameras).rgb.clamp(0, 1)
    for image, ours in zip(images, drawn, strict=True):
        off = np.abs(image - 255 * ours.numpy())
        assert off.mean() < 0.3 and (off > 1.5).mean() < 1e-3, "a PNG rounds"
        assert (image < 250).any(-1)[[0, -1]].sum() == 0 and (image < 250).any(-1)[:, [0, -1]].sum() == 0, (
            "the asset is whole in the image"
        )
    # In nerfstudio's convention: x right, y up, the camera looks along -z.
    seen = 0
    for frame, image in zip(found["frames"], images, strict=True):
        x, y, z, _ = (np.linalg.inv(frame["transform_matrix"]) @ [*BALL, 1]).tolist()
        assert z < 0
        r, g, b = image.transpose(2, 0, 1)
        rows, columns = np.nonzero((g > 1.5 * r) & (g > 1.5 * b))
        if len(rows) > 3000:  # not behind the box
            seen += 1
            assert abs(columns.mean() - (found["cx"] + found["fl_x"] * x / -z)) < 6
            assert abs(rows.mean() - (found["cy"] - found["fl_y"] * y / -z)) < 6
    assert seen > VIEWS / 2


def test_the_config_calls_us_with_the_folder_in_full(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "box", "--to", 'my "red" ünion.nerfstudio']) == 0
    node = yaml.compose((tmp_path / 'my "red" ünion.nerfstudio/config.yml').read_text(encoding="utf-8"))
    assert node.tag == "tag:yaml.org,2002:python/object/apply:rl3d.nerfstudio.method.run"
    assert [value.value for value in node.value] == [str(tmp_path / 'my "red" ünion.nerfstudio')]


def test_a_run_takes_the_place_of_a_run_and_of_nothing_else(tmp_path, folder):
    run = tmp_path / "deep/a.nerfstudio"
    export(folder, run)
    (run / "old").touch()
    export(folder, run)
    assert {path.name for path in run.iterdir()} == {"config.yml", "images", "nerfstudio_models", "transforms.json"}
    (tmp_path / "empty.nerfstudio").mkdir()
    export(folder, tmp_path / "empty.nerfstudio")
    (tmp_path / "mine.nerfstudio").mkdir()
    (tmp_path / "mine.nerfstudio/config.yml").write_text("!!python/object:nerfstudio.engine.trainer.TrainerConfig\n")
    (tmp_path / "file.nerfstudio").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for source, target, message in (
        (folder, "mine.nerfstudio", "it exists and is not a run that rl3d wrote; name another place"),
        (folder, "file.nerfstudio", "it exists and is not a run"),
        (folder, "file.nerfstudio/a.nerfstudio", "File exists"),
        (folder / "mesh.glb", "b.nerfstudio", "it is a mesh; give an asset's folder with a scene.ply"),
        (tmp_path / "missing", "b.nerfstudio", "there is no such file or folder"),
    ):
        with pytest.raises(FileError, match=message) as error:
            export(source, tmp_path / target)
        assert "\n" not in str(error.value)
    with pytest.raises(FileError, match="has no Gaussians"):
        write_run(tmp_path / "b.nerfstudio", Gaussians.concatenate([]))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_export_leaves_the_older_run(tmp_path, folder, monkeypatch):
    run = export(folder, tmp_path / "a.nerfstudio")
    (run / "mark").touch()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(FileError, match=r"cannot write .*a\.nerfstudio: No space left on device"):
        export(folder, run)
    assert (run / "mark").exists() and sorted(path.name for path in tmp_path.iterdir()) == ["a.nerfstudio", "box"]


def test_only_a_run_that_we_wrote_there_is_opened(tmp_path, folder):
    run = export(folder, tmp_path / "a.nerfstudio")
    run.rename(tmp_path / "moved.nerfstudio")
    (tmp_path / "other.nerfstudio").mkdir()
    (tmp_path / "other.nerfstudio/config.yml").write_text("!!python/object/apply:os.system [touch executed]")
    for name, message in (
        ("moved", "if the folder was moved, export again"),
        ("other", "not the one that rl3d writes there"),
        ("missing", r"cannot read .*config\.yml: No such file"),
    ):
        with pytest.raises(FileError, match=message):
            serve_run(tmp_path / f"{name}.nerfstudio")


def test_without_nerfstudio_one_line_says_what_to_install(folder, monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        viewer_nerfstudio.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "nerfstudio" else real(name, *rest),
    )
    assert main(["view", str(folder), "--viewer", "nerfstudio"]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith('rl3d: nerfstudio\'s viewer is not installed here: pip install "rl3d[nerfstudio]"')
        and said.count("\n") == 1
    )


def test_a_taken_port_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < free_port("127.0.0.1", port) < port + 100 or port > 65500
    assert free_port("127.0.0.1", 0) > 0
    with pytest.raises(FileError, match=r"cannot serve on 203\.0\.113\.7"):
        free_port("203.0.113.7", 0)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A scene with harmonics, and the pipeline that nerfstudio makes of its run, as ns-viewer
    does."""
    plugin = viewer_nerfstudio.load_plugin()
    from nerfstudio.configs import method_configs
    from nerfstudio.utils.eval_utils import eval_setup

    monkeypatch.setitem(method_configs.all_methods, plugin.NAME, plugin.method.config)
    scene = splats(3)
    run = write_run(tmp_path / "a.nerfstudio", scene)
    monkeypatch.chdir(os.sep)
    config, pipeline, checkpoint, step = eval_setup(run / "config.yml")
    assert checkpoint == run / "nerfstudio_models/step-000000000.ckpt" and step == 0 and config.get_base_dir() == run
    return scene, pipeline


@needs_nerfstudio
def test_the_method_is_registered(monkeypatch):
    plugin = viewer_nerfstudio.load_plugin()
    monkeypatch.setenv("NERFSTUDIO_METHOD_CONFIGS", "rl3d-splats=rl3d.nerfstudio.method:method")
    from nerfstudio.plugins.registry import discover_methods

    configs, descriptions = discover_methods()
    assert configs["rl3d-splats"] is plugin.method.config and "asset" in descriptions["rl3d-splats"]


@needs_nerfstudio
def test_nerfstudio_draws_what_we_draw(opened):
    _, pipeline = opened
    data, model = pipeline.datamanager.eval_dataset, pipeline.model
    assert len(data) == VIEWS
    for i in range(0, VIEWS, 5):
        assert ((outputs_at(model, data, i)["rgb"] - data[i]["image"]).abs() < 0.51 / 255).float().mean() > 0.9999
    # Depth along the rays: the points they end at lie on the box or the ball.
    outputs, rays = outputs_at(model, data, 0), data.cameras.generate_rays(camera_indices=0)
    alpha, depth = outputs["accumulation"][..., 0], outputs["depth"]
    ends = (rays.origins + rays.directions * depth)[alpha > 0.99]
    there = asset()
    off = there.distance(ends[::97].expand(there.count, -1, 3)).amin(0).abs()
    assert len(ends) > 1000 and off.median() < 0.01 and off.quantile(0.9) < 0.05
    places = data.cameras.camera_to_worlds[:, :3, 3]
    assert depth[alpha == 0].min() > (places - places[0]).norm(dim=-1).max(), (
        "no camera of the dataset is hidden by what is empty"
    )


def outputs_at(model, data, index: int) -> dict:
    """The model's images for one camera of the dataset, on the CPU."""
    return {name: image.cpu() for name, image in model.get_outputs_for_camera(data.cameras[index : index + 1]).items()}


@needs_nerfstudio
def test_the_crop_box_and_other_lenses(opened):
    _, pipeline = opened
    from nerfstudio.cameras.cameras import CameraType
    from nerfstudio.data.scene_box import OrientedBox

    data, model = pipeline.datamanager.eval_dataset, pipeline.model
    box = OrientedBox.from_params(BALL, (0.0, 0.0, 0.0), (0.4, 0.4, 0.4))
    rgb = model.get_outputs_for_camera(data.cameras[0:1], obb_box=box)["rgb"]
    r, g, _ = rgb.unbind(-1)
    assert (g > r + 0.1).sum() > 1000 and (r > g + 0.3).sum() == 0, "the ball alone"
    fisheye = data.cameras[0:1]
    fisheye.camera_type = torch.full_like(fisheye.camera_type, CameraType.FISHEYE.value)
    assert model.get_outputs_for_camera(fisheye)["accumulation"].max() == 0


@needs_nerfstudio
def test_it_cannot_be_trained_by_nerfstudio(opened):
    _, pipeline = opened
    assert pipeline.get_average_eval_image_metrics()["psnr"] > 50
    with pytest.raises(NotImplementedError, match="ns-train cannot train it"):
        pipeline.get_param_groups()


@needs_nerfstudio
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_shows_the_asset(folder):
    from tests.rl3d.nerfstudio.nerfstudio_page import look

    assert look(folder, None)
