"""The guard against gaming the rewards: what is never optimised is measured as training goes, and
what it says is compared with the start.

Reinforcement learning finds whatever a reward pays for, and a reward that is gamed still rises.
What shows it is something else: a reward that was held out falls, samples of a prompt become alike,
the policy is far from where it began, or shapes drift."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rewards.base import Reward
from rl3d.generators.part_flow import DEFAULT_SAMPLING, PartFlow
from rl3d.training.rollouts import score_assets
from scenes.asset import PartAsset
from scenes.parts import Parts

AZIMUTH_DEG, ELEVATION_DEG = 18.0, 27.0
"""Where the guard's first camera stands: no round of training looks from there."""
SAMPLES = 2
ERRORS = 3.0
"""A paired difference counts when it is more than so many of its standard errors, and at least
..."""
LEAST = 0.01
"""... this much of a reward's range, or ..."""
DRIFT = 0.15
"""... this share of what a shape measured at the start."""
DIVERSITY = 0.9
"""Least share of the start's diversity."""


@dataclass(frozen=True)
class Reading:
    """N samples of the guard's prompts and seeds: what each reward and each measure of shape says
    of every one, and how far the samples of each of P prompts lie apart."""

    rewards: dict[str, Float[Tensor, "n"]]
    shapes: dict[str, Float[Tensor, "n"]]
    diversity: Float[Tensor, "p"]

    def means(self) -> dict[str, float]:
        """Every figure's mean, shapes by their names."""
        figures = {**self.rewards, **self.shapes, "diversity": self.diversity}
        return {name: values.mean().item() for name, values in figures.items()}


class Guard:
    """Measures a policy on prompts, seeds and cameras that training does not use, and raises
    alarms.

    ``trained`` are the rewards that are optimised, with their weights; ``held_out`` those that are
    not."""

    def __init__(
        self, trained: list[tuple[Reward, float]], held_out: list[Reward], prompts: list[str], kl_limit: float
    ) -> None:
        self.weights = {reward.name: weight for reward, weight in trained if weight}
        self.held_out = [reward.name for reward in held_out] + [reward.name for reward, weight in trained if not weight]
        self.rewards = [reward for reward, _ in trained] + held_out
        self.prompts = [prompt for prompt in prompts for _ in range(SAMPLES)]
        self.kl_limit = kl_limit
        self.start: Reading | None = None

    def read(self, policy: PartFlow) -> Reading:
        """Sample and measure; the same policy always gives the same reading."""
        parts = policy.generate(self.prompts, seeds=list(range(len(self.prompts))), sampling=DEFAULT_SAMPLING)
        scores = score_assets(
            self.rewards, self.prompts, PartAsset(parts), azimuth_deg=AZIMUTH_DEG, elevation_deg=ELEVATION_DEG
        )
        return Reading(
            {name: s.values for name, s in scores.items()}, shape_of(parts.to("cpu")), diversity(parts, SAMPLES).cpu()
        )

    def alarms(self, now: Reading, kl: float) -> list[str]:
        """What is wrong, a sentence each; nothing before there is a ``start`` to compare with."""
        if self.start is None:
            return []
        was, found = self.start, []
        gained = sum(w * (now.rewards[n] - was.rewards[n]) for n, w in self.weights.items())
        assert isinstance(gained, Tensor)
        for name in self.held_out:
            change, error = _paired(now.rewards[name] - was.rewards[name])
            if change < -max(ERRORS * error, LEAST) and gained.mean() > 0:
                found.append(
                    f"{name}, which is not optimised, fell by "
                    f"{-change:.3f} ± "
                    f"{error:.3f} "
                    "while the "
                    "trained "
                    "rewards rose"
                )
        for name, values in now.shapes.items():
            change, error = _paired(values - was.shapes[name])
            share = change / max(was.shapes[name].mean().item(), 1e-9)
            if abs(change) > ERRORS * error and abs(share) > DRIFT:
                found.append(f"{name} {'rose' if share > 0 else 'fell'} by {100 * abs(share):.0f} %")
        change, error = _paired(now.diversity - was.diversity)
        share = 1 + change / max(was.diversity.mean().item(), 1e-9)
        if share < DIVERSITY and change < -ERRORS * error:
            found.append(f"diversity is {100 * share:.0f} % of what it was")
        if kl > self.kl_limit:
            found.append(f"the KL to the start, {kl:.3g}, is above {self.kl_limit:g}")
        return found


def shape_of(parts: Parts) -> dict[str, Float[Tensor, "n"]]:
    """Plain measures of N assets that no scorer has a say in: how many parts, how thick (the
    thinnest side of a part, in metres, by volume in the mean), how large (of all parts together, in
    cubic metres), how high, how saturated and how bright the colours are."""
    parts = parts.detach()
    exists = parts.exists
    volume = torch.where(exists, parts.masses()[0], 0)
    share = volume / volume.sum(-1, keepdim=True).clamp_min(1e-9)
    brightest, darkest = parts.colors.amax(-1), parts.colors.amin(-1)
    saturation = (brightest - darkest) / brightest.clamp_min(1e-3)
    top = torch.where(exists, parts.surface_grid(2)[..., 2].amax((-1, -2)), -math.inf).amax(-1)
    return {
        "number of parts": exists.sum(-1).float(),
        "thickness": (2 * parts.half_sizes.amin(-1) * share).sum(-1),
        "volume": volume.sum(-1),
        "height": torch.where(exists.any(-1), top, 0.0),
        "saturation": (saturation * share).sum(-1),
        "brightness": (brightest * share).sum(-1),
    }


def diversity(parts: Parts, samples: int, points: int = 256) -> Float[Tensor, "p"]:
    """Mean pairwise chamfer distance (metres) between the ``samples`` assets of each of P prompts;
    0 means all the same."""
    cloud = parts.gaussians(points, shade=False).means.view(-1, samples, points, 3)
    pairs = [(i, j) for i in range(samples) for j in range(i)]
    out = []
    for i, j in pairs:
        distance = torch.cdist(cloud[:, i], cloud[:, j])
        out.append((distance.amin(1).mean(1) + distance.amin(2).mean(1)) / 2)
    return torch.stack(out).mean(0)


def _paired(difference: Float[Tensor, "n"]) -> tuple[float, float]:
    """Mean and its standard error."""
    return difference.mean().item(), difference.std().item() / math.sqrt(len(difference))
