"""Gaussian splatting on CUDA by gsplat (Ye et al. 2024), imported when first used: it compiles its kernels then."""

from __future__ import annotations

import importlib.util

import torch
from jaxtyping import Float
from torch import Tensor

from renderers.base import BLUR, NEAR_PLANE


def unavailable() -> str | None:
    """Why this backend cannot draw here, or None."""
    if importlib.util.find_spec("gsplat") is None:
        return "gsplat is not installed: pip install gsplat"
    if not torch.cuda.is_available():
        return "no CUDA device"
    return None


def rasterize(
    means: Float[Tensor, "s n 3"],
    quats: Float[Tensor, "s n 4"],
    scales: Float[Tensor, "s n 3"],
    opacities: Float[Tensor, "s n"],
    colors: Float[Tensor, "s n 3"] | Float[Tensor, "s c n 3"],
    viewmats: Float[Tensor, "s c 4 4"],
    Ks: Float[Tensor, "s c 3 3"],
    backgrounds: Float[Tensor, "s c 3"],
    width: int,
    height: int,
) -> tuple[Float[Tensor, "s c h w 3"], Float[Tensor, "s c h w 1"], Float[Tensor, "s c h w 1"]]:
    reason = unavailable() or (None if means.is_cuda else f"the scene is on {means.device}")
    if reason:
        raise RuntimeError(f"renderer backend 'gsplat' cannot draw: {reason}")
    s, c, n = *viewmats.shape[:2], means.shape[1]
    if s * c * n == 0:  # gsplat's kernels do not take empty launches
        alpha = means.new_zeros(s, c, height, width, 1)
        return backgrounds[:, :, None, None].expand(s, c, height, width, 3).clone(), alpha, alpha.clone()
    from gsplat import rasterization

    # gsplat's kernel divides by the quaternion's length; the other backends take zero as no rotation.
    zero = (quats == 0).all(-1, keepdim=True)
    quats = torch.where(zero, quats.new_tensor([1.0, 0.0, 0.0, 0.0]), quats)
    tensors = (means, quats, scales, opacities, colors, viewmats, Ks, backgrounds)
    means, quats, scales, opacities, colors, viewmats, Ks, backgrounds = (t.float().contiguous() for t in tensors)
    image, alpha, _ = rasterization(
        means,
        quats,
        scales,
        opacities,
        colors,
        viewmats,
        Ks,
        width,
        height,
        near_plane=NEAR_PLANE,
        eps2d=BLUR,
        packed=False,
        backgrounds=backgrounds,
        render_mode="RGB+ED",
    )
    return image[..., :3], alpha, image[..., 3:]
