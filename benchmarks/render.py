"""How fast and how exact the CPU renderer for splats is: ``python benchmarks/render.py
[peers|errors|growth|large ...]``.

peers   the kernels beside everything for splats on a CPU that the package index offers, in turns,
so that a busy machine slows all alike errors  images and gradients against float64 growth  time
against Gaussians, pixels, views and scenes, each doubled five times, and memory large   a million
Gaussians at 1920x1080, forward and backward, and memory"""

from __future__ import annotations

import importlib
import resource
import statistics
import sys
import time
import types
from collections.abc import Callable

import torch
from torch import Tensor

from renderers import kernels, render
from scenes.cameras import Cameras, orbit
from scenes.gaussians import Gaussians

FIELDS = ("means", "quats", "scales", "opacities", "colors")
# name: scenes, Gaussians, cameras, size, whether the slow peers (a minute and more on the RL
# batches) run too
CASES = {
    "small: 4,000 Gaussians, 4 views at 128": (1, 4000, 4, 128, True),
    "RL batch: 32 scenes of 4,000, 4 views at 64": (32, 4000, 4, 64, False),
    "RL batch: 32 scenes of 4,000, 4 views at 128": (32, 4000, 4, 128, False),
    "RL batch: 32 scenes of 4,000, 4 views at 256": (32, 4000, 4, 256, False),
    "large: 20,000 Gaussians, 1 view at 512": (1, 20000, 1, 512, False),
}


def sphere_scene(scenes: int, n: int, *, reach: float = 1.0) -> Gaussians:
    """Gaussians on a sphere, as on an asset's surface; the more, the smaller, so that they cover it
    as often."""
    rng = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(scenes, n, *shape, generator=rng)

    directions = torch.nn.functional.normalize(torch.randn(scenes, n, 3, generator=rng), dim=-1)
    means = 0.4 * directions * (0.9 + 0.1 * rand(1)) + torch.tensor([0.0, 0.0, 0.45])
    scales = reach * torch.exp(rand(3) - 4.6) * (4000 / n) ** 0.5
    return Gaussians(means, torch.randn(scenes, n, 4, generator=rng), scales, 0.1 + 0.9 * rand(), rand(3))


def timed(draw: Callable[[], tuple[Tensor, ...]], leaves: list[Tensor]) -> tuple[float, float]:
    """Milliseconds forward and backward, of the sum of everything drawn."""
    start = time.perf_counter()
    images = draw()
    middle = time.perf_counter()
    torch.autograd.grad(images, leaves, [torch.ones_like(image) for image in images], allow_unused=True)
    return 1e3 * (middle - start), 1e3 * (time.perf_counter() - middle)


def drawing(scene: Gaussians, cameras: Cameras, backend: str) -> tuple[Callable[[], tuple[Tensor, ...]], list[Tensor]]:
    leaves = [getattr(scene, field).clone().requires_grad_() for field in FIELDS]

    def draw() -> tuple[Tensor, ...]:
        views = render(Gaussians(*leaves), cameras, backend=backend)
        return views.rgb, views.alpha, views.depth

    return draw, leaves


