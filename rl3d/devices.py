"""What this machine computes on."""

from __future__ import annotations

import time
from functools import cache

import torch


def usable_device(name: str) -> torch.device:
    """The torch device called ``name``; ValueError with one line if this machine or this torch does
    not have it."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device {name!r} is no device: use cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: torch {torch.__version__} sees no CUDA device here; use cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: there are only {torch.cuda.device_count()} CUDA devices, counted from 0")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device {name!r} is not supported: use cpu, cuda or cuda:N")
    return device


@cache
def has_bfloat16() -> bool:
    """Whether this CPU multiplies matrices clearly faster in bfloat16. It is timed, for a few
    milliseconds: with AMX training is 1.8 times as fast, and some CPUs that have only AVX-512's
    instructions for it are slower with them than in float32."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if not (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")):
        return False

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(768, 192, dtype=dtype), torch.ones(192, 192, dtype=dtype)
        runs = []
        for _ in range(9):
            started = time.perf_counter()
            a @ b
            runs.append(time.perf_counter() - started)
        return min(runs)

    return seconds(torch.bfloat16) < 0.75 * seconds(torch.float32)
