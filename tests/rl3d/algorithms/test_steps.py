"""The clipped loss of PPO, and its diagnostics."""

import math

import pytest
import torch

from rl3d.algorithms.steps import clipped_policy_loss, ratio_metrics


def test_clip_stops_the_gradient_on_the_winning_side_only() -> None:
    log_probs = torch.tensor([[0.2, -0.2, 0.2, -0.2]], requires_grad=True)
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    clipped_policy_loss(log_probs, torch.zeros(1, 4), advantages.unsqueeze(0), 0.1).sum().backward()
    up, down = math.exp(0.2), math.exp(-0.2)
    assert log_probs.grad is not None
    assert log_probs.grad[0].tolist() == pytest.approx([0.0, -down, up, 0.0])


def test_metrics_by_hand() -> None:
    log_ratio = torch.tensor([[0.0, math.log(1.05), math.log(0.5), math.log(2.0)]])
    metrics = ratio_metrics(log_ratio, torch.zeros(1, 4), clip=0.1)
    assert metrics["ratio_deviation"] == pytest.approx((0 + 0.05 + 0.5 + 1) / 4)
    assert metrics["clip_fraction"] == 0.5
    expected = (0 + (0.05 - math.log(1.05)) + (-0.5 - math.log(0.5)) + (1 - math.log(2))) / 4
    assert metrics["approx_kl"] == pytest.approx(expected, rel=1e-5)
    assert ratio_metrics(log_ratio, torch.zeros(1, 4), clip=0.1, clip_high=1.5)["clip_fraction"] == 0.25
    assert "clip_fraction" not in ratio_metrics(log_ratio, torch.zeros(1, 4))  # nothing is clipped


def test_the_approximate_kl_is_that_of_two_gaussians() -> None:
    """r - 1 - log r over samples of the old policy estimates KL(old, new) without bias."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 200_000, generator=rng, dtype=torch.float64)
    old, new = (torch.distributions.Normal(torch.tensor(m, dtype=torch.float64), 1.0) for m in (0.0, 0.3))
    metrics = ratio_metrics(new.log_prob(x).float(), old.log_prob(x).float(), clip=0.1)
    assert metrics["approx_kl"] == pytest.approx(0.3**2 / 2, rel=0.02)


def test_weighted_metrics_of_pieces_average_to_those_of_the_whole() -> None:
    """A piece may hold no step that counts: its share of the mean is then 0, not a NaN."""
    log_ratio = torch.tensor([[0.1, 0.0, -0.3, 0.2]])
    counted = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    weights = counted * (counted.numel() / counted.sum())
    whole = ratio_metrics(log_ratio, torch.zeros(1, 4), weights, clip=0.15)
    pieces = [
        ratio_metrics(log_ratio[:, k : k + 1], torch.zeros(1, 1), weights[:, k : k + 1], clip=0.15) for k in range(4)
    ]
    for name, value in whole.items():
        assert sum(p[name] for p in pieces) / 4 == pytest.approx(float(value))
    assert whole["clip_fraction"] == 0.5
