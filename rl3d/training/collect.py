"""From sampled assets to advantages: rewards, gates, constraints, and the figures of an
iteration."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rewards.base import Differentiable, Reward, Scores
from rewards.mix import SUCCESS, Constraints, Gates
from rl3d.algorithms.advantages import gdpo
from rl3d.algorithms.base import Draw, Judgement
from rl3d.generators.base import Generator
from rl3d.generators.load import sampling_options
from rl3d.scoring import reward_values, score_assets
from rl3d.training.config import TrainConfig
from rl3d.training.processes import Processes
from scenes.asset import Asset


@dataclass
class Scorer:
    """Scores the samples of an iteration and turns the scores into advantages."""

    rewards: list[Reward]
    gates: Gates
    constraints: Constraints
    processes: Processes = field(default_factory=Processes)
    seconds: float = 0.0
    """Of the last call."""

    def __call__(self, draw: Draw, asset: Asset) -> Judgement:
        """One call an iteration: the running means of gates and the weights of constraints move by
        a step."""
        started = time.monotonic()
        prompts = [prompt for prompt in draw.prompts for _ in range(draw.group_size)]
        scores = score_assets(self.rewards, prompts, asset, azimuth_deg=draw.azimuth_deg)
        measured = {name: s.values for name, s in scores.items()}
        measured |= {f"{name}{SUCCESS}": s.verdict.float() for name, s in scores.items() if s.verdict is not None}
        measured = {name: self.processes.gather(values) for name, values in measured.items()}
        self.gates.update(measured)
        self.constraints.update({name: values for name, values in measured.items() if not self.gates.shut(name)})
        judgement = self.judge(self.gates.apply(scores), scores, draw.group_size, asset)
        self.seconds = time.monotonic() - started
        return judgement

    @property
    def weights(self) -> dict[str, float]:
        """The present weights: 0 for a reward that waits for a gate."""
        return {name: 0.0 if self.gates.shut(name) else w for name, w in self.constraints.weights.items()}

    def values(self, prompts: list[str], asset: Asset, azimuth_deg: float) -> Float[Tensor, "b"]:
        """The weighted sum of the rewards that have a gradient, with gradient to the asset."""
        weights = self.weights
        counted = [reward for reward in self.rewards if self.constraints.counts(reward.name)]
        smooth = [(reward, weights[reward.name]) for reward in counted if isinstance(reward, Differentiable)]
        if not smooth:
            raise ValueError("none of the rewards that count has a gradient: rl3d rewards lists those that have one")
        gated = [reward.name for reward, _ in smooth if reward.name in self.gates.verdicts]
        if gated:
            raise ValueError(
                f"--gates shuts {gated[0]} by verdicts, which have no gradient: choose another --objective, or a "
                f"threshold, {gated[0]}={self.gates.verdicts[gated[0]][0]}>0.9"
            )
        present = [(reward, weight) for reward, weight in smooth if weight] or smooth[:1]  # of weight 0, if all are
        return reward_values(present, prompts, asset, azimuth_deg=azimuth_deg)

    def judge(
        self,
        counted: dict[str, Scores],
        scores: dict[str, Scores],
        group_size: int,
        asset: Asset,
        names: Collection[str] | None = None,
    ) -> Judgement:
        """Advantages of the ``counted`` scores, which gates have passed; of those ``names`` alone,
        if they are given."""
        weights, count = self.weights, len(asset)
        among = lambda some: self.judge(counted, scores, group_size, asset, some)  # noqa: E731
        if names is not None:
            self.check_names(names)
            weights = {name: weight if name in names else 0.0 for name, weight in weights.items()}
        if not any(weights.values()):  # nothing has a weight: constraints are met, gates are shut
            return Judgement(scores, torch.zeros(count), torch.zeros(count), torch.zeros(count, 1), among)
        values = {name: s.values.view(-1, group_size) for name, s in counted.items()}
        per_part = {}
        if asset.parts is not None:
            exists = asset.parts.exists.cpu()
            per_part = {
                name: torch.where(exists, s.per_part, torch.nan).unflatten(0, (-1, group_size))
                for name, s in counted.items()
                if s.per_part is not None
            }
        sample, unit = gdpo(values, weights, per_part_reward=per_part, gather=self.processes.gather)
        total = torch.stack([weights[name] * values[name].flatten() for name in weights]).sum(0)
        return Judgement(scores, total, sample.flatten(), unit.flatten(0, 1), among)

    def check_names(self, names: Collection[str]) -> None:
        """ValueError with one line for a name that is none of the rewards."""
        known = [reward.name for reward in self.rewards]
        for name in names:
            if name not in known:
                raise ValueError(f"{name!r} is none of the run's rewards ({', '.join(known)})")


def training_options(policy: Generator, config: TrainConfig) -> Any:
    """How rollouts are drawn: by the settings, else as the objective wants it. ValueError if the
    settings are those of another generator."""
    wanted = config.objective.options(type(policy))
    return wanted if config.sampling is None else sampling_options(policy, config.sampling)


def summarize(scores: dict[str, Scores]) -> dict[str, float]:
    """Mean value, success rate and number of failures of every reward."""
    out: dict[str, float] = {}
    for name, score in scores.items():
        out[name] = score.values.mean().item()
        if score.verdict is not None:
            out[f"{name}{SUCCESS}"] = score.verdict.float().mean().item()
        if score.failed:
            out[f"{name}_failed"] = score.failed
    return out


class Means:
    """Means of figures over minibatches, each weighted by its samples."""

    def __init__(self) -> None:
        self._sums: dict[str, float | Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, figures: dict[str, Tensor], weight: float) -> None:
        """Figures that are not finite are left out."""
        for name, value in figures.items():
            if not bool(value.isfinite()):
                continue
            self._sums[name] = self._sums.get(name, 0.0) + weight * value.detach().double()
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def means(self) -> dict[str, float]:
        return {name: float(total) / self._weights[name] for name, total in self._sums.items()}
