"""The compiled C++17 library of this folder, behind a C interface: how to find it, load it with
ctypes, and how many threads it uses."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

LIBRARY_NAME = {"darwin": "librl3d_kernels.dylib", "win32": "rl3d_kernels.dll"}.get(sys.platform, "librl3d_kernels.so")
_VERSION = 4  # rl3d_version of the sources next to this file


def _candidates() -> list[Path]:
    if named := os.environ.get("RL3D_KERNELS"):
        return [Path(named)]
    # An editable install spreads a package over the checkout and site-packages, where the compiled
    # library is.
    spec = importlib.util.find_spec("renderers.kernels")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    folders += [os.path.join(folder, "kernels") for folder in sys.modules["renderers"].__path__]
    return [Path(folder, LIBRARY_NAME) for folder in dict.fromkeys(folders)]


@functools.cache
def _load() -> ctypes.CDLL | str:
    """The library, or the reason why there is none."""
    path = next((path for path in _candidates() if path.is_file()), None)
    if path is None:
        if named := os.environ.get("RL3D_KERNELS"):
            return f"RL3D_KERNELS={named} does not exist"
        return "its C++ library is not compiled: run python -m renderers.kernels.build"
    try:
        library = ctypes.CDLL(str(path))
        version = library.rl3d_version()
    except (OSError, AttributeError) as error:
        return f"{path} cannot be loaded: {error}"
    if version != _VERSION:
        return f"{path} was compiled from other sources (version {version}, not {_VERSION}): compile it again"
    library.rl3d_splat_forward.restype = ctypes.c_int
    library.rl3d_splat_forward.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_void_p,
    ]
    library.rl3d_splat_backward.restype = ctypes.c_int
    library.rl3d_splat_backward.argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_int]
    library.rl3d_splat_release.restype = None
    library.rl3d_splat_release.argtypes = [ctypes.c_void_p]
    library.rl3d_splat_kernels.restype = ctypes.c_char_p
    library.rl3d_all_finite.restype = ctypes.c_int
    library.rl3d_all_finite.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    library.rl3d_mesh_rasterize.restype = ctypes.c_int
    library.rl3d_mesh_rasterize.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


def unavailable() -> str | None:
    """Why the library cannot be used here, or None."""
    library = _load()
    return library if isinstance(library, str) else None


def library() -> ctypes.CDLL:
    """The library; RuntimeError where there is none."""
    library = _load()
    if isinstance(library, str):
        raise RuntimeError(f"the CPU renderers cannot draw: {library}")
    return library


def all_finite(arrays: Sequence[tuple[int, int]]) -> bool:
    """Whether all numbers of some float32 arrays are finite. Each array is given by its address and
    size."""
    addresses, sizes = zip(*arrays, strict=True)
    count = len(arrays)
    return bool(
        library().rl3d_all_finite((ctypes.c_void_p * count)(*addresses), (ctypes.c_int64 * count)(*sizes), count)
    )


def instruction_set() -> str:
    """Name of the variant that this processor runs: avx512, avx2, neon or baseline."""
    return library().rl3d_splat_kernels().decode()


def thread_count() -> int:
    """Number of threads: the cores of this process, or RL3D_NUM_THREADS if that is fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("RL3D_NUM_THREADS")
    if not wanted:
        return cores
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"RL3D_NUM_THREADS must be a positive integer, got {wanted!r}")
    return min(cores, int(wanted))
