"""Plain measures of assets that no reward has a say in: shapes, and how different samples are."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from scenes.asset import Asset
from scenes.parts import Parts


def shape_of(asset: Asset) -> dict[str, Float[Tensor, "n"]]:
    """Plain measures of N assets."""
    if asset.parts is not None:
        return _shape_of_parts(asset.parts)
    scene = asset.gaussians().detach()
    weight = scene.opacities / scene.opacities.sum(-1, keepdim=True).clamp_min(1e-9)
    top = torch.where(scene.opacities > 0, scene.means[..., 2], -math.inf).amax(-1)
    return {"height": top.clamp_min(0), "brightness": (scene.colors.amax(-1) * weight).sum(-1)}


def _shape_of_parts(parts: Parts) -> dict[str, Float[Tensor, "n"]]:
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


def diversity(asset: Asset, samples: int, points: int = 256) -> Float[Tensor, "p"]:
    """Mean pairwise chamfer distance (metres) between the ``samples`` assets of each of P prompts;
    0 means all the same."""
    means = asset.gaussians(points).means
    cloud = means[:, :: max(1, means.shape[1] // points)]
    cloud = cloud.reshape(-1, samples, cloud.shape[1], 3)
    pairs = [(i, j) for i in range(samples) for j in range(i)]
    out = []
    for i, j in pairs:
        distance = torch.cdist(cloud[:, i], cloud[:, j])
        out.append((distance.amin(1).mean(1) + distance.amin(2).mean(1)) / 2)
    return torch.stack(out).mean(0)
