"""The gradient of a reward through rendering and decoding, against finite differences in the parts'
own numbers."""

import pytest
import torch
from torch import Tensor

from renderers import render
from rewards import Batch, Differentiable, Shots, resolve
from scenes import cameras
from scenes.asset import PartAsset
from scenes.parts import Parts

NAMED = {"centres": slice(4, 7), "rotations": slice(10, 16), "colors": slice(16, 19)}
"""Numbers of a part in which its Gaussians move smoothly. With another size they are spread
anew."""


def value(reward: Differentiable, vectors: Tensor) -> Tensor:
    """The reward of assets (B, P, 19) for one prompt, (B,)."""
    asset = PartAsset(Parts.from_vectors(vectors))
    rig = cameras.orbit(reward.needs.cameras, size=reward.needs.size, azimuth_deg=30.0)
    views = render(asset.gaussians(2048), rig, background=(1.0, 1.0, 1.0))
    return reward.values(Batch(["a red table"] * len(asset), asset, {reward.needs.rig: Shots(views, rig)}))


@pytest.mark.parametrize("field", NAMED)
@pytest.mark.parametrize("name", ["alignment", "one_face", "worst_view"])
def test_gradient_reaches_the_parts(batch, table, part, name, field):
    reward = resolve(name)
    assert isinstance(reward, Differentiable)
    ball = part((0.1, 0.1, 0.12), (0.2, 0.1, 0.66), (1.0, 1.0))
    start = batch([*table(), ball], [*table("abc"), ball]).need_parts().vectors()
    seen = start.clone().requires_grad_()
    values = value(reward, seen)
    (slope,) = torch.autograd.grad(values[0], seen)
    assert slope.isfinite().all() and slope[1].eq(0).all(), "the other asset has no part in it"
    along = torch.zeros_like(slope)
    along[..., NAMED[field]] = slope[..., NAMED[field]]
    assert along.norm() > 1e-4
    step = {"centres": 2e-3, "rotations": 1.2e-2, "colors": 5e-3}[field] * along / along.norm()
    with torch.no_grad():
        plus, minus = (value(reward, start + side * step)[0] for side in (1, -1))
    # The renderer's cut-off tails and changes of depth order have no gradient: up to a tenth.
    assert float(plus - minus) / 2 == pytest.approx(float((slope * step).sum()), rel=0.12)
