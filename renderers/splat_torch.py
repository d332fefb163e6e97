"""Gaussian splatting in plain PyTorch: the reference for the fast backends, also in float64.

Follows Kerbl et al. 2023 (EWA projection, front-to-back compositing) with gsplat's thresholds.
Autograd gives the gradients, also to the cameras and the background.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from renderers.base import BLUR, MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, NEAR_PLANE, Images, Splats
from scenes.gaussians import rotations

TILE = 16
"""Tile size in pixels. Each tile is drawn with only the Gaussians that reach it, to bound memory.
"""


def unavailable() -> str | None:
    return None


def rasterize(splats: Splats) -> Images:
    images = []
    scenes, cameras, k = *splats.viewmats.shape[:2], splats.colors.shape[-1]
    for s in range(scenes):
        for c in range(cameras):
            colors = splats.colors[s] if splats.colors.ndim == 3 else splats.colors[s, c]
            gaussians = splats.means[s], splats.quats[s], splats.scales[s], splats.opacities[s], colors
            images.append(_draw(splats, s, c, gaussians))
    image = torch.stack(images) if images else splats.means.new_zeros(0, splats.height, splats.width, k + 2)
    image = image.reshape(scenes, cameras, splats.height, splats.width, k + 2)
    return image[..., :k], image[..., k : k + 1], image[..., k + 1 :]


def covariances(quats: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """R S S^T R^T. A zero quaternion counts as no rotation."""
    RS = rotations(quats) * scales.unsqueeze(-2)
    return RS @ RS.transpose(-1, -2)


def project(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2 2"], Float[Tensor, " n"]]:
    """Means in pixels, blurred 2D covariances in square pixels, and depths."""
    W = viewmat[:3, :3]
    x, y, z = (means @ W.T + viewmat[:3, 3]).unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    u, v = x / z, y / z
    # The Jacobian is taken no further than 15 % of the image beyond its edge, where the linear
    # approximation would explode.
    u_clamped = u.clamp(-(cx + 0.15 * width) / fx, (width - cx + 0.15 * width) / fx)
    v_clamped = v.clamp(-(cy + 0.15 * height) / fy, (height - cy + 0.15 * height) / fy)
    zero = torch.zeros_like(z)
    J = torch.stack(
        [torch.stack([fx / z, zero, -fx * u_clamped / z], -1), torch.stack([zero, fy / z, -fy * v_clamped / z], -1)], -2
    )
    JW = J @ W
    covs2d = JW @ covariances(quats, scales) @ JW.transpose(-1, -2) + BLUR * torch.eye(
        2, dtype=means.dtype, device=means.device
    )
    return torch.stack([fx * u + cx, fy * v + cy], -1), covs2d, z


def _draw(splats: Splats, s: int, c: int, gaussians: tuple[Tensor, ...]) -> Float[Tensor, "h w k2"]:
    """One image: the channels, alpha and depth."""
    viewmat, K, background, width, height = (
        splats.viewmats[s, c],
        splats.Ks[s, c],
        splats.backgrounds[s, c],
        splats.width,
        splats.height,
    )

    def projected(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor) -> tuple[Tensor, ...]:
        means2d, covs2d, depths = project(means, quats, scales, viewmat, K, width, height)
        if splats.antialiased:
            # Opacities are reduced where the blur widens a Gaussian (Yu et al., Mip-Splatting,
            # 2024, as in gsplat).
            sharp = torch.linalg.det(covs2d - BLUR * torch.eye(2, dtype=means.dtype, device=means.device))
            opacities = opacities * (sharp / torch.linalg.det(covs2d)).clamp_min(1e-12).sqrt()
        return means2d, covs2d, depths, opacities

    with torch.no_grad():
        means2d, covs2d, depths, opacities = projected(*gaussians[:4])
        reach = _reach(covs2d, opacities)
        size = means2d.new_tensor([width, height])
        visible = (depths >= NEAR_PLANE) & (opacities >= MIN_ALPHA) & (torch.linalg.det(covs2d) < 1e30)
        visible &= ((means2d + reach > 0) & (means2d - reach < size)).all(-1)
        index = visible.nonzero().squeeze(-1)
        index = index[depths[index].argsort(stable=True)]
    # Only what is visible is projected with a graph: a Gaussian in the camera's plane has an
    # infinite projection, and no gradient.
    means, quats, scales, opacities, colors = (t[index] for t in gaussians)
    means2d, covs2d, depths, opacities = projected(means, quats, scales, opacities)
    reach = reach[index]
    conics = torch.linalg.inv(covs2d)

    def pulls(gaussian: Tensor) -> Callable[[Tensor], None]:
        """Adds the contribution of one tile to ``splats.screen``, from the gradient of the offsets
        between its pixels and the Gaussians."""

        def hook(gradient: Tensor) -> None:
            assert splats.screen is not None
            pull = torch.zeros(2, 1, 1, len(gaussians[0]), 2, dtype=gradient.dtype, device=gradient.device)
            pull[0, 0, 0, gaussian] = -gradient.sum((0, 1))
            pull[1, 0, 0, gaussian] = gradient.abs().sum((0, 1))
            splats.screen.add(slice(s, s + 1), slice(c, c + 1), *pull)

        return hook

    rows = []
    for y in range(0, height, TILE):
        row = []
        for x in range(0, width, TILE):
            low = means2d.new_tensor([x, y])
            high = means2d.new_tensor([min(x + TILE, width), min(y + TILE, height)])
            near = ((means2d + reach > low) & (means2d - reach < high)).all(-1).nonzero().squeeze(-1)
            fields = [t[near] for t in (means2d, conics, opacities, colors, depths)]
            pixels = _pixel_centres(low, high)
            hook = pulls(index[near]) if splats.screen is not None else None
            # Recomputed in backward, so that memory holds one tile's [pixels, Gaussians] and not
            # the whole image's.
            row.append(
                checkpoint(_composite, pixels, *fields, background, hook, use_reentrant=False, preserve_rng_state=False)
            )
        rows.append(torch.cat(row, 1))
    return torch.cat(rows)


def _reach(covs2d: Float[Tensor, "n 2 2"], opacities: Float[Tensor, " n"]) -> Float[Tensor, "n 2"]:
    """Distance from its mean, along x and y, at which a Gaussian's alpha falls to MIN_ALPHA."""
    radius2 = 2 * (opacities / MIN_ALPHA).clamp_min(1).log()
    return (radius2.unsqueeze(-1) * covs2d.diagonal(dim1=-2, dim2=-1)).sqrt()


