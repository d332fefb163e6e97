"""Generate, discriminate, correct: draw candidates, keep the best by reward, then raise its reward.

Correction has two stages. The gradient stage searches along the gradient of the differentiable
rewards. The evolution stage serves the others: a separable evolution strategy with antithetic
draws, after Ros and Hansen, A Simple Modification in CMA-ES, 2008. Both score many variants in one
call and keep one only if it raises the sum of all rewards. A trust region bounds every number of
the asset, so that parts are neither lost nor blown up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from renderers.assets import SplatAsset
from rewards.base import Differentiable
from rewards.mix import check_needs, parse
from rl3d.configs import as_paths
from rl3d.generators.base import Generator
from rl3d.generators.load import load_generator, sampling_options
from rl3d.scoring import VIEW_AZIMUTH_DEG, VIEW_ELEVATION_DEG, reward_values, score_assets
from scenes.asset import Asset, PartAsset
from scenes.files import FileError, read_bytes
from scenes.files.glb import read_parts
from scenes.parts import Parts
from scenes.parts.layout import CENTRE, COLOR, EXPONENTS, LOG_HALF_SIZE, ROTATION, TAPER, VECTOR_SIZE

BATCH = 16
"""Assets that are drawn or scored at once."""
SAMPLING, GRADIENT = 0.3, 0.65
"""Fractions of the time at which sampling and the gradient stage end at the latest."""
REACH = ((EXPONENTS, 0.15), (TAPER, 0.1), (CENTRE, 0.04), (LOG_HALF_SIZE, 0.15), (ROTATION, 0.06), (COLOR, 0.08))
"""The trust region: how far each number of a part may go. Existence, finish and pattern stay."""
SPLAT_REACH = {"means": 0.01, "scales": 0.2, "colors": 0.08}
"""The same for raw Gaussians: metres, the logarithm of metres, sRGB."""
JITTER_DEG = 10.0
"""Gradients are taken from cameras turned by up to so much: what helps from one exact view only
fools the scorer."""
STEPS = (0.25, 0.5, 1.0, 2.0)
"""Variants along a gradient, relative to the step size."""
PATIENCE = 6
"""A stage ends after so many batches in a row that raised the total by less than ``LEAST``."""
LEAST = 1e-4


@dataclass(frozen=True)
class OptimizeConfig:
    """Settings of ``rl3d optimize``."""

    out: Path | None = None
    """Folder to write to. Default: assets/ and the words of the prompt."""
    asset: Path | None = None
    """A .glb file with parts to begin from, as generate writes it. Default: the best of several
    samples."""
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
    """Name of a generator, or my_file:MyGenerator. Default: the checkpoint's, or part-flow."""
    sampling: Any = None
    """The generator's sampling options. None: its defaults."""
    device: str = "cpu"
    """Where the generator and the renderer run: cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        as_paths(self, "out", "asset", "checkpoint")
        if not 0 < self.seconds < float("inf"):
            raise ValueError(f"--seconds must be above 0 and finite, got {self.seconds}")
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")
        if self.asset is not None and (self.against_best_of_n or self.checkpoint or self.generator):
            raise ValueError("--asset begins from a file: leave out --generator, --checkpoint, --against-best-of-n")


@dataclass(frozen=True)
class Stage:
    """What one stage did."""

    name: str
    seconds: float
    scored: int
    """Assets that it scored."""
    before: float
    """Sum of rewards at its start; of sampling the mean of the samples."""
    total: float
    """The best sum of rewards at its end."""


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


Score = Callable[[Asset], Float[Tensor, "b"]]
"""The sum of rewards of each scene of a batch."""


def optimize(prompt: str, config: OptimizeConfig | None = None, *, generator: Generator | None = None) -> Optimized:
    """Sample assets for ``prompt`` (or read ``config.asset``), and correct the best one.

    ``generator`` is used instead of the one that ``config`` names. ValueError or FileError with one
    line, before any work, for an empty prompt, an unreadable asset and an unfit reward.
    """
    config = config or OptimizeConfig()
    if not prompt.strip():
        raise ValueError("the prompt is empty: write what the asset should be")
    weighted = parse(config.rewards)
    rewards = [reward for reward, _ in weighted]

    def score(asset: Asset) -> Float[Tensor, "b"]:
        scores = score_assets(rewards, [prompt] * len(asset), asset)
        return torch.stack([weight * scores[reward.name].values for reward, weight in weighted]).sum(0)

    smooth = [(r, w) for r, w in weighted if isinstance(r, Differentiable) and w > 0]
    if config.asset is not None:
        asset = read_asset(config.asset).to(config.device)
        check_needs(rewards, frozenset({"parts"}), str(config.asset))
        total = score(asset).item()
        stages = [Stage("given", 0.0, 1, total, total)]
        corrected, more = correct(asset, prompt, score, smooth, config.seconds, config.seed)
        return Optimized(prompt, asset.to("cpu"), corrected, stages + more, {"asset": str(config.asset)})
    generator = generator or load_generator(config.checkpoint, config.device, generator=config.generator)
    check_needs(rewards, generator.gives, generator.name)
    options = sampling_options(generator, config.sampling)
    generator.condition([prompt])  # the text encoder is loaded before the clock starts
    draws = _Draws(generator, prompt, options, score, config.seed)
    sampled = draws.until(SAMPLING * config.seconds, "sampling")
    best = draws.best
    assert best is not None
    corrected, more = correct(best, prompt, score, smooth, config.seconds - sampled.seconds, config.seed)
    done = Optimized(
        prompt, best.to("cpu"), corrected, [sampled, *more], {"generator": generator.name, **generator.source}
    )
    if not config.against_best_of_n:
        return done
    longer = draws.until(sampled.seconds + sum(stage.seconds for stage in more), "best of N")
    assert draws.best is not None
    return replace(done, best_of_n=longer, best_sample=draws.best.to("cpu"))


def read_asset(path: Path) -> PartAsset:
    """The parts of a .glb file as a batch of one scene; FileError with one line without parts."""
    parts = read_parts(path, read_bytes(path))
    if parts is None:
        raise FileError(f"cannot optimize {path}: it has no parts; give a mesh.glb that rl3d generate wrote")
    return PartAsset(parts[None])


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


def correct(
    asset: Asset, prompt: str, score: Score, smooth: list[tuple[Differentiable, float]], seconds: float, seed: int = 0
) -> tuple[Asset, list[Stage]]:
    """Raise the score of one asset within the trust region, by the gradient of the ``smooth``
    rewards and, where there are parts, by evolution. ``seconds`` is for both."""
    search = _Search(asset, score, time.perf_counter() + seconds, torch.Generator().manual_seed(seed))
    stages = []
    if smooth:
        share = (GRADIENT - SAMPLING) / (1 - SAMPLING) if asset.parts is not None else 1.0
        stages.append(search.stage("gradient", search.gradient(prompt, smooth), share * seconds))
    if asset.parts is not None:
        stages.append(search.stage("evolution", search.evolution(), seconds))
    return search.decode(search.place[None]).detach().to("cpu"), stages


class _Search:
    """The numbers of one asset in units of the trust region: ``place`` (n, f) in [-1, 1], 0 at the
    start. Each step of a stage scores a batch of variants and moves to the best."""

    def __init__(self, asset: Asset, score: Score, end: float, random: torch.Generator) -> None:
        self.decode, self.free = _numbers(asset)
        self.place = torch.zeros_like(self.free)
        self.score, self.end, self.random = score, end, random
        self.total, self.scored = score(asset).item(), 1

    def stage(self, name: str, steps: Iterator[None], seconds: float) -> Stage:
        """Run a stage until its time is up or it no longer rises."""
        start, scored, before, idle = time.perf_counter(), self.scored, self.total, 0
        end = min(self.end, start + seconds)
        while time.perf_counter() < end and idle < PATIENCE:
            reached = self.total
            next(steps)
            idle = 0 if self.total > reached + LEAST else idle + 1
        return Stage(name, time.perf_counter() - start, self.scored - scored, before, self.total)

    def keep_best(self, places: Float[Tensor, "b n f"]) -> tuple[Float[Tensor, "b"], int | None]:
        """Score variants and move to the best one if it is better. Its index, or None."""
        places = places.clamp(-1, 1)
        totals = self.score(self.decode(places).detach())
        self.scored += len(places)
        best = int(totals.argmax())
        if totals[best] <= self.total:
            return totals, None
        self.place, self.total = places[best], totals[best].item()
        return totals, best

    def gradient(self, prompt: str, smooth: list[tuple[Differentiable, float]]) -> Iterator[None]:
        """Line searches along the gradient with momentum, from slightly turned cameras."""
        step, momentum = 0.1, torch.zeros_like(self.place)
        while True:
            place = self.place.clone().requires_grad_()
            turn = (JITTER_DEG * (2 * torch.rand(2, generator=self.random) - 1)).tolist()
            angles = {"azimuth_deg": VIEW_AZIMUTH_DEG + turn[0], "elevation_deg": VIEW_ELEVATION_DEG + turn[1]}
            value = reward_values(smooth, [prompt], self.decode(place[None]), **angles)
            (slope,) = torch.autograd.grad(value.sum(), place, allow_unused=True)
            slope = torch.zeros_like(place) if slope is None else slope.nan_to_num(0, 0, 0) * self.free
            momentum = 0.6 * momentum + slope
            size = momentum[self.free > 0].square().mean().sqrt().clamp_min(1e-12)
            sizes = torch.tensor([step * s for s in STEPS], device=place.device).view(-1, 1, 1)
            _, best = self.keep_best(self.place + sizes * (momentum / size).clamp(-3, 3))
            step = max(0.01, step / 2) if best is None else min(0.5, float(sizes[best]))
            yield

    def evolution(self) -> Iterator[None]:
        """Antithetic draws about the best place. Half of them move a single part. Each number has
        its own step size, and the weighted mean of good steps is tried in the next batch."""
        half = BATCH // 2
        sigma, mean = 0.15 * self.free, None
        parts = self.free.amax(-1).nonzero().flatten()
        ranks = torch.log(torch.tensor(half + 0.5)) - torch.log(torch.arange(1, BATCH + 1))
        ranks = (ranks.clamp_min(0) / ranks.clamp_min(0).sum()).to(sigma.device)
        while True:
            noise = torch.randn(half, *sigma.shape, generator=self.random).to(sigma.device)
            moved = torch.ones(half, len(sigma), 1, device=sigma.device)
            moved[::2] = 0
            chosen = torch.randint(len(parts), (len(moved[::2]),), generator=self.random)
            moved[range(0, half, 2), parts[chosen]] = 1
            steps = torch.cat([noise * moved, -noise * moved])
            places = self.place + sigma * steps
            if mean is not None:
                places = torch.cat([places, self.place + torch.stack([mean, 2 * mean])])
            totals, best = self.keep_best(places)
            order = totals[:BATCH].argsort(descending=True)
            weights = torch.zeros_like(totals[:BATCH]).to(sigma.device)
            weights[order] = ranks
            mean = sigma * torch.einsum("b,bnf->nf", weights, steps)
            surplus = torch.einsum("b,bnf->nf", weights, torch.cat([moved, moved]) * (steps.square() - 1))
            sigma = (sigma * (0.3 * surplus).exp() * (0.85 if best is None else 1.1)).clamp_max(0.5)
            yield


def _numbers(asset: Asset) -> tuple[Callable[[Float[Tensor, "b n f"]], Asset], Float[Tensor, "n f"]]:
    """How variants of an asset of one scene are made from places in its trust region, and which
    numbers are free (1) or fixed (0). ValueError for an asset that has neither parts nor splats."""
    if asset.parts is not None:
        start = asset.parts.vectors()[0]
        reach = torch.zeros(VECTOR_SIZE, device=start.device)
        for numbers, far in REACH:
            reach[numbers] = far
        free = (reach > 0) * asset.parts.exists[0, :, None].float()
        return lambda places: PartAsset(Parts.from_vectors(start + reach * free * places)), free
    if not isinstance(asset, SplatAsset):
        raise ValueError(f"cannot correct a {type(asset).__name__}: only assets of parts or of Gaussians")
    splats = asset.gaussians()
    columns = splats.means[0], splats.scales[0].log(), splats.colors[0]
    reach = torch.cat([torch.full((3,), far) for far in SPLAT_REACH.values()]).to(asset.device)

    def of_splats(places: Float[Tensor, "b n f"]) -> Asset:
        means, scales, colors = (torch.cat(columns, -1) + reach * places).split(3, -1)
        whole = {"quats": splats.quats, "opacities": splats.opacities}
        fixed = {name: value.expand(len(places), *value.shape[1:]) for name, value in whole.items()}
        return SplatAsset(replace(splats, means=means, scales=scales.exp(), colors=colors, **fixed))

    return of_splats, torch.ones(len(splats.means[0]), 9, device=asset.device)
