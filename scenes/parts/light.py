"""The light that is baked into the colours of splats."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

LIGHT = (-0.35, -0.75, 0.56)
"""Unit direction towards the light."""


def shading(normals: Float[Tensor, "*n 3"], light: Float[Tensor, "3"]) -> Float[Tensor, "*n"]:
    """Brightness factor in [0.5, 1] of a soft hemisphere light. It wraps around, so faces away from
    the light stay readable."""
    return 0.5 + 0.5 * ((normals @ light) * 0.6 + 0.4 + 0.15 * normals[..., 2]).clamp(0, 1)


def shaded(colors: Float[Tensor, "*n 3"], normals: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Colours in the light that assets are shown in."""
    return colors * shading(normals, torch.tensor(LIGHT, dtype=normals.dtype, device=normals.device)).unsqueeze(-1)
