"""``rl3d report RUN``: one self-contained HTML page about a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.cli.options import parse


@dataclass(frozen=True)
class ReportConfig:
    """Settings of ``rl3d report``."""

    run: tyro.conf.Positional[Path]
    """Folder of a training run."""
    evaluation: Path | None = None
    """Folder of an evaluation of the run. Its table and its sheet are added."""


def run(arguments: list[str]) -> None:
    config = parse(ReportConfig, "report", __doc__, arguments)
    from rl3d.report import report

    print(report(config.run, config.evaluation))
