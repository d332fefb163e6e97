"""GRPO over the steps of a rollout: Flow-GRPO for flows sampled by an SDE (Liu et al., 2025), and
GRPO on tokens for autoregressive policies (Shao et al., DeepSeekMath, 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience, Metrics, Objective, Score
from rl3d.algorithms.ratio import clipped_policy_loss, ratio_metrics
from rl3d.configs import at_least
from rl3d.generators.base import HasLogProbs, StepStats, repeat


@dataclass(frozen=True)
class GRPO(Objective):
    """Settings of ``--objective grpo``."""

    name = "grpo"
    needs = ("log-probs",)
    explores = True

    lr: float = 3e-5
    """Peak learning rate of AdamW. It falls to a fiftieth over the run. Most of an advantage is
    noise, which Adam turns into a random walk of this step: 1e-4 wrecked a good flow within 20
    iterations."""
    clip: float = 5e-3
    """Range of the probability ratio around 1. Log-probs of a flow are averages over about 150
    numbers, so ratios stay near 1."""
    kl_weight: float = 0.5
    """Weight of the KL to the reference policy."""
    timesteps_per_iteration: int = 4
    """Steps of each trajectory that the policy loss looks at, drawn anew in every iteration; 0 is
    all. Deterministic steps come on top, for the KL alone."""

    def __post_init__(self) -> None:
        at_least(self, lr=0, clip=0, kl_weight=0, timesteps_per_iteration=0)

    def collect(self, policy: HasLogProbs, draw: Draw, score: Score) -> Experience:
        condition = repeat(policy.condition(draw.prompts), draw.group_size)  # type: ignore[attr-defined]
        rollout = policy.sample(  # type: ignore[attr-defined]
            condition, seeds=draw.seeds, initial_seeds=draw.group_seeds, options=draw.options
        )
        noisy, deterministic = policy.steps(rollout)
        if not noisy:
            raise ValueError(
                "grpo needs rollouts with noise: give --sampling.noise above 0, and 2 steps or more for cps"
            )
        asset = policy.decode(rollout)  # type: ignore[attr-defined]
        judgement = score(draw, asset)
        rng = np.random.default_rng([draw.seed, max(draw.iteration, 0), 1])
        chosen = rng.permutation(noisy)[: self.timesteps_per_iteration or None].tolist() + deterministic
        mask = rollout.mask[chosen]
        tensors = {
            "old": rollout.log_probs[chosen].transpose(0, 1),
            # Steps that were not taken weigh nothing, the others so that they average to 1.
            "weights": (mask * (mask.numel() / mask.sum())).transpose(0, 1),
        }
        with torch.no_grad(), policy.reference():  # type: ignore[attr-defined]
            tensors["reference"] = policy.log_probs(rollout, chosen).distribution.transpose(0, 1)
        advantages = judgement.advantages.to(mask.device)
        return Experience(rollout, advantages, tensors, tuple(chosen), judgement, asset)

    def loss(self, policy: HasLogProbs, minibatch: Experience) -> tuple[Float[Tensor, ""], Metrics]:
        old, weights, reference = (minibatch.tensors[n].transpose(0, 1) for n in ("old", "weights", "reference"))
        new = policy.log_probs(minibatch.rollout, minibatch.steps)
        kl = policy.kl(minibatch.rollout, minibatch.steps, new, StepStats(old, distribution=reference))
        loss, metrics = grpo_loss(
            new.log_probs, old, minibatch.advantages, kl, weights, clip=self.clip, kl_weight=self.kl_weight
        )
        if new.entropy is not None:
            metrics["entropy"] = (new.entropy.detach() * weights).mean()
        return loss, metrics


def grpo_loss(
    log_probs: Float[Tensor, "s b"],
    old_log_probs: Float[Tensor, "s b"],
    advantages: Float[Tensor, "b"],
    kl: Float[Tensor, "s b"],
    weights: Float[Tensor, "s b"],
    *,
    clip: float,
    kl_weight: float,
) -> tuple[Float[Tensor, ""], Metrics]:
    """Mean over steps and samples of the clipped policy loss plus ``kl_weight`` times the KL to the
    reference policy, each step with its weight."""
    policy = clipped_policy_loss(log_probs, old_log_probs, advantages, clip)
    mean_kl = (kl * weights).mean()
    loss = (policy * weights).mean() + kl_weight * mean_kl
    taken = weights > 0
    metrics = {"loss": loss.detach(), "kl": mean_kl.detach()}
    return loss, metrics | ratio_metrics(log_probs[taken], old_log_probs[taken], clip)
