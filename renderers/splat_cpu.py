"""Gaussian splatting on CPUs by our own kernels: C++17 behind a C interface (kernels/), called
through ctypes.

Computes in float32 for any input type. Results are bitwise equal for any number of threads and any
batch.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from renderers import kernels
from renderers.base import Images, ScreenGradients, Splats


class _Problem(ctypes.Structure):
    """struct Problem of kernels/pipeline.h."""

    _fields_ = [
        *(
            (n, ctypes.c_int64)
            for n in ("scenes", "cameras", "gaussians", "width", "height", "channels", "colors_per_view", "antialiased")
        ),
        *(
            (n, ctypes.c_void_p)
            for n in ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds")
        ),
    ]


MAX_CHANNELS = 16
"""kMaxChannels of kernels/pipeline.h: more are drawn in several passes."""


def _pointers(tensors: tuple[Tensor | None, ...]) -> ctypes.Array:
    """A C structure of nothing but pointers (Images, Gradients)."""
    return (ctypes.c_void_p * len(tensors))(*(None if t is None else t.data_ptr() for t in tensors))


def unavailable() -> str | None:
    """Why this backend cannot draw here, or None."""
    return kernels.unavailable()


@dataclass(frozen=True)
class _Image:
    """The scalar part of the problem."""

    width: int
    height: int
    antialiased: bool
    screen: ScreenGradients | None


def _problem(inputs: tuple[Tensor, ...], image: _Image) -> _Problem:
    means, colors, viewmats = inputs[0], inputs[4], inputs[5]
    sizes = means.shape[0], viewmats.shape[1], means.shape[1], image.width, image.height, colors.shape[-1]
    return _Problem(*sizes, colors.ndim == 4, image.antialiased, *(t.data_ptr() for t in inputs))


def _forward(inputs: tuple[Tensor, ...], image: _Image, keep: bool) -> tuple[Images, int | None]:
    shape = (*inputs[5].shape[:2], image.height, image.width)
    images = torch.empty(*shape, inputs[4].shape[-1]), torch.empty(*shape, 1), torch.empty(*shape, 1)
    problem, context = _problem(inputs, image), ctypes.c_void_p()
    done = kernels.library().rl3d_splat_forward(
        ctypes.byref(problem), _pointers(images), keep, kernels.thread_count(), ctypes.byref(context)
    )
    if not done:
        raise MemoryError(_too_large(problem))
    return images, context.value


def _too_large(problem: _Problem) -> str:
    count, size = problem.scenes * problem.cameras, f"{problem.width}x{problem.height}"
    images = f"{count} images of {problem.gaussians} Gaussians at {size}"
    return f"out of memory while drawing {images}: draw fewer at once, or smaller Gaussians"


class _Handle:
    """Owns the kernels' memory of one forward pass until its autograd graph is freed."""

    def __init__(self, pointer: int) -> None:
        self.pointer, self.release = pointer, kernels.library().rl3d_splat_release

    def __del__(self) -> None:
        self.release(self.pointer)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image: _Image, *inputs: Tensor):
        images, pointer = _forward(inputs, image, keep=True)
        assert pointer is not None
        ctx.handle, ctx.image = _Handle(pointer), image
        ctx.save_for_backward(*inputs, *images)
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx, *image_gradients: Tensor):
        inputs, images = ctx.saved_tensors[:8], ctx.saved_tensors[8:]
        image_gradients = tuple(t.contiguous() for t in image_gradients)
        gradients = tuple(torch.empty_like(t) for t in inputs[:5])
        viewmats, Ks, backgrounds = ctx.needs_input_grad[6:]
        cameras = (torch.empty_like(inputs[5]), torch.empty_like(inputs[6])) if viewmats or Ks else (None, None)
        screen = None if ctx.image.screen is None else inputs[0].new_empty(*inputs[5].shape[:2], inputs[0].shape[1], 4)
        problem = _problem(inputs, ctx.image)
        done = kernels.library().rl3d_splat_backward(
            ctx.handle.pointer,
            ctypes.byref(problem),
            _pointers(images),
            _pointers(image_gradients),
            _pointers((*gradients, *cameras, screen)),
            kernels.thread_count(),
        )
        if not done:
            raise MemoryError(_too_large(problem))
        if screen is not None and ctx.image.screen is not None:
            ctx.image.screen.add(slice(None), slice(None), screen[..., :2], screen[..., 2:])
        background = (image_gradients[0] * (1 - images[1])).sum((2, 3)) if backgrounds else None
        return None, *gradients, *cameras, background


def rasterize(splats: Splats) -> Images:
    if splats.means.device.type != "cpu":
        raise RuntimeError(f"renderer backend 'cpp' cannot draw: the scene is on {splats.means.device}")
    passes = []
    for k in range(0, max(1, splats.colors.shape[-1]), MAX_CHANNELS):
        channels = slice(k, k + MAX_CHANNELS)
        tensors = (
            *splats.tensors[:4],
            splats.colors[..., channels],
            *splats.tensors[5:7],
            splats.backgrounds[..., channels],
        )
        inputs = tuple(t.float().contiguous() for t in tensors)
        image = _Image(splats.width, splats.height, splats.antialiased, splats.screen)
        if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
            passes.append(_Rasterize.apply(image, *inputs))
        else:
            passes.append(_forward(inputs, image, keep=False)[0])
    return passes[0] if len(passes) == 1 else (torch.cat([p[0] for p in passes], -1), *passes[0][1:])
