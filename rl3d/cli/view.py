"""``rl3d view PATH``: look at an asset's folder, a splat file or a mesh in the browser, on this machine only by default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.cli.options import parse as parse_options


@dataclass(frozen=True)
class ViewConfig:
    """Settings of ``rl3d view``."""

    path: tyro.conf.Positional[Path]
    """An asset's folder, a folder of assets, or a .ply, .splat or .glb file."""
    host: str = "127.0.0.1"
    """Address to listen on; the default admits this machine alone."""
    port: int = 8080
    """Port to listen on; 0 takes any free one."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must lie between 0 and 65535, got {self.port}")


def run(arguments: list[str]) -> None:
    config = parse_options(ViewConfig, "view", __doc__, arguments)
    from rl3d.viewer import serve

    serve(config.path, host=config.host, port=config.port)
