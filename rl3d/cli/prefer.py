"""``rl3d prefer``: a page that shows two assets for one prompt and keeps which one is found
better."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rl3d.cli.options import parse as parse_options
from rl3d.configs import as_paths, at_least
from rl3d.generators.load import TUNED


@dataclass(frozen=True)
class PreferConfig:
    """Settings of ``rl3d prefer``."""

    out: Path = Path("preferences.jsonl")
    """File that the choices are added to."""
    checkpoint: Path = TUNED
    """Weights, or the folder of a training run."""
    against: Path | None = None
    """A second checkpoint, from which one asset of every pair comes."""
    prompts: Path | None = None
    """Text file with one prompt a line; left out, captions of the corpus's training split."""
    seed: int = 0
    """Seed of prompts, samples and sides."""
    host: str = "127.0.0.1"
    """Address to listen on; the default admits this machine alone."""
    port: int = 8080
    """Port to listen on; 0 takes any free one."""

    def __post_init__(self) -> None:
        as_paths(self, "out", "checkpoint", "against", "prompts")
        at_least(self, seed=0)
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must lie between 0 and 65535, got {self.port}")


def run(arguments: list[str]) -> None:
    config = parse_options(PreferConfig, "prefer", __doc__, arguments)
    from rl3d.viewer.prefer import serve

    serve(config)
