"""``rl3d view [PATH]``: look at assets, files or a training run in the browser, and make new ones;
on this machine only by default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from rl3d.cli.options import parse as parse_options


@dataclass(frozen=True)
class ViewConfig:
    """Settings of ``rl3d view``."""

    path: tyro.conf.Positional[Path | None] = None
    """An asset's folder, a folder of assets, a file of splats or a .glb mesh, or the folder of a
    training run, which is followed as it goes. Left out, there is only the prompt box."""
    host: str = "127.0.0.1"
    """Address to listen on; the default admits this machine alone."""
    port: int = 8080
    """Port to listen on; 0 takes any free one."""
    axes: Literal["z-up", "y-up", "y-down"] = "z-up"
    """Which way is up in .ply, .splat, .spz and .sog files, which do not say it; captures of
    photographs are mostly y-down. Assets' folders are z-up."""
    viewer: Literal["rl3d", "nerfstudio"] = "rl3d"
    """nerfstudio, which is optional, opens its own page on one asset or on a folder that rl3d
    export wrote for it (.nerfstudio)."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must lie between 0 and 65535, got {self.port}")
        if self.axes != "z-up" and self.path is None:
            raise ValueError("--axes says which way is up in files of splats: give a path to some")
        if self.viewer == "nerfstudio" and self.path is None:
            raise ValueError(
                "--viewer nerfstudio shows what exists: give an "
                "asset's "
                "folder, a "
                "file of "
                "splats, or a "
                ".nerfstudio folder"
            )


def run(arguments: list[str]) -> None:
    config = parse_options(ViewConfig, "view", __doc__, arguments)
    if config.viewer == "nerfstudio" and config.path is not None:
        from rl3d.viewer.nerfstudio_run import view

        view(config.path, host=config.host, port=config.port, axes=config.axes)
        return
    from rl3d.viewer import serve

    serve(config.path, host=config.host, port=config.port, axes=config.axes)
