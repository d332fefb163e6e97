"""``rl3d check-generator NAME``: check that a generator keeps the contract, with a line for each
clause."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.cli.options import parse


@dataclass(frozen=True)
class CheckConfig:
    """Settings of ``rl3d check-generator``."""

    generator: tyro.conf.Positional[str]
    """A built-in name, or module:Class of your own (docs/generators.md)."""
    checkpoint: Path | None = None
    """Weights to use. Default: the generator's own weights."""
    device: str = "cpu"
    """Where it runs: cpu, cuda or cuda:N."""


def run(arguments: list[str]) -> None:
    config = parse(CheckConfig, "check-generator", __doc__, arguments)
    from rl3d.check_generator import check_generator

    broken = []
    for clause in check_generator(config.generator, config.checkpoint, config.device):
        print(f"{'ok  ' if clause.holds else 'FAIL'}  {clause.name:20}  {clause.text}", flush=True)
        broken += [] if clause.holds else [clause.name]
    if broken:
        raise ValueError(f"generator {config.generator!r} breaks {len(broken)} of the clauses: {', '.join(broken)}")
