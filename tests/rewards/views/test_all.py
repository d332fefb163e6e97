"""Every multi-view reward: values and per-view scores are in range and do not depend on batch or
order, and bad input is refused clearly."""

import math
from dataclasses import replace

import pytest
import torch

from renderers import Views
from rewards import Batch, Differentiable, Reward, Shots, resolve
from rewards.mix import score
from rewards.views.mrc import MRC

FEW_STEPS = 6
NAMES = ["silhouette", "reprojection", "normals", "mrc", "worst_view"]


def make(name: str) -> Reward:
    return MRC(steps=FEW_STEPS) if name == "mrc" else resolve(name)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_in_range_and_do_not_depend_on_the_batch(name, pictures):
    reward = make(name)
    batch = pictures(reward.needs)
    together = reward(batch)
    assert score([reward], batch)[name].failed == 0
    assert together.per_view.shape == (3, 9) and ((together.per_view >= 0) & (together.per_view <= 1)).all()
    if name != "worst_view":  # to these, an empty picture is as good as any other
        assert together.values[2] == 0, "an empty asset earns nothing"
        assert (together.values[:2] > 0.8).all(), "consistent views come near 1"
    for k in range(2):
        alone = reward(pictures(reward.needs, chosen=slice(k, k + 1)))
        assert torch.equal(alone.values[0], together.values[k])
        assert torch.equal(alone.per_view[0], together.per_view[k])


@pytest.mark.parametrize("name", ["worst_view", "alignment"])
def test_values_have_gradients_to_the_views(name, pictures):
    reward = make(name)
    assert isinstance(reward, Differentiable)
    rgb: list[torch.Tensor] = []

    def follow(views: Views) -> Views:
        rgb.append(views.rgb.double().float().requires_grad_())
        return replace(views, rgb=rgb[-1])

    batch = pictures(reward.needs, follow)
    values = reward.values(batch)
    assert torch.equal(values.detach(), reward(batch).values)
    (slope,) = torch.autograd.grad(values[1], rgb[0])
    assert slope[[0, 2]].eq(0).all()
    step = 0.02 * slope / slope.norm()
    with torch.no_grad():
        plus, minus = (
            reward.values(pictures(reward.needs, lambda views, s=side: replace(views, rgb=views.rgb + s * step)))
            for side in (1, -1)
        )
    assert float((plus - minus)[1]) / 2 == pytest.approx(float((slope * step).sum()), rel=0.1)


@pytest.mark.parametrize("name", [*NAMES, "alignment"])
def test_the_order_does_not_matter(name, pictures):
    reward = make(name)
    batch = pictures(reward.needs)
    ((rig, shots),) = batch.shots.items()
    order = [2, 0, 1]
    images = {key: getattr(shots.views, key)[order] for key in ("rgb", "alpha", "depth", "normal")}
    scores, turned = (
        reward(batch),
        reward(replace(batch, shots={rig: Shots(type(shots.views)(**images), shots.cameras)})),
    )
    assert torch.equal(turned.values, scores.values[order])
    assert scores.per_view is None or torch.equal(turned.per_view, scores.per_view[order])


@pytest.mark.parametrize("name", NAMES)
def test_a_view_that_is_not_finite_fails_its_asset_alone(name, pictures):
    reward = make(name)
    batch = pictures(reward.needs)
    before = reward(batch)
    ((rig, shots),) = batch.shots.items()
    images = {key: getattr(shots.views, key).clone() for key in ("rgb", "alpha", "depth", "normal")}
    images["depth" if name in ("reprojection", "normals") else "rgb"][0, 4, 30, 30] = math.nan
    after = reward(replace(batch, shots={rig: Shots(type(shots.views)(**images), shots.cameras)}))
    assert after.failed == 1 and after.values[0] == 0
    torch.testing.assert_close(after.values[1], before.values[1])


def test_missing_images_are_named(pictures):
    reward = resolve("normals")
    batch = pictures(reward.needs, lambda views: replace(views, normal=None))
    with pytest.raises(ValueError, match="looks at normal images, and the views have none"):
        reward(batch)
    with pytest.raises(ValueError, match="looks at 9 views of 64 pixels a side, and the batch has none"):
        reward(Batch(["asset"]))
