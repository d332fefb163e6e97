"""The analytic margin against closed forms, its gradient against finite differences, and the
simulation against it."""

import math

import pytest
import torch

from rewards import Batch, Differentiable
from rewards.physics.margin import Margin, tipping_angle
from rewards.physics.push import Push
from rewards.physics.stability import Stability
from scenes.asset import PartAsset
from scenes.parts import Parts

BRINK = 0.1  # degrees that a body has to rock before its edge counts


def angle_deg(batch) -> list[float]:
    return torch.rad2deg(tipping_angle(batch.need_parts().double())).tolist()


@pytest.mark.parametrize("yaw", [0.0, 17.0, 90.0])
def test_a_box_tips_at_the_arc_tangent_of_width_over_height(batch, part, rotation, yaw):
    sizes = [(0.1, 0.4, 0.5), (0.3, 0.3, 0.3), (0.5, 0.5, 0.05)]
    boxes = batch(*([part(s, (0.2, -0.1, s[2]), rotation=rotation("z", yaw))] for s in sizes))
    expected = [math.degrees(math.atan2(min(s[:2]), s[2])) - BRINK for s in sizes]
    assert angle_deg(boxes) == pytest.approx(expected, abs=1e-3)


def test_cylinder_ball_and_cone(batch, part):
    cylinder = [part((0.2, 0.2, 0.5), (0, 0, 0.5), (0.1, 1.0))]
    ball = [part((0.3, 0.3, 0.3), (0, 0, 0.3), (1.0, 1.0))]
    cone_on_tip = [part((0.3, 0.3, 0.5), (0, 0, 0.5), (0.1, 1.0), -0.97)]
    assets = batch(cylinder, ball, cone_on_tip)
    standing, rolling, falling = angle_deg(assets)
    assert standing == pytest.approx(math.degrees(math.atan2(0.2, 0.5)) - BRINK, abs=0.15)
    assert rolling == pytest.approx(0, abs=1e-3)  # a ball rolls on the least slope
    assert falling < 1
    assert Margin()(assets).verdict.tolist() == [True, False, False]


def test_tables(batch, table):
    four, corner, two = angle_deg(batch(table("abcd", leg=0.04), table("abc", leg=0.04), table("ab", leg=0.04)))
    assert four > 20 and corner < four and two < 0


def test_a_leg_in_the_air_does_not_bear_and_one_at_a_hairs_distance_does(batch, table):
    whole, hair, short = angle_deg(batch(table(), table(lift=0.002), table(lift=0.1)))
    assert whole > hair > 0.8 * whole > short


def test_hovering_clusters_earn_nothing(batch, table, part):
    scores = Margin()(batch(table(), [*table(), part((0.1, 0.1, 0.1), (0, 0, 0.9))]))
    fraction = 0.008 / (0.008 + 1.0 * 0.6 * 0.06 + 4 * 0.06 * 0.06 * 0.53)
    assert float(scores.values[1] / scores.values[0]) == pytest.approx(1 - fraction, abs=0.02)
    assert scores.verdict.tolist() == [True, False]


def test_gradient_agrees_with_finite_differences(batch, table, part):
    # A lopsided table and a leaning box: where one edge is the nearest, the margin is smooth.
    lopsided = [*table(width=0.9), part((0.1, 0.12, 0.1), (0.25, 0.05, 0.65))]
    vectors = batch(lopsided).need_parts().vectors().double()
    seen = vectors.clone().requires_grad_()
    tipping_angle(Parts.from_vectors(seen)).sum().backward()
    assert seen.grad is not None and seen.grad.isfinite().all() and seen.grad[0, :6].abs().sum() > 0.1
    step = 1e-6
    for p, k in ((5, 4), (5, 6), (5, 8), (0, 9), (2, 4), (2, 5)):  # centres and sizes of the load, the top and a leg
        up, down = vectors.clone(), vectors.clone()
        up[0, p, k] += step
        down[0, p, k] -= step
        difference = tipping_angle(Parts.from_vectors(up)) - tipping_angle(Parts.from_vectors(down))
        assert float(difference) / (2 * step) == pytest.approx(float(seen.grad[0, p, k]), rel=1e-3, abs=1e-4)


