"""Gaussian splatting on CPUs by our own kernels: C++17 behind a C interface (kernels/), called through ctypes.

Computes in float32, whatever it is given. Results are bitwise the same for any number of threads and any batch.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
import weakref
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

LIBRARY_NAME = {"darwin": "librl3d_splat.dylib", "win32": "rl3d_splat.dll"}.get(sys.platform, "librl3d_splat.so")
_VERSION = 1  # rl3d_splat_version of the sources next to this file


class _Problem(ctypes.Structure):
    """struct Problem of kernels/pipeline.h."""

    _fields_ = [(name, ctypes.c_int64) for name in ("scenes", "cameras", "gaussians", "width", "height", "colors_per_view")] + [
        (name, ctypes.c_void_p) for name in ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds")
    ]


def _pointers(tensors: tuple[Tensor, ...]) -> ctypes.Array:
    """A C structure of nothing but pointers (Images, Gradients)."""
    return (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))


def _candidates() -> list[Path]:
    if named := os.environ.get("RL3D_SPLAT_LIBRARY"):
        return [Path(named)]
    # An editable install spreads a package over the checkout and site-packages, where the compiled library is.
    spec = importlib.util.find_spec("renderers.kernels")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    folders += [os.path.join(folder, "kernels") for folder in sys.modules["renderers"].__path__]
    return [Path(folder, LIBRARY_NAME) for folder in dict.fromkeys(folders)]


@functools.cache
def _load() -> ctypes.CDLL | str:
    """The library, or the reason why there is none."""
    path = next((path for path in _candidates() if path.is_file()), None)
    if path is None:
        if named := os.environ.get("RL3D_SPLAT_LIBRARY"):
            return f"RL3D_SPLAT_LIBRARY={named} does not exist"
        return "its C++ library is not compiled: run python -m renderers.kernels.build"
    try:
        library = ctypes.CDLL(str(path))
        version = library.rl3d_splat_version()
    except (OSError, AttributeError) as error:
        return f"{path} cannot be loaded: {error}"
    if version != _VERSION:
        return f"{path} was compiled from other sources (version {version}, not {_VERSION}): compile it again"
    library.rl3d_splat_forward.restype = ctypes.c_void_p
    library.rl3d_splat_forward.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    library.rl3d_splat_backward.restype = None
    library.rl3d_splat_backward.argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_int]
    library.rl3d_splat_release.restype = None
    library.rl3d_splat_release.argtypes = [ctypes.c_void_p]
    library.rl3d_splat_kernels.restype = ctypes.c_char_p
    return library


def unavailable() -> str | None:
    """Why this backend cannot draw here, or None."""
    library = _load()
    return library if isinstance(library, str) else None


def _library() -> ctypes.CDLL:
    library = _load()
    if isinstance(library, str):
        raise RuntimeError(f"renderer backend 'cpp' cannot draw: {library}")
    return library


def thread_count() -> int:
    """The cores this process may run on, or RL3D_NUM_THREADS if that is fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("RL3D_NUM_THREADS")
    if not wanted:
        return cores
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"RL3D_NUM_THREADS must be a positive integer, got {wanted!r}")
    return min(cores, int(wanted))


def _problem(inputs: tuple[Tensor, ...], width: int, height: int) -> _Problem:
    means, colors, viewmats = inputs[0], inputs[4], inputs[5]
    sizes = (means.shape[0], viewmats.shape[1], means.shape[1], width, height, colors.ndim == 4)
    return _Problem(*sizes, *(t.data_ptr() for t in inputs))


def _forward(inputs: tuple[Tensor, ...], width: int, height: int, keep: bool) -> tuple[tuple[Tensor, Tensor, Tensor], int | None]:
    shape = (*inputs[5].shape[:2], height, width)
    images = torch.empty(*shape, 3), torch.empty(*shape, 1), torch.empty(*shape, 1)
    problem = _problem(inputs, width, height)
    context = _library().rl3d_splat_forward(ctypes.byref(problem), _pointers(images), keep, thread_count())
    return images, context


class _Handle:
    """Owns the kernels' memory of one forward pass, until the autograd graph that holds it is gone."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer
        weakref.finalize(self, _library().rl3d_splat_release, pointer)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, width: int, height: int, *inputs: Tensor):
        images, pointer = _forward(inputs, width, height, keep=True)
        assert pointer is not None
        ctx.handle, ctx.size = _Handle(pointer), (width, height)
        ctx.save_for_backward(*inputs, *images)
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx, *image_gradients: Tensor):
        inputs, images = ctx.saved_tensors[:8], ctx.saved_tensors[8:]
        image_gradients = tuple(t.contiguous() for t in image_gradients)
        gradients = tuple(torch.empty_like(t) for t in inputs[:5])
        problem = _problem(inputs, *ctx.size)
        _library().rl3d_splat_backward(
            ctx.handle.pointer, ctypes.byref(problem), _pointers(images), _pointers(image_gradients), _pointers(gradients), thread_count()
        )
        return None, None, *gradients, None, None, None


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
    if means.device.type != "cpu":
        raise RuntimeError(f"renderer backend 'cpp' cannot draw: the scene is on {means.device}")
    if torch.is_grad_enabled() and (viewmats.requires_grad or Ks.requires_grad or backgrounds.requires_grad):
        raise RuntimeError("renderer backend 'cpp' has no gradient for cameras and background: detach them, or use backend='torch'")
    inputs = tuple(t.float().contiguous() for t in (means, quats, scales, opacities, colors, viewmats, Ks, backgrounds))
    if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
        return _Rasterize.apply(width, height, *inputs)
    return _forward(inputs, width, height, keep=False)[0]
