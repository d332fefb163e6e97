"""``reprojection``: whether neighbouring views agree on depth and colour.

Multi-view stereo filters its depth maps by this check (Schoenberger et al., Pixelwise View
Selection, COLMAP, 2016, and Yao et al., MVSNet, 2018), with occlusions told from contradictions.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from renderers.base import Views
from rewards.base import Batch, Needs, Scores
from rewards.views.geometry import OPAQUE, SIZE, SOLID, VIEWS, local_range, pixel_rays, project, seen
from scenes.cameras import Cameras

DEPTH_TOLERANCE = 0.0125
"""Depths agree up to this fraction of themselves, 3 cm at the usual distance; at twice as much they
do not agree at all."""
COLOR_TOLERANCE = 0.1
"""Colours agree up to this difference in a channel; at twice as much they do not agree at all."""
SMOOTH = 0.05
"""Largest relative change of depth between neighbouring pixels. Beyond it depth is a mixture of two
surfaces and is not compared."""
NEIGHBOURS = 2


class Reprojection:
    """Fraction of the pixels that their neighbouring views confirm, in depth and colour.

    Each opaque pixel is moved into the nearest views. It is confirmed where a surface lies at its
    depth in its colour, hidden (not counted) where another surface lies in front, and contradicted
    where that view sees through it. ``per_view`` is the fraction over the pairs that a view takes
    part in; ``values`` their mean."""

    name = "reprojection"
    version = "1"

    def __init__(self, cameras: int = VIEWS, size: int = SIZE) -> None:
        self.needs = Needs(cameras=cameras, size=size)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        shots, broken = seen(batch, self.needs, depth=True)
        views = shots.views
        if broken.any():
            zero = lambda t: torch.where(broken.view(-1, 1, 1, 1, 1), 0, t)  # noqa: E731
            views = Views(zero(views.rgb), zero(views.alpha), zero(views.depth))
        confirmed, counted = confirmations(views, shots.cameras)
        confirmed, counted = confirmed + confirmed.transpose(1, 2), counted + counted.transpose(1, 2)
        per_view = confirmed.sum(-1) / counted.sum(-1).clamp_min(1)
        return Scores(per_view.mean(-1).cpu(), failed=int(broken.sum()), per_view=per_view.cpu())


def confirmations(views: Views, cameras: Cameras) -> tuple[Float[Tensor, "b c c"], Float[Tensor, "b c c"]]:
    """For each pair of views: the number of pixels of view i that view j confirms, and the number
    that it can judge. 0 for pairs that are not neighbours."""
    b, c, h, w = views.alpha.shape[:4]
    alpha, depth = views.alpha.reshape(b * c, h, w), views.depth.reshape(b * c, h, w)
    near, far = local_range(depth, alpha > SOLID)
    rgb = [views.rgb[..., i].reshape(b * c, h, w) for i in range(3)]
    everywhere = torch.ones_like(alpha, dtype=torch.bool)
    ranges = torch.stack(
        [near, far, *(bound for channel in rgb for bound in local_range(channel, everywhere))], -1
    ).view(b, c, h * w, 8)
    # A point outside of the image meets no surface and is not judged.
    ranges = torch.cat([ranges, ranges.new_tensor([torch.inf, -torch.inf, *[0.0] * 6]).expand(b, c, 1, 8)], 2)
    own = torch.stack([depth, *rgb], -1).view(b, c, h * w, 4)
    asked = ((alpha > OPAQUE) & (far - near < 2 * SMOOTH * depth)).view(b, c, h * w)
    rays = pixel_rays(cameras).flatten(1, 2)
    confirmed, counted = views.rgb.new_zeros(b, c, c), views.rgb.new_zeros(b, c, c)
    for i in range(c):
        k, pixel = asked[:, i].nonzero(as_tuple=True)
        z, color = own[k, i, pixel, :1], own[k, i, pixel, 1:]
        points = cameras.positions[i] + z * rays[i, pixel]
        for j in neighbours(cameras)[i].tolist():
            target, there = project(cameras, j, points)
            low, high, *bounds = ranges[k, j, target].unbind(-1)
            hidden = there > high + 2 * DEPTH_TOLERANCE * there
            empty = high == -torch.inf
            hidden &= ~empty
            out = target == h * w
            gap = torch.maximum(low - there, there - high) / there
            off = torch.stack(
                [torch.maximum(bounds[2 * n] - color[:, n], color[:, n] - bounds[2 * n + 1]) for n in range(3)]
            ).amax(0)
            agrees = (2 - gap / DEPTH_TOLERANCE).clamp(0, 1) * (2 - off / COLOR_TOLERANCE).clamp(0, 1) * ~empty
            says = ~hidden & ~out
            confirmed[:, i, j].index_add_(0, k, agrees * says)
            counted[:, i, j].index_add_(0, k, says.to(agrees))
    return confirmed, counted


def neighbours(cameras: Cameras) -> Int[Tensor, "c k"]:
    """The cameras nearest to each."""
    apart = torch.cdist(cameras.positions, cameras.positions)
    apart.fill_diagonal_(torch.inf)
    return apart.topk(min(NEIGHBOURS, cameras.count - 1), largest=False).indices
