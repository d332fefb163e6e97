"""``normals``: whether rendered normals agree with the surface that the depth describes.

Masked cosine between both, as in Nabla-R2D3 (Liu et al., 2025).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from rewards.views.geometry import OPAQUE, SIZE, VIEWS, local_range, pixel_rays, seen
from scenes.cameras import Cameras

SMOOTH = 0.05
"""Largest relative change of depth between neighbouring pixels. Beyond it there is an edge and no
normal."""


class Normals:
    """Mean cosine between rendered normals and normals of the depth images, over all pixels on a
    smooth surface, in [0, 1]. Negative cosines count as 0.

    ``per_view`` is the mean over one view's pixels, 0 for a view without any."""

    name = "normals"
    version = "1"

    def __init__(self, cameras: int = VIEWS, size: int = SIZE) -> None:
        self.needs = Needs(cameras=cameras, size=size, normals=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        shots, broken = seen(batch, self.needs, depth=True)
        views = shots.views
        assert views.normal is not None
        drawn = torch.nn.functional.normalize(views.normal.nan_to_num(), dim=-1)
        surface, smooth = depth_normals(
            views.depth.squeeze(-1).nan_to_num(), views.alpha.squeeze(-1).nan_to_num(), shots.cameras
        )
        cosine = (drawn * surface).sum(-1).clamp(0, 1) * smooth
        counted = smooth.sum((-2, -1))
        per_view = cosine.sum((-2, -1)) / counted.clamp_min(1)
        values = torch.where(broken, 0, cosine.sum((-3, -2, -1)) / counted.sum(-1).clamp_min(1))
        return Scores(values.clamp(0, 1).cpu(), failed=int(broken.sum()), per_view=per_view.clamp(0, 1).cpu())


def depth_normals(
    depth: Float[Tensor, "b c h w"], alpha: Float[Tensor, "b c h w"], cameras: Cameras
) -> tuple[Float[Tensor, "b c h w 3"], Bool[Tensor, "b c h w"]]:
    """Unit normals in the world that face the camera, from central differences smoothed across
    (Sobel), and where they mean something."""
    flat, opaque = depth.flatten(0, 1), alpha.flatten(0, 1) > OPAQUE
    near, far = local_range(flat, opaque)
    whole = -torch.nn.functional.max_pool2d(-opaque.float().unsqueeze(1), 3, 1, 1).squeeze(1) > 0
    smooth = whole & (far - near < 2 * SMOOTH * flat)
    smooth[:, [0, -1]] = False
    smooth[:, :, [0, -1]] = False
    points = cameras.positions[:, None, None] + depth.unsqueeze(-1) * pixel_rays(cameras)
    image = points.flatten(0, 1).permute(0, 3, 1, 2)
    sobel = image.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([sobel, sobel.T]).unsqueeze(1).repeat(3, 1, 1, 1)
    slopes = torch.nn.functional.conv2d(image, kernels, padding=1, groups=3).unflatten(1, (3, 2))
    right, down = slopes[:, :, 0], slopes[:, :, 1]
    normal = torch.linalg.cross(down, right, dim=1).permute(0, 2, 3, 1)
    return torch.nn.functional.normalize(normal, dim=-1).view(*depth.shape, 3), smooth.view(depth.shape)
