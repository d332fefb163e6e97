"""``rl3d generate PROMPT --out DIR``: make an asset from a prompt, or several."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from rl3d.cli.options import parse_with_sampling
from rl3d.generate import GenerateConfig, folders, generate


@dataclass(frozen=True, kw_only=True)
class _Arguments(GenerateConfig):
    prompt: tyro.conf.Positional[str]
    """What the asset should be."""


def run(arguments: list[str]) -> None:
    config = parse_with_sampling(_Arguments, "generate", __doc__, arguments)
    words = re.sub(r"[^a-z0-9]+", "-", config.prompt.lower()).strip("-")[:60] or "asset"
    out = config.out or Path("assets") / words
    made = generate(config.prompt, replace(config, out=out))
    for asset, folder in zip(made, folders(out, config.num), strict=True):
        scores = ", ".join(f"{name} {r['value']:.2f}" for name, r in asset.rewards.items())
        print(f"{folder}: seed {asset.seed}, {scores}")
