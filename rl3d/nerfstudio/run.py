"""Assets as runs of nerfstudio, which ``ns-viewer --load-config`` opens. For nerfstudio 1.1.5.

A run is a folder: config.yml, nerfstudio_models/step-000000000.ckpt, and a dataset (transforms.json
and images). Writing one does not need nerfstudio. The method that draws it, ``rl3d-splats``, is in
``rl3d.nerfstudio.method``."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scenes.cameras import Cameras
from scenes.files import FileError
from scenes.files.atomic import atomic_write_folder
from scenes.gaussians import Gaussians

VIEWS, SIZE = 24, 512
FIELDS = ("means", "quats", "scales", "opacities", "colors", "sh_rest")
"""Tensors of a checkpoint: those of ``Gaussians``, activated; ``sh_rest`` is (n, 0, 3) where there
are no harmonics."""
START_FOV_DEG = 35.0
_HEADER = "# An asset of rl3d for nerfstudio. A config runs code when it is loaded: open only those you wrote."


def write_run(path: str | Path, scene: Gaussians) -> Path:
    """Write a run that shows one scene into the folder ``path``, completely or not at all. An older
    run there is replaced.

    The config stores the full path of the folder, because nerfstudio resolves paths from the
    working directory. A folder that was moved must be exported again. FileError if the scene is
    empty, or if ``path`` exists and is not a run."""
    from renderers.surface import rig
    from rl3d.pictures import photographs

    path = Path(path)
    if scene.batch_shape:
        raise ValueError("write_run takes a single scene; index the batch first")
    if not scene.count:
        raise FileError(f"cannot write {path}: the scene has no Gaussians")
    scene = scene.detach().to("cpu")
    cameras = rig(scene, VIEWS, SIZE, bounds=extent(scene))
    with atomic_write_folder(path, _is_ours, "a run that rl3d wrote") as folder:
        (folder / "config.yml").write_text(config_text(path), encoding="utf-8")
        (folder / "images").mkdir()
        for i, image in enumerate(photographs(scene, cameras)[0]):
            image.save(folder / _image(i))
        (folder / "transforms.json").write_text(json.dumps(transforms(cameras), indent=1) + "\n")
        (folder / "nerfstudio_models").mkdir()
        # Only tensors and ints: torch.load refuses other types.
        torch.save({"step": 0, "pipeline": state(scene)}, folder / "nerfstudio_models" / "step-000000000.ckpt")
    return path


def _is_ours(folder: Path) -> bool:
    config = folder / "config.yml"
    return config.is_file() and config.read_bytes().startswith(_HEADER.encode())


def config_text(path: Path) -> str:
    """The config.yml of the run at ``path``. It calls ``method.run``, which makes the settings for
    the installed version of nerfstudio.

    nerfstudio's own config.yml is a pickle of all settings, which only the same version can read.
    """
    folder = json.dumps(str(path.resolve()), ensure_ascii=False)
    return f"{_HEADER}\n!!python/object/apply:rl3d.nerfstudio.method.run [{folder}]\n"


def state(scene: Gaussians) -> dict[str, Tensor]:
    """A scene as the state of a nerfstudio pipeline with our model."""
    rest = scene.means.new_zeros(scene.count, 0, 3) if scene.sh_rest is None else scene.sh_rest
    tensors = {name: getattr(scene, name) for name in FIELDS} | {
        "sh_rest": rest,
        "device_indicator_param": torch.empty(0),
    }
    return {f"_model.{name}": tensor.contiguous() for name, tensor in tensors.items()}


def transforms(cameras: Cameras) -> dict:
    """Cameras as nerfstudio's transforms.json: camera-to-world matrices in OpenGL's convention (x
    right, y up, z backward)."""
    poses = torch.linalg.inv(cameras.viewmats.double()) @ torch.diag(
        torch.tensor([1.0, -1, -1, 1], dtype=torch.float64)
    )
    K = cameras.Ks[0]
    lens = {"fl_x": K[0, 0].item(), "fl_y": K[1, 1].item(), "cx": K[0, 2].item(), "cy": K[1, 2].item()}
    frames = [{"file_path": _image(i), "transform_matrix": pose.tolist()} for i, pose in enumerate(poses)]
    return {"camera_model": "OPENCV", "w": cameras.width, "h": cameras.height, **lens, "frames": frames}


def _image(index: int) -> str:
    return f"images/{index:05d}.png"


def extent(scene: Gaussians) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Lowest and highest corner of the visible Gaussians. Quantiles, so that a few stray Gaussians
    do not enlarge it."""
    seen = scene.opacities > 0.05
    means = (scene.means[seen] if seen.any() else scene.means).detach().cpu()
    low, high = torch.from_numpy(np.quantile(means.numpy(), (0.01, 0.99), axis=0)).to(means)
    return low, high


def start(low: Float[Tensor, "3"], high: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """Start position of the page's camera: the direction of a preview, at a distance that shows the
    whole asset with a vertical field of view of ``START_FOV_DEG``."""
    azimuth, elevation = math.radians(35), math.radians(20)
    direction = torch.tensor(
        [math.cos(elevation) * math.sin(azimuth), -math.cos(elevation) * math.cos(azimuth), math.sin(elevation)]
    )
    radius = ((high - low).norm() / 2).clamp_min(1e-3)
    return (low + high) / 2 + direction * 1.1 * radius / math.sin(math.radians(START_FOV_DEG / 2))
