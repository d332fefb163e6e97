"""Mirror symmetry in shape and colour, about an upright plane: left and right (x), or front and
back (y), whichever fits better."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from rewards.geometry.skin import Skin

SOFTNESS = 0.02
"""Distance in metres at which a mirrored point of the surface has lost 63 % of its score."""
SMALL = 0.5
"""The weight of a part is its visible area to this power, so that an eye on one side only has an
effect."""


class Symmetry:
    """Mean over the visible surface of exp(-d / ``SOFTNESS``) (1 - c), in [0, 1]: d is how much
    farther from the asset's surface the point's mirror image lies than the point itself, c the
    largest difference of sRGB there.

    The plane goes through the middle of the visible surface. ``per_part`` is each part's own mean
    about the asset's better plane. Whether a subject is symmetric depends on the prompt: compare
    scores within the samples of one prompt. An asset without parts scores 0; one with
    numbers that are not finite scores 0 and has failed."""

    name = "symmetry"
    version = "1"
    needs = Needs(parts=True)
    instead = "one_face or alignment"

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        skin = Skin.of(batch.sound_parts)
        areas = skin.areas * skin.visible
        area = areas.sum(-1)
        weight = area**SMALL
        planes = torch.stack([self.mirrored(skin, axis, areas) for axis in (0, 1)])  # (2, n)
        values = torch.stack([skin.mean(plane, weight) for plane in planes])
        better = values[1] > values[0]
        per_part = torch.where(better[skin.asset], planes[1], planes[0])
        usable = ~batch.broken
        return Scores(
            values=torch.where(usable.to(values.device), values.amax(0), 0).clamp(0, 1).float().cpu(),
            failed=int(batch.broken.sum()),
            per_part=skin.per_part(per_part) * usable.cpu().unsqueeze(-1),
        )

    @staticmethod
    def mirrored(skin: Skin, axis: int, areas: Float[Tensor, "n c"]) -> Float[Tensor, "n"]:
        """How well each part's visible surface falls on the asset's when it is mirrored along an
        axis; 1 for a hidden part."""
        middle = skin.mean((skin.points[..., axis] * areas).sum(-1) / areas.sum(-1).clamp_min(1e-12), areas.sum(-1))
        image = skin.points.clone()
        image[..., axis] = 2 * middle[skin.asset].unsqueeze(-1) - image[..., axis]
        depth, where = skin.depths(image)
        # Distances are approximate, and the middle of a cell lies a little within a curved part: on
        # a symmetric asset both cancel.
        own = torch.minimum(skin.covered, skin.parts.distance(skin.points))
        colors = skin.parts.colors
        apart = (colors[where] - colors.unsqueeze(1)).abs().amax(-1).clamp(0, 1)
        fits = torch.exp(-(depth - own).abs() / SOFTNESS) * (1 - apart)
        area = areas.sum(-1)
        return torch.where(area > 1e-9, (fits * areas).sum(-1) / area.clamp_min(1e-9), 1.0)
