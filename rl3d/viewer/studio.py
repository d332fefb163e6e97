"""Makes what browsers ask for, one request after the other, and follows a training run's files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import torch

from rewards import Batch
from rewards.mix import parse
from rl3d.assets import Asset
from rl3d.cli.generate import GenerateConfig, generate
from rl3d.generators.load import PRETRAINED, TUNED, load_generator
from rl3d.generators.part_flow import PartFlow
from rl3d.viewer.library import is_run
from scenes.parts import Parts

REWARDS = "stability=1,connected=1,alignment=1"
MOST = 8
"""Assets of one request."""


class Studio:
    """The generators that may be asked, by name, and their weights' files or runs."""

    def __init__(self, path: Path | None = None) -> None:
        self.run = path if path is not None and path.is_dir() and is_run(path) else None
        self.generators: dict[str, Path] = {"tuned": TUNED, "untuned": PRETRAINED}
        if self.run:
            self.generators = {"this run": self.run, "its start": _start(self.run)}
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[int, PartFlow]] = {}

    def make(self, prompt: str, count: int, seed: int, name: str, on_progress: Callable[[float], None]) -> list[Asset]:
        """``count`` assets of the generator called ``name``, with consecutive seeds.
        ``on_progress`` hears a share of the work."""
        if not 1 <= count <= MOST:
            raise ValueError(f"1 to {MOST} assets can be made at once, not {count}")
        with self._lock:
            checkpoint = self.generators[name]
            config = GenerateConfig(num=count, seed=seed, checkpoint=checkpoint, rewards=REWARDS)
            return generate(prompt, config, generator=self._generator(name, checkpoint), on_progress=on_progress)

    def _generator(self, name: str, checkpoint: Path) -> PartFlow:
        """Loaded once, and again when a run has written newer weights."""
        weights = checkpoint / "part_flow.safetensors" if checkpoint.is_dir() else checkpoint
        written = weights.stat().st_mtime_ns if weights.exists() else 0
        if self._loaded.get(name, (-1,))[0] != written:
            self._loaded[name] = written, load_generator(checkpoint)
        return self._loaded[name][1]


def _start(run: Path) -> Path:
    """The weights that a run began with, by its settings."""
    from rl3d.training.trainer import saved_config

    checkpoint = saved_config(run).checkpoint
    return checkpoint if checkpoint.exists() else PRETRAINED


def credit(parts: Parts, prompt: str) -> dict[str, list[float]]:
    """Of one asset, what every reward that knows says of each part: 1 good, 0 bad."""
    found = {}
    for reward, _ in parse(REWARDS):
        if reward.needs.cameras or reward.needs.text:
            continue
        scores = reward(Batch([prompt], parts[None]))
        if scores.per_part is not None:
            found[reward.name] = torch.nan_to_num(scores.per_part[0]).tolist()
    return found


def written(run: Path) -> tuple[int, ...]:
    """Changes when a run has written metrics or a sheet."""
    sheets = sheets_of(run)
    try:
        return (run / "metrics.jsonl").stat().st_size, len(sheets)
    except OSError:
        return 0, len(sheets)


def sheets_of(run: Path) -> list[Path]:
    """The contact sheets of a run, in order."""
    return sorted((run / "samples").glob("[0-9]*.png"))
