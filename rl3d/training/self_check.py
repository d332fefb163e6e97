"""A check before a run begins: the objective must see the policy that drew the samples."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from rl3d.algorithms.base import Draw, Judgement
from rl3d.generators.base import Generator
from rl3d.scoring import score_assets
from rl3d.training.collect import Scorer
from rl3d.training.config import TrainConfig
from scenes.asset import Asset

MAX_RATIO_DEVIATION = 1e-4
"""Mean abs(ratio - 1) on unchanged weights that is rounding and no fault."""


class _Alike(Scorer):
    """Every sample is as good as any other."""

    def __call__(self, draw: Draw, asset: Asset) -> Judgement:
        if self.gates.verdicts or self.gates.thresholds:
            self.gates.apply(score_assets(self.rewards, draw.prompts * len(asset), asset))
        zeros = torch.zeros(len(asset))

        def among(names: Collection[str]) -> Judgement:
            self.check_names(names)
            return alike

        alike = Judgement({}, zeros, zeros, zeros.unsqueeze(1), among)
        return alike


def self_check(
    policy: Generator, config: TrainConfig, scorer: Scorer, prompt: str, options: Any, memory: nn.Module | None = None
) -> float:
    """Mean abs(ratio - 1) on unchanged weights, from one group.

    ValueError with one line if it is more than rounding: log-probs are not those of the rollout, or
    the network does not repeat itself, as with dropout left on. The same if the reward of a gate
    has no verdict, which is known only after scoring.
    """

    settings = {"options": options, "updates": 2, "micro_batch": config.micro_batch, "memory": memory}
    draw = Draw([prompt], config.group_size, -1, config.seed, **settings)
    experience = config.objective.collect(policy, draw, _Alike(scorer.rewards, scorer.gates, scorer.constraints))
    with torch.no_grad():
        _, metrics = config.objective.loss(policy, experience)
    deviation = float(metrics.get("ratio_deviation", 0.0))
    if not deviation < MAX_RATIO_DEVIATION:
        raise ValueError(
            f"self-check failed: the importance ratio of unchanged weights differs from 1 by {deviation:.1e} with "
            f"objective {config.objective.name!r} and generator {policy.name!r}"
        )
    return deviation
