"""How long the splat renderer takes, forward and backward, by backend: ``python benchmarks/render.py``.

Medians, with the ratio of the PyTorch reference to the C++ kernels. Scenes are Gaussians on a sphere, as on an asset's surface.
"""

from __future__ import annotations

import statistics
import time

import torch

from renderers import backends, render
from renderers.splat_cpu import thread_count
from scenes.cameras import orbit
from scenes.gaussians import Gaussians

# name: scenes, Gaussians, cameras, size, and whether the reference (a minute on the RL batches) runs too
CASES = {
    "small: 4,000 Gaussians, 4 views at 128": (1, 4000, 4, 128, True),
    "RL batch: 32 scenes of 4,000, 4 views at 64": (32, 4000, 4, 64, False),
    "RL batch: 32 scenes of 4,000, 4 views at 128": (32, 4000, 4, 128, False),
    "large: 20,000 Gaussians, 1 view at 512": (1, 20000, 1, 512, True),
}


def sphere_scene(scenes: int, n: int) -> Gaussians:
    random = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(scenes, n, *shape, generator=random)

    directions = torch.nn.functional.normalize(torch.randn(scenes, n, 3, generator=random), dim=-1)
    means = 0.4 * directions * (0.9 + 0.1 * rand(1)) + torch.tensor([0.0, 0.0, 0.45])
    scales = torch.exp(rand(3) - 4.6) * (4000 / n) ** 0.5
    return Gaussians(means, torch.randn(scenes, n, 4, generator=random), scales, 0.1 + 0.9 * rand(), rand(3))


def milliseconds(scene: Gaussians, size: int, cameras: int, backend: str, repeats: int) -> tuple[float, float]:
    leaves = [t.requires_grad_() for t in (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)]
    forward, backward = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        views = render(scene, orbit(cameras, size=size), backend=backend)
        middle = time.perf_counter()
        images = [views.rgb, views.alpha, views.depth]
        torch.autograd.grad(images, leaves, [torch.ones_like(i) for i in images])
        forward.append(middle - start)
        backward.append(time.perf_counter() - middle)
    return 1e3 * statistics.median(forward[1:]), 1e3 * statistics.median(backward[1:])


def main() -> None:
    if backends()["cpp"].state != "available":
        raise SystemExit(f"nothing to measure: {backends()['cpp'].state}")
    # On tensors of a tile's size PyTorch's threads cost more than they save, the more so on shared cores.
    torch.set_num_threads(1)
    print(f"times in ms; cpp on {thread_count()} threads, torch on one\n")
    print(f"{'':46}{'cpp fwd':>10}{'cpp bwd':>10}{'torch fwd':>11}{'torch bwd':>11}{'ratio fwd':>11}{'ratio bwd':>11}")
    for name, (scenes, n, cameras, size, with_reference) in CASES.items():
        scene = sphere_scene(scenes, n)
        forward, backward = milliseconds(scene, size, cameras, "cpp", 15)
        line = f"{name:46}{forward:10.1f}{backward:10.1f}"
        if with_reference:
            slow_forward, slow_backward = milliseconds(scene, size, cameras, "torch", 1)
            line += f"{slow_forward:11.0f}{slow_backward:11.0f}{slow_forward / forward:10.0f}x{slow_backward / backward:10.0f}x"
        print(line, flush=True)


if __name__ == "__main__":
    main()