def test_the_values_of_the_reward_carry_gradient(batch, table, part):
    # With a load on one side: of a box alone, two sides are equally weak, and there are two
    # gradients.
    loaded = [part((0.05, 0.2, 0.4), (0, 0, 0.4)), part((0.05, 0.05, 0.05), (0.02, 0, 0.85))]
    assets, margin = batch(loaded, table()), Margin()
    vectors = assets.need_parts().vectors().requires_grad_()
    assert isinstance(margin, Differentiable)
    values = margin.values(Batch(assets.prompts, PartAsset(Parts.from_vectors(vectors))))
    torch.testing.assert_close(values.detach(), margin(assets).values)
    (slope,) = torch.autograd.grad(values[0], vectors)
    step = 1e-4 * slope / slope.norm()
    plus, minus = (
        float(margin(Batch(assets.prompts, PartAsset(Parts.from_vectors(vectors.detach() + s * step)))).values[0])
        for s in (1, -1)
    )
    assert slope[1].eq(0).all() and (plus - minus) / 2 == pytest.approx(float((slope * step).sum()), rel=0.1)


def test_the_gradient_does_not_depend_on_the_first_caller(batch, table):
    broken = [v.clone() for v in table()]
    broken[1][5] = math.nan
    vectors = batch(table(), broken).need_parts().vectors().requires_grad_()
    assets, margin = Batch(["a table"] * 2, PartAsset(Parts.from_vectors(vectors))), Margin()
    assert margin(assets).failed == 1
    (slope,) = torch.autograd.grad(margin.values(assets)[0], vectors)
    assert slope[0].abs().sum() > 0 and slope[0].isfinite().all()


def test_a_step_along_the_gradient_makes_a_box_steadier(batch, part):
    # With a load on one side: of a box alone, two sides are equally weak, and a step helps one at
    # the other's cost.
    loaded = [part((0.05, 0.2, 0.4), (0, 0, 0.4)), part((0.05, 0.05, 0.05), (0.1, 0, 0.6))]
    vectors = batch(loaded).need_parts().vectors().double().requires_grad_()
    before = tipping_angle(Parts.from_vectors(vectors))
    (gradient,) = torch.autograd.grad(before.sum(), vectors)
    after = tipping_angle(Parts.from_vectors(vectors + 1e-4 * gradient))
    assert float((after - before).detach()) == pytest.approx(1e-4 * float(gradient.square().sum()), rel=0.1)


def test_the_simulation_agrees_about_boxes(batch, part, rotation):
    generator = torch.Generator().manual_seed(5)
    boxes = []
    for _ in range(40):
        u = torch.rand(3, generator=generator).tolist()
        half = 0.2 + 0.3 * u[0]
        tips = 2 + 8 * u[1]
        if abs(tips - 5) > 0.4:
            boxes.append(
                [
                    part(
                        (half * math.tan(math.radians(tips)), 0.3, half),
                        (0, 0, half),
                        rotation=rotation("z", 360 * u[2]),
                    )
                ]
            )
    assets = batch(*boxes)
    assert torch.equal(Margin()(assets).verdict, Stability()(assets).verdict)


@pytest.mark.parametrize("height", [0.2, 1.0])
def test_a_push_topples_a_box_at_width_over_height(batch, part, rotation, height):
    ratios = [0.1, 0.3, 0.5, 0.7]
    half = height / 2
    boxes = [[part((ratio * half, 0.9 * half, half), (0, 0, half), rotation=rotation("z", 33))] for ratio in ratios]
    assert Push()(batch(*boxes)).values.tolist() == pytest.approx(ratios, abs=0.1)


def test_a_push_finds_the_weak_direction_and_slides_flat_things_at_the_friction(batch, part, table):
    flat = [part((0.4, 0.4, 0.05), (0, 0, 0.05))]
    ball = [part((0.3, 0.3, 0.3), (0, 0, 0.3), (1.0, 1.0))]
    scores = Push()(batch(flat, ball, table("ab"), table()))
    assert (
        scores.values[0] > 0.85 and scores.values[1] < 0.1 and scores.values[2] < 0.05 and 0.4 < scores.values[3] < 0.8
    )
    assert scores.verdict.tolist() == [True, False, False, True]
