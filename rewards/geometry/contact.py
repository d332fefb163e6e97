"""Joints: is every part let into another deeply enough to hold, rather than barely touching or a hair away?"""

from __future__ import annotations

import torch

from rewards.base import Batch, Needs, Scores

DEPTH = 0.01
"""Metres that a joint should be deep: a hundredth of the asset."""
SHARE = 0.25
"""Of a part's smallest half-size, where that is less: a button needs no deep joint."""


class Contact:
    """Mean over parts of how deep the deepest joint of each is, in [0, 1].

    A part earns 1/2 for touching and 1 for reaching ``DEPTH`` (or ``SHARE`` of the thinner of the two's half-size) into another, linearly;
    at a gap of that width it earns 0. An asset of a single part needs no joint. ``verdict``: every part touches or overlaps another.
    An asset without parts scores 0; one with numbers that are not finite scores 0 and has failed.
    """

    name = "contact"
    version = "1"
    needs = Needs(parts=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        parts = batch.sound_parts
        exists = parts.exists
        thin = SHARE * parts.half_sizes.amin(-1)
        wanted = torch.minimum(thin.unsqueeze(-1), thin.unsqueeze(-2)).clamp_max(DEPTH)
        gaps = batch.gaps
        deepest = (-gaps / wanted).amax(-1)  # minus infinity where nothing is near
        alone = exists.sum(-1, keepdim=True) == 1
        earned = torch.where(alone, 1, (0.5 + 0.5 * deepest).clamp(0, 1)) * exists
        usable = exists.any(-1) & ~batch.broken
        joined = (gaps <= 0).any(-1) | alone | ~exists
        return Scores(
            values=torch.where(usable, earned.sum(-1) / exists.sum(-1).clamp_min(1), 0).clamp(0, 1).cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & joined.all(-1)).cpu(),
            per_part=(earned * usable.unsqueeze(-1)).cpu(),
        )
