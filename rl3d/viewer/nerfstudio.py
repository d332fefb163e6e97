"""Opens nerfstudio's viewer on an asset: ``rl3d view --viewer nerfstudio``."""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import socket
import tempfile
from pathlib import Path
from types import ModuleType

import torch

from rl3d.export import export
from rl3d.nerfstudio.run import config_text
from scenes.files import FileError
from scenes.files.atomic import reason
from scenes.files.splats import Axes

_INSTALL = (
    'pip install "rl3d[nerfstudio]", then pip install --no-deps nerfstudio==1.1.5 torchvision (docs/nerfstudio.md)'
)


def view(path: str | Path, *, host: str = "127.0.0.1", port: int = 8080, axes: Axes = "z-up") -> None:
    """Show an asset, or a file of splats, in nerfstudio's viewer until the user presses Ctrl-C.

    The asset is exported to a temporary run. A ``.nerfstudio`` folder is opened as it is, and what
    the user adds to it (camera paths) is kept."""
    path = Path(path)
    if path.name.endswith(".nerfstudio"):
        if axes != "z-up":
            raise FileError(
                f"cannot view {path} as {axes}: axes is for files of splats; "
                "export it again with the --axes of its source"
            )
        serve_run(path, host=host, port=port)
        return
    load_plugin()  # a missing package is reported before the work
    with tempfile.TemporaryDirectory(prefix="rl3d-") as folder:
        serve_run(export(path, Path(folder) / f"{path.resolve().stem}.nerfstudio", axes=axes), host=host, port=port)


def serve_run(path: str | Path, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Show the run at ``path`` in nerfstudio's viewer until the user presses Ctrl-C. If the port is
    taken, the next free one is used.

    FileError if nerfstudio is missing, or if ``write_run`` did not write the run at this place: a
    config.yml runs code."""
    path = Path(path)
    config = path / "config.yml"
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is not text"
        raise FileError(f"cannot read {config}: {why}; give a run of rl3d export ASSET --to NAME.nerfstudio") from error
    if text != config_text(path):
        raise FileError(
            f"cannot open {path}: its config.yml is not the one that rl3d writes there; "
            "if the folder was moved, export again"
        )
    plugin = load_plugin()
    port = free_port(host, port)
    print(f"viewing {path} at http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends)", flush=True)
    try:
        plugin.show(config, host, port)
    except KeyboardInterrupt:
        return


def load_plugin() -> ModuleType:
    """``rl3d.nerfstudio.method``; FileError with one line if nerfstudio cannot be imported."""
    if importlib.util.find_spec("nerfstudio") is None:
        raise FileError(f"nerfstudio's viewer is not installed here: {_INSTALL}")
    _declare_operators()
    try:
        return importlib.import_module("rl3d.nerfstudio.method")
    except (ImportError, RuntimeError) as error:
        raise FileError(f"nerfstudio cannot be imported: {str(error).splitlines()[0]}; {_INSTALL}") from error


def _declare_operators() -> None:
    """Declare torchvision's operators if its library cannot be loaded.

    The package index has torchvision for CUDA only. With a CPU build of torch its import fails at
    two undeclared operators. nerfstudio's viewer imports torchvision but calls neither."""
    found = importlib.util.find_spec("torchvision")  # imports nothing
    folders = [Path(folder) for folder in found.submodule_search_locations or ()] if found else []
    for library in (file for folder in folders for file in folder.glob("_C.*")):
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def free_port(host: str, port: int) -> int:
    """The first free port from ``port`` on; any free port for 0. FileError if ``host`` is not an
    address of this machine."""
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
            f"cannot serve on {host}: {reason(error)}; use 127.0.0.1 (this machine) or 0.0.0.0 (the network)"
        ) from error
    raise FileError(f"cannot serve on {host}: no port from {port} on is free; choose another --port")
