"""``rl3d compare``: a study of objectives, generators and seeds at equal training time. A study
that was stopped goes on where it was."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.cli.options import parse


@dataclass(frozen=True)
class CompareConfig:
    """Settings of ``rl3d compare``."""

    study: tyro.conf.Positional[Path]
    """YAML file of the study: docs/training.md lists its keys."""


def run(arguments: list[str]) -> None:
    config = parse(CompareConfig, "compare", __doc__, arguments)
    from rl3d.study import compare

    try:
        print(compare(config.study, lambda line: print(line, flush=True)))
    except KeyboardInterrupt:
        print(f"go on with  rl3d compare {config.study}", file=sys.stderr)
        raise
