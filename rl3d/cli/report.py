"""``rl3d report RUN``: one HTML page about a training run, that needs nothing beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.cli.options import parse as parse_options


@dataclass(frozen=True)
class ReportConfig:
    """Settings of ``rl3d report``."""

    run: tyro.conf.Positional[Path]
    """Folder of a training run."""
    evaluation: Path | None = None
    """Folder of an evaluation of it, whose table and sheet go along."""


def run(arguments: list[str]) -> None:
    config = parse_options(ReportConfig, "report", __doc__, arguments)
    from rl3d.report import report

    print(report(config.run, config.evaluation))