def interleaved(draws: dict[str, tuple[Callable, list[Tensor]]], repetitions: int) -> dict[str, tuple[float, float]]:
    """Medians over ``repetitions``, each of which runs every peer once. The first one is
    discarded."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in draws}
    for repetition in range(repetitions + 1):
        for name, (draw, leaves) in draws.items():
            found = timed(draw, leaves)
            if repetition:
                times[name].append(found)
    return {name: (statistics.median(f for f, _ in t), statistics.median(b for _, b in t)) for name, t in times.items()}


# --- peers ---


def dense(scene: Gaussians, cameras: Cameras) -> tuple[Callable, list[Tensor]]:
    """Every pixel with every Gaussian, in plain PyTorch."""
    from renderers.base import MAX_ALPHA, MIN_ALPHA
    from renderers.splat_torch import project

    leaves = [getattr(scene, field)[0].clone().requires_grad_() for field in FIELDS]
    w, h = cameras.width, cameras.height
    x, y = torch.arange(w) + 0.5, torch.arange(h) + 0.5
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 1, 2)

    def draw() -> tuple[Tensor, ...]:
        means, quats, scales, opacities, colors = leaves
        images = []
        for c in range(cameras.count):
            means2d, covs2d, depths = project(means, quats, scales, cameras.viewmats[c], cameras.Ks[c], w, h)
            order = depths.argsort()
            conic = torch.linalg.inv(covs2d)[order]
            d = pixels - means2d[order]
            power = (
                conic[:, 0, 0] * d[..., 0] ** 2
                + 2 * conic[:, 0, 1] * d[..., 0] * d[..., 1]
                + conic[:, 1, 1] * d[..., 1] ** 2
            )
            alpha = (opacities[order] * torch.exp(-0.5 * power)).clamp_max(MAX_ALPHA)
            alpha = torch.where(alpha >= MIN_ALPHA, alpha, 0)
            through = (1 - alpha).cumprod(-1)
            weights = alpha * torch.cat([torch.ones(len(alpha), 1), through[:, :-1]], 1)
            images.append(weights @ torch.cat([colors[order], depths[order, None], torch.ones(len(order), 1)], 1))
        return (torch.stack(images),)

    return draw, leaves


def gsplat_torch(scene: Gaussians, cameras: Cameras, *, maths_alone: bool) -> tuple[Callable, list[Tensor]]:
    """gsplat's own PyTorch code for projection and compositing.

    Two steps of it run on CUDA only and are replaced: the list of pixel-Gaussian pairs (not timed
    with ``maths_alone``), and nerfacc's product along rays."""
    nerfacc = types.ModuleType("nerfacc")

    def render_weight_from_alpha(alphas: Tensor, ray_indices: Tensor, n_rays: int) -> tuple[Tensor, Tensor]:
        logs = torch.log1p(-alphas.double()).cumsum(0)
        first = torch.cat([torch.ones(1, dtype=torch.bool), ray_indices[1:] != ray_indices[:-1]])
        before = torch.cat([logs.new_zeros(1), logs[:-1]])
        starts = before[first][first.cumsum(0) - 1]
        through = (before - starts).exp().float()
        return alphas * through, through

    def accumulate_along_rays(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
        product = weights.unsqueeze(-1) if values is None else weights.unsqueeze(-1) * values
        return torch.zeros(n_rays, product.shape[-1]).index_add(0, ray_indices, product)

    nerfacc.__dict__.update(
        render_weight_from_alpha=render_weight_from_alpha, accumulate_along_rays=accumulate_along_rays
    )
    sys.modules.setdefault("nerfacc", nerfacc)
    impl = importlib.import_module("gsplat.cuda._torch_impl")
    leaves = [getattr(scene, field)[0].clone().requires_grad_() for field in FIELDS]
    w, h = cameras.width, cameras.height

    def project() -> tuple[Tensor, ...]:
        means, quats, scales = leaves[:3]
        covariances, _ = impl._quat_scale_to_covar_preci(quats, scales, True, False)
        return impl._fully_fused_projection(means, covariances, cameras.viewmats, cameras.Ks, w, h)[:4]

    @torch.no_grad()
    def pairs(radii: Tensor, means2d: Tensor, depths: Tensor, conics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gaussian, pixel and image of every pair with an alpha of at least 1/255, front to back
        within each pixel: all pixels in the Gaussians' boxes, those in depth order, then one stable
        sort by pixel."""
        count, n = depths.shape
        order = (depths.argsort(1) + torch.arange(count).unsqueeze(1) * n).flatten()
        mean, conic, radius = means2d.view(-1, 2)[order], conics.view(-1, 3)[order], radii.view(-1, 2)[order]
        size = torch.tensor([w, h])
        low = (mean - radius).floor().long().clamp_min(0).minimum(size)
        high = (mean + radius).ceil().long().clamp_min(0).minimum(size)
        box = (high - low) * (radius > 0).all(-1, keepdim=True)
        area = box.prod(-1)
        rank = torch.arange(len(order)).repeat_interleave(area)
        place = torch.arange(len(rank)) - (area.cumsum(0) - area)[rank]
        x, y = low[rank, 0] + place % box[rank, 0], low[rank, 1] + place // box[rank, 0]
        dx, dy = x + 0.5 - mean[rank, 0], y + 0.5 - mean[rank, 1]
        a, b, c = conic[rank].unbind(-1)
        opacity = leaves[3][order % n]
        seen = (opacity[rank] * torch.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy) >= 1 / 255).nonzero().squeeze(1)
        rank, pixel = rank[seen], (y * w + x)[seen]
        image = order[rank] // n
        by_pixel = (image * (w * h) + pixel).argsort(stable=True)
        return (order % n)[rank][by_pixel], pixel[by_pixel], image[by_pixel]

    known = pairs(*project())

    def draw() -> tuple[Tensor, ...]:
        radii, means2d, depths, conics = project()
        c = cameras.count
        colors = torch.cat([leaves[4].expand(c, -1, 3), depths.unsqueeze(-1)], -1)
        found = known if maths_alone else pairs(radii, means2d, depths, conics)
        return impl.accumulate(means2d, conics, leaves[3].expand(c, -1), colors, *found, w, h)

    return draw, leaves


def peers() -> None:
    # On tensors of a tile's size PyTorch's threads cost more than they save, the more so on shared
    # cores.
    torch.set_num_threads(1)
    print(
        f"cpp: {kernels.instruction_set()}, {kernels.thread_count()} threads; PyTorch {torch.__version__} "
        "on one; milliseconds, medians\n"
    )
    print(f"{'':48}{'forward':>10}{'backward':>10}{'ratios to cpp':>20}")
    for name, (scenes, n, count, size, slow) in CASES.items():
        scene, cameras = sphere_scene(scenes, n), orbit(count, size=size)
        draws = {"cpp": drawing(scene, cameras, "cpp")}
        if slow:
            draws["gsplat's torch maths, pairs given"] = gsplat_torch(scene, cameras, maths_alone=True)
            draws["gsplat's torch path, pairs by a stand-in"] = gsplat_torch(scene, cameras, maths_alone=False)
            draws["torch by tiles (our fallback)"] = drawing(scene, cameras, "torch")
            draws["dense torch"] = dense(scene, cameras)
        times = interleaved(draws, 3 if slow else 15)
        if slow:  # the fast one gets more repetitions than the slow ones
            times["cpp"] = interleaved({"cpp": draws["cpp"]}, 30)["cpp"]
        base = times["cpp"]
        for peer, (forward, backward) in times.items():
            label = name if peer == "cpp" else f"    {peer}"
            ratios = "" if peer == "cpp" else f"{forward / base[0]:9.0f}x{backward / base[1]:9.0f}x"
            print(f"{label:48}{forward:10.2f}{backward:10.2f}{ratios}", flush=True)


# --- errors ---


def error_scenes() -> dict[str, tuple[Gaussians, Cameras]]:
    rng = torch.Generator().manual_seed(1)

    def scene(n: int, scales: Tensor, opacities: Tensor | None = None, extent: float = 1.0) -> Gaussians:
        means = extent * (torch.rand(n, 3, generator=rng) - torch.tensor([0.5, 0.5, 0.05]))
        shown = torch.rand(n, generator=rng) if opacities is None else opacities
        return Gaussians(means, torch.randn(n, 4, generator=rng), scales, shown, torch.rand(n, 3, generator=rng))

    n = 1500
    box = sphere_scene(1, n)[0]
    return {
        "random: specks and blobs in a cube": (
            scene(n, torch.exp(3 * torch.rand(n, 3, generator=rng) - 5.5)),
            orbit(2, size=192),
        ),
        "box: on a surface, as an asset": (box, orbit(2, size=192)),
        "untrained: large, faint, everywhere": (
            scene(n, 0.1 * (0.8 + 0.4 * torch.rand(n, 3, generator=rng)), torch.full((n,), 0.1)),
            orbit(2, size=192),
        ),
        "stress: camera inside, needles, discs": (
            scene(n, torch.exp(8 * torch.rand(n, 3, generator=rng) - 8), extent=1.5),
            orbit(2, size=192, radius=0.4, fov_deg=70.0),
        ),
    }


def errors() -> None:
    print(
        f"cpp ({kernels.instruction_set()}) against float64: fraction of pixels off by more than 2e-5, then "
        "the largest of the others\n"
    )
    print(f"{'':40}{'rgb':>20}{'alpha':>20}{'depth':>20}{'gradients (relative L2)':>26}")
    for name, (scene, cameras) in error_scenes().items():
        found = []
        for dtype, backend in ((torch.float32, "cpp"), (torch.float64, "torch")):
            draw, leaves = drawing(scene.to(dtype), cameras.to(dtype), backend)
            images = draw()
            rng = torch.Generator().manual_seed(2)
            weights = [torch.randn(image.shape, generator=rng).to(image) for image in images]
            found.append((images, torch.autograd.grad(images, leaves, weights)))
        (images, gradients), (exact_images, exact_gradients) = found
        line = f"{name:40}"
        for image, exact in zip(images, exact_images, strict=True):
            error = (image.detach() - exact.detach()).abs().amax(-1)
            off = error > 2e-5
            line += f"{100 * off.double().mean():10.4f}% {error[~off].max():8.1e}"
        worst = max(((a - b).norm() / b.norm()).item() for a, b in zip(gradients, exact_gradients, strict=True))
        print(line + f"{worst:26.1e}", flush=True)


# --- growth and memory ---


def peak_mib() -> float:
    """Peak resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def growth() -> None:
    print(
        "milliseconds forward + backward, each size twice the one before; the last column is the exponent "
        "that fits (1 is linear)\n"
    )
    start = {
        "Gaussians": (1, 4000, 1, 256),
        "pixels": (1, 4000, 1, 128),
        "views": (1, 4000, 2, 128),
        "scenes": (2, 4000, 2, 64),
    }
    for what, (scenes, n, count, size) in start.items():
        sizes, times = [], []
        for k in range(6):
            grown = {
                "Gaussians": (scenes, n << k, count, size),
                "pixels": (scenes, n, count, round(size * 2 ** (k / 2))),
            }
            grown |= {"views": (scenes, n, count << k, size), "scenes": (scenes << k, n, count, size)}
            s, g, c, pixels = grown[what]
            # Gaussians keep their size where their number grows, so that the work grows with it.
            scene = sphere_scene(s, g, reach=(g / 4000) ** 0.5)
            draw = drawing(scene, orbit(c, size=pixels), "cpp")
            sizes.append({"Gaussians": g, "pixels": pixels**2, "views": c, "scenes": s}[what])
            times.append(sum(interleaved({"cpp": draw}, 7)["cpp"]))
        logs = torch.tensor(sizes).double().log2(), torch.tensor(times).double().log2()
        slope = ((logs[0] - logs[0].mean()) * (logs[1] - logs[1].mean())).sum() / (
            (logs[0] - logs[0].mean()) ** 2
        ).sum()
        cells = "".join(f"{size:>9,}:{t:8.1f}" for size, t in zip(sizes, times, strict=True))
        print(f"{what:10}{cells}{slope:8.2f}", flush=True)


def large() -> None:
    n, cameras = 1_000_000, orbit(1, size=1920)
    cameras = Cameras(cameras.viewmats, cameras.Ks - torch.tensor([[0, 0, 0], [0, 0, 420.0], [0, 0, 0]]), 1920, 1080)
    before = peak_mib()
    draw, leaves = drawing(sphere_scene(1, n), cameras, "cpp")
    forward, backward = interleaved({"cpp": (draw, leaves)}, 3)["cpp"]
    print(
        f"1,000,000 Gaussians at 1920x1080: forward {forward:.0f} ms, backward {backward:.0f} ms, "
        f"{peak_mib() - before:,.0f} MiB"
    )


def main() -> None:
    sections = {"peers": peers, "errors": errors, "growth": growth, "large": large}
    wanted = sys.argv[1:] or list(sections)
    if unknown := set(wanted) - set(sections):
        raise SystemExit(f"unknown section {', '.join(sorted(unknown))}: choose among {', '.join(sections)}")
    if reason := kernels.unavailable():
        raise SystemExit(f"nothing to measure: {reason}")
    for number, name in enumerate(wanted):
        print("\n" * (number > 0) + f"## {name}\n")
        sections[name]()


if __name__ == "__main__":
    main()
