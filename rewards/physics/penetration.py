"""Penetration: how much of the parts' volume overlaps. Parts must overlap to hold, but not enclose
each other."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from rewards.geometry.connected import Connected
from rewards.geometry.skin import Skin

SHELLS = (0.3, 0.55, 0.75, 0.9)
"""Scaled copies of a part's surface on which its inside is sampled; each stands for a layer of its
volume."""


class Penetration:
    """Fraction of the parts' volume that lies inside no other part, in [0, 1].

    Each part is multiplied by its per-part score of ``connected``. Otherwise the easiest way to
    avoid overlap would be to take assets apart. ``per_part``: each part's own fraction. Two equal
    boxes that overlap by half score 1/2. An asset without parts scores 0; one with numbers that are
    not finite scores 0 and has failed."""

    name = "penetration"
    version = "2"
    needs = Needs(parts=True)
    instead = "connected or printable"

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        skin = Skin.of(batch.sound_parts)
        attached = Connected()(batch).per_part
        assert attached is not None
        free = (1 - swallowed(skin)) * attached.to(skin.areas)[skin.asset, skin.slot]
        usable = ~batch.broken
        return Scores(
            values=torch.where(usable.to(free.device), skin.mean(free, skin.parts.masses()[0]), 0)
            .clamp(0, 1)
            .float()
            .cpu(),
            failed=int(batch.broken.sum()),
            per_part=skin.per_part(free) * usable.cpu().unsqueeze(-1),
        )


def swallowed(skin: Skin) -> Float[Tensor, "n"]:
    """Fraction of each part's volume that lies inside other parts of its asset."""
    centre = skin.parts.centres.unsqueeze(1)
    rays = skin.points - centre
    # A cell and the centre span a pyramid; its volume is what the cell stands for.
    pyramid = (skin.areas * (rays * skin.normals).sum(-1)).clamp_min(0)
    fraction = pyramid / pyramid.sum(-1, keepdim=True).clamp_min(1e-18)
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(SHELLS)), 1.0]
    out = torch.zeros_like(fraction[:, 0])
    for scale, (low, high) in zip(SHELLS, pairwise(edges), strict=True):
        inside = skin.depths(centre + scale * rays, others=True)[0] < 0
        out += (high**3 - low**3) * (fraction * inside).sum(-1)
    return out
