"""Generate, discriminate, correct: draw candidates, keep the best by reward, then correct it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rewards.base import Differentiable
from rewards.mix import check_needs, parse
from rl3d.assets import check_apart
from rl3d.configs import as_paths, check_seed, excludes
from rl3d.correction import Score, Stage, correct
from rl3d.devices import usable_device
from rl3d.generators.adapters import parse_adapters
from rl3d.generators.base import Generator
from rl3d.generators.load import load_generator, sampling_options
from rl3d.scoring import score_assets
from scenes.asset import Asset, PartAsset
from scenes.files import FileError, check_folder
from scenes.files.assets import read_asset
from scenes.parts import Parts

BATCH = 16
"""Assets that are drawn or scored at once."""
SAMPLING = 0.3
"""Fraction of the time for sampling."""


@dataclass(frozen=True)
class OptimizeConfig:
    """Settings of ``rl3d optimize``."""

    out: Path | None = None
    """Folder to write to. Default: assets/ and the words of the prompt. Corrected assets have no
    card.json, and cannot be replayed."""
    asset: Path | None = None
    """An asset of parts to begin from: a .glb as generate writes it, its folder, or a .safetensors
    file. Excludes the options of the generator. Default: the best of several samples."""
    seconds: float = 10.0
    """Time for sampling and correction together. Loading and saving are not counted."""
    rewards: str = "stability=1,connected=1,alignment=1"
    """Rewards and their weights. Their weighted sum is what rises."""
    against_best_of_n: bool = False
    """Also go on sampling for as long as the correction took, and report the best."""
    seed: int = 0
    """Seed of the first sample and of the evolution."""
    checkpoint: Path | None = None
    """Weights file, or folder of a training run. Default: the generator's own weights."""
    generator: str | None = None
    """Name of a generator, or my_file:MyGenerator. Default: the checkpoint's, or the
    embedded one."""
    adapter: str = ""
    """Adapters to merge into the weights, FILE=WEIGHT,...: each an adapter.safetensors, or the
    folder of a run with --adapter-rank. A file alone has the weight 1."""
    sampling: Any = None
    """The generator's sampling options. None: its defaults."""
    device: str = "cpu"
    """Where the generator and the renderer run: cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        as_paths(self, "out", "asset", "checkpoint")
        if not 0 < self.seconds < float("inf"):
            raise ValueError(f"--seconds must be above 0 and finite, got {self.seconds}")
        check_seed(self)
        parse_adapters(self.adapter)
        excludes(self, "asset", "checkpoint", "generator", "adapter", "against_best_of_n")


@dataclass(frozen=True)
class Optimized:
    """An asset before and after its correction, each a batch of one scene on the CPU."""

    prompt: str
    before: Asset
    after: Asset
    stages: list[Stage]
    source: dict[str, str]
    """What made the asset: the generator's name and weights, or the file."""
    best_of_n: Stage | None = None
    """Sampling alone in the same time."""
    best_sample: Asset | None = None
    """The best asset of ``best_of_n``."""


def optimize(prompt: str, config: OptimizeConfig | None = None, *, generator: Generator | None = None) -> Optimized:
    """Sample assets for ``prompt`` (or read ``config.asset``), and correct the best one.

    ``generator`` is used instead of the one that ``config`` names. ValueError or FileError with one
    line, before any work, for an empty prompt, an unreadable asset, an unfit reward, and a
    ``config.out`` that cannot be written to or that holds another asset.
    """
    config = config or OptimizeConfig()
    if not prompt.strip():
        raise ValueError("the prompt is empty: write what the asset should be")
    weighted = parse(config.rewards)
    rewards = [reward for reward, _ in weighted]
    if config.out is not None:
        check_folder(config.out)
        if (config.out / "card.json").exists():
            raise FileError(f"cannot write to {config.out}: it holds an asset with its card; name another folder")
    if config.asset is not None:
        if config.sampling is not None:
            raise ValueError("--asset excludes --sampling.*: leave one of them out")
        check_apart(config.out, config.asset)

    def score(asset: Asset) -> Float[Tensor, "b"]:
        scores = score_assets(rewards, [prompt] * len(asset), asset)
        return torch.stack([weight * scores[reward.name].values for reward, weight in weighted]).sum(0)

    smooth = [(r, w) for r, w in weighted if isinstance(r, Differentiable) and w > 0]
    if config.asset is not None:
        asset = PartAsset(Parts.from_vectors(read_asset(config.asset)[0])[None]).to(usable_device(config.device))
        check_needs(rewards, frozenset({"parts"}), str(config.asset))
        total = score(asset).item()
        stages = [Stage("given", 0.0, 1, total, total)]
        corrected, more = correct(asset, prompt, score, smooth, config.seconds, config.seed)
        return Optimized(prompt, asset.to("cpu"), corrected, stages + more, {"asset": str(config.asset)})
    if generator is None:
        named, adapter = config.generator, config.adapter
        generator = load_generator(config.checkpoint, config.device, generator=named, adapter=adapter)
    check_needs(rewards, generator.gives, generator.name)
    options = sampling_options(generator, config.sampling)
    generator.condition([prompt])  # the text encoder is loaded before the clock starts
    draws = _Draws(generator, prompt, options, score, config.seed)
    sampled = draws.until(SAMPLING * config.seconds, "sampling")
    best = draws.best
    assert best is not None
    start = time.perf_counter()
    corrected, more = correct(best, prompt, score, smooth, config.seconds - sampled.seconds, config.seed)
    spent = time.perf_counter() - start
    done = Optimized(
        prompt, best.to("cpu"), corrected, [sampled, *more], {"generator": generator.name, **generator.source}
    )
    if not config.against_best_of_n:
        return done
    longer = draws.until(sampled.seconds + spent, "best of N")
    assert draws.best is not None
    return replace(done, best_of_n=longer, best_sample=draws.best.to("cpu"))


class _Draws:
    """Samples of one prompt with consecutive seeds, of which the best is kept."""

    def __init__(self, generator: Generator, prompt: str, options: Any, score: Score, seed: int) -> None:
        self.best: Asset | None = None
        self._seconds, self._totals = 0.0, torch.zeros(0)
        self._draw = lambda seeds: generator.generate([prompt] * BATCH, seeds=seeds, options=options)
        self._score, self._seed = score, seed

    def until(self, seconds: float, name: str) -> Stage:
        """Go on until all draws together took ``seconds``; at least one batch."""
        while not len(self._totals) or self._seconds < seconds:
            start = time.perf_counter()
            first = self._seed + len(self._totals)
            asset = self._draw(range(first, first + BATCH)).detach()
            totals = self._score(asset)
            if not len(self._totals) or totals.max() > self._totals.max():
                self.best = asset[[int(totals.argmax())]]
            self._totals = torch.cat([self._totals, totals])
            self._seconds += time.perf_counter() - start
        totals = self._totals
        return Stage(name, self._seconds, len(totals), totals.mean().item(), totals.max().item())
