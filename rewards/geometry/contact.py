"""Joints: whether parts overlap deeply enough to hold."""

from __future__ import annotations

import torch

from rewards.base import Batch, Needs, Scores
from rewards.geometry.connected import things_standing

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

    The main part is the heaviest of the heaviest cluster that rests on the ground; there is one for
    each thing that the prompt names and that stands there (as in ``connected``). A joint scores 1/2
    if two parts just touch, 1 if they overlap by ``DEPTH`` (or by ``DEPTH_FRACTION`` of the thinner
    one's half-size), and 0 at a gap of that width; linear in between. A part scores the shallowest
    joint on its best path to a main part. A main part scores its own best joint. A thing of a
    single part needs no joint. ``verdict``: joints of touching or overlapping parts connect all
    parts. An asset without parts scores 0; one with numbers that are not finite scores 0 and has
    failed."""

    name = "contact"
    version = "3"
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
        pieces = batch.pieces
        main = pieces.main(pieces.components, things_standing(batch))[1]
        same = pieces.components.unsqueeze(2) == pieces.components.unsqueeze(1)
        heaviest = torch.where(same, pieces.volumes.unsqueeze(1), -1).argmax(-1)
        root = main & (heaviest == torch.arange(parts.count, device=main.device))
        earned = torch.where(root.unsqueeze(-1), depth, 0).amax(1)
        whole = (exists.sum(-1, keepdim=True) == 1) | (root.sum(-1, keepdim=True) > 1)
        no_joint = whole & (same.sum(-1) == 1)
        earned = torch.where(root, torch.where(no_joint, 1, own), earned) * exists
        usable = batch.usable
        return Scores(
            values=torch.where(usable, earned.sum(-1) / exists.sum(-1).clamp_min(1), 0).clamp(0, 1).cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & ((earned >= TOUCHING) | ~exists).all(-1)).cpu(),
            per_part=batch.per_part(earned),
        )
