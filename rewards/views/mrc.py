"""``mrc``: whether one scene can look like all the views. Multi-view reconstruction consistency
(Xie et al., Carve3D, 2024).

A scene of Gaussians is fitted to two thirds of the views and compared with the rest, so every view
is predicted once from those around it. Carve3D reconstructs by a large network, from all views, and
compares by LPIPS; here the visual hull in the views' own colours is the start, some steps down the
renderer's gradient follow, and the distance needs no weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from renderers import render
from rewards.base import Batch, Needs, Scores
from rewards.views.geometry import SIZE, SOLID, VIEWS, pixel_rays, project, seen
from rewards.views.hull import Grid
from scenes.cameras import Cameras
from scenes.gaussians import Gaussians

FOLDS = 3
"""Every third view is held out, by turns."""
STEPS = 18
"""Steps of the fit, each on ``CYCLE`` views. These are enough to reproduce consistent views, and
too few to fit contradictory ones."""
CYCLE = 3
GAUSSIANS = 3072
CELLS = 64
RATES = {"means": 0.01, "scales": 0.05, "opacities": 0.3, "colors": 0.03}
"""Adam's steps: metres, then logarithms of scales, logits of opacities, sRGB."""


class MRC:
    """Similarity of each view to a scene fitted to the other views, inside the foreground's box;
    the least over the views, in [0, 1].

    Similarity is 1 - distance. The distance is the mean over three scales (full, half and quarter
    size) of (DSSIM + L1) / 2 with DSSIM = (1 - SSIM) / 2 over windows of 5 pixels. The value stays
    below 1, because a few Gaussians are still slightly blurred after a few steps. ``per_view`` is
    each view's own.
    """

    name = "mrc"
    version = "1"

    def __init__(self, cameras: int = VIEWS, size: int = SIZE, steps: int = STEPS) -> None:
        if cameras < 2 * FOLDS:
            raise ValueError(f"mrc holds out every {FOLDS}rd view and needs at least {2 * FOLDS}, got {cameras}")
        self.needs = Needs(cameras=cameras, size=size)
        self.steps = steps

    def __call__(self, batch: Batch) -> Scores:
        shots, broken = seen(batch, self.needs)
        cameras = shots.cameras
        rgb, alpha = (
            torch.where(broken.view(-1, 1, 1, 1, 1), 0, t.detach()) for t in (shots.views.rgb, shots.views.alpha)
        )
        per_view = rgb.new_zeros(rgb.shape[:2])
        grid = Grid(cameras, CELLS)
        for fold in range(FOLDS):
            held_out = list(range(fold, cameras.count, FOLDS))
            kept = [view for view in range(cameras.count) if view not in held_out]
            start = hull_gaussians(rgb[:, kept], alpha[:, kept], cameras[kept], grid.of(kept))
            scene = fitted(start, rgb[:, kept], alpha[:, kept], cameras[kept], self.steps)
            with torch.no_grad():
                drawn = render(scene, cameras[held_out])
            per_view[:, held_out] = similarity(drawn.rgb, rgb[:, held_out], foreground(alpha[:, held_out], drawn.alpha))
        usable = (alpha > SOLID).flatten(1).any(-1) & ~broken
        per_view = torch.where(usable.unsqueeze(-1), per_view, 0)
        return Scores(per_view.amin(-1).cpu(), failed=int(broken.sum()), per_view=per_view.cpu())


@torch.no_grad()
def hull_gaussians(
    rgb: Float[Tensor, "b c h w 3"], alpha: Float[Tensor, "b c h w 1"], cameras: Cameras, grid: Grid
) -> Gaussians:
    """``GAUSSIANS`` of each asset on the front of its visual hull, each behind a pixel, in the mean
    colour of the views that see it."""
    b, c, h, w = alpha.shape[:4]
    depths = torch.stack([project(cameras, view, grid.points)[1] for view in range(c)])
    rays = pixel_rays(cameras).flatten(1, 2)
    shown = F.pad(alpha.flatten(2) > SOLID, (0, 1))
    # The asset's own colours, without the white that shines through at outlines.
    paint = F.pad(((rgb - 1) / alpha.clamp_min(SOLID) + 1).clamp(0, 1).flatten(2, 3), (0, 0, 0, 1))
    means, colors = rgb.new_zeros(b, GAUSSIANS, 3), rgb.new_zeros(b, GAUSSIANS, 3)
    scales, opacities = torch.full_like(means, 1e-3), rgb.new_zeros(b, GAUSSIANS)
    for k, (hull, _, _) in enumerate(grid.agreed(shown[..., :-1])):
        front = torch.full((c, h * w + 1), torch.inf, device=rgb.device)
        front = front.scatter_reduce_(1, grid.pixels[:, hull], depths[:, hull], "amin")[:, :-1]
        # Where a pixel falls between cells, those around it say how far the hull is.
        around = -F.max_pool2d(-front.view(c, 1, h, w), 3, 1, 1).flatten(1)
        front = torch.where(front.isfinite(), front, around)
        view, pixel = (shown[k, :, :-1] & front.isfinite()).nonzero(as_tuple=True)
        n = min(GAUSSIANS, len(view))
        if not n:
            continue
        chosen = torch.linspace(0, len(view) - 1, n, dtype=torch.float64, device=rgb.device).long()
        view, pixel = view[chosen], pixel[chosen]
        depth = front[view, pixel].unsqueeze(-1)
        means[k, :n] = cameras.positions[view] + depth * rays[view, pixel]
        front = F.pad(front, (0, 1), value=-torch.inf)
        total, weight = torch.zeros_like(means[k, :n]), torch.zeros_like(depth)
        for other in range(c):
            at, there = project(cameras, other, means[k, :n])
            sees = (shown[k, other, at] & (there <= front[other, at] + 2 * grid.side)).to(rgb).unsqueeze(-1)
            total, weight = total + sees * paint[k, other, at], weight + sees
        colors[k, :n] = torch.where(weight > 0, total / weight.clamp_min(1), paint[k, view, pixel])
        scales[k, :n] = 0.45 * depth / cameras.Ks[view, 0, :1]  # a little less than half a pixel
        opacities[k, :n] = 0.9
    quats = means.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(b, GAUSSIANS, 1)
    return Gaussians(means, quats, scales, opacities, colors)


