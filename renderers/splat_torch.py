"""Gaussian splatting in plain PyTorch: the reference that the fast backends are compared with, in float64 if need be.

Follows Kerbl et al. 2023 (EWA projection, front-to-back compositing) with gsplat's thresholds. Gradients are autograd's, to the
cameras and the background too.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from renderers.base import BLUR, MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, NEAR_PLANE

TILE = 16
"""Pixels are drawn in tiles of this size, each with only the Gaussians that reach it, to bound memory."""


def unavailable() -> str | None:
    return None


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
    images = []
    for s in range(viewmats.shape[0]):
        for c in range(viewmats.shape[1]):
            view_colors = colors[s] if colors.ndim == 3 else colors[s, c]
            gaussians = means[s], quats[s], scales[s], opacities[s], view_colors
            images.append(_draw(gaussians, viewmats[s, c], Ks[s, c], backgrounds[s, c], width, height))
    image = torch.stack(images) if images else means.new_zeros(0, height, width, 5)
    image = image.reshape(*viewmats.shape[:2], height, width, 5)
    return image[..., :3], image[..., 3:4], image[..., 4:5]


def covariances(quats: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """R S S^T R^T. A zero quaternion counts as no rotation."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rotation = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )
    RS = rotation * scales.unsqueeze(-2)
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
    # The Jacobian is taken no further than 15 % of the image beyond its edge, where the linear approximation would explode.
    u_clamped = u.clamp(-(cx + 0.15 * width) / fx, (width - cx + 0.15 * width) / fx)
    v_clamped = v.clamp(-(cy + 0.15 * height) / fy, (height - cy + 0.15 * height) / fy)
    zero = torch.zeros_like(z)
    J = torch.stack([torch.stack([fx / z, zero, -fx * u_clamped / z], -1), torch.stack([zero, fy / z, -fy * v_clamped / z], -1)], -2)
    JW = J @ W
    covs2d = JW @ covariances(quats, scales) @ JW.transpose(-1, -2) + BLUR * torch.eye(2, dtype=means.dtype, device=means.device)
    return torch.stack([fx * u + cx, fy * v + cy], -1), covs2d, z


def _draw(gaussians: tuple[Tensor, ...], viewmat: Tensor, K: Tensor, background: Tensor, width: int, height: int) -> Float[Tensor, "h w 5"]:
    """One image: rgb, alpha and depth in its channels."""
    with torch.no_grad():
        means, quats, scales, opacities, _ = gaussians
        means2d, covs2d, depths = project(means, quats, scales, viewmat, K, width, height)
        reach = _reach(covs2d, opacities)
        size = means2d.new_tensor([width, height])
        visible = (depths >= NEAR_PLANE) & (opacities >= MIN_ALPHA) & (torch.linalg.det(covs2d) < 1e30)
        visible &= ((means2d + reach > 0) & (means2d - reach < size)).all(-1)
        index = visible.nonzero().squeeze(-1)
        index = index[depths[index].argsort(stable=True)]
    # Only what is visible is projected with a graph: a Gaussian in the camera's plane has an infinite projection, and no gradient.
    means, quats, scales, opacities, colors = (t[index] for t in gaussians)
    means2d, covs2d, depths = project(means, quats, scales, viewmat, K, width, height)
    reach = reach[index]
    conics = torch.linalg.inv(covs2d)
    rows = []
    for y in range(0, height, TILE):
        row = []
        for x in range(0, width, TILE):
            low = means2d.new_tensor([x, y])
            high = means2d.new_tensor([min(x + TILE, width), min(y + TILE, height)])
            near = ((means2d + reach > low) & (means2d - reach < high)).all(-1).nonzero().squeeze(-1)
            fields = [t[near] for t in (means2d, conics, opacities, colors, depths)]
            pixels = _pixel_centres(low, high)
            # Recomputed in backward, so that memory holds one tile's [pixels, Gaussians] and not the whole image's.
            row.append(checkpoint(_composite, pixels, *fields, background, use_reentrant=False, preserve_rng_state=False))
        rows.append(torch.cat(row, 1))
    return torch.cat(rows)


def _reach(covs2d: Float[Tensor, "n 2 2"], opacities: Float[Tensor, " n"]) -> Float[Tensor, "n 2"]:
    """How far from its mean a Gaussian's alpha can be MIN_ALPHA, along x and y."""
    radius2 = 2 * (opacities / MIN_ALPHA).clamp_min(1).log()
    return (radius2.unsqueeze(-1) * covs2d.diagonal(dim1=-2, dim2=-1)).sqrt()


def _pixel_centres(low: Float[Tensor, " 2"], high: Float[Tensor, " 2"]) -> Float[Tensor, "h w 2"]:
    x, y = (torch.arange(int(a), int(b), dtype=low.dtype, device=low.device) + 0.5 for a, b in zip(low, high, strict=True))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _composite(
    pixels: Float[Tensor, "h w 2"],
    means2d: Float[Tensor, "n 2"],
    conics: Float[Tensor, "n 2 2"],
    opacities: Float[Tensor, " n"],
    colors: Float[Tensor, "n 3"],
    depths: Float[Tensor, " n"],
    background: Float[Tensor, " 3"],
) -> Float[Tensor, "h w 5"]:
    d = pixels.unsqueeze(-2) - means2d
    power = conics[:, 0, 0] * d[..., 0] ** 2 + 2 * conics[:, 0, 1] * d[..., 0] * d[..., 1] + conics[:, 1, 1] * d[..., 1] ** 2
    alphas = (opacities * (-0.5 * power).exp()).clamp_max(MAX_ALPHA)
    drawn = alphas >= MIN_ALPHA
    drawn = drawn & ((1 - alphas * drawn).cumprod(-1) > MIN_TRANSMITTANCE)
    alphas = alphas * drawn
    after = (1 - alphas).cumprod(-1)
    before = torch.cat([pixels.new_ones(*pixels.shape[:-1], 1), after], -1)
    weights = alphas * before[..., :-1]
    rgb = weights @ colors + before[..., -1:] * background
    alpha = weights.sum(-1, keepdim=True)
    depth = (weights @ depths).unsqueeze(-1) / torch.where(alpha > 0, alpha, torch.ones_like(alpha))
    return torch.cat([rgb, alpha, depth], -1)
