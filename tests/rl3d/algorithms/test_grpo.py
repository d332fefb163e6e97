"""The objective against closed-form gradients on a one-dimensional Gaussian policy."""

import pytest
import torch

from rl3d.algorithms.grpo import clipped_policy_loss, gaussian_kl, grpo_loss
from rl3d.generators.base import StepStats
from rl3d.generators.sde import gaussian_log_prob

STD = 0.5


def _stats(mean: torch.Tensor, x: torch.Tensor) -> StepStats:
    means = mean.expand_as(x)
    return StepStats(gaussian_log_prob(x, means, STD).mean(-1), means, torch.tensor([STD]))


def test_on_policy_gradient_is_reinforce() -> None:
    """With ratio 1 the gradient is -mean A (x - mean) / std^2 (Williams, 1992)."""
    rng = torch.Generator().manual_seed(0)
    mean = torch.tensor(0.3, requires_grad=True)
    x = 0.3 + STD * torch.randn(1, 16, 4, generator=rng)
    advantages = torch.randn(16, generator=rng)
    new = _stats(mean, x)
    loss, stats = grpo_loss(
        new,
        new.log_probs.detach(),
        advantages,
        new.means.detach(),
        torch.ones(16, 4),
        clip=0.1,
        kl_weight=0.0,
        min_std=STD,
    )
    loss.backward()
    expected = -(advantages * ((x - 0.3) / STD**2).mean(-1)[0]).mean()
    assert mean.grad == pytest.approx(expected.item(), rel=1e-5)
    assert stats.ratio_error == 0 and stats.clipped == 0


def test_clip_stops_the_gradient_on_the_winning_side_only() -> None:
    log_probs = torch.tensor([[0.2, -0.2, 0.2, -0.2]], requires_grad=True)
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    clipped_policy_loss(log_probs, torch.zeros(1, 4), advantages, 0.1).sum().backward()
    up, down = torch.tensor(0.2).exp().item(), torch.tensor(-0.2).exp().item()
    assert log_probs.grad is not None
    assert log_probs.grad[0].tolist() == pytest.approx([0.0, -down, up, 0.0])


def test_kl_is_that_of_two_gaussians_and_carries_gradient() -> None:
    mean = torch.tensor(0.7, requires_grad=True)
    p, q = torch.distributions.Normal(0.7, STD), torch.distributions.Normal(0.2, STD)
    kl = gaussian_kl(mean.expand(1, 2, 3), torch.full((1, 2, 3), 0.2), torch.tensor([STD]), torch.full((2, 3), 1 / 3))
    assert kl.shape == (1, 2)
    assert kl[0, 0].item() == pytest.approx(torch.distributions.kl_divergence(p, q).item(), rel=1e-5)
    kl.mean().backward()
    assert mean.grad == pytest.approx(0.5 / STD**2, rel=1e-5)


def test_the_kl_weighs_each_number_as_it_is_told() -> None:
    held = torch.tensor([[1.0, 0.0]])
    kl = gaussian_kl(torch.tensor([[[0.5, 99.0]]]), torch.zeros(1, 1, 2), torch.tensor([1.0]), held)
    assert kl.item() == pytest.approx(0.125)


def test_a_step_without_noise_is_held_to_the_reference() -> None:
    mean = torch.tensor(0.5, requires_grad=True)
    new = StepStats(torch.zeros(1, 2), mean.expand(1, 2, 3), torch.tensor([0.0]))
    loss, _ = grpo_loss(
        new,
        torch.zeros(1, 2),
        torch.zeros(2),
        torch.zeros(1, 2, 3),
        torch.full((2, 3), 1 / 3),
        clip=0.1,
        kl_weight=1.0,
        min_std=0.1,
    )
    loss.backward()
    assert mean.grad == pytest.approx(0.5 / 0.1**2, rel=1e-5)
