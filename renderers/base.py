"""What every backend agrees on: the images it returns, and the thresholds (gsplat's) that decide which pixels a Gaussian touches."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

NEAR_PLANE = 0.01
BLUR = 0.3
"""Added to the diagonal of the 2D covariance, in square pixels: no Gaussian is thinner than a pixel."""
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4
"""A Gaussian that would leave a pixel less than this ends the pixel and is not drawn."""


@dataclass(frozen=True)
class Views:
    """Images of C cameras, with the scene's leading batch dimensions.

    ``rgb`` lies over the background; ``depth`` is the expected depth along the camera's axis in metres, the mean of z weighted as
    the colours are, and 0 where ``alpha`` is 0.
    """

    rgb: Float[Tensor, "*batch c h w 3"]
    alpha: Float[Tensor, "*batch c h w 1"]
    depth: Float[Tensor, "*batch c h w 1"]
