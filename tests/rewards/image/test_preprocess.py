"""Pixels against the reference processor's (Pillow, on bytes)."""

import pytest
import torch
from PIL import Image

from rewards.image.preprocess import STD, clip_pixels


def images(kind, height, width):
    generator = torch.Generator().manual_seed(height)
    if kind == "noise":
        x = torch.rand(2, 3, height, width, generator=generator)
    else:
        x = torch.nn.functional.interpolate(
            torch.rand(2, 3, 6, 6, generator=generator), (height, width), mode="bicubic"
        ).clamp(0, 1)
        x = (x > 0.5).float() if kind == "edges" else x
    return (x * 255).round().div(255).movedim(1, -1)


@pytest.mark.parametrize("kind", ["noise", "smooth", "edges"])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (256, 256), (512, 512), (128, 128), (300, 201), (97, 333)])
def test_pixels_are_the_reference_processors_to_its_rounding(kind, height, width):
    from transformers import CLIPImageProcessorPil

    rgb = images(kind, height, width)
    pictures = [Image.fromarray((one * 255).round().byte().numpy()) for one in rgb]
    reference = CLIPImageProcessorPil()(images=pictures, return_tensors="pt")["pixel_values"]
    difference = (clip_pixels(rgb, 224) - reference).abs() * torch.tensor(STD).view(3, 1, 1) * 255
    if min(height, width) == 224:
        assert difference.max() < 1e-4
    else:
        assert difference.max() < 1.5 and difference.mean() < 0.5


def test_pixels_have_gradients():
    rgb = torch.full((1, 40, 40, 3), 0.5, dtype=torch.float64, requires_grad=True)
    clip_pixels(rgb, 28).sum().backward()
    assert rgb.grad is not None and (rgb.grad > 0).all()


def test_colours_outside_are_cut():
    assert torch.equal(clip_pixels(torch.full((1, 28, 28, 3), 1.5), 28), clip_pixels(torch.ones(1, 28, 28, 3), 28))
