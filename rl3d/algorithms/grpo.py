"""GRPO over the steps of a rollout: Flow-GRPO for flows sampled by an SDE (Liu et al., 2025), and
GRPO on tokens for autoregressive policies (Shao et al., DeepSeekMath, 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience, Judgement, Metrics, Objective, Score
from rl3d.algorithms.ratio import clipped_policy_loss, ratio_metrics
from rl3d.configs import at_least
from rl3d.generators.base import StepStats


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
    timesteps_per_iteration: int | None = None
    """Steps of each trajectory that the policy loss looks at, drawn anew in every iteration; 0 is
    all. None: 4, or all where one pass through the network gives them all (tokens). Deterministic
    steps come on top, for the KL alone."""

    def __post_init__(self) -> None:
        at_least(self, lr=0, clip=0, kl_weight=0)
        if self.timesteps_per_iteration is not None:
            at_least(self, timesteps_per_iteration=0)

    def collect(self, policy: Any, draw: Draw, score: Score) -> Experience:
        rollout, asset = draw.sample(policy, shared_noise=True)
        noisy, deterministic = policy.steps(rollout)
        taken = rollout.mask.any(1).tolist()
        noisy = [step for step in noisy if taken[step]]
        if not noisy:
            raise ValueError(
                "grpo needs rollouts with noise: give --sampling.noise above 0, and 2 steps or more for cps"
            )
        judgement = score(draw, asset)
        rng = np.random.default_rng([draw.seed, max(draw.iteration, 0), 1])
        number = self.timesteps_per_iteration
        if number is None:
            number = 0 if policy.parallel_steps else 4
        drawn = rng.permutation(noisy)[:number].tolist() if number else noisy
        chosen = drawn + deterministic
        mask = rollout.mask[chosen]
        ratios = mask.clone()
        ratios[len(drawn) :] = False  # the ratio of a deterministic step is 1 by definition
        # Steps that count for nothing weigh nothing, the others so that they average to 1.
        weigh = lambda counted: (counted * (counted.numel() / counted.sum())).transpose(0, 1)  # noqa: E731
        tensors = {"weights": weigh(mask), "ratios": weigh(ratios)}

        def stats(name: str) -> Tensor:
            pieces = [getattr(policy.log_probs(rollout[i], chosen), name) for i in draw.pieces(len(rollout))]
            return torch.cat(pieces, 1).transpose(0, 1)

        with torch.no_grad():
            # One pass rounds differently from token after token, and the first ratio must be 1.
            parallel = policy.parallel_steps
            tensors["old"] = stats("log_probs") if parallel else rollout.log_probs[chosen].transpose(0, 1)
            with policy.reference():
                tensors["reference"] = stats("distribution")
        units = rollout.units[chosen] if hasattr(rollout, "units") else None
        advantages = step_advantages(judgement, units, len(chosen))
        return Experience(rollout, advantages.to(mask.device), tensors, tuple(chosen), judgement, asset)

    def loss(self, policy: Any, minibatch: Experience) -> tuple[Float[Tensor, ""], Metrics]:
        names = "old", "weights", "ratios", "reference"
        old, weights, ratios, reference = (minibatch.tensors[name].transpose(0, 1) for name in names)
        new = policy.log_probs(minibatch.rollout, minibatch.steps)
        kl = policy.kl(minibatch.rollout, minibatch.steps, new, StepStats(old, distribution=reference))
        loss, metrics = grpo_loss(
            new.log_probs, old, minibatch.advantages.T, kl, weights, clip=self.clip, kl_weight=self.kl_weight
        )
        metrics |= ratio_metrics(new.log_probs, old, self.clip, ratios)
        if new.entropy is not None:
            metrics["entropy"] = (new.entropy.detach() * weights).mean()
        return loss, metrics


def step_advantages(judgement: Judgement, units: Int[Tensor, "s b"] | None, count: int) -> Float[Tensor, "b s"]:
    """The advantage of every step: that of the unit (part) which the step draws, where units have
    advantages of their own, else that of the sample."""
    whole, of_units = judgement.advantages, judgement.unit_advantages
    if units is None or of_units.shape[1] == 1:
        return whole.unsqueeze(1).expand(-1, count)
    units = units.T.to(of_units.device)
    own = of_units.gather(1, units.clamp(0, of_units.shape[1] - 1))
    return torch.where((units >= 0) & (units < of_units.shape[1]), own, whole.unsqueeze(1))


def grpo_loss(
    log_probs: Float[Tensor, "s b"],
    old_log_probs: Float[Tensor, "s b"],
    advantages: Float[Tensor, "#s b"],
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
    return loss, {"loss": loss.detach(), "kl": mean_kl.detach()}
