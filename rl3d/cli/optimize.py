"""``rl3d optimize PROMPT --out DIR``: sample assets, keep the best, and correct it by the gradient
of the rewards and by evolution."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from rl3d.cli.options import parse_with_sampling
from rl3d.optimize import OptimizeConfig, optimize
from rl3d.optimized import save, summary


@dataclass(frozen=True, kw_only=True)
class _Arguments(OptimizeConfig):
    prompt: tyro.conf.Positional[str]
    """What the asset should be."""


def run(arguments: list[str]) -> None:
    config = parse_with_sampling(_Arguments, "optimize", __doc__, arguments)
    words = re.sub(r"[^a-z0-9]+", "-", config.prompt.lower()).strip("-")[:60] or "asset"
    config = replace(config, out=config.out or Path("assets") / f"{words}-optimized")
    result = optimize(config.prompt, config)
    figures = save(result, config)
    print(summary(figures))
    print(f"\n{config.out}: scene.ply, mesh.glb, before_after.png, optimize.json")
