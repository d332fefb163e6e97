"""A generator in one file: a rectified flow over 64 raw Gaussians, conditioned on the prompt.

rl3d check-generator my_generator:Blobs
rl3d train --generator my_generator:Blobs --rewards stability=1,alignment=1 --out runs/blobs
rl3d generate "a red ball" --checkpoint runs/blobs
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from renderers.assets import SplatAsset
from rl3d.generators.base import TextCondition
from rl3d.generators.flow import Flow, FlowRollout
from scenes.asset import Asset
from scenes.gaussians import Gaussians

COUNT, NUMBERS = 64, 10  # a Gaussian is 10 numbers: centre 3, log scale 3, opacity 1, colour 3
CENTRE, SCALE, OPACITY, COLOR = slice(0, 3), slice(3, 6), 6, slice(7, 10)
TEXT = 384  # width of the sentence embedding


class Blobs(Flow):
    """``Flow`` sets ``default_options``, ``exploration`` and ``gives``: 8 steps, deterministic or
    with noise, and nothing beside Gaussians."""

    def __init__(self, width: int = 128) -> None:
        # A checkpoint builds the class with the config as keyword arguments.
        sizes = (NUMBERS + 1 + TEXT, width, width, NUMBERS)
        layers: list[nn.Module] = []
        for i, o in pairwise(sizes):
            layers += [nn.Linear(i, o), nn.SiLU()]
        super().__init__(nn.Sequential(*layers[:-1]), {"width": width})

    @property
    def shape(self) -> tuple[int, int]:
        """Noise and samples are (B, 64, 10)."""
        return COUNT, NUMBERS

    def velocity(self, x: Tensor, sigma: Tensor, condition: TextCondition, guidance: float) -> Tensor:
        """What the network predicts for noisy samples ``x`` at levels ``sigma``: noise - sample."""
        level = sigma[:, None, None].expand(-1, COUNT, 1)
        text = 20 * condition.text.pooled[:, None].expand(-1, COUNT, -1)
        return self.network(torch.cat([x, level, text], -1)).float()

    def decode(self, rollout: FlowRollout) -> SplatAsset:
        """Samples to scenes. The gradient flows through, so differentiable rewards work."""
        state = rollout.states[-1]
        means = 0.2 * state[..., CENTRE] + state.new_tensor([0, 0, 0.45])
        scales = (0.3 * state[..., SCALE] - 2.8).exp()
        quats = state.new_tensor([1.0, 0, 0, 0]).expand(*state.shape[:-1], 4)
        return SplatAsset(
            Gaussians(means, quats, scales, (state[..., OPACITY] + 2).sigmoid(), state[..., COLOR].sigmoid())
        )

    def encode(self, asset: Asset, condition: TextCondition) -> FlowRollout:
        """Scenes back to samples: optional, for objectives that learn from pairs of assets."""
        scene = asset.gaussians(COUNT)
        if scene.count != COUNT:
            raise ValueError(f"Blobs encodes scenes of {COUNT} Gaussians, got {scene.count}")
        state = torch.empty(1, len(asset), COUNT, NUMBERS, device=scene.device)
        state[0, ..., CENTRE] = (scene.means - scene.means.new_tensor([0, 0, 0.45])) / 0.2
        state[0, ..., SCALE] = (scene.scales.log() + 2.8) / 0.3
        state[0, ..., OPACITY] = torch.logit(scene.opacities, 1e-6) - 2
        state[0, ..., COLOR] = torch.logit(scene.colors, 1e-6)
        none = state.new_zeros(0)
        return FlowRollout(condition, self.default_options, state, state[:0], none, none.new_zeros(0, len(asset)))
