"""From prompts to scored assets: the part of an iteration that needs no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from renderers import Views, render
from rewards.base import Batch, Needs, Reward, Scores
from rewards.mix import score
from rl3d.text import TextFeatures
from scenes import cameras
from scenes.parts import Parts

BACKGROUND = (1.0, 1.0, 1.0)
TRAINING_GAUSSIANS = 2048
VIEW_AZIMUTH_DEG = 30.0
"""Where the first view stands; rewards that tell left from right rely on it."""


def look(parts: Parts, needs: Needs, *, azimuth_deg: float = VIEW_AZIMUTH_DEG, gaussians: int = TRAINING_GAUSSIANS) -> Views | None:
    """The views that rewards need of a batch of assets, all in one call; None where none looks at images."""
    if not needs.cameras:
        return None
    rig = cameras.orbit(needs.cameras, size=needs.size, azimuth_deg=azimuth_deg)
    with torch.no_grad():
        return render(parts.gaussians(gaussians), rig.to(parts.centres.device), background=BACKGROUND)


def score_assets(
    rewards: Sequence[Reward], prompts: list[str], text: TextFeatures, parts: Parts, *, azimuth_deg: float = VIEW_AZIMUTH_DEG
) -> dict[str, Scores]:
    """Every reward on a batch of assets, rendered once."""
    views = look(parts, Needs.union(rewards), azimuth_deg=azimuth_deg)
    return score(rewards, Batch(prompts, parts, views, text))


@dataclass(frozen=True)
class Seeds:
    """Seeds of one iteration: every sample its own noise, every group one shared initial noise."""

    samples: list[int]
    initial: list[int]

    @staticmethod
    def of(iteration: int, prompts: int, group: int, seed: int) -> Seeds:
        base = (seed * 1_000_003 + iteration) * 100_000
        return Seeds([base + i for i in range(prompts * group)], [base + i // group for i in range(prompts * group)])
