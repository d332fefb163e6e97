"""Joints: whether parts overlap deeply enough to hold."""

from __future__ import annotations

import torch

from rewards.base import Batch, Needs, Scores

DEPTH = 0.01
"""Metres that a joint should be deep: a hundredth of the asset."""
DEPTH_FRACTION = 0.25
"""The same as a fraction of a part's smallest half-size. The smaller of the two counts, because a
button needs no deep joint."""

TOUCHING = 0.495
"""Score of a joint of two parts that just touch, minus a margin for rounding (a tenth of a
millimetre at ``DEPTH``)."""


class Contact:
    """Depth of the joints that connect each part to the main part, the mean over parts, in [0, 1].

    The main part is the heaviest of the heaviest cluster that rests on the ground (as in
    ``connected``). A joint scores 1/2 if two parts just touch, 1 if they overlap by ``DEPTH`` (or
    by ``DEPTH_FRACTION`` of the thinner one's half-size), and 0 at a gap of that width; linear in
    between. A part scores the shallowest joint on its best path to the main part. The main part
    scores its own best joint. An asset of a single part needs no joint. ``verdict``: joints of
    touching or overlapping parts connect all parts. An asset without parts scores 0; one with
    numbers that are not finite scores 0 and has failed."""

    name = "contact"
    version = "2"
    needs = Needs(parts=True)
    instead = "connected or printable"

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        parts = batch.sound_parts
        exists = parts.exists
        thin = DEPTH_FRACTION * parts.half_sizes.amin(-1)
        both = exists.unsqueeze(-1) & exists.unsqueeze(-2)
        wanted = torch.where(both, torch.minimum(thin.unsqueeze(-1), thin.unsqueeze(-2)).clamp_max(DEPTH), DEPTH)
        depth = (0.5 - 0.5 * batch.pieces.gaps / wanted).clamp(0, 1)
        own = depth.amax(-1)
        for k in range(parts.count):  # by way of part k (Floyd and Warshall's, with the narrowest joint for the sum)
            depth = torch.maximum(depth, torch.minimum(depth[:, :, k, None], depth[:, k, None, :]))
        main = batch.pieces.main(batch.pieces.components)[1]
        root = torch.where(main, batch.pieces.volumes, -1).argmax(-1, keepdim=True)
        earned = (
            depth.gather(1, root.unsqueeze(-1).expand(-1, 1, parts.count))
            .squeeze(1)
            .scatter(1, root, own.gather(1, root))
        )
        earned = torch.where(exists.sum(-1, keepdim=True) == 1, 1, earned) * exists
        usable = batch.usable
        return Scores(
            values=torch.where(usable, earned.sum(-1) / exists.sum(-1).clamp_min(1), 0).clamp(0, 1).cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & ((earned >= TOUCHING) | ~exists).all(-1)).cpu(),
            per_part=batch.per_part(earned),
        )
