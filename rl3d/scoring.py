"""From assets to scores: render the views that the rewards need, and call every reward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from renderers import render
from rewards.base import Batch, Differentiable, Needs, Reward, Scores, Shots
from rewards.mix import score
from scenes import cameras
from scenes.asset import Asset

BACKGROUND = (1.0, 1.0, 1.0)
TRAINING_GAUSSIANS = 2048
VIEW_AZIMUTH_DEG = 30.0
"""Azimuth of the first view. Rewards that tell left from right rely on it."""
VIEW_ELEVATION_DEG = 20.0


def render_views(
    asset: Asset,
    rewards: Sequence[Reward],
    *,
    azimuth_deg: float = VIEW_AZIMUTH_DEG,
    elevation_deg: float = VIEW_ELEVATION_DEG,
    gaussians: int = TRAINING_GAUSSIANS,
    gradient: bool = False,
) -> dict[tuple[int, int], Shots]:
    """The views that ``rewards`` need of a batch of assets: one call for every distinct set of
    cameras. With ``gradient`` the images carry gradient to the asset."""
    shots = {}
    rigs = Needs.rigs(rewards)
    with torch.set_grad_enabled(gradient):
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
    elevation_deg: float = VIEW_ELEVATION_DEG,
) -> dict[str, Scores]:
    """Every reward's scores of a batch of assets, rendered once, without gradient."""
    shots = render_views(asset, rewards, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)
    return score(rewards, Batch(prompts, asset, shots))


def reward_values(
    rewards: Sequence[tuple[Reward, float]],
    prompts: list[str],
    asset: Asset,
    *,
    azimuth_deg: float = VIEW_AZIMUTH_DEG,
    elevation_deg: float = VIEW_ELEVATION_DEG,
) -> Float[Tensor, "b"]:
    """Weighted sum of differentiable rewards, with gradient to the asset through decode and render.

    With an asset from ``sample_with_gradient`` the gradient reaches the network's
    weights. ValueError in one line for a reward that has no gradient.
    """
    for reward, _ in rewards:
        if not isinstance(reward, Differentiable):
            raise ValueError(f"reward {reward.name!r} has no gradient: rl3d rewards lists those that have one")
    seen = [reward for reward, _ in rewards]
    batch = Batch(
        prompts, asset, render_views(asset, seen, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg, gradient=True)
    )
    values = [weight * reward.values(batch) for reward, weight in rewards if isinstance(reward, Differentiable)]
    return torch.stack(values).sum(0)
