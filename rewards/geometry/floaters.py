"""Floaters: the number of loose pieces. ``connected`` weighs pieces by mass, so it hardly notices a
small one."""

from __future__ import annotations

import torch

from rewards.base import Batch, Needs, Scores
from rewards.geometry.connected import things_standing
from rewards.pieces import REACH

STEPS = 5
"""Number of gaps between touching and ``REACH`` at which pieces are counted. A piece that comes
nearer scores higher before it touches. One farther away than ``REACH`` is entirely loose."""


class Floaters:
    """1 / (1 + n) in (0, 1], where n counts the pieces outside the main cluster, each weighted by
    its distance.

    Pieces are the asset's parts, or the shells of its mesh. The main cluster is the heaviest that
    rests on the ground; there are more where the prompt names more things that stand there (as in
    ``connected``). The weight of a piece is the fraction of ``STEPS`` gaps, from
    ``TOUCH_TOLERANCE`` to ``REACH``, at which it is outside of them. ``verdict``: no
    piece is loose. ``per_part``: 1 minus that weight. An empty asset scores
    0. One with numbers that are not finite scores 0 and has failed."""

    name = "floaters"
    version = "2"
    needs = Needs(mesh=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        pieces, usable = batch.pieces, batch.usable
        main = pieces.main(pieces.components, things_standing(batch))[1]
        attached = [main]
        for tolerance in torch.linspace(0, REACH, STEPS + 1)[1:].tolist():
            labels = pieces.clusters(tolerance)
            # With wider gaps clusters only grow: those that hold a piece of the main ones.
            same = labels.unsqueeze(2) == labels.unsqueeze(1)
            attached.append((same & main.unsqueeze(1)).any(-1) & pieces.exists)
        loose = torch.where(pieces.exists, 1 - torch.stack(attached).to(pieces.volumes).mean(0), 0)
        return Scores(
            values=torch.where(usable, 1 / (1 + loose.sum(-1)), 0).float().cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & (main == pieces.exists).all(-1)).cpu(),
            per_part=batch.per_part((1 - loose) * pieces.exists),
        )
