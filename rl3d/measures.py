"""Measures of assets that are independent of rewards: shapes, and the diversity of samples."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from scenes.asset import Asset
from scenes.gaussians import Gaussians
from scenes.parts import Parts

MEASURED_GAUSSIANS = 2048


@torch.no_grad()
def shape_of(asset: Asset) -> dict[str, Float[Tensor, "b"]]:
    """Measures of B assets, on the CPU: metres and cubic metres, colours in [0, 1].

    Assets of parts have their number, thickness (the thinnest side of a part, averaged by volume),
    volume, height, and saturation and brightness (averaged by volume). Other assets are measured by
    their Gaussians, weighted by opacity: size, spread, height, saturation and brightness.
    """
    if asset.parts is not None:
        return _of_parts(asset.parts.detach().to("cpu"))
    return _of_gaussians(asset.gaussians(MEASURED_GAUSSIANS).detach().to("cpu"))


def _of_parts(parts: Parts) -> dict[str, Float[Tensor, "b"]]:
    exists = parts.exists
    volume = torch.where(exists, parts.masses()[0], 0)
    weight = volume / volume.sum(-1, keepdim=True).clamp_min(1e-9)
    top = torch.where(exists, parts.surface_grid(2)[..., 2].amax((-1, -2)), -math.inf).amax(-1)
    return {
        "number of parts": exists.sum(-1).float(),
        "thickness": (2 * parts.half_sizes.amin(-1) * weight).sum(-1),
        "volume": volume.sum(-1),
        "height": torch.where(exists.any(-1), top, 0.0),
        **_colors(parts.colors, weight),
    }


def _of_gaussians(scene: Gaussians) -> dict[str, Float[Tensor, "b"]]:
    weight = scene.opacities / scene.opacities.sum(-1, keepdim=True).clamp_min(1e-9)
    middle = (scene.means * weight.unsqueeze(-1)).sum(-2, keepdim=True)
    seen = scene.opacities > 0.05
    top = torch.where(seen, scene.means[..., 2], -math.inf).amax(-1)
    return {
        "opacity": scene.opacities.mean(-1),
        "size of Gaussians": (scene.scales.amax(-1) * weight).sum(-1),
        "spread": ((scene.means - middle).square().sum(-1) * weight).sum(-1).sqrt(),
        "height": torch.where(seen.any(-1), top, 0.0),
        **_colors(scene.colors, weight),
    }


def _colors(colors: Float[Tensor, "b n 3"], weight: Float[Tensor, "b n"]) -> dict[str, Float[Tensor, "b"]]:
    brightest, darkest = colors.amax(-1), colors.amin(-1)
    saturation = (brightest - darkest) / brightest.clamp_min(1e-3)
    return {"saturation": (saturation * weight).sum(-1), "brightness": (brightest * weight).sum(-1)}


@torch.no_grad()
def diversity(asset: Asset, samples: int, points: int = 256) -> Float[Tensor, "p"]:
    """Mean pairwise chamfer distance (metres) between the ``samples`` assets of each of P prompts;
    0 means that all are the same."""
    means = asset.gaussians(points).means
    if means.shape[1] > points:  # raw splats come as they are
        means = means[:, torch.linspace(0, means.shape[1] - 1, points).long()]
    cloud = means.view(-1, samples, means.shape[1], 3)
    out = []
    pairs = [(i, j) for i in range(samples) for j in range(i)]
    for i, j in pairs:
        distance = torch.cdist(cloud[:, i], cloud[:, j])
        out.append((distance.amin(1).mean(1) + distance.amin(2).mean(1)) / 2)
    return torch.stack(out).mean(0)
