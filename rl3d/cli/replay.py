"""``rl3d replay ASSET``: make an asset again from its card, and compare the two to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.cli.options import parse
from rl3d.configs import as_paths
from rl3d.generators.adapters import parse_adapters
from rl3d.replay import replay


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of ``rl3d replay``."""

    path: tyro.conf.Positional[Path]
    """Folder of an asset, or its card.json."""
    checkpoint: Path | None = None
    """The weights of the card: a file, or the folder of a training run. Default: the generator's
    own."""
    adapter: str = ""
    """The adapters of the card, FILE=WEIGHT,... in its order."""
    generator: str | None = None
    """The card's generator, if it is my_file:MyGenerator: a card alone may not run code."""
    out: Path | None = None
    """Folder to save the new asset in. Default: compare only."""

    def __post_init__(self) -> None:
        as_paths(self, "path", "checkpoint", "out")
        parse_adapters(self.adapter)


def run(arguments: list[str]) -> None:
    config = parse(ReplayConfig, "replay", __doc__, arguments)
    found = replay(config.path, config.checkpoint, config.out, generator=config.generator, adapter=config.adapter)
    because = "; ".join(found.environment)
    if found.changed:
        why = because or "the card knows of no difference; the processor may be another one"
        raise ValueError(f"{config.path} is not the same to the bit: {', '.join(found.changed)} differ ({why})")
    print(f"{config.path}: made again, the same to the bit" + (f", though {because}" if because else ""))
