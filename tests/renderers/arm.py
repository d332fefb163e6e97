"""The kernels compiled for 64-bit ARM, where their vectors are NEON's, run by an emulator behind
the interface of the real library."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np

from renderers import kernels
from renderers.kernels.build import build

COMPILER, EMULATOR, SYSROOT = "aarch64-linux-gnu-g++", "qemu-aarch64", "/usr/aarch64-linux-gnu"
SIZES = ("scenes", "cameras", "gaussians", "width", "height", "channels", "colors_per_view", "antialiased")


def missing() -> str | None:
    """What is not here, or None."""
    lacking = [name for name in (COMPILER, EMULATOR) if not shutil.which(name)]
    return f"no {' and no '.join(lacking)} here (Debian: g++-aarch64-linux-gnu, qemu-user)" if lacking else None


class ArmLibrary:
    """``kernels.library()`` that draws splats by the emulator; everything else is the real
    one's."""

    def __init__(self, folder: Path) -> None:
        library, self.program = build(folder, compiler=COMPILER), folder / "draw"
        source = Path(__file__).with_suffix(".cpp")
        subprocess.run(
            [COMPILER, "-std=c++17", "-O1", str(source), str(library), "-Wl,-rpath,$ORIGIN", "-o", str(self.program)],
            check=True,
        )
        self.pending: dict[int, bytes] = {}

    def __getattr__(self, name: str):
        return getattr(kernels._load(), name)

    def run(self, *arguments: str, sent: bytes = b"") -> bytes:
        return subprocess.run(
            [EMULATOR, "-L", SYSROOT, str(self.program), *arguments], input=sent, capture_output=True, check=True
        ).stdout

    def rl3d_splat_kernels(self) -> bytes:
        return self.run().strip()

    def rl3d_splat_forward(self, problem, images, keep, threads, handle) -> int:
        sent = _sent(problem._obj)
        _fill(images, problem._obj, self.run(str(threads), "0", sent=sent))
        if keep:
            handle._obj.value = max(self.pending, default=0) + 1
            self.pending[handle._obj.value] = sent
        return 1

    def rl3d_splat_backward(self, handle, problem, images, image_gradients, gradients, threads) -> int:
        p = problem._obj
        sent = self.pending[handle] + b"".join(
            ctypes.string_at(a, 4 * s) for a, s in zip(image_gradients, _image_sizes(p), strict=True)
        )
        received = self.run(str(threads), "1", sent=sent)
        _fill((*images, *gradients), p, received)
        return 1

    def rl3d_splat_release(self, handle) -> None:
        del self.pending[handle]


def _image_sizes(p) -> list[int]:
    pixels = p.scenes * p.cameras * p.width * p.height
    return [p.channels * pixels, pixels, pixels]


def _input_sizes(p) -> list[int]:
    n, images = p.scenes * p.gaussians, p.scenes * p.cameras
    colors = p.channels * n * (p.cameras if p.colors_per_view else 1)
    return [3 * n, 4 * n, 3 * n, n, colors, 16 * images, 9 * images, images * p.channels]


def _sent(p) -> bytes:
    sizes = np.array([getattr(p, name) for name in SIZES], np.int64).tobytes()
    fields = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds")
    return sizes + b"".join(
        ctypes.string_at(getattr(p, f), 4 * s) if s else b"" for f, s in zip(fields, _input_sizes(p), strict=True)
    )


def _fill(addresses, p, received: bytes) -> None:
    """Copy what was received to where it is wanted: the images, then the gradients."""
    sizes = _image_sizes(p) + _input_sizes(p)[:7] + [4 * p.scenes * p.cameras * p.gaussians]
    start = 0
    for address, size in zip(addresses, sizes, strict=False):
        data = received[start : start + 4 * size]
        assert len(data) == 4 * size
        if address:
            ctypes.memmove(address, data, len(data))
        start += 4 * size