def _pixel_centres(low: Float[Tensor, " 2"], high: Float[Tensor, " 2"]) -> Float[Tensor, "h w 2"]:
    x, y = (
        torch.arange(int(a), int(b), dtype=low.dtype, device=low.device) + 0.5 for a, b in zip(low, high, strict=True)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _composite(
    pixels: Float[Tensor, "h w 2"],
    means2d: Float[Tensor, "n 2"],
    conics: Float[Tensor, "n 2 2"],
    opacities: Float[Tensor, " n"],
    colors: Float[Tensor, "n k"],
    depths: Float[Tensor, " n"],
    background: Float[Tensor, " k"],
    hook: Callable[[Tensor], None] | None,
) -> Float[Tensor, "h w k2"]:
    d = pixels.unsqueeze(-2) - means2d
    if hook and d.requires_grad:
        d.register_hook(hook)
    power = (
        conics[:, 0, 0] * d[..., 0] ** 2
        + 2 * conics[:, 0, 1] * d[..., 0] * d[..., 1]
        + conics[:, 1, 1] * d[..., 1] ** 2
    )
    alphas = (opacities * (-0.5 * power).exp()).clamp_max(MAX_ALPHA)
    drawn = alphas >= MIN_ALPHA
    drawn = drawn & ((1 - alphas * drawn).cumprod(-1) > MIN_TRANSMITTANCE)
    alphas = alphas * drawn
    after = (1 - alphas).cumprod(-1)
    before = torch.cat([pixels.new_ones(*pixels.shape[:-1], 1), after], -1)
    weights = alphas * before[..., :-1]
    color = weights @ colors + before[..., -1:] * background
    alpha = weights.sum(-1, keepdim=True)
    depth = (weights @ depths).unsqueeze(-1) / torch.where(alpha > 0, alpha, torch.ones_like(alpha))
    return torch.cat([color, alpha, depth], -1)
