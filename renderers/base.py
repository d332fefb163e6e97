"""What all renderers share: the images they return, and the input of splat backends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# gsplat's thresholds, which decide the pixels that a Gaussian touches.
NEAR_PLANE = 0.01
BLUR = 0.3
"""Square pixels added to the diagonal of the 2D covariance, so that no Gaussian is thinner than a
pixel."""
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4
"""A Gaussian after which less than this transmittance is left ends the pixel and is not drawn."""


@dataclass(frozen=True)
class Views:
    """Images of C cameras, with the scene's leading batch dimensions.

    ``rgb`` is composited over the background. ``depth`` is the expected depth along the camera's
    axis in metres: the mean of z, weighted like colours, and 0 where ``alpha`` is 0. ``normal`` and
    ``features`` are None unless requested. ``normal`` is the weighted sum of unit normals in the
    world that face the camera, ``features`` that of the Gaussians' features, both without
    background.
    """

    rgb: Float[Tensor, "*batch c h w 3"]
    alpha: Float[Tensor, "*batch c h w 1"]
    depth: Float[Tensor, "*batch c h w 1"]
    normal: Float[Tensor, "*batch c h w 3"] | None = None
    features: Float[Tensor, "*batch c h w f"] | None = None


class ScreenGradients:
    """What densification needs of a backward pass: how strongly the loss pulls at each projected
    mean, in each view.

    Pass it to ``render``; the backward pass fills it. ``mean`` is dL/d(x, y) of the projected means
    in pixels (3DGS). ``absolute`` is the sum over pixels of the absolute contributions to it (Ye et
    al., AbsGS, 2024). Both are 0 for Gaussians that are not seen.
    """

    mean: Float[Tensor, "*batch c n 2"] | None = None
    absolute: Float[Tensor, "*batch c n 2"] | None = None

    def expect(self, shape: tuple[int, ...], like: Tensor) -> None:
        """Called by ``render``: sets the shape, and starts at zero."""
        self.mean = torch.zeros(*shape, 2, dtype=like.dtype, device=like.device)
        self.absolute = torch.zeros_like(self.mean)

    def add(
        self, scene: slice, camera: slice, mean: Float[Tensor, "s c n 2"], absolute: Float[Tensor, "s c n 2"]
    ) -> None:
        """Called by a backend in its backward pass. Passes that draw other channels of the same
        image add up. The absolute values are then an upper bound, because they are taken per pass.
        """
        assert self.mean is not None and self.absolute is not None
        for total, part in ((self.mean, mean), (self.absolute, absolute)):
            total.view(-1, *total.shape[-3:])[scene, camera] += part


@dataclass(frozen=True)
class Splats:
    """S scenes of N Gaussians, each seen by its own C cameras: what a backend for splats draws."""

    means: Float[Tensor, "s n 3"]
    quats: Float[Tensor, "s n 4"]
    scales: Float[Tensor, "s n 3"]
    opacities: Float[Tensor, "s n"]
    colors: Float[Tensor, "s n k"] | Float[Tensor, "s c n k"]
    """K channels of any meaning."""
    viewmats: Float[Tensor, "s c 4 4"]
    Ks: Float[Tensor, "s c 3 3"]
    backgrounds: Float[Tensor, "s c k"]
    width: int
    height: int
    antialiased: bool = False
    screen: ScreenGradients | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (
            self.means,
            self.quats,
            self.scales,
            self.opacities,
            self.colors,
            self.viewmats,
            self.Ks,
            self.backgrounds,
        )


Images = tuple[Float[Tensor, "s c h w k"], Float[Tensor, "s c h w 1"], Float[Tensor, "s c h w 1"]]
"""Channels over the background, alpha, expected depth."""
