"""``rl3d export PATH --to FILE``: convert an asset or a splat file to .ply, .splat or .glb."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.cli.options import parse as parse_options


@dataclass(frozen=True)
class ExportConfig:
    """Settings of ``rl3d export``."""

    path: tyro.conf.Positional[Path]
    """An asset's folder, or a .ply or .splat file."""
    to: Path
    """File to write; its suffix chooses the format."""


def run(arguments: list[str]) -> None:
    config = parse_options(ExportConfig, "export", __doc__, arguments)
    from rl3d.exporting import export

    print(export(config.path, config.to))
