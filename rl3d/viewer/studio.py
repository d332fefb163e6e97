"""Serves the requests of browsers, one after the other, and follows the files of a run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from rewards import Batch
from rewards.mix import parse
from rl3d.assets import GeneratedAsset
from rl3d.generate import GenerateConfig, generate
from rl3d.generators.base import Generator
from rl3d.generators.load import BUILT_IN, DEFAULT, RESULT, generator_name, load_generator
from rl3d.runs import is_run, read_settings
from scenes.asset import Asset
from scenes.files import FileError

REWARDS = "stability=1,connected=1,alignment=1"
MOST = 8
"""Assets of one request."""
WITH_ADAPTERS = "with adapters"
"""Name of the generator of --adapter in the prompt box."""


@dataclass(frozen=True)
class Origin:
    """Where a generator of the prompt box comes from; see ``load_generator``."""

    checkpoint: Path | None = None
    generator: str | None = None
    adapter: str = ""

    def written(self) -> int:
        """When its weights were last written, in nanoseconds; 0 if there is no file yet."""
        if self.checkpoint is None:
            return 0
        path = self.checkpoint / RESULT if self.checkpoint.is_dir() else self.checkpoint
        return path.stat().st_mtime_ns if path.exists() else 0

    def named(self) -> str | None:
        """Its generator, by name; None if there is no file yet."""
        return generator_name(self.checkpoint) if self.checkpoint and self.written() else self.generator


class Studio:
    """The generators of the prompt box, by name.

    ``generator`` replaces those of the page. So does ``adapter``, FILE=WEIGHT,...: the page then
    has the own weights of ``generator``, or of the embedded one, with these adapters and
    without. A run of this very generator keeps its own. The files of a run may name a generator
    in a user's code (``module:Class``). This code is imported only if ``generator`` names it
    too: opening a folder must not run code that the folder chooses."""

    def __init__(self, path: Path | None = None, generator: str | None = None, adapter: str = "") -> None:
        self.run = path if path is not None and path.is_dir() and is_run(path) else None
        self.generators = {name: Origin(built.tuned) for name, built in BUILT_IN.items()}
        if self.run:
            start = _start(self.run)
            self.generators = {"this run": Origin(self.run)} | ({"its start": start} if start else {})
        self._trusted = generator
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[int, Generator]] = {}
        own = [origin.named() for origin in self.generators.values()] if self.run else []
        if generator is not None and generator not in own:
            self.generators = {generator: Origin(None, generator)}
            self._generator(generator)  # an unknown one is refused before anything is served
        if adapter:
            self.generators = {
                WITH_ADAPTERS: Origin(None, generator, adapter),
                generator or DEFAULT: Origin(None, generator),
            }
            self._generator(WITH_ADAPTERS)  # so are adapters that do not fit

    def make(
        self,
        prompt: str,
        count: int,
        seed: int,
        name: str,
        on_progress: Callable[[float], None],
        on_partial: Callable[[Asset], None],
    ) -> list[GeneratedAsset]:
        """``count`` assets by the generator called ``name``, with consecutive seeds.
        ``on_progress`` is called with the fraction of the work that is done, and ``on_partial`` as
        ``Generator.generate`` does it."""
        if not 1 <= count <= MOST:
            raise ValueError(f"1 to {MOST} assets can be made at once, not {count}")
        with self._lock:
            config = GenerateConfig(num=count, seed=seed, rewards=REWARDS)
            policy = self._generator(name)
            return generate(prompt, config, generator=policy, on_progress=on_progress, on_partial=on_partial)

    def _generator(self, name: str) -> Generator:
        """Loaded once, and again when a run has written newer weights."""
        origin = self.generators[name]
        written = origin.written()
        if self._loaded.get(name, (-1,))[0] != written:
            named = origin.named()
            if named is not None and ":" in named and named != self._trusted:
                raise FileError(
                    f"cannot generate with {name}: its generator is code of a user, {named}; "
                    f"add --generator {named} to rl3d view if you trust it"
                )
            self._loaded[name] = written, load_generator(origin.checkpoint, generator=named, adapter=origin.adapter)
        return self._loaded[name][1]


def _start(run: Path) -> Origin | None:
    """The generator that a run began with, by its settings; None if its checkpoint is gone."""
    settings = read_settings(run)
    checkpoint, generator = settings.get("checkpoint"), settings.get("generator") or DEFAULT
    if checkpoint is not None:
        return Origin(Path(checkpoint)) if isinstance(checkpoint, str) and os.path.exists(checkpoint) else None
    if not isinstance(generator, str):
        return None
    return Origin(BUILT_IN[generator].pretrained) if generator in BUILT_IN else Origin(None, generator)


def per_part_rewards(asset: Asset, prompt: str) -> dict[str, list[float]]:
    """The per-part scores of one asset, for every reward that has them: 1 good, 0 bad."""
    found = {}
    for reward, _ in parse(REWARDS):
        if reward.needs.cameras:
            continue
        scores = reward(Batch([prompt], asset))
        if scores.per_part is not None:
            found[reward.name] = torch.nan_to_num(scores.per_part[0]).tolist()
    return found
