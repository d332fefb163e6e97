"""Connectedness: is the asset one piece that stands on the ground, or does something float?

Touching is ``Parts.gaps``: two parts touch when the gap between them is at most a centimetre.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from scenes.parts import TOUCH_TOLERANCE, clusters

GROUND_TOLERANCE = 0.02
"""A cluster rests on the ground when its lowest point is within this many metres of the asset's
lowest."""
TOLERANCES = (0.0, TOUCH_TOLERANCE / 2, TOUCH_TOLERANCE, 0.02, 0.04)
"""Gaps in metres that the value looks through: a part that comes closer to its neighbour scores
better before it counts as touching, and better still once it really touches, so that what is learnt
has a margin."""


class Connected:
    """Share of the asset's mass in the largest touching cluster that rests on the ground.

    ``values`` is the mean of that share over ``TOLERANCES``: with one tolerance alone, a group of
    samples whose parts all miss by some distance would have nothing to learn from. ``verdict`` is
    strict: every part belongs to the cluster at ``TOUCH_TOLERANCE``. ``per_part`` is the share of
    the tolerances at which a part is in it. An asset without parts scores 0; one with numbers that
    are not finite scores 0 and has failed."""

    name = "connected"
    version = "4"
    needs = Needs(mesh=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        exists, gaps = batch.sound_parts.exists, batch.gaps
        shares, attached = zip(
            *(self.share(batch, clusters(gaps <= tolerance, exists)) for tolerance in TOLERANCES), strict=True
        )
        usable = exists.any(-1) & ~batch.broken
        return Scores(
            values=torch.where(usable, torch.stack(shares).mean(0), 0).clamp(0, 1).cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & (attached[TOLERANCES.index(TOUCH_TOLERANCE)] == exists).all(-1)).cpu(),
            per_part=(torch.stack(attached).to(shares[0]).mean(0) * usable.unsqueeze(-1)).cpu(),
        )

    @staticmethod
    def share(batch: Batch, labels: Int[Tensor, "b p"]) -> tuple[Float[Tensor, "b"], Bool[Tensor, "b p"]]:
        """Share of the mass in the heaviest cluster that rests on the ground, and which parts are
        in it."""
        mass = batch.volumes
        # member[b, k, p]: part p belongs to the cluster that is labelled by its first part, k.
        slots = torch.arange(labels.shape[-1], device=labels.device)
        member = (labels.unsqueeze(1) == slots.view(1, -1, 1)) & batch.sound_parts.exists.unsqueeze(1)
        lowest = torch.where(member, batch.bottoms.unsqueeze(1), torch.inf).amin(-1)
        grounded = (lowest <= lowest.amin(-1, keepdim=True) + GROUND_TOLERANCE) & member.any(-1)
        heaviest, best = torch.where(grounded, (member * mass.unsqueeze(1)).sum(-1), -1).max(-1)
        return heaviest / mass.sum(-1).clamp_min(1e-12), member[torch.arange(len(labels), device=best.device), best]
