"""``rl3d demo``: fine-tune the shipped generator for a few minutes and show before and after.
``make demo`` runs it."""

from __future__ import annotations

from rl3d.cli.options import parse
from rl3d.cli.train import progress
from rl3d.demo import DemoConfig, demo


def run(arguments: list[str]) -> None:
    demo(parse(DemoConfig, "demo", __doc__, arguments), train=progress)
