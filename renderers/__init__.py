"""Differentiable renderers: a scene and cameras become images, with gradients back to the scene.

``render`` draws Gaussian splats. Its backends draw the same image: "gsplat" (CUDA), "cpp" (our kernels for CPUs) and "torch"
(slow, any device, any dtype: the reference the other two are tested against).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from renderers import splat_cpu, splat_cuda, splat_torch
from renderers.base import Views
from scenes.cameras import Cameras
from scenes.gaussians import Gaussians, view_colors

__all__ = ["Views", "backends", "render"]

_BACKENDS = {"gsplat": splat_cuda, "cpp": splat_cpu, "torch": splat_torch}


def backends() -> dict[str, str]:
    """Every backend by name, with "available" or the reason why it is not."""
    return {name: module.unavailable() or "available" for name, module in _BACKENDS.items()}


def render(
    scene: Gaussians,
    cameras: Cameras,
    *,
    background: Sequence[float | int] | Tensor = (1.0, 1.0, 1.0),
    backend: str | None = None,
) -> Views:
    """Draws one scene or a batch of scenes.

    A scene without batch dimensions gives images (C, H, W, 3); a batch gives (*batch, C, H, W, 3), seen by the same cameras
    (viewmats (C, 4, 4)) or by its own ((*batch, C, 4, 4)). ``background`` is one colour, or a tensor that broadcasts to (*batch, C, 3).
    Without ``backend``, a scene on CUDA is drawn by "gsplat" and one in main memory by "cpp".
    """
    backend = backend or _default_backend(scene.device)
    if backend not in _BACKENDS:
        raise ValueError(f"unknown renderer backend {backend!r}: choose one of {', '.join(_BACKENDS)}")
    batch, c, n = scene.batch_shape, cameras.count, scene.count
    rigs = cameras.viewmats.shape[:-3]
    if rigs not in (torch.Size(), batch):
        raise ValueError(f"cameras have batch shape {tuple(rigs)}, the scene has {tuple(batch)}: give every scene its rig, or one for all")
    _refuse_non_finite(scene, cameras)
    if not isinstance(background, Tensor):
        background = torch.tensor(background, dtype=scene.means.dtype)
    viewmats, Ks, background = (t.to(scene.means) for t in (cameras.viewmats, cameras.Ks, background))
    seen = Cameras(viewmats.expand(*batch, c, 4, 4), Ks.expand(*batch, c, 3, 3), cameras.width, cameras.height)
    colors = scene.colors if scene.sh_rest is None else view_colors(scene, seen.positions)
    s = batch.numel()
    rgb, alpha, depth = _BACKENDS[backend].rasterize(
        scene.means.reshape(s, n, 3),
        scene.quats.reshape(s, n, 4),
        scene.scales.reshape(s, n, 3),
        scene.opacities.reshape(s, n),
        colors.reshape(s, n, 3) if scene.sh_rest is None else colors.reshape(s, c, n, 3),
        seen.viewmats.reshape(s, c, 4, 4),
        seen.Ks.reshape(s, c, 3, 3),
        background.expand(*batch, c, 3).reshape(s, c, 3),
        cameras.width,
        cameras.height,
    )
    return Views(*(image.reshape(*batch, *image.shape[1:]) for image in (rgb, alpha, depth)))


def _default_backend(device: torch.device) -> str:
    if device.type == "cuda":
        return "gsplat"
    if device.type != "cpu":
        return "torch"
    reason = splat_cpu.unavailable()
    if reason:
        _warn_once(f"the fast CPU renderer is missing ({reason}); drawing with the slow backend 'torch'")
        return "torch"
    return "cpp"


@functools.cache
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning(message)


def _refuse_non_finite(scene: Gaussians, cameras: Cameras) -> None:
    tensors = {f"Gaussians.{name}": getattr(scene, name) for name in ("means", "quats", "scales", "opacities", "colors", "sh_rest")}
    tensors |= {"Cameras.viewmats": cameras.viewmats, "Cameras.Ks": cameras.Ks}
    tensors = {name: t.detach() for name, t in tensors.items() if t is not None}
    # A sum is not finite if a term is not: one pass, and one wait for the device. Only a suspicious sum is looked into.
    if torch.stack([t.sum().to(scene.means) for t in tensors.values()]).isfinite().all():
        return
    for name, t in tensors.items():
        bad = (~t.isfinite()).nonzero()
        if len(bad):
            index = tuple(bad[0].tolist())
            raise ValueError(f"{name} holds {t[index].item()} at index {index}: the renderer takes finite numbers only")
