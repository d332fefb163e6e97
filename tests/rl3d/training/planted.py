"""A reward that can be gamed by saturated colours, for a demonstration of the guard
(docs/rewards.md)."""

from __future__ import annotations

import torch

from rewards import Batch, Needs


def vivid(batch: Batch) -> torch.Tensor:
    """How colourful the pictures are, as simple proxies of appeal are: mean saturation of the
    asset's pixels, in [0, 1]."""
    views = batch.need_views(vivid.needs)  # type: ignore[attr-defined]
    brightest, darkest = views.rgb.amax(-1), views.rgb.amin(-1)
    saturation = (brightest - darkest) / brightest.clamp_min(1e-3) * views.alpha[..., 0]
    return (saturation.sum((1, 2, 3)) / views.alpha.sum((1, 2, 3, 4)).clamp_min(1)).clamp(0, 1).cpu()


vivid.needs = Needs(cameras=2, size=64)  # type: ignore[attr-defined]
