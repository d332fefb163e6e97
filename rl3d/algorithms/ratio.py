"""What objectives with an importance ratio share: the clipped loss of PPO, and its diagnostics."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def clipped_policy_loss(
    log_probs: Float[Tensor, "s *b"],
    old_log_probs: Float[Tensor, "s *b"],
    advantages: Float[Tensor, "#s *b"],
    clip: float,
) -> Float[Tensor, "s *b"]:
    """max(-A r, -A clip(r, 1 - clip, 1 + clip)) with r = exp(log p - log p_old).

    The pessimistic bound of PPO (Schulman et al., 2017).
    """
    ratio = (log_probs - old_log_probs).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


@torch.no_grad()
def ratio_metrics(
    log_probs: Float[Tensor, "s *b"],
    old_log_probs: Float[Tensor, "s *b"],
    clip: float,
    weights: Float[Tensor, "s *b"] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Diagnostics of the importance ratio r.

    ``ratio_deviation``: mean abs(r - 1). ``clip_fraction``: fraction of ratios outside the clip
    range. ``approx_kl``: mean r - 1 - log r, an estimate of the KL between the old and the present
    policy (Schulman, Approximating KL divergence, 2020). ``weights`` average to 1 over the batch.
    """
    log_ratio = log_probs - old_log_probs
    deviation = (log_ratio.exp() - 1).abs()
    figures = {
        "ratio_deviation": deviation,
        "clip_fraction": (deviation > clip).float(),
        "approx_kl": torch.expm1(log_ratio) - log_ratio,
    }
    return {name: (value if weights is None else value * weights).mean() for name, value in figures.items()}
