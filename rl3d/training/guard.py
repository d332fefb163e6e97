"""The guard against reward hacking. During training it measures figures that are not optimised, and
compares them with the start.

A policy may raise a reward in ways that were not intended. The reward then still rises, but other
figures show it: a held-out reward falls, samples of a prompt become similar, the policy is far from
the start, or shapes drift.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rewards.base import Reward
from rewards.mix import parse
from rl3d.generators.base import Generator
from rl3d.measures import diversity, shape_of
from rl3d.prompts import corpus_prompts
from rl3d.scoring import score_assets

AZIMUTH_DEG, ELEVATION_DEG = 18.0, 27.0
"""Where the guard's first camera stands. No iteration of training looks from there."""
PROMPTS = 48
"""Prompts of the guard."""
SAMPLES = 2
"""Assets of each."""
SEED = 2**50
"""Of the first asset. Training does not come here."""
ERRORS = 3.0
"""Number of standard errors by which the mean of a paired difference must differ from 0 to
count."""
MIN_CHANGE = 0.01
"""A reward's mean must change by more than this to raise an alarm."""
MAX_DRIFT = 0.15
"""The mean of a shape measure must change by more than this, relative to the start, to raise an
alarm."""
MIN_DIVERSITY = 0.9
"""A diversity below this, relative to the start, raises an alarm."""
MAX_ROLLBACKS = 3
"""The run stops at this number of rollbacks."""


@dataclass(frozen=True)
class Reading:
    """Measurements of N samples of the guard's prompts: every reward and every measure of shape of
    each sample, and the diversity of each of P prompts."""

    rewards: dict[str, Float[Tensor, "n"]]
    shapes: dict[str, Float[Tensor, "n"]]
    diversity: Float[Tensor, "p"]

    def means(self) -> dict[str, float]:
        """Every figure's mean by its name."""
        figures = {**self.rewards, **self.shapes, "diversity": self.diversity}
        return {name: values.mean().item() for name, values in figures.items()}


class Guard:
    """Measures a policy on prompts, seeds and cameras that training does not use, and raises
    alarms.

    ``trained`` are the rewards of the training with their weights. ``held_out`` names further
    rewards, NAME,..., that only the guard measures. ValueError if one of them is trained too. The
    guard does not use the prompts ``avoid``.
    """

    def __init__(
        self,
        trained: list[tuple[Reward, float]],
        held_out: str,
        seed: int,
        kl_limit: float,
        *,
        avoid: Collection[str] = (),
    ) -> None:
        extra = [reward for reward, _ in parse(held_out)] if held_out else []
        for reward in extra:
            if any(reward.name == known.name for known, _ in trained):
                raise ValueError(
                    f"reward {reward.name!r} cannot be both trained and held out: give it weight 0 in --rewards instead"
                )
        self.weights = {reward.name: weight for reward, weight in trained if weight}
        self.held_out = [reward.name for reward in extra] + [reward.name for reward, weight in trained if not weight]
        self.rewards = [reward for reward, _ in trained] + extra
        fresh = [p for p in corpus_prompts(2 * PROMPTS, seed + 1_000_000) if p not in set(avoid)][:PROMPTS]
        self.prompts = [prompt for prompt in fresh for _ in range(SAMPLES)]
        self.kl_limit = kl_limit
        self.start: Reading | None = None

    def read(self, policy: Generator) -> Reading:
        """Sample and measure. The same policy always gives the same reading."""
        asset = policy.generate(self.prompts, seeds=[SEED + i for i in range(len(self.prompts))])
        place = {"azimuth_deg": AZIMUTH_DEG, "elevation_deg": ELEVATION_DEG}
        scores = score_assets(self.rewards, self.prompts, asset, **place)
        rewards = {name: s.values for name, s in scores.items()}
        return Reading(rewards, shape_of(asset), diversity(asset, SAMPLES).cpu())

    def alarms(self, now: Reading, kl: float) -> list[str]:
        """One sentence for each alarm. Empty if there is no ``start`` to compare with."""
        if self.start is None:
            return []
        was, found = self.start, []
        broken = [name for name, value in {**now.means(), "the KL": kl}.items() if not math.isfinite(value)]
        if broken:
            return [f"{name} is not finite" for name in broken]
        gained = sum(w * (now.rewards[n] - was.rewards[n]) for n, w in self.weights.items())
        assert isinstance(gained, Tensor)
        for name in self.held_out:
            change, error = _paired(now.rewards[name] - was.rewards[name])
            if change < -max(ERRORS * error, MIN_CHANGE) and gained.mean() > 0:
                found.append(
                    f"{name}, which is not optimised, fell by {-change:.3f} ± {error:.3f} "
                    "while the trained rewards rose"
                )
        for name, values in now.shapes.items():
            change, error = _paired(values - was.shapes[name])
            fraction = change / max(was.shapes[name].mean().item(), 1e-9)
            if abs(change) > ERRORS * error and abs(fraction) > MAX_DRIFT:
                found.append(f"{name} {'rose' if fraction > 0 else 'fell'} by {100 * abs(fraction):.0f} %")
        change, error = _paired(now.diversity - was.diversity)
        fraction = 1 + change / max(was.diversity.mean().item(), 1e-9)
        if fraction < MIN_DIVERSITY and change < -ERRORS * error:
            found.append(f"diversity is {100 * fraction:.0f} % of what it was")
        if kl > self.kl_limit:
            found.append(f"the KL to the start, {kl:.3g}, is above {self.kl_limit:g}")
        return found


def _paired(difference: Float[Tensor, "n"]) -> tuple[float, float]:
    """Mean and its standard error."""
    return difference.mean().item(), difference.std().item() / math.sqrt(len(difference))
