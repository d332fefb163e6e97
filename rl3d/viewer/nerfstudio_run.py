"""Assets as runs of nerfstudio: what ``ns-viewer --load-config`` opens, and the way to its page.
Written for nerfstudio 1.1.5.

A run is a folder: config.yml, nerfstudio_models/step-000000000.ckpt, and a dataset (transforms.json
and images). Writing one needs no nerfstudio. The method that draws it, ``rl3d-splats``, is in
``rl3d.viewer.nerfstudio``, which nerfstudio loads."""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import json
import math
import socket
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scenes.cameras import Cameras
from scenes.files import FileError
from scenes.files.atomic import atomic_write_folder, reason
from scenes.files.splats import Axes
from scenes.gaussians import Gaussians

VIEWS, SIZE = 24, 512
FIELDS = ("means", "quats", "scales", "opacities", "colors", "sh_rest")
"""Tensors of a checkpoint: those of ``Gaussians``, activated; ``sh_rest`` is (n, 0, 3) where there
are no harmonics."""
START_FOV_DEG = 35.0
_HEADER = "# An asset of rl3d for nerfstudio. A config runs code when it is loaded: open only those you wrote."
_INSTALL = (
    'pip install "rl3d[nerfstudio]", then pip install --no-deps nerfstudio==1.1.5 torchvision (docs/nerfstudio.md)'
)


def write_run(path: str | Path, scene: Gaussians) -> Path:
    """Write a run that shows one scene into the folder ``path``, whole or not at all; an older run
    there is replaced.

    Its config names the folder in full, since nerfstudio looks for the rest from the working
    directory: a folder that was moved is exported again. FileError if the scene is empty, or where
    ``path`` is something else than a run."""
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
        # Tensors and ints alone: torch.load refuses more.
        torch.save({"step": 0, "pipeline": state(scene)}, folder / "nerfstudio_models" / "step-000000000.ckpt")
    return path


def _is_ours(folder: Path) -> bool:
    config = folder / "config.yml"
    return config.is_file() and config.read_bytes().startswith(_HEADER.encode())


def config_text(path: Path) -> str:
    """The config.yml of the run at ``path``: a call that makes nerfstudio's settings when it is
    loaded, by whatever version is there.

    nerfstudio's own are a pickled copy of all its settings, which only the version that wrote it
    reads."""
    return f"{_HEADER}\n!!python/object/apply:rl3d.viewer.nerfstudio.run [{json.dumps(str(path.resolve()), ensure_ascii=False)}]\n"


def state(scene: Gaussians) -> dict[str, Tensor]:
    """A scene as nerfstudio's checkpoint of a pipeline with our model."""
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
    """Lowest and highest corner of what is to be seen; a few stray Gaussians far away do not make
    the asset small."""
    seen = scene.opacities > 0.05
    means = (scene.means[seen] if seen.any() else scene.means).detach().cpu()
    low, high = torch.from_numpy(np.quantile(means.numpy(), (0.01, 0.99), axis=0)).to(means)
    return low, high


def start(low: Float[Tensor, "3"], high: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """Where the page's camera starts: the side that previews show, far enough to see all with
    ``START_FOV_DEG`` up and down."""
    azimuth, elevation = math.radians(35), math.radians(20)
    direction = torch.tensor(
        [math.cos(elevation) * math.sin(azimuth), -math.cos(elevation) * math.cos(azimuth), math.sin(elevation)]
    )
    radius = ((high - low).norm() / 2).clamp_min(1e-3)
    return (low + high) / 2 + direction * 1.1 * radius / math.sin(math.radians(START_FOV_DEG / 2))


def view(path: str | Path, *, host: str = "127.0.0.1", port: int = 8080, axes: Axes = "z-up") -> None:
    """Show an asset, or the splats of a file, in nerfstudio's viewer until the user presses Ctrl-C,
    by way of a run that is removed then.

    A run of ``write_run`` is shown as it is, and what the user adds to it (camera paths) stays
    there."""
    path = Path(path)
    if path.name.endswith(".nerfstudio"):
        if axes != "z-up":
            raise FileError(
                f"cannot view {path} as {axes}: axes is for "
                "files of "
                "splats; export "
                "it again "
                "with the "
                "--axes of "
                "its source"
            )
        serve_run(path, host=host, port=port)
        return
    load_plugin()  # what is missing is said before the work
    from rl3d.exporting import export

    with tempfile.TemporaryDirectory(prefix="rl3d-") as folder:
        serve_run(export(path, Path(folder) / f"{path.resolve().stem}.nerfstudio", axes=axes), host=host, port=port)


def serve_run(path: str | Path, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Show the run at ``path`` in nerfstudio's viewer until the user presses Ctrl-C; if the port is
    taken the next free one is used.

    FileError where nerfstudio is missing, and for a run that ``write_run`` did not write just
    there: a config runs code."""
    path = Path(path)
    config = path / "config.yml"
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is not text"
        raise FileError(f"cannot read {config}: {why}; give a run of rl3d export ASSET --to NAME.nerfstudio") from error
    if text != config_text(path):
        raise FileError(
            f"cannot open {path}: its config.yml is not the "
            "one that "
            "rl3d writes "
            "there; if the "
            "folder was "
            "moved, export again"
        )
    plugin = load_plugin()
    port = free_port(host, port)
    print(f"viewing {path} at http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends)", flush=True)
    try:
        plugin.show(config, host, port)
    except KeyboardInterrupt:
        return


def load_plugin() -> ModuleType:
    """``rl3d.viewer.nerfstudio``; FileError with one line where nerfstudio cannot be imported."""
    if importlib.util.find_spec("nerfstudio") is None:
        raise FileError(f"nerfstudio's viewer is not installed here: {_INSTALL}")
    _declare_operators()
    try:
        return importlib.import_module("rl3d.viewer.nerfstudio")
    except (ImportError, RuntimeError) as error:
        raise FileError(f"nerfstudio cannot be imported: {str(error).splitlines()[0]}; {_INSTALL}") from error


def _declare_operators() -> None:
    """Declare torchvision's operators where its library cannot be loaded.

    The package index has torchvision compiled for CUDA alone. Beside a CPU torch its import ends at
    two operators that nobody declared; nerfstudio's viewer imports it, and calls neither."""
    found = importlib.util.find_spec("torchvision")  # imports nothing
    folders = [Path(folder) for folder in found.submodule_search_locations or ()] if found else []
    for library in (file for folder in folders for file in folder.glob("_C.*")):
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def free_port(host: str, port: int) -> int:
    """The first port from ``port`` on that can be listened on; any for 0. FileError if the address
    is not this machine's."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        for candidate in range(port, min(port + 100, 65536)):
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, candidate))
                    return probe.getsockname()[1]
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
    except OSError as error:
        raise FileError(
            f"cannot serve on {host}: {reason(error)}; 127.0.0.1 is this machine alone, 0.0.0.0 the whole network"
        ) from error
    raise FileError(f"cannot serve on {host}: the ports from {port} on are taken; choose another --port")
