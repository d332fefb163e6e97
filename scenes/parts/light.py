"""The light that is baked into the colours of splats."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scenes.parts.layout import DEFAULT_ROUGHNESS

LIGHT = (-0.35, -0.75, 0.56)
"""Unit direction towards the light."""
BEND = 0.5
"""How far the normals of reflections are bent outwards at the ends of a part."""
FLATTEN, MATTE_LEVEL = 0.7, 0.88
"""A fully rough surface keeps 0.3 of the contrast of plain plastic, about this brightness."""
LAMPS = ((-0.28, -0.22, 0.934), (-0.2, -0.93, 0.31), (0.93, -0.2, 0.31), (0.2, 0.93, 0.31), (-0.93, 0.2, 0.31))
"""Unit directions of the lamps that smooth surfaces reflect. One is near the middle of every face
of an upright box."""


def shading(normals: Float[Tensor, "*n 3"], light: Float[Tensor, "3"]) -> Float[Tensor, "*n"]:
    """Brightness factor in [0.5, 1] of a soft hemisphere light. It wraps around, so faces away from
    the light stay readable."""
    return 0.5 + 0.5 * ((normals @ light) * 0.6 + 0.4 + 0.15 * normals[..., 2]).clamp(0, 1)


def shaded(colors: Float[Tensor, "*n 3"], normals: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Colours in the light that assets are shown in."""
    return colors * shading(normals, torch.tensor(LIGHT, dtype=normals.dtype, device=normals.device)).unsqueeze(-1)


def finished(
    colors: Float[Tensor, "*n 3"],
    normals: Float[Tensor, "*n 3"],
    outwards: Float[Tensor, "*n 3"],
    metallic: Float[Tensor, "*n"],
    roughness: Float[Tensor, "*n"],
) -> Float[Tensor, "*n 3"]:
    """``shaded`` for any finish; the same as ``shaded`` for metallic 0 and roughness 0.6.

    Splats keep one colour from all sides, so reflections are of a fixed studio and depend on the
    normal alone: bright sky, dark horizon, ground and five lamps. ``outwards`` are the places of
    the points about the centre of their part, in units of its largest half size. They bend the
    normals, because a flat face of one normal would reflect a single direction.
    """
    light = torch.tensor(LIGHT, dtype=normals.dtype, device=normals.device)
    bent = torch.nn.functional.normalize(normals + BEND * outwards, dim=-1, eps=1e-12)
    rough, metal = roughness.unsqueeze(-1), metallic.unsqueeze(-1)
    # Diffuse light: flatter the rougher it is above the default.
    flat = ((rough - DEFAULT_ROUGHNESS) / (1 - DEFAULT_ROUGHNESS)).clamp_min(0)
    factor = shading(normals, light).unsqueeze(-1)
    plastic = colors * (factor + flat * FLATTEN * (MATTE_LEVEL - factor))
    # Lamps: white spots, smaller and brighter the smoother the surface is.
    gloss = ((DEFAULT_ROUGHNESS - rough) / DEFAULT_ROUGHNESS).clamp_min(0)
    nearest = (bent @ bent.new_tensor(LAMPS).T).amax(-1, keepdim=True)
    lamp = torch.exp((4 + 60 * gloss) * (nearest - 1))
    plastic = plastic + 0.9 * gloss * lamp * (1 - plastic)
    # The studio in a metal of the part's colour.
    up, width = bent[..., 2:], 0.06 + 0.6 * rough**2
    studio = 0.72 + 0.38 * torch.tanh(up / width) - 0.4 * torch.exp(-((up / width - 0.3) ** 2)) * (1 - rough)
    mirror = colors * (studio + 0.15 * (bent @ light).unsqueeze(-1)).clamp(0.1, 1.15)
    mirror = mirror + (0.1 + 0.8 * gloss) * lamp * (1 - mirror)
    return (plastic + metal * (mirror - plastic)).clamp(0, 1)
