"""Connectedness: whether the asset is one piece that stands on the ground.

Two pieces touch if the gap between them is at most a centimetre (``Pieces.gaps``)."""

from __future__ import annotations

import torch

from rewards.base import Batch, Needs, Scores
from scenes.parts import TOUCH_TOLERANCE

TOLERANCES = (0.0, TOUCH_TOLERANCE / 2, TOUCH_TOLERANCE, 0.02, 0.04)
"""Gaps in metres at which pieces are tested for contact. With several gaps, a piece that comes
closer to its neighbour scores higher before it counts as touching, and highest if it really
touches. The policy therefore learns a margin."""


class Connected:
    """Fraction of the asset's mass in the heaviest touching cluster that rests on the ground, in
    [0, 1].

    Pieces are the asset's parts, or the shells of its mesh. ``values`` is the mean of the fraction
    over ``TOLERANCES``: with one tolerance, a group of samples that all miss it would have nothing
    to learn from. ``verdict`` is strict: every piece belongs to the cluster at ``TOUCH_TOLERANCE``.
    ``per_part``: the fraction of the tolerances at which a part is in the cluster. An empty asset
    scores 0. One with numbers that are not finite scores 0 and has failed."""

    name = "connected"
    version = "4"
    needs = Needs(mesh=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        pieces, usable = batch.pieces, batch.usable
        fractions, attached = zip(*(pieces.main(pieces.clusters(tolerance)) for tolerance in TOLERANCES), strict=True)
        whole = (attached[TOLERANCES.index(TOUCH_TOLERANCE)] == pieces.exists).all(-1)
        return Scores(
            values=torch.where(usable, torch.stack(fractions).mean(0), 0).clamp(0, 1).float().cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & whole).cpu(),
            per_part=batch.per_part(torch.stack(attached).to(fractions[0]).mean(0)),
        )