def fitted(
    start: Gaussians, rgb: Float[Tensor, "b c h w 3"], alpha: Float[Tensor, "b c h w 1"], cameras: Cameras, steps: int
) -> Gaussians:
    """The scenes after ``steps`` steps of Adam towards their views. Scenes of a batch do not affect
    each other."""
    there = start.opacities > 0
    logits = torch.logit(start.opacities.clamp(0.01, 0.99))
    leaves = {
        "means": start.means.clone(),
        "scales": start.scales.log(),
        "opacities": logits,
        "colors": start.colors.clone(),
    }
    leaves = {name: value.requires_grad_() for name, value in leaves.items()}
    # Without an epsilon that matters, a step depends on the gradient's direction alone and not on
    # the pictures' size.
    optimizer = torch.optim.Adam(
        [{"params": [leaf], "lr": RATES[name]} for name, leaf in leaves.items()], betas=(0.8, 0.95), eps=1e-12
    )

    def scene() -> Gaussians:
        opacities = torch.sigmoid(leaves["opacities"]) * there
        return Gaussians(leaves["means"], start.quats, leaves["scales"].exp(), opacities, leaves["colors"].clamp(0, 1))

    stride = max(cameras.count // CYCLE, 1)
    with torch.enable_grad():
        for step in range(steps):
            views = list(range(step % stride, cameras.count, stride))
            drawn = render(scene(), cameras[views])
            loss = (drawn.rgb - rgb[:, views]).abs().sum() + (drawn.alpha - alpha[:, views]).abs().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return scene().detach()


def foreground(*alphas: Float[Tensor, "b c h w 1"]) -> Bool[Tensor, "b c h w"]:
    """The box around all that any of the images shows."""
    shown = torch.stack([alpha.squeeze(-1) > SOLID for alpha in alphas]).any(0)
    reaches = lambda t: t.int().cummax(-1).values  # noqa: E731
    between = lambda t: (reaches(t) & reaches(t.flip(-1)).flip(-1)).bool()  # noqa: E731
    return between(shown.any(-1)).unsqueeze(-1) & between(shown.any(-2)).unsqueeze(-2)


def similarity(
    one: Float[Tensor, "b c h w 3"], other: Float[Tensor, "b c h w 3"], box: Bool[Tensor, "b c h w"]
) -> Float[Tensor, "b c"]:
    """1 - the mean over three scales of (DSSIM + L1) / 2 inside the box; 1 for an empty box."""
    x, y = (t.flatten(0, 1).permute(0, 3, 1, 2) for t in (one, other))
    inside = box.flatten(0, 1).unsqueeze(1).to(x)
    total = x.new_zeros(len(x))
    for scale in range(3):
        if scale:
            x, y, inside = (F.avg_pool2d(t, 2) for t in (x, y, inside))
        mx, my, xx, yy, xy = (F.avg_pool2d(t, 5, 1, 2, count_include_pad=False) for t in (x, y, x * x, y * y, x * y))
        # SSIM with its usual constants, 0.01 and 0.03 squared.
        structure = (2 * (xy - mx * my) + 9e-4) / (xx - mx * mx + yy - my * my + 9e-4)
        ssim = structure * (2 * mx * my + 1e-4) / (mx * mx + my * my + 1e-4)
        distance = ((1 - ssim) / 2 + (x - y).abs()).mean(1, keepdim=True) / 2
        total += (distance * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp_min(1e-6)
    return (1 - total / 3).clamp(0, 1).view(box.shape[:2])
