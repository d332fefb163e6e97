"""``rl3d view [PATH]``: look at assets, files or a training run in the browser, and make new ones.
By default only this machine can open the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from rl3d.cli.options import parse
from rl3d.generators.adapters import parse_adapters
from scenes.files.splats import Axes


@dataclass(frozen=True)
class ViewConfig:
    """Settings of ``rl3d view``."""

    path: tyro.conf.Positional[Path | None] = None
    """Folder of an asset, folder of assets, file of splats, .glb mesh, or folder of a training run,
    which is followed while it is written. Default: only the prompt box."""
    generator: str | None = None
    """Name of a generator, or my_file:MyGenerator, for the prompt box. Default: the shipped
    generator before and after tuning, or those of the training run. A run of a generator in a
    user's file needs this name too: its code is not run unless you name it."""
    adapter: str = ""
    """Adapters, FILE=WEIGHT,...: the prompt box then has the own weights of --generator, or of the
    embedded one, with these merged into them and without."""
    host: str = "127.0.0.1"
    """Address to listen on. The default is reachable from this machine only."""
    port: int = 8080
    """Port to listen on; 0 takes any free one."""
    axes: Axes = "z-up"
    """Which way is up in .ply, .splat, .spz and .sog files: these formats do not store it. Captures
    from photographs are mostly y-down. Folders of assets are z-up."""
    viewer: Literal["rl3d", "nerfstudio"] = "rl3d"
    """nerfstudio (optional) opens its own page on one asset, or on a .nerfstudio folder of rl3d
    export."""

    def __post_init__(self) -> None:
        parse_adapters(self.adapter)
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must lie between 0 and 65535, got {self.port}")
        if self.axes != "z-up" and self.path is None:
            raise ValueError("--axes is for files of splats: give a path to some")
        if self.viewer == "nerfstudio" and self.path is None:
            raise ValueError(
                "--viewer nerfstudio shows existing assets: give an asset's folder, a file of splats, "
                "or a .nerfstudio folder"
            )


def run(arguments: list[str]) -> None:
    config = parse(ViewConfig, "view", __doc__, arguments)
    if config.viewer == "nerfstudio" and config.path is not None:
        from rl3d.viewer.nerfstudio import view

        view(config.path, host=config.host, port=config.port, axes=config.axes)
        return
    from rl3d.viewer.server import serve

    place = {"host": config.host, "port": config.port}
    serve(config.path, **place, axes=config.axes, generator=config.generator, adapter=config.adapter)
