"""What this machine can do: its hardware, its packages, and how exact its renderer is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = ("torch", "gsplat", "pytorch3d", "kaolin", "nerfstudio", "mujoco", "trimesh", "viser")
TOLERANCE = 1e-4
"""The renderer may differ from the reference by this much, of colours in [0, 1]."""


def version(package: str) -> str:
    """The installed version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def machine() -> dict[str, str]:
    """The hardware that the renderers and the trainer run on."""
    import torch

    from renderers import kernels
    from rl3d.devices import has_bfloat16

    cuda = "none"
    if torch.cuda.is_available():
        cuda = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    compiled = kernels.unavailable() or f"{kernels.instruction_set()} on {kernels.thread_count()} threads"
    return {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processors": f"{os.cpu_count()} x {processor()}, "
        f"matrix products in {'bfloat16' if has_bfloat16() else 'float32'}",
        "cuda": cuda,
        "kernels": compiled,
    }


def renderers() -> list[tuple[str, ...]]:
    """Every backend: its name, what it draws, on which devices, and whether it can be used."""
    from renderers import backends

    return [(name, backend.draws, backend.devices, backend.state) for name, backend in backends().items()]


def largest_error() -> float:
    """The largest difference between the default renderer's image of a small scene and that of the
    float64 reference; colours are in [0, 1]."""
    import torch

    from renderers import render
    from scenes.cameras import orbit
    from scenes.gaussians import Gaussians

    rng = torch.Generator().manual_seed(0)
    n = 300
    scene = Gaussians(
        torch.rand(n, 3, generator=rng) - torch.tensor([0.5, 0.5, 0.0]),
        torch.randn(n, 4, generator=rng),
        0.005 + 0.05 * torch.rand(n, 3, generator=rng),
        torch.rand(n, generator=rng),
        torch.rand(n, 3, generator=rng),
    )
    cameras = orbit(2, size=48)
    exact = render(scene.to(torch.float64), cameras.to(torch.float64), backend="torch").rgb
    return float((render(scene, cameras).rgb - exact).abs().max())
