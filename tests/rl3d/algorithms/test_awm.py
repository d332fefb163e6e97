"""Advantage-weighted matching against closed-form gradients of a policy whose prediction is one
number."""

from typing import Any

import pytest
import torch

from rl3d.algorithms.awm import AWM
from rl3d.algorithms.base import Experience
from rl3d.algorithms.finished import Fit, distances


def _fit(velocity: torch.Tensor, target: torch.Tensor) -> Fit:
    """A sample is one unit of F numbers."""
    predictions = velocity.expand_as(target)
    return Fit(-((predictions - target) ** 2).mean(-1), predictions, target)


class _Nothing:
    """A rollout that nothing is asked of."""

    condition = None

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: torch.Tensor) -> "_Nothing":
        return self


def _loss(new: Fit, advantages: torch.Tensor, old: torch.Tensor | None = None, **settings: Any) -> torch.Tensor:
    before = Fit(new.log_likes.detach() if old is None else old, new.predictions.detach())
    minibatch = Experience(_Nothing(), advantages)
    return AWM(**{"clip": 0.1, **settings}).sample_loss(None, minibatch, new, before, before)


def test_on_policy_gradient_is_the_weighted_matching_gradient() -> None:
    rng = torch.Generator().manual_seed(0)
    velocity = torch.tensor(0.3, requires_grad=True)
    target, advantages = torch.randn(2, 16, 1, 4, generator=rng), torch.randn(16, 1, generator=rng)
    _loss(_fit(velocity, target), advantages).backward()
    expected = (advantages[:, 0] * 2 * (0.3 - target).mean((-1, -2))).mean()
    assert velocity.grad == pytest.approx(expected.item(), rel=1e-5)


def test_advantages_are_bounded() -> None:
    velocity = torch.tensor(0.3, requires_grad=True)
    target = torch.randn(1, 2, 1, 4, generator=torch.Generator().manual_seed(0))
    _loss(_fit(velocity, target), torch.tensor([[1000.0], [0.001]]), bound=2.0).backward()
    mean = 2 * (0.3 - target).mean((0, 2, 3))
    assert velocity.grad == pytest.approx((2.0 * mean[0] + 0.001 * mean[1]).item() / 2, rel=1e-5)


def test_what_a_group_has_in_common_cancels() -> None:
    """Advantages that sum to 0 and a shared target leave no gradient."""
    velocity = torch.tensor(0.3, requires_grad=True)
    target = torch.randn(1, 1, 1, 4, generator=torch.Generator().manual_seed(1)).expand(1, 4, 1, 4)
    _loss(_fit(velocity, target), torch.tensor([[1.0], [-2.0], [0.5], [0.5]])).backward()
    assert velocity.grad == pytest.approx(0.0, abs=1e-6)


def test_clip_stops_what_has_become_likely_enough() -> None:
    velocity = torch.tensor(0.0, requires_grad=True)
    new = _fit(velocity, torch.ones(1, 1, 1, 4))
    _loss(new, torch.ones(1, 1), new.log_likes.detach() - 1.0).backward()
    assert velocity.grad == 0


def test_the_distance_pulls_to_the_reference_by_its_weights() -> None:
    class Weighs:
        def kl_weights(self, rollout: Any) -> torch.Tensor:
            return torch.tensor([[[1.0, 0.0]]])

    velocity = torch.tensor(0.5, requires_grad=True)
    new = _fit(velocity, torch.zeros(1, 1, 1, 2))
    reference = Fit(new.log_likes, torch.tensor([[[[0.2, 99.0]]]]))
    distance = distances(Weighs(), Experience(_Nothing(), torch.zeros(1, 1)), new, reference)
    distance.mean().backward()
    assert distance.item() == pytest.approx(0.09) and velocity.grad == pytest.approx(2 * 0.3, rel=1e-5)


def test_a_unit_has_its_own_advantage_and_error() -> None:
    velocity = torch.tensor([0.5, 0.5], requires_grad=True)  # one number for each of two units
    target = torch.tensor([0.0, 1.0])
    new = Fit(-((velocity - target) ** 2 / 2).expand(1, 1, 2), velocity.view(1, 1, 2, 1), target.view(1, 1, 2, 1))
    _loss(new, torch.tensor([[0.0, 1.0]])).backward()
    assert velocity.grad is not None
    assert velocity.grad.tolist() == pytest.approx([0.0, 0.5 - 1.0])
