"""Sampling a rectified flow as a policy: one Gaussian step of the reverse SDE, with the noise
schedule as a plug-in.

Conventions: x_s = (1 - s) x0 + s e with noise level s falling from 1 to 0; v = e - x0 is the
predicted velocity. References: Flow-GRPO (Liu et al., 2025), DanceGRPO (Xue et al., 2025),
coefficient-preserving sampling (Wang and Yu, 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

MOST_STEPS = 1000
"""A rectified flow needs tens of steps. The limit keeps a damaged configuration from filling the
memory."""
SdeType = Literal["flow", "dance", "cps"]


@dataclass(frozen=True)
class Sampling:
    """How trajectories are drawn."""

    steps: int = 10
    """Number of integration steps T, 1 to 1000."""
    guidance: float = 1.0
    """Scale of classifier-free guidance; 1 means none, and half the cost."""
    noise: float = 0.0
    """Level of the noise injected at every step. 0 is the deterministic flow (ODE), which has no
    log-probs."""
    sde_type: SdeType = "flow"
    """Shape of the noise over the steps: flow = a sqrt(s / (1 - s)), dance = constant, cps =
    coefficient-preserving."""
    noise_from: int = 0
    """The first step with noise; those before it are deterministic."""
    noise_until: int = MOST_STEPS
    """The first step after those with noise."""

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"--sampling.steps must be 1 to {MOST_STEPS}, got {self.steps}")
        if not self.guidance >= 0:
            raise ValueError(f"--sampling.guidance must be at least 0, got {self.guidance}")
        if not 0 <= self.noise <= (1 if self.sde_type == "cps" else math.inf):
            most = "0 to 1 with the sde-type cps" if self.sde_type == "cps" else "at least 0"
            raise ValueError(f"--sampling.noise must be {most}, got {self.noise}")
        if not 0 <= self.noise_from < self.noise_until:
            numbers = f"{self.noise_from} and {self.noise_until}"
            raise ValueError(f"--sampling.noise-from must be from 0 to less than --sampling.noise-until, got {numbers}")
        if self.sde_type not in ("flow", "dance", "cps"):
            raise ValueError(f"--sampling.sde-type {self.sde_type!r} is unknown: choose flow, dance or cps")

    def sigmas(self) -> list[float]:
        """T + 1 noise levels from 1 to 0, evenly spaced."""
        return [1 - i / self.steps for i in range(self.steps + 1)]

    def stds(self) -> list[float]:
        """Standard deviation of each step's Gaussian; the last step of cps is deterministic."""
        return [self._std(step) for step in range(self.steps)]

    def _std(self, step: int) -> float:
        if not self.noise_from <= step < self.noise_until:
            return 0.0
        sigma, following = self.sigmas()[step : step + 2]
        if self.sde_type == "cps":
            return following * math.sin(self.noise * math.pi / 2)
        # Flow-GRPO's rate is infinite at level 1: the next level stands in there, as in its
        # authors' code.
        level = following if sigma == 1 else sigma
        rate = self.noise if self.sde_type == "dance" else self.noise * math.sqrt(sigma / (1 - level))
        return rate * math.sqrt(sigma - following)

    def mean(self, x: Tensor, velocity: Tensor, step: int) -> Tensor:
        """Mean of the step's Gaussian from state ``x`` at level ``step``."""
        levels = self.sigmas()
        sigma, following = levels[step], levels[step + 1]
        std = self._std(step)
        if self.sde_type == "cps":
            clean, noise = x - sigma * velocity, x + (1 - sigma) * velocity
            return (1 - following) * clean + math.sqrt(max(following**2 - std**2, 0.0)) * noise
        dt = following - sigma
        drift = std**2 / -dt / (2 * sigma) * (x + (1 - sigma) * velocity)
        return x + (velocity + drift) * dt


def gaussian_log_prob(x: Float[Tensor, "*b"], mean: Float[Tensor, "*b"], std: float | Tensor) -> Float[Tensor, "*b"]:
    """Elementwise log N(x; mean, std^2) in float32."""
    std = torch.as_tensor(std, dtype=torch.float32, device=x.device)
    return -((x.float() - mean.float()) ** 2) / (2 * std**2) - std.log() - 0.5 * math.log(2 * math.pi)
