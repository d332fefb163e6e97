"""``rl3d doctor``: what this machine can do, what it cannot and why, and whether the fast renderer
draws what the reference draws."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass

from rl3d.cli.options import parse as parse_options

PACKAGES = ("torch", "gsplat", "pytorch3d", "kaolin", "nerfstudio", "mujoco", "trimesh", "viser")


@dataclass(frozen=True)
class DoctorConfig:
    """``rl3d doctor`` takes no options."""


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def machine() -> dict[str, str]:
    """What the renderers and the trainer run on."""
    import torch

    from renderers import kernels
    from rl3d.devices import has_bfloat16

    cuda = "none"
    if torch.cuda.is_available():
        cuda = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    compiled = kernels.unavailable() or f"{kernels.instruction_set()} on {kernels.thread_count()} threads"
    return {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processors": f"{os.cpu_count()}, matrix products in {'bfloat16' if has_bfloat16() else 'float32'}",
        "cuda": cuda,
        "kernels": compiled,
    }


def largest_error() -> float:
    """The largest difference between the usual renderer's image of a small scene and the
    reference's in float64."""
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


def run(arguments: list[str]) -> None:
    parse_options(DoctorConfig, "doctor", __doc__, arguments)
    from renderers import backends

    def table(title: str, rows: list[tuple[str, ...]]) -> None:
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        print(f"\n{title}")
        for row in rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    print(f"rl3d {version('rl3d')}")
    table("machine", list(machine().items()))
    table("packages", [(name, version(name)) for name in PACKAGES])
    table("renderers", [(name, b.draws, b.devices, b.state) for name, b in backends().items()])
    error = largest_error()
    print(f"\nself-check: the renderer differs from the float64 reference by at most {error:.1e}")
    if error > 1e-4:
        raise ValueError(
            "the renderer does not draw what the reference draws: compile it again (python -m renderers.kernels.build)"
        )
