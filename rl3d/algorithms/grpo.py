"""Flow-GRPO: group-relative policy optimisation over the steps of a flow's SDE (Liu et al.,
Flow-GRPO, 2025)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.generators.base import StepStats


@dataclass(frozen=True)
class PolicyStats:
    """Diagnostics of one loss: mean abs(ratio - 1), share of ratios outside the clip range, mean
    KL."""

    ratio_error: float
    clipped: float
    kl: float


def clipped_policy_loss(
    log_probs: Float[Tensor, "s *b"], old_log_probs: Float[Tensor, "s *b"], advantages: Float[Tensor, "*b"], clip: float
) -> Float[Tensor, "s *b"]:
    """max(-A r, -A clip(r, 1 - clip, 1 + clip)) with r = exp(log p - log p_old): the pessimistic
    bound of PPO."""
    ratio = (log_probs - old_log_probs).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


def policy_stats(
    log_probs: Float[Tensor, "s *b"], old_log_probs: Float[Tensor, "s *b"], kl: Float[Tensor, "s b"], clip: float
) -> PolicyStats:
    """Diagnostics of a round, without gradient."""
    with torch.no_grad():
        error = ((log_probs - old_log_probs).exp() - 1).abs()
        return PolicyStats(error.mean().item(), (error > clip).float().mean().item(), kl.mean().item())


def gaussian_kl(
    means: Float[Tensor, "s b *state"],
    reference: Float[Tensor, "s b *state"],
    stds: Float[Tensor, "s"],
    held: Float[Tensor, "b *state"],
) -> Float[Tensor, "s b"]:
    """KL of two Gaussians of the same std, (m - m_ref)^2 / (2 std^2), summed with the weights
    ``held``; carries gradient."""
    variance = stds.view(-1, *[1] * (means.dim() - 1)) ** 2
    dims = tuple(range(2, means.dim()))
    return (((means - reference) ** 2 / (2 * variance)) * held).sum(dims)


def grpo_loss(
    new: StepStats,
    old_log_probs: Float[Tensor, "s b"],
    advantages: Float[Tensor, "b"],
    reference_means: Float[Tensor, "s b *state"],
    held: Float[Tensor, "b *state"],
    *,
    clip: float,
    kl_weight: float,
    min_std: float,
) -> tuple[Float[Tensor, ""], PolicyStats]:
    """Mean over steps and samples of the clipped policy loss plus ``kl_weight`` times the KL to the
    reference policy, in which ``held`` weighs each number of the state (``Generator.held``).

    A step without noise has no log-prob to learn from, but it must not drift either: its KL is
    taken as if it had ``least_std``."""
    policy = clipped_policy_loss(new.log_probs, old_log_probs, advantages, clip)
    kl = gaussian_kl(new.means, reference_means, new.stds.clamp_min(min_std), held)
    return policy.mean() + kl_weight * kl.mean(), policy_stats(new.log_probs, old_log_probs, kl, clip)
