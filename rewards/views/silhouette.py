"""``silhouette``: whether the outlines seen from all sides belong to one solid.

Silhouette coherence (Hernandez, Schmitt and Cipolla, Silhouette Coherence for Camera Calibration
under Circular Motion, 2007): the largest solid that no view contradicts, the visual hull, must fill
every view's outline again."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from rewards.views.geometry import SIZE, SOLID, VIEWS, seen
from rewards.views.hull import Grid, widened
from scenes.cameras import Cameras

CELLS = 64
"""Cells of the hull's grid along a side: at 64 pixels, a cell is about as large as a pixel."""


class Silhouette:
    """Fraction of the outline that the visual hull of all views fills, in the view where it fills
    the least.

    1 for the views of any solid, whatever its shape. One view that shows less than the others
    carves the hull, and all of them lose. ``per_view`` is 1 minus the loss that a view causes: what
    the others lose through it alone, and what it alone shows. ``verdict``: less than a hundredth is
    lost."""

    name = "silhouette"
    version = "1"

    def __init__(self, cameras: int = VIEWS, size: int = SIZE) -> None:
        self.needs = Needs(cameras=cameras, size=size)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        shots, broken = seen(batch, self.needs)
        shown = shots.views.alpha.squeeze(-1) > SOLID
        filled, blame = coherence(shown, shots.cameras)
        usable = shown.flatten(1).any(-1) & ~broken
        values = torch.where(usable, filled.amin(-1), 0)
        return Scores(
            values=values.cpu(),
            failed=int(broken.sum()),
            verdict=(values > 0.99).cpu(),
            per_view=torch.where(usable.unsqueeze(-1), 1 - blame, 0).cpu(),
        )


def coherence(shown: Bool[Tensor, "b c h w"], cameras: Cameras) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    """For each view: the fraction of its outline that the visual hull fills (1 for an empty one),
    and the loss that the view causes."""
    grid, outlines = Grid(cameras, CELLS), shown.flatten(2)
    area = outlines.sum(-1).clamp_min(1)
    filled, blame = torch.ones_like(area, dtype=torch.float32), torch.zeros_like(area, dtype=torch.float32)
    for k, (hull, disputed, objector) in enumerate(grid.agreed(widened(shown).flatten(2))):
        missing = outlines[k] & ~grid.drawn(hull)
        if not missing.any():
            continue
        filled[k] -= missing.sum(-1) / area[k]
        # regained[u, v]: pixels that v would regain without u.
        regained = torch.stack([grid.drawn(disputed[objector == view]) & missing for view in range(cameras.count)])
        own = (missing & ~regained.any(0)).sum(-1) / area[k]
        taken = regained.sum(-1) / area[k]
        others = (taken.sum(-1) - taken.diagonal()) / max(cameras.count - 1, 1)
        blame[k] = 1 - (1 - own) * (1 - others)
    return filled, blame.clamp(0, 1)
