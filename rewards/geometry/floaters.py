"""Floaters: pieces that hang loose, counted one by one. ``connected`` goes by mass, in which a
stray crumb is nothing."""

from __future__ import annotations

import torch

from rewards.base import REACH, Batch, Needs, Scores
from rewards.geometry.connected import Connected
from scenes.parts import clusters

STEPS = 5
"""Gaps between touching and ``REACH`` at which the pieces are counted: a part that comes nearer
scores better before it touches, and one that is farther than that is entirely loose."""


class Floaters:
    """1 / (1 + n), n the number of parts outside the main cluster, each by how far it is from it;
    in (0, 1].

    The main cluster is the heaviest that rests on the ground (as in ``connected``). A part counts
    by the share of ``STEPS`` gaps, from ``TOUCH_TOLERANCE`` to ``REACH``, at which it is still not
    part of it, that is by the widest gap on the way there. ``verdict``: none is loose.
    ``per_part``: 1 less that share. An asset without parts scores 0; one with numbers that are not
    finite scores 0 and has failed."""

    name = "floaters"
    version = "1"
    needs = Needs(mesh=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        parts = batch.sound_parts
        exists = parts.exists
        gaps = batch.gaps
        main = Connected.share(batch, batch.components)[1]
        attached = [main]
        for tolerance in torch.linspace(0, REACH, STEPS + 1)[1:].tolist():
            labels = clusters(gaps <= tolerance, exists)
            # With wider gaps clusters only grow: the one that holds the main one.
            home = torch.where(main, labels, -1).amax(-1, keepdim=True)
            attached.append((labels == home) & exists)
        loose = torch.where(exists, 1 - torch.stack(attached).to(parts.centres).mean(0), 0)
        usable = exists.any(-1) & ~batch.broken
        return Scores(
            values=torch.where(usable, 1 / (1 + loose.sum(-1)), 0).cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & (main == exists).all(-1)).cpu(),
            per_part=((1 - loose) * (exists & usable.unsqueeze(-1))).cpu(),
        )
