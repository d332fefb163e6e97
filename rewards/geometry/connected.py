"""Connectedness: is the asset one piece that stands on the ground, or does something float?

Touching is ``Parts.contacts``: two parts touch when the gap between them is at most a centimetre.
"""

from __future__ import annotations

import torch

from rewards.base import Batch, Needs, Scores

GROUND_TOLERANCE = 0.02
"""A cluster rests on the ground when its lowest point is within this many metres of the asset's lowest."""


class Connected:
    """Share of the asset's mass in the largest touching cluster that rests on the ground.

    ``values`` is exactly that share, so a small floating part costs little. ``verdict`` is strict: every part belongs to the cluster.
    ``per_part`` is 1 for the parts in it. An asset without parts scores 0; one with numbers that are not finite scores 0 and has failed.
    """

    name = "connected"
    version = "1"
    needs = Needs(parts=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        parts, labels = batch.sound_parts, batch.components
        exists = parts.exists
        mass = torch.where(exists, parts.masses()[0], 0)
        bottoms = torch.where(exists, parts.bottoms(), torch.inf)
        # member[b, k, p]: part p belongs to the cluster that is labelled by its first part, k.
        member = (labels.unsqueeze(1) == torch.arange(parts.count, device=labels.device).view(1, -1, 1)) & exists.unsqueeze(1)
        lowest = torch.where(member, bottoms.unsqueeze(1), torch.inf).amin(-1)
        grounded = lowest <= lowest.amin(-1, keepdim=True) + GROUND_TOLERANCE
        grounded &= member.any(-1)
        cluster_mass = torch.where(grounded, (member * mass.unsqueeze(1)).sum(-1), -1)
        heaviest, best = cluster_mass.max(-1)
        attached = member[torch.arange(len(batch), device=best.device), best]
        usable = exists.any(-1) & ~batch.broken
        share = torch.where(usable, heaviest / mass.sum(-1).clamp_min(1e-12), 0).clamp(0, 1)
        return Scores(
            values=share.cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & (attached == exists).all(-1)).cpu(),
            per_part=(attached & usable.unsqueeze(-1)).to(share).cpu(),
        )
