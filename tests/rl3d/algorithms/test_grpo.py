"""The objective against closed-form gradients on a one-dimensional Gaussian policy."""

import pytest
import torch

from rl3d.algorithms.grpo import grpo_loss
from rl3d.generators.sde import gaussian_log_prob

STD = 0.5


def _loss(log_probs, old, advantages, kl=None, weights=None, **settings):
    kl = torch.zeros_like(log_probs) if kl is None else kl
    weights = torch.ones_like(log_probs.detach()) if weights is None else weights
    return grpo_loss(
        log_probs, old, advantages.unsqueeze(0), kl, weights, **{"clip": 0.1, "kl_weight": 0.0, **settings}
    )


def test_on_policy_gradient_is_reinforce() -> None:
    """With ratio 1 the gradient is -mean A (x - mean) / std^2 (Williams, 1992)."""
    rng = torch.Generator().manual_seed(0)
    mean = torch.tensor(0.3, requires_grad=True)
    x = 0.3 + STD * torch.randn(1, 16, 4, generator=rng)
    advantages = torch.randn(16, generator=rng)
    log_probs = gaussian_log_prob(x, mean.expand_as(x), STD).mean(-1)
    loss, _ = _loss(log_probs, log_probs.detach(), advantages)
    loss.backward()
    expected = -(advantages * ((x - 0.3) / STD**2).mean(-1)[0]).mean()
    assert mean.grad == pytest.approx(expected.item(), rel=1e-5)


def test_the_kl_carries_gradient() -> None:
    mean = torch.tensor(0.7, requires_grad=True)
    kl = ((mean - 0.2) ** 2 / (2 * STD**2)).expand(1, 2)
    loss, metrics = _loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(2), kl, kl_weight=3.0)
    loss.backward()
    assert metrics["kl"] == pytest.approx(0.5) and mean.grad == pytest.approx(3 * 0.5 / STD**2, rel=1e-5)


def test_steps_that_were_not_taken_have_no_weight() -> None:
    log_probs = torch.tensor([[0.0, 0.0], [0.0, 5.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    weights = mask * (mask.numel() / mask.sum())
    loss, _ = _loss(log_probs, torch.zeros(2, 2), torch.tensor([1.0, 2.0]), weights=weights)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-(1 + 2 + 1) / 3)
    assert log_probs.grad is not None
    assert log_probs.grad.flatten().tolist() == pytest.approx([-1 / 3, -2 / 3, -1 / 3, 0])
