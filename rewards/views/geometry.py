"""What the multi-view rewards share: the camera rig, which pixels and assets they can use, and
pixels as points in space.

They need only views and cameras, whatever the asset is made of."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rewards.base import Batch, Needs, Shots
from scenes.cameras import Cameras

VIEWS, SIZE = 9, 64
"""All multi-view rewards look through one rig, so that it is rendered once. An odd number of views:
two that face each other have nearly the same silhouette. Every third view makes a triplet that the
image-text scorer knows."""
SOLID = 0.5
"""A pixel shows the asset when its alpha is above this."""
OPAQUE = 0.95
"""Only pixels above this have a depth of one surface: elsewhere it is mixed with what lies
behind."""


def seen(batch: Batch, needs: Needs, *, depth: bool = False) -> tuple[Shots, Bool[Tensor, "b"]]:
    """The views a reward asked for, and which assets have values in them that are not finite: those
    score 0 and have failed. ValueError for a kind of image that the views lack."""
    shots = batch.need_shots(needs)
    views = shots.views
    wanted: dict[str, Tensor | None] = {"rgb": views.rgb, "alpha": views.alpha}
    if depth:
        wanted["depth"] = views.depth
    if needs.normals:
        wanted["normal"] = views.normal
    broken = torch.zeros(len(batch), dtype=torch.bool, device=views.rgb.device)
    for name, image in wanted.items():
        if image is None:
            raise ValueError(f"this reward looks at {name} images, and the views have none")
        broken |= ~image.flatten(1).isfinite().all(-1)
    return shots, broken


def pixel_rays(cameras: Cameras) -> Float[Tensor, "c h w 3"]:
    """World directions through the pixels' centres, of depth 1: a pixel's point is the camera's
    position + depth * direction."""
    like = cameras.viewmats
    v, u = torch.meshgrid(
        torch.arange(cameras.height, device=like.device) + 0.5,
        torch.arange(cameras.width, device=like.device) + 0.5,
        indexing="ij",
    )
    pixels = torch.stack([u, v, torch.ones_like(u)], -1).to(like)
    rotation = cameras.viewmats[:, :3, :3]
    return pixels @ torch.linalg.inv(cameras.Ks).transpose(-1, -2).unsqueeze(1) @ rotation.unsqueeze(1)


def project(cameras: Cameras, view: int, points: Float[Tensor, "n 3"]) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """The flat index of the pixel of one view that each point falls into, height * width where it
    is out of the picture; and its depth."""
    local = points @ cameras.viewmats[view, :3, :3].T + cameras.viewmats[view, :3, 3]
    depth = local[:, 2]
    pixels = (local @ cameras.Ks[view].T)[:, :2] / depth.clamp_min(1e-6).unsqueeze(-1)
    limits = pixels.new_tensor([cameras.width, cameras.height])
    inside = (depth > 1e-6) & ((pixels >= 0) & (pixels < limits)).all(-1)
    column, row = torch.where(inside.unsqueeze(-1), pixels, 0).long().unbind(-1)
    return torch.where(inside, row * cameras.width + column, cameras.width * cameras.height), depth


def centre_of(cameras: Cameras) -> tuple[Float[Tensor, "3"], Float[Tensor, ""]]:
    """The point that the cameras look at together, nearest to all of their axes, and the radius of
    what they show around it."""
    axes, positions = cameras.viewmats[:, 2, :3], cameras.positions
    across = torch.eye(3, device=axes.device, dtype=axes.dtype) - axes.unsqueeze(-1) * axes.unsqueeze(-2)
    # Parallel cameras have no such point; the small pull towards their middle then decides.
    pull = 1e-3 * torch.eye(3, device=axes.device, dtype=axes.dtype)
    middle = positions.mean(0)
    centre = torch.linalg.solve(
        across.sum(0) + pull, (across @ positions.unsqueeze(-1)).sum(0).squeeze(-1) + pull @ middle
    )
    reach = 0.5 * max(
        cameras.width / float(cameras.Ks[:, 0, 0].min()), cameras.height / float(cameras.Ks[:, 1, 1].min())
    )
    return centre, (positions - centre).norm(dim=-1).mean() * reach


def local_range(
    image: Float[Tensor, "n h w"], mask: Bool[Tensor, "n h w"]
) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n h w"]]:
    """Lowest and highest value within a pixel of every pixel, of the pixels in the mask alone; inf
    and -inf where there are none."""
    infinite = torch.full_like(image, torch.inf)
    pool = lambda t: torch.nn.functional.max_pool2d(t.unsqueeze(1), 3, 1, 1).squeeze(1)  # noqa: E731
    return -pool(torch.where(mask, -image, -infinite)), pool(torch.where(mask, image, -infinite))
