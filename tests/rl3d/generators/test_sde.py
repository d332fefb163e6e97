"""Sampling schedules: their steps keep the flow's marginals, and log-probs are those of the
Gaussians drawn from."""

import math

import pytest
import torch

from rl3d.generators.sde import Sampling, gaussian_log_prob


def _population(sampling: Sampling, count: int = 200_000) -> torch.Tensor:
    """Samples of the flow whose data are N(2, 0.5^2), integrated with its exact velocity."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(count, generator=rng, dtype=torch.float64)
    levels, stds = sampling.sigmas(), sampling.stds()
    for step, sigma in enumerate(levels[:-1]):
        variance = (1 - sigma) ** 2 * 0.25 + sigma**2
        residual = x - (1 - sigma) * 2
        clean = 2 + 0.25 * (1 - sigma) / variance * residual
        noise = sigma / variance * residual
        x = sampling.mean(x, noise - clean, step) + stds[step] * torch.randn(count, generator=rng, dtype=torch.float64)
    return x


@pytest.mark.parametrize("sde_type", ["flow", "dance", "cps"])
def test_noisy_steps_keep_the_distribution(sde_type: str) -> None:
    x = _population(Sampling(steps=200, noise=0.3, sde_type=sde_type))
    assert x.mean().item() == pytest.approx(2.0, abs=0.02)
    # cps injects its noise in place of the predicted one, which narrows what is left a little.
    assert x.std().item() == pytest.approx(0.5, abs=0.12 if sde_type == "cps" else 0.02)


def test_without_noise_the_step_is_eulers() -> None:
    x, v = torch.tensor([1.0]), torch.tensor([3.0])
    for sde_type in ("flow", "dance", "cps"):
        sampling = Sampling(steps=4, noise=0.0, sde_type=sde_type)
        assert sampling.mean(x, v, 1).item() == pytest.approx(1.0 - 3.0 / 4)


def test_cps_ends_without_noise_and_flow_matches_its_formula() -> None:
    assert Sampling(steps=8, noise=0.7, sde_type="cps").stds()[-1] == 0
    s = 0.5
    assert Sampling(steps=8, noise=0.7, sde_type="flow").stds()[4] == pytest.approx(
        0.7 * math.sqrt(s / (1 - s)) * math.sqrt(1 / 8)
    )


def test_log_prob_is_the_normal_density() -> None:
    x, mean = torch.randn(5), torch.randn(5)
    assert torch.allclose(gaussian_log_prob(x, mean, 0.3), torch.distributions.Normal(mean, 0.3).log_prob(x), atol=1e-5)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be 1 to 1000, got 0"):
        Sampling(steps=0)
    with pytest.raises((ValueError, TypeError), match="wild"):
        Sampling(sde_type="wild")  # type: ignore[arg-type]
