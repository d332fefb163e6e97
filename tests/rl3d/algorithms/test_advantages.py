"""Advantages: zero mean in a group, free of a reward's scale, silent where a group's rewards are
equal."""

import pytest
import torch

from rl3d.algorithms.advantages import gdpo, group_normalized


def test_group_normalized_is_a_z_score_when_the_spread_is_large() -> None:
    rewards = torch.tensor([[0.0, 100.0, 200.0, 300.0]])
    expected = (rewards - 150) / rewards.std(correction=0)
    assert torch.allclose(group_normalized(rewards), expected, atol=1e-3)


def test_equal_rewards_give_no_advantage() -> None:
    assert (
        group_normalized(torch.full((3, 8), 0.7)).abs().max() < 1e-5
    )  # the mean of equal floats may be off by one bit


def test_tiny_differences_are_not_blown_up() -> None:
    rewards = 0.5 + 1e-4 * torch.tensor([[-1.0, 1.0]])
    assert group_normalized(rewards).abs().max() < 0.01


def test_gdpo_ignores_the_scale_of_a_reward() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.rand(6, 8, generator=rng), torch.rand(6, 8, generator=rng)
    one, _ = gdpo({"a": a, "b": b}, {"a": 1.0, "b": 1.0}, floor=0.0)
    other, _ = gdpo({"a": 1000 * a + 7, "b": b}, {"a": 1.0, "b": 1.0}, floor=0.0)
    assert torch.allclose(one, other, atol=1e-3)
    assert 0.85 < one.std(correction=0) < 1.0
    assert one.mean(1).abs().max() < 1e-5


def test_gdpo_of_tied_groups_is_zero() -> None:
    rewards = 0.7 + 1e-5 * torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    assert gdpo({"a": rewards}, {"a": 1.0})[0].abs().max() < 0.05


def test_gdpo_weight_zero_leaves_a_reward_out() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.rand(6, 8, generator=rng), torch.rand(6, 8, generator=rng)
    assert torch.equal(gdpo({"a": a, "b": b}, {"a": 1.0, "b": 0.0})[0], gdpo({"a": a}, {"a": 1.0})[0])


def test_gdpo_refuses_unknown_and_all_zero_weights() -> None:
    a = torch.rand(2, 4)
    for weights in ({"b": 1.0}, {"a": 0.0}):
        with pytest.raises(ValueError, match="weights must name the rewards"):
            gdpo({"a": a}, weights)


def test_a_part_is_compared_with_the_same_part_of_the_other_samples() -> None:
    rewards = torch.full((1, 4), 0.7)
    nan = torch.nan
    per_part = torch.tensor([[[1.0, 1.0, nan], [1.0, 0.0, nan], [1.0, 1.0, nan], [1.0, 1.0, 1.0]]])
    _, units = gdpo({"a": rewards}, {"a": 1.0}, per_part_reward={"a": per_part})
    assert units.shape == (1, 4, 3)
    assert units[0, :, 0].abs().max() < 1e-4  # all alike
    assert units[0, 1, 1] < -1 and (units[0, [0, 2, 3], 1] > 0).all()
    assert units[0, :, 1].sum().abs() < 1e-4
    assert units[0, :, 2].abs().max() < 1e-4  # not there, or nothing to compare with


def test_without_per_part_rewards_a_unit_has_its_samples_advantage() -> None:
    a = torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    samples, units = gdpo({"a": a}, {"a": 1.0})
    assert units.shape == (2, 4, 1) and torch.equal(samples, units.squeeze(-1))


def test_fractional_weights_weigh_normalised_rewards_and_their_parts() -> None:
    """A hand-made mix with weights 0.25 and 2: the advantages before the batch's scale are the
    weighted sums, and a per-part reward weighs as its reward does."""
    rng = torch.Generator().manual_seed(1)
    a, b = torch.rand(3, 8, generator=rng), torch.rand(3, 8, generator=rng)
    per_part = torch.rand(3, 8, 2, generator=rng)
    samples, units = gdpo({"a": a, "b": b}, {"a": 0.25, "b": 2.0}, per_part_reward={"a": per_part})
    total = 0.25 * group_normalized(a) + 2.0 * group_normalized(b)
    scale = total.std(correction=0) + 0.1
    assert torch.allclose(samples, total / scale, atol=1e-6)
    own = torch.stack([group_normalized(per_part[..., k]) for k in (0, 1)], -1)
    assert torch.allclose(units, (total.unsqueeze(-1) + 0.25 * own) / scale, atol=1e-6)


def test_the_batch_is_that_of_all_processes() -> None:
    rng = torch.Generator().manual_seed(2)
    a = torch.rand(4, 8, generator=rng)
    whole, _ = gdpo({"a": a}, {"a": 1.0})
    totals = group_normalized(a)
    halves = [gdpo({"a": a[k : k + 2]}, {"a": 1.0}, gather=lambda local: totals)[0] for k in (0, 2)]
    assert torch.allclose(torch.cat(halves), whole, atol=1e-6)
