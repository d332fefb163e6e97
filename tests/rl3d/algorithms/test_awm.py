"""The objective against closed-form gradients of a policy whose velocity is one number."""

import pytest
import torch

from rl3d.algorithms.awm import awm_loss
from rl3d.generators.base import MatchingStats


def _stats(velocity: torch.Tensor, target: torch.Tensor) -> MatchingStats:
    """A sample is one unit."""
    velocities = velocity.expand_as(target)
    return MatchingStats(((velocities - target) ** 2).mean(-1, keepdim=True), velocities)


def test_on_policy_gradient_is_the_weighted_matching_gradient() -> None:
    rng = torch.Generator().manual_seed(0)
    velocity = torch.tensor(0.3, requires_grad=True)
    target, advantages = torch.randn(2, 16, 4, generator=rng), torch.randn(16, 1, generator=rng)
    new = _stats(velocity, target)
    loss, stats = awm_loss(
        new, new.errors.detach(), advantages, new.velocities.detach(), torch.ones(16, 4), clip=0.1, kl_weight=0.0
    )
    loss.backward()
    expected = (advantages[:, 0] * 2 * (0.3 - target).mean(-1)).mean()
    assert velocity.grad == pytest.approx(expected.item(), rel=1e-5)
    assert stats.ratio_error == 0 and stats.clipped == 0


def test_what_a_group_has_in_common_cancels() -> None:
    """Advantages that sum to 0 and a shared target leave no gradient."""
    velocity = torch.tensor(0.3, requires_grad=True)
    target = torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(1)).expand(1, 4, 4)
    new = _stats(velocity, target)
    advantages = torch.tensor([[1.0], [-2.0], [0.5], [0.5]])
    awm_loss(new, new.errors.detach(), advantages, new.velocities.detach(), torch.ones(4, 4), clip=0.1, kl_weight=0.0)[
        0
    ].backward()
    assert velocity.grad == pytest.approx(0.0, abs=1e-6)


def test_clip_stops_what_has_become_likely_enough() -> None:
    velocity = torch.tensor(0.0, requires_grad=True)
    new = _stats(velocity, torch.ones(1, 1, 4))
    awm_loss(
        new,
        new.errors.detach() + 1.0,
        torch.ones(1, 1),
        torch.zeros(1, 1, 4),
        torch.ones(1, 4),
        clip=0.1,
        kl_weight=0.0,
    )[0].backward()
    assert velocity.grad == 0


def test_kl_pulls_to_the_reference_as_each_number_is_held() -> None:
    velocity = torch.tensor(0.5, requires_grad=True)
    new = MatchingStats(torch.zeros(1, 1, 1), velocity.expand(1, 1, 2))
    held = torch.tensor([[1.0, 0.0]])
    reference = torch.tensor([[[0.2, 99.0]]])
    loss, stats = awm_loss(new, torch.zeros(1, 1, 1), torch.zeros(1, 1), reference, held, clip=0.1, kl_weight=2.0)
    loss.backward()
    assert stats.kl == pytest.approx(0.09) and velocity.grad == pytest.approx(2 * 2 * 0.3, rel=1e-5)


def test_a_unit_answers_for_its_own_error() -> None:
    velocity = torch.tensor([0.5, 0.5], requires_grad=True)  # one number for each of two units
    new = MatchingStats((velocity.expand(1, 1, 2) - torch.tensor([0.0, 1.0])) ** 2 / 2, velocity.expand(1, 1, 2))
    advantages = torch.tensor([[0.0, 1.0]])
    awm_loss(new, new.errors.detach(), advantages, torch.zeros(1, 1, 2), torch.ones(1, 2), clip=0.1, kl_weight=0.0)[
        0
    ].backward()
    assert velocity.grad is not None
    assert velocity.grad.tolist() == pytest.approx([0.0, 0.5 - 1.0])
