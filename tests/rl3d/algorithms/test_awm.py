"""The objective against closed-form gradients of a policy whose prediction is one number."""

import pytest
import torch

from rl3d.algorithms.awm import awm_loss
from rl3d.generators.base import MatchingStats


def _stats(velocity: torch.Tensor, target: torch.Tensor) -> MatchingStats:
    """A sample is one unit of F numbers."""
    predictions = velocity.expand_as(target)
    return MatchingStats(((predictions - target) ** 2).mean(-1), predictions, target)


def _loss(new: MatchingStats, old: torch.Tensor, advantages: torch.Tensor, reference=None, weights=None, **settings):
    reference = new.predictions.detach() if reference is None else reference
    weights = torch.ones(new.predictions.shape[1:]) if weights is None else weights
    return awm_loss(new, old, advantages, reference, weights, **{"clip": 0.1, "kl_weight": 0.0, **settings})


def test_on_policy_gradient_is_the_weighted_matching_gradient() -> None:
    rng = torch.Generator().manual_seed(0)
    velocity = torch.tensor(0.3, requires_grad=True)
    target, advantages = torch.randn(2, 16, 1, 4, generator=rng), torch.randn(16, 1, generator=rng)
    new = _stats(velocity, target)
    loss, metrics = _loss(new, new.errors.detach(), advantages)
    loss.backward()
    expected = (advantages[:, 0] * 2 * (0.3 - target).mean((-1, -2))).mean()
    assert velocity.grad == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["ratio_deviation"] == metrics["clip_fraction"] == metrics["approx_kl"] == 0
    assert metrics["loss"] == loss.detach()


def test_what_a_group_has_in_common_cancels() -> None:
    """Advantages that sum to 0 and a shared target leave no gradient."""
    velocity = torch.tensor(0.3, requires_grad=True)
    target = torch.randn(1, 1, 1, 4, generator=torch.Generator().manual_seed(1)).expand(1, 4, 1, 4)
    new = _stats(velocity, target)
    _loss(new, new.errors.detach(), torch.tensor([[1.0], [-2.0], [0.5], [0.5]]))[0].backward()
    assert velocity.grad == pytest.approx(0.0, abs=1e-6)


def test_clip_stops_what_has_become_likely_enough() -> None:
    velocity = torch.tensor(0.0, requires_grad=True)
    new = _stats(velocity, torch.ones(1, 1, 1, 4))
    loss, metrics = _loss(new, new.errors.detach() + 1.0, torch.ones(1, 1))
    loss.backward()
    assert velocity.grad == 0 and metrics["clip_fraction"] == 1
    assert metrics["ratio_deviation"] == pytest.approx(torch.e - 1, rel=1e-5)
    assert metrics["approx_kl"] == pytest.approx(torch.e - 2, rel=1e-5)


def test_kl_pulls_to_the_reference_by_its_weights() -> None:
    velocity = torch.tensor(0.5, requires_grad=True)
    predictions = velocity.expand(1, 1, 1, 2)
    new = MatchingStats(torch.zeros(1, 1, 1), predictions, torch.zeros(1, 1, 1, 2))
    reference, weights = torch.tensor([[[[0.2, 99.0]]]]), torch.tensor([[[1.0, 0.0]]])
    loss, metrics = _loss(new, torch.zeros(1, 1, 1), torch.zeros(1, 1), reference, weights, kl_weight=2.0)
    loss.backward()
    assert metrics["kl"] == pytest.approx(0.09) and velocity.grad == pytest.approx(2 * 2 * 0.3, rel=1e-5)


def test_a_unit_has_its_own_advantage_and_error() -> None:
    velocity = torch.tensor([0.5, 0.5], requires_grad=True)  # one number for each of two units
    target = torch.tensor([0.0, 1.0])
    errors, predictions = ((velocity - target) ** 2 / 2).expand(1, 1, 2), velocity.view(1, 1, 2, 1)
    new = MatchingStats(errors, predictions, target.view(1, 1, 2, 1))
    _loss(new, new.errors.detach(), torch.tensor([[0.0, 1.0]]))[0].backward()
    assert velocity.grad is not None
    assert velocity.grad.tolist() == pytest.approx([0.0, 0.5 - 1.0])
