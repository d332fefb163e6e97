"""Gaussian splatting on CUDA by gsplat (Ye et al. 2024). It is imported at first use, because it
then compiles its kernels."""

from __future__ import annotations

import importlib.util

import torch

from renderers.base import BLUR, NEAR_PLANE, Images, Splats

MEMORY = 4 * 2**30
"""Most bytes that one call may keep until its backward pass."""
BYTES_PER_GAUSSIAN = 160
"""Bytes per Gaussian and view: projected mean, conic, depth, radius, opacity, their gradients, and
a few tile intersections with their sort buffers."""


def unavailable() -> str | None:
    """Why this backend cannot draw here, or None."""
    if importlib.util.find_spec("gsplat") is None:
        return "gsplat is not installed: pip install gsplat"
    if not torch.cuda.is_available():
        return "no CUDA device"
    return None


def rasterize(splats: Splats) -> Images:
    """Draws whole scenes together, as many per call of gsplat as ``MEMORY`` allows."""
    reason = unavailable() or (None if splats.means.is_cuda else f"the scene is on {splats.means.device}")
    if reason:
        raise RuntimeError(f"renderer backend 'gsplat' cannot draw: {reason}")
    s, c, n, k = *splats.viewmats.shape[:2], splats.means.shape[1], splats.colors.shape[-1]
    if s * c * n == 0:  # gsplat's kernels do not take empty launches
        alpha = splats.means.new_zeros(s, c, splats.height, splats.width, 1)
        background = splats.backgrounds[:, :, None, None].expand(s, c, splats.height, splats.width, k)
        return background.clone(), alpha, alpha.clone()
    # Kept for backward: projections and their gradients of every Gaussian in every view, and the
    # images.
    scene_bytes = c * (n * (BYTES_PER_GAUSSIAN + 4 * k) + splats.height * splats.width * 8 * (k + 4))
    step = max(1, MEMORY // scene_bytes)
    pieces = [_rasterize(splats, slice(i, min(i + step, s))) for i in range(0, s, step)]
    return pieces[0] if len(pieces) == 1 else tuple(torch.cat(images) for images in zip(*pieces, strict=True))  # type: ignore[return-value]


def _rasterize(splats: Splats, scenes: slice) -> Images:
    from gsplat import rasterization

    means, quats, scales, opacities, colors, viewmats, Ks, backgrounds = (
        t[scenes].float().contiguous() for t in splats.tensors
    )
    # gsplat's kernel divides by the quaternion's length; the other backends take zero as no
    # rotation.
    quats = torch.where((quats == 0).all(-1, keepdim=True), quats.new_tensor([1.0, 0.0, 0.0, 0.0]), quats)
    image, alpha, info = rasterization(
        means,
        quats,
        scales,
        opacities,
        colors,
        viewmats,
        Ks,
        splats.width,
        splats.height,
        near_plane=NEAR_PLANE,
        eps2d=BLUR,
        packed=False,
        backgrounds=backgrounds,
        render_mode="RGB+ED",
        rasterize_mode="antialiased" if splats.antialiased else "classic",
        absgrad=splats.screen is not None,
    )
    screen, means2d = splats.screen, info["means2d"]
    if screen is not None and means2d.requires_grad:
        # The kernel's backward leaves the absolute sums on the tensor before its gradient gets
        # here.
        means2d.register_hook(lambda gradient: screen.add(scenes, slice(None), gradient, means2d.absgrad))
    return image[..., :-1], alpha, image[..., -1:]
