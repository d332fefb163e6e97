"""Differentiable renderers: a scene and cameras become images, with gradients to the scene and the
cameras.

``render`` draws Gaussian splats, radiance fields and triangle meshes. Each kind of scene may have
several backends, which draw the same image; ``backends()`` lists them. To add a splat backend,
write a module with ``unavailable`` and ``rasterize`` and add a line to ``_SPLATS``. To add a mesh
backend, write a function and add a line to ``mesh.RASTERIZERS``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from renderers import kernels, mesh, splat_cpu, splat_cuda, splat_torch, volume
from renderers.base import ScreenGradients, Splats, Views
from renderers.volume import Quadrature
from scenes.cameras import Cameras
from scenes.gaussians import Gaussians, view_colors, view_normals
from scenes.mesh import Mesh
from scenes.radiance_field import RadianceField

__all__ = ["Backend", "Quadrature", "ScreenGradients", "Views", "backends", "render"]

OUTPUTS = ("rgb", "alpha", "depth", "normal")
_SPLATS = {"gsplat": splat_cuda, "cpp": splat_cpu, "torch": splat_torch}


@dataclass(frozen=True)
class Backend:
    """What a backend draws, on which devices, and whether it is available here."""

    draws: str
    """splats, fields or meshes."""
    devices: str
    """cpu, cuda or any."""
    state: str
    """available, or the reason why it is not."""


def backends() -> dict[str, Backend]:
    """Every backend by name. Of those for one kind of scene and device, the default comes first."""
    devices = {"gsplat": "cuda", "cpp": "cpu", "torch": "any"}
    found = {
        name: Backend("splats", devices[name], module.unavailable() or "available") for name, module in _SPLATS.items()
    }
    found["volume"] = Backend("fields", "any", "available")
    for name, (_, unavailable, device) in mesh.RASTERIZERS.items():
        found[name] = Backend("meshes", device, unavailable() or "available")
    return found


def render(
    scene: Gaussians | Mesh | RadianceField,
    cameras: Cameras,
    *,
    background: Sequence[float | int] | Tensor = (1.0, 1.0, 1.0),
    outputs: Sequence[str] = ("rgb", "alpha", "depth"),
    features: Float[Tensor, "*batch n f"] | None = None,
    antialiased: bool | None = None,
    screen: ScreenGradients | None = None,
    quadrature: Quadrature | None = None,
    rng: torch.Generator | None = None,
    backend: str | None = None,
) -> Views:
    """Draws one scene or a batch of scenes.

    A scene without batch dimensions gives images (C, H, W, 3). A batch gives (*batch, C, H, W, 3),
    seen by the same cameras (viewmats (C, 4, 4)) or by its own ((*batch, C, 4, 4)). ``background``
    is one colour, or a tensor that broadcasts to (*batch, C, 3). rgb, alpha and depth are always
    drawn; ``outputs`` may also name "normal". Gradients reach every tensor of the scene, the
    cameras and the background.

    Splats: ``features`` are any numbers per Gaussian, drawn like colours. ``screen`` collects the
    gradients that densification needs. ``antialiased`` reduces the opacity of Gaussians smaller
    than a pixel (off by default).

    Meshes: ``antialiased`` blends pixels along silhouettes, which gives silhouettes a gradient (on
    by default).

    Fields: ``quadrature`` sets how finely rays are sampled. ``rng`` jitters the samples.

    The default ``backend`` for splats is "gsplat" on CUDA and "cpp" on the CPU; for meshes it is
    "mesh-torch" and "mesh-cpp".
    """
    for name in outputs:
        if name not in OUTPUTS:
            raise ValueError(f"unknown output {name!r}: choose among {', '.join(OUTPUTS)}")
    kind = "splats" if isinstance(scene, Gaussians) else "meshes" if isinstance(scene, Mesh) else "fields"
    if kind != "splats" and (features is not None or screen is not None):
        raise ValueError(f"features and screen gradients are of Gaussians, the scene is of {kind}")
    backend = _choose(kind, backend, scene)
    batch, c = scene.batch_shape, cameras.count
    rigs = cameras.viewmats.shape[:-3]
    if rigs not in (torch.Size(), batch):
        raise ValueError(
            f"cameras have batch shape {tuple(rigs)}, the scene has {tuple(batch)}: "
            "give every scene its rig, or one rig for all"
        )
    like = (
        scene.means if isinstance(scene, Gaussians) else scene.vertices if isinstance(scene, Mesh) else scene.bounds[0]
    )
    if not isinstance(background, Tensor):
        background = _constant(tuple(background), like.dtype)
    viewmats, Ks, backgrounds = cameras.viewmats.to(like), cameras.Ks.to(like), background.to(like).expand(*batch, c, 3)
    seen = Cameras(viewmats.expand(*batch, c, 4, 4), Ks.expand(*batch, c, 3, 3), cameras.width, cameras.height)
    given = {
        "Cameras.viewmats": cameras.viewmats,
        "Cameras.Ks": cameras.Ks,
        "background": background,
        "features": features,
    }
    if kind != "fields":
        given |= {
            f"{type(scene).__name__}.{k}": v
            for k, v in vars(scene).items()
            if isinstance(v, Tensor) and v.is_floating_point()
        }
    _refuse_non_finite(given)
    normals = "normal" in outputs
    if isinstance(scene, Gaussians):
        return _render_splats(scene, seen, backgrounds, normals, features, bool(antialiased), screen, backend)
    if isinstance(scene, Mesh):
        return _render_mesh(scene, seen, backgrounds, normals, antialiased is not False, backend)
    rgb, alpha, depth, normal = volume.draw(
        scene, seen, backgrounds, normals=normals, quadrature=quadrature or Quadrature(), rng=rng
    )
    return Views(rgb, alpha, depth, normal if normals else None)


def _render_splats(
    scene: Gaussians,
    cameras: Cameras,
    backgrounds: Tensor,
    normals: bool,
    features: Tensor | None,
    antialiased: bool,
    screen: ScreenGradients | None,
    backend: str,
) -> Views:
    batch, c, n, s = scene.batch_shape, cameras.count, scene.count, scene.batch_shape.numel()
    if features is not None and features.shape[:-1] != (*batch, n):
        raise ValueError(f"features must have shape {(*batch, n)} and a last dimension, got {tuple(features.shape)}")
    channels = [scene.colors if scene.sh_rest is None else view_colors(scene, cameras.positions)]
    if normals:
        channels.append(view_normals(scene, cameras.positions))
    if features is not None:
        channels.append(features.to(scene.means))
    widths = [t.shape[-1] for t in channels]
    k = sum(widths)
    per_view = any(t.ndim > scene.means.ndim for t in channels)
    if per_view:
        channels = [
            t if t.ndim > scene.means.ndim else t.unsqueeze(-3).expand(*batch, c, n, t.shape[-1]) for t in channels
        ]
    colors = channels[0] if len(channels) == 1 else torch.cat(channels, -1)
    if screen is not None:
        screen.expect((*batch, c, n), scene.means)

    def flat(t: Tensor) -> Tensor:  # one batch dimension
        return t if len(batch) == 1 else t.reshape(s, *t.shape[len(batch) :])

    splats = Splats(
        flat(scene.means),
        flat(scene.quats),
        flat(scene.scales),
        flat(scene.opacities),
        flat(colors),
        flat(cameras.viewmats),
        flat(cameras.Ks),
        flat(backgrounds if k == 3 else torch.nn.functional.pad(backgrounds, (0, k - 3))),
        cameras.width,
        cameras.height,
        antialiased,
        screen,
    )
    images = _SPLATS[backend].rasterize(splats)
    color, alpha, depth = images if len(batch) == 1 else (image.reshape(*batch, *image.shape[1:]) for image in images)
    rgb, *others = color.split(widths, -1) if len(widths) > 1 else [color]
    return Views(rgb, alpha, depth, others.pop(0) if normals else None, others.pop(0) if others else None)


def _render_mesh(
    scene: Mesh, cameras: Cameras, backgrounds: Tensor, normals: bool, antialiased: bool, backend: str
) -> Views:
    batch, c, s = scene.batch_shape, cameras.count, scene.batch_shape.numel()
    flat = scene._map(lambda t: t.reshape(s, *t.shape[len(batch) :]))
    rigs = replace(cameras, viewmats=cameras.viewmats.reshape(s, c, 4, 4), Ks=cameras.Ks.reshape(s, c, 3, 3))
    rasterizer = mesh.RASTERIZERS[backend][0]
    images = mesh.draw(flat, rigs, backgrounds.reshape(s, c, 3), rasterizer, antialias=antialiased)
    rgb, alpha, depth, normal = (image.reshape(*batch, *image.shape[1:]) for image in images)
    return Views(rgb, alpha, depth, normal if normals else None)


def _choose(kind: str, name: str | None, scene: Gaussians | Mesh | RadianceField) -> str:
    """The requested backend, if it can draw the scene; otherwise the default."""
    known = {"splats": list(_SPLATS), "fields": ["volume"], "meshes": list(mesh.RASTERIZERS)}[kind]
    if name is None:
        if kind == "fields":
            return "volume"
        device = (scene.means if isinstance(scene, Gaussians) else scene.vertices).device.type  # type: ignore[union-attr]
        if kind == "splats" and device == "cuda":
            return "gsplat"
        fast, slow = ("cpp", "torch") if kind == "splats" else ("mesh-cpp", "mesh-torch")
        if device != "cpu":
            return slow
        if reason := kernels.unavailable():
            _warn_once(f"the fast CPU renderer is missing ({reason}); drawing with the slow backend {slow!r}")
            return slow
        return fast
    if name not in known:
        raise ValueError(f"unknown renderer backend {name!r} for {kind}: choose one of {', '.join(known)}")
    if kind == "meshes" and (reason := mesh.RASTERIZERS[name][1]()):
        raise RuntimeError(f"renderer backend {name!r} cannot draw: {reason}")
    return name


@functools.lru_cache(64)
def _constant(color: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    return torch.tensor(color, dtype=dtype)


@functools.cache
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning(message)


def _all_finite(tensors: list[Tensor]) -> bool:
    if not kernels.unavailable() and all(
        t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in tensors
    ):
        return kernels.all_finite([(t.data_ptr(), t.numel()) for t in tensors])
    # A sum is not finite if a term is not: one pass, and one wait for the device. Only a suspicious
    # sum is looked into.
    sums = [t.sum().float() for t in tensors]
    return bool(torch.stack([s.to(sums[0].device) for s in sums]).isfinite().all())


def _refuse_non_finite(tensors: dict[str, Tensor | None]) -> None:
    checked = {name: t.detach() for name, t in tensors.items() if t is not None and t.numel()}
    if _all_finite(list(checked.values())):
        return
    for name, t in checked.items():
        bad = (~t.isfinite()).nonzero()
        if len(bad):
            index = tuple(bad[0].tolist())
            raise ValueError(f"{name} holds {t[index].item()} at index {index}: the renderer takes finite numbers only")
