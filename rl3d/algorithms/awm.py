"""Advantage-weighted matching: policy optimisation over the flow-matching loss of finished samples
(Xue et al., AWM, 2025).

The error of the predicted velocity on a noised sample stands in for -log p of the sample. Unlike a
step of the reverse SDE, its target is the sample itself and not that sample's noise, so its
gradient is far less noisy; and samples may come from any sampler, the deterministic one that is
used for keeps included. The error is a sum over the parts of a sample, so that a part that floats
can be blamed apart from those that do not."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.grpo import PolicyStats, clipped_policy_loss, policy_stats
from rl3d.generators.base import MatchingStats


def awm_loss(
    new: MatchingStats,
    old_errors: Float[Tensor, "d b u"],
    advantages: Float[Tensor, "b u"],
    reference: Float[Tensor, "d b *state"],
    held: Float[Tensor, "b *state"],
    *,
    clip: float,
    kl_weight: float,
) -> tuple[Float[Tensor, ""], PolicyStats]:
    """Mean over draws and samples, and sum over units, of the clipped policy loss with -error as
    log-prob, plus ``kl_weight`` times the squared distance of the velocities to the ``reference``
    policy's, which the KL between the two flows is proportional to; ``held`` weighs each number of
    the state in it (``Generator.held``)."""
    policy = clipped_policy_loss(-new.errors, -old_errors, advantages, clip)
    dims = tuple(range(2, new.velocities.dim()))
    kl = ((new.velocities - reference) ** 2 * held).sum(dims)
    return policy.sum(-1).mean() + kl_weight * kl.mean(), policy_stats(-new.errors, -old_errors, kl, clip)
