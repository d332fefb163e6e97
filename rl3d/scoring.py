"""From prompts to scored assets: the part of an iteration that needs no gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from renderers import render
from rewards.base import Batch, Needs, Reward, Scores, Shots
from rewards.mix import score
from scenes import cameras
from scenes.asset import Asset

BACKGROUND = (1.0, 1.0, 1.0)
TRAINING_GAUSSIANS = 2048
VIEW_AZIMUTH_DEG = 30.0
"""Where the first view stands; rewards that tell left from right rely on it."""


def render_views(
    asset: Asset,
    rewards: Sequence[Reward],
    *,
    azimuth_deg: float = VIEW_AZIMUTH_DEG,
    elevation_deg: float = 20.0,
    gaussians: int = TRAINING_GAUSSIANS,
) -> dict[tuple[int, int], Shots]:
    """The views that rewards want of a batch of assets: every distinct set of cameras in one
    call."""
    shots = {}
    rigs = Needs.rigs(rewards)
    with torch.no_grad():
        scene = asset.gaussians(gaussians) if rigs else None
        for (count, size), normals in rigs.items():
            assert scene is not None
            rig = cameras.orbit(count, size=size, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg).to(asset.device)
            outputs = ("rgb", "normal") if normals else ("rgb",)
            shots[count, size] = Shots(render(scene, rig, background=BACKGROUND, outputs=outputs), rig)
    return shots


def score_assets(
    rewards: Sequence[Reward],
    prompts: list[str],
    asset: Asset,
    *,
    azimuth_deg: float = VIEW_AZIMUTH_DEG,
    elevation_deg: float = 20.0,
) -> dict[str, Scores]:
    """Every reward on a batch of assets, rendered once."""
    shots = render_views(asset, rewards, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)
    return score(rewards, Batch(prompts, asset, shots))
