"""Advantage-weighted matching: policy optimisation over the matching loss of finished samples
(Xue et al., AWM, 2025).

The error of the prediction on a noised sample stands in for -log p of the sample. Unlike a step of
the reverse SDE, its target is the sample itself and not that sample's noise, so its gradient is far
less noisy. Samples may come from any sampler, also from the deterministic one that makes kept
assets. The error is a sum over the units (parts) of a sample, so a floating part can have another
advantage than the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience, Metrics, Objective, Score
from rl3d.algorithms.ratio import clipped_policy_loss, ratio_metrics
from rl3d.configs import at_least
from rl3d.generators.base import MatchingStats


@dataclass(frozen=True)
class AWM(Objective):
    """Settings of ``--objective awm``."""

    name = "awm"
    needs = ("matching",)

    lr: float = 1e-4
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    clip: float = 5e-3
    """Range of the probability ratio around 1. The stand-in for the log-prob is an average over
    about 150 numbers, so ratios stay near 1."""
    kl_weight: float = 0.1
    """Weight of the KL to the reference policy."""
    timesteps_per_iteration: int = 3
    """Noise levels at which each sample is matched, drawn anew in every iteration."""

    def __post_init__(self) -> None:
        at_least(self, lr=0, clip=0, kl_weight=0, timesteps_per_iteration=1)

    def collect(self, policy: Any, draw: Draw, score: Score) -> Experience:
        rollout, asset = draw.sample(policy)
        judgement = score(draw, asset)
        final = policy.final(rollout)
        rng, count = draw.torch_rng(1), self.timesteps_per_iteration
        sigmas = draw.group_levels(count, rng).to(final.device)
        noise = draw.group_noise(count, *final.shape[1:], rng=rng).to(final.device)
        tensors = {"sigmas": sigmas.transpose(0, 1), "noise": noise.transpose(0, 1)}

        def matched() -> list[MatchingStats]:
            return [policy.matching(rollout[i], sigmas[:, i], noise[:, i]) for i in draw.pieces(len(rollout))]

        with torch.no_grad():
            with policy.reference():
                tensors["reference"] = torch.cat([m.predictions for m in matched()], 1).transpose(0, 1)
            if draw.updates > 1:  # the policy that drew the samples; for a single step it is the present one
                tensors["old"] = torch.cat([m.errors for m in matched()], 1).transpose(0, 1)
        by_unit = policy.units_are_parts
        judged = judgement.unit_advantages if by_unit else judgement.advantages.unsqueeze(1)
        # Units that were not judged, such as unused slots, have the advantage of their sample.
        rest = judgement.advantages.unsqueeze(1).expand(-1, final.shape[1] - judged.shape[1])
        advantages = torch.cat([judged, rest], 1).to(final.device)
        return Experience(rollout, advantages, tensors, judgement=judgement, asset=asset)

    def loss(self, policy: Any, minibatch: Experience) -> tuple[Float[Tensor, ""], Metrics]:
        sigmas, noise, reference = (minibatch.tensors[n].transpose(0, 1) for n in ("sigmas", "noise", "reference"))
        new = policy.matching(minibatch.rollout, sigmas, noise)
        old = minibatch.tensors["old"].transpose(0, 1) if "old" in minibatch.tensors else new.errors.detach()
        weights = policy.kl_weights(minibatch.rollout)
        return awm_loss(new, old, minibatch.advantages, reference, weights, clip=self.clip, kl_weight=self.kl_weight)


def awm_loss(
    new: MatchingStats,
    old_errors: Float[Tensor, "d b u"],
    advantages: Float[Tensor, "b u"],
    reference: Float[Tensor, "d b u f"],
    kl_weights: Float[Tensor, "b u f"],
    *,
    clip: float,
    kl_weight: float,
) -> tuple[Float[Tensor, ""], Metrics]:
    """Clipped policy loss with -error as the log-prob: the mean over draws and samples of the sum
    over units. Plus ``kl_weight`` times the squared distance of the predictions to the
    ``reference`` policy's, to which the KL between two flows is proportional; ``kl_weights`` weigh
    its elements."""
    policy = clipped_policy_loss(-new.errors, -old_errors, advantages.unsqueeze(0), clip)
    kl = ((new.predictions - reference) ** 2 * kl_weights).sum((-1, -2)).mean()
    loss = policy.sum(-1).mean() + kl_weight * kl
    metrics = {"loss": loss.detach(), "kl": kl.detach(), **ratio_metrics(-new.errors, -old_errors, clip)}
    return loss, metrics
