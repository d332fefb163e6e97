"""``worst_view``: whether the asset shows what the prompt says from every side, not only from the
best ones."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from rewards.image.alignment import SHIPPED, embed_prompts, load_scorer, one_by_one
from rewards.image.scorer import AZIMUTH_DEG
from rewards.image.scorer import VIEWS as PLACES
from rewards.views.geometry import SIZE, VIEWS, centre_of, seen
from scenes.cameras import Cameras


class WorstView:
    """The least match of prompt and view, in [0, 1]: sigmoid(logit / 2) of the scorer behind
    ``alignment``.

    Each view is embedded alone. The scorer was trained on three views together, so single views
    match less well, and the values are below those of ``alignment``. ``per_view`` is each view's
    match. The reward does not see a second face on the back: every view of such an asset
    matches."""

    name = "worst_view"
    version = "1"
    needs = Needs(cameras=VIEWS, size=SIZE)

    def __init__(self, weights: Path = SHIPPED) -> None:
        self.scorer = load_scorer(weights)

    def values(self, batch: Batch) -> Float[Tensor, "b"]:
        """With gradient to the colours and alphas of each asset's worst view."""
        return self._per_view(batch)[0].amin(-1)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        per_view, broken = self._per_view(batch)
        return Scores(per_view.amin(-1).cpu(), failed=int(broken.sum()), per_view=per_view.cpu())

    def _per_view(self, batch: Batch) -> tuple[Float[Tensor, "b c"], Bool[Tensor, "b"]]:
        """The match of every view, and which assets cannot be scored."""
        (shots, broken), text = seen(batch, self.needs), batch.text
        rgb, alpha = (torch.where(broken.view(-1, 1, 1, 1, 1), 0, t) for t in (shots.views.rgb, shots.views.alpha))
        scorer = self.scorer.to(rgb.device)
        where = places(shots.cameras)

        def match(rgb: Tensor, alpha: Tensor, prompt: Tensor) -> Tensor:
            return torch.sigmoid(
                scorer.match(scorer.embed_single_views(rgb, alpha, where).transpose(0, 1), prompt).T / 2
            )

        per_view = one_by_one(match, rgb, alpha, embed_prompts(scorer, text, rgb.device))
        broken = broken | ~per_view.isfinite().all(-1)
        return torch.where(broken.unsqueeze(-1), 0, per_view), broken


def places(cameras: Cameras) -> Int[Tensor, "c"]:
    """Which of the views that the scorer knows, evenly spaced from ``AZIMUTH_DEG``, each camera
    stands nearest to."""
    x, y, _ = (cameras.positions - centre_of(cameras)[0]).unbind(-1)
    turns = (torch.rad2deg(torch.atan2(x, -y)) - AZIMUTH_DEG) / 360
    return (turns * PLACES).round().long() % PLACES
