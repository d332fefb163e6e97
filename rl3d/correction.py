"""Correction of one asset: raise its sum of rewards within a trust region.

The gradient stage searches along the gradient of the differentiable rewards. The evolution stage
serves the others: a separable evolution strategy with antithetic draws, after Ros and Hansen, A
Simple Modification in CMA-ES, 2008. Both score many variants in one call and keep one only if it
raises the sum. The trust region bounds every number of the asset, so that parts are neither lost
nor blown up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from renderers.assets import SplatAsset
from rewards.base import Differentiable
from rl3d.scoring import VIEW_AZIMUTH_DEG, VIEW_ELEVATION_DEG, reward_values
from scenes.asset import Asset, PartAsset
from scenes.parts import Parts
from scenes.parts.layout import CENTRE, COLOR, EXPONENTS, LOG_HALF_SIZE, ROTATION, TAPER, VECTOR_SIZE

SHARE = 0.5
"""Fraction of the time after which the gradient stage ends at the latest."""
VARIANTS = 16
"""Variants that a step of the evolution draws."""
REACH = ((EXPONENTS, 0.15), (TAPER, 0.1), (CENTRE, 0.04), (LOG_HALF_SIZE, 0.15), (ROTATION, 0.06), (COLOR, 0.03))
"""The trust region: how far each number of a part may go. Existence, finish and pattern stay.
On 12 prompts 0.08 for colours made saturation rise, and raised the total hardly more than 0.03."""
SPLAT_REACH = {"means": 0.01, "scales": 0.2, "colors": 0.03}
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


Score = Callable[[Asset], Float[Tensor, "b"]]
"""The sum of rewards of each scene of a batch."""


def correct(
    asset: Asset, prompt: str, score: Score, smooth: list[tuple[Differentiable, float]], seconds: float, seed: int = 0
) -> tuple[Asset, list[Stage]]:
    """Raise the score of one asset within the trust region, by the gradient of the ``smooth``
    rewards and, where there are parts, by evolution. ``seconds`` is for both.

    Returns the asset on the CPU, and what each stage did. ValueError for an asset of parts that has
    none, and for one of another kind than parts or Gaussians.
    """
    if asset.parts is not None and not asset.parts.exists.any():
        raise ValueError(f"nothing to correct: the asset for {prompt!r} has no parts; try another seed")
    search = _Search(asset, score, time.perf_counter() + seconds, torch.Generator().manual_seed(seed))
    stages = []
    if smooth:
        share = SHARE if asset.parts is not None else 1.0
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
        half = VARIANTS // 2
        sigma, mean = 0.15 * self.free, None
        parts = self.free.amax(-1).nonzero().flatten()
        ranks = torch.log(torch.tensor(half + 0.5)) - torch.log(torch.arange(1, VARIANTS + 1))
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
            order = totals[:VARIANTS].argsort(descending=True)
            weights = torch.zeros_like(totals[:VARIANTS]).to(sigma.device)
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
        whole |= {} if splats.sh_rest is None else {"sh_rest": splats.sh_rest}
        fixed = {name: value.expand(len(places), *value.shape[1:]) for name, value in whole.items()}
        return SplatAsset(replace(splats, means=means, scales=scales.exp(), colors=colors, **fixed))

    return of_splats, torch.ones(len(splats.means[0]), 9, device=asset.device)
