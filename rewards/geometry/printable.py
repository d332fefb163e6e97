"""Printability: would the parts, united, come out of a printer in one piece, with walls that
hold?"""

from __future__ import annotations

import torch

from rewards.base import Batch, Needs, Scores
from rewards.geometry.meshes import WALL
from rewards.geometry.skin import Skin
from scenes.parts import clusters


class Printable:
    """Mean of three marks, in [0, 1]: one body, nothing swallowed, walls.

    1 / n for n bodies that do not overlap; 1 / (1 + n) for n parts that lie wholly within others,
    which a file of separate parts prints as walls within; the share of the visible surface below
    which the material is ``WALL`` thick. What a part asset has by construction (each part closed
    and manifold, their union without crossings) is not scored here:
    ``rewards.geometry.meshes.inspect`` measures all of it on any mesh. ``verdict``: all three are
    1. ``per_part``: each part's share of thick surface, 0 if swallowed. An asset without parts
    scores 0; one with numbers that are not finite scores 0 and has failed."""

    name = "printable"
    version = "1"
    needs = Needs(mesh=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        parts = batch.sound_parts
        exists, skin = parts.exists, Skin.of(parts)
        labels = clusters(batch.gaps <= 0, exists)
        slots = torch.arange(parts.count, device=labels.device)
        bodies = ((labels == slots) & exists).sum(-1).double()
        areas = skin.areas * skin.visible
        area = areas.sum(-1)
        swallowed = (area < 1e-3 * skin.areas.sum(-1)).double()
        thick = skin.depths(skin.points - WALL * skin.normals)[0] < 0
        share = (areas * thick).sum(-1)
        walls = skin.total(share) / skin.total(area).clamp_min(1e-12)
        marks = torch.stack([1 / bodies.clamp_min(1), 1 / (1 + skin.total(swallowed)), walls])
        usable = exists.any(-1) & ~batch.broken
        per_part = torch.where(swallowed > 0, 0, share / area.clamp_min(1e-12))
        return Scores(
            values=torch.where(usable, marks.mean(0), 0).clamp(0, 1).float().cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & (marks > 1 - 1e-3).all(0)).cpu(),
            per_part=skin.per_part(per_part) * usable.cpu().unsqueeze(-1),
        )
