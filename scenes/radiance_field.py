"""Radiance fields: density and colour at points of space. Here the field of a part asset, soft at the surfaces so that gradients flow.

Mildenhall et al., NeRF, 2020 (density in 1/metre, colour without a view direction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from scenes.parts import Parts


class RadianceField(Protocol):
    """What a volume renderer asks of a scene."""

    def query(self, points: Float[Tensor, "*b k 3"]) -> tuple[Float[Tensor, "*b k"], Float[Tensor, "*b k 3"]]:
        """Density in 1/metre and sRGB colour at k points of each scene."""
        ...


@dataclass(frozen=True)
class PartField:
    """The union of an asset's parts (leading batch dimensions as in ``parts``)."""

    parts: Parts
    density: float = 200.0
    """Inside a part, in 1/metre: 3 cm of it let under 1 % of the light through."""
    softness: float = 0.005
    """Metres over which the density falls to 1/e outside a surface; larger is smoother to optimise, smaller is sharper to look at."""

    def query(self, points: Float[Tensor, "*b k 3"]) -> tuple[Float[Tensor, "*b k"], Float[Tensor, "*b k 3"]]:
        """Density and sRGB colour at k world points of each asset; where parts overlap, colours mix by density."""
        parts = self.parts
        distance = parts.distance(points.unsqueeze(-3).expand(*points.shape[:-2], parts.count, *points.shape[-2:]))
        inside = torch.sigmoid(-distance / self.softness)
        # As in Parts.gaussians: a part fades as its existence falls to 0, and an absent one is not there at all.
        weight = inside * (torch.sigmoid(10 * parts.existence) * parts.exists).unsqueeze(-1)
        total = weight.sum(-2)
        colors = (weight.unsqueeze(-1) * parts.colors.unsqueeze(-2)).sum(-3) / total.clamp_min(1e-12).unsqueeze(-1)
        # Soft union: 1 - prod(1 - w), so that overlaps are no denser than either part.
        return self.density * (1 - (1 - weight).clamp_min(1e-12).log().sum(-2).exp()), colors
