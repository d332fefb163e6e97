"""From rendered views to the pixels that CLIP-like models were trained on, in torch and
differentiable: no torchvision, no files."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of OpenAI's CLIP (Radford et al., 2021); PickScore, HPSv2, the aesthetic head and ImageReward
kept them."""


def clip_pixels(rgb: Float[Tensor, "n h w 3"], size: int) -> Float[Tensor, "n 3 size size"]:
    """Images of sRGB in [0, 1] as CLIP's processor makes them: shortest side to ``size``, central
    square, normalised by channel.

    The reference resizes bytes with Pillow: columns, then rows, rounded to bytes after each.
    Bicubic with antialias is Pillow's filter, and its overshoot is cut after each of the two as
    bytes cut it; nothing is rounded, so that gradients pass. What is left of the difference is that
    rounding: below 1.5/255 before normalisation, and nothing where the image has the right size
    already."""
    x = rgb.float().movedim(-1, 1)
    height, width = x.shape[-2:]
    if min(height, width) != size:
        height, width = (int(size * side / min(height, width)) for side in (height, width))
        for shape in ((x.shape[-2], width), (height, width)):
            x = F.interpolate(x, size=shape, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    top, left = (height - size) // 2, (width - size) // 2
    x = x[..., top : top + size, left : left + size].clamp(0, 1)
    return (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)
