"""What objectives over the steps of a rollout share: which steps they look at, the log-probs under
the policy that drew them, the KL to the reference policy."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience, Judgement, Metrics, Objective, Score
from rl3d.configs import at_least
from rl3d.generators.base import Generator, StepStats


@dataclass(frozen=True)
class StepObjective(Objective):
    """Settings of an objective over steps. A subclass gives ``policy_loss``, and perhaps advantages
    of its own."""

    needs = ("log-probs",)

    kl_weight: float = 0.0
    """Weight of the KL to the reference policy."""
    timesteps_per_iteration: int | None = None
    """Steps of each trajectory that the policy loss looks at, drawn anew in every iteration; 0 is
    all. None: 4, or all where one pass through the network gives them all (tokens). Deterministic
    steps come on top, the last one, for the KL alone."""

    recentred: bool = False
    """Whether the KL is added to log ratios, which without it are below 0 on average (GRPO-Guard,
    Wang et al., 2025). It costs a pass through the network."""

    def __post_init__(self) -> None:
        at_least(self, lr=0, kl_weight=0)
        if self.timesteps_per_iteration is not None:
            at_least(self, timesteps_per_iteration=0)

    @abstractmethod
    def policy_loss(
        self, new: Float[Tensor, "s b"], old: Float[Tensor, "s b"], advantages: Float[Tensor, "s b"]
    ) -> Float[Tensor, "s b"]:
        """The loss of each step, from its log-probs under the present policy and under the one that
        drew it."""

    def advantages(self, draw: Draw, judgement: Judgement) -> tuple[Float[Tensor, "b"], Float[Tensor, "b u"]]:
        """Of the samples, and of their units."""
        return judgement.advantages, judgement.unit_advantages

    def of_steps(
        self, policy: Any, rollout: Any, draw: Draw, judgement: Judgement, chosen: list[int]
    ) -> Float[Tensor, "b s"]:
        """The advantages of the chosen steps."""
        units = rollout.units[chosen] if hasattr(rollout, "units") else None
        return step_advantages(*self.advantages(draw, judgement), units, len(chosen)).to(policy.device)

    def drawn(self, policy: Any, draw: Draw) -> Draw:
        """How the rollouts of an iteration are drawn."""
        return draw

    def options(self, generator: type[Generator]) -> Any:
        return generator.exploration or generator.default_options

    def collect(self, policy: Any, draw: Draw, score: Score) -> Experience:
        draw = replace(self.drawn(policy, draw), shared_noise=True)
        rollout, asset = draw.sample(policy)
        noisy, deterministic = policy.steps(rollout)
        taken = rollout.mask.any(1).tolist()
        noisy = [step for step in noisy if taken[step]]
        if not noisy:
            raise ValueError(
                f"{self.name} needs rollouts with noise: give --sampling.noise above 0, and 2 steps or more for cps"
            )
        judgement = score(draw, asset)
        rng = np.random.default_rng([draw.seed, max(draw.iteration, 0), 1])
        number = self.timesteps_per_iteration
        if number is None:
            number = 0 if policy.parallel_steps else 4
        drawn = rng.permutation(noisy)[:number].tolist() if number else noisy
        chosen = drawn + deterministic[-1:]
        mask = rollout.mask[chosen]
        ratios = mask.clone()
        ratios[len(drawn) :] = False  # the ratio of a deterministic step is 1 by definition
        # Steps that count for nothing weigh nothing, the others so that they average to 1.
        weigh = lambda counted: (counted * (counted.numel() / counted.sum())).transpose(0, 1)  # noqa: E731
        tensors = {"weights": weigh(mask), "ratios": weigh(ratios), "number": torch.arange(len(rollout))}

        def stats(*names: str) -> list[Tensor]:
            pieces = [policy.log_probs(rollout[i], chosen) for i in draw.pieces(len(rollout))]
            return [torch.cat([getattr(piece, name) for piece in pieces], 1).transpose(0, 1) for name in names]

        with torch.no_grad():
            # One pass rounds differently from token after token, and the first ratio must be 1.
            if policy.parallel_steps or self.recentred:
                tensors["old"], old = stats("log_probs", "distribution")
            if self.recentred:
                tensors["old_distribution"] = old
            if not policy.parallel_steps:
                tensors["old"] = rollout.log_probs[chosen].transpose(0, 1)
            with policy.reference():
                (tensors["reference"],) = stats("distribution")
        advantages = self.of_steps(policy, rollout, draw, judgement, chosen)
        return Experience(
            rollout, advantages, tensors, tuple(chosen), draw.group_size, False, judgement, asset, draw, score
        )

    def loss(self, policy: Any, minibatch: Experience) -> tuple[Float[Tensor, ""], Metrics]:
        """Mean over steps and samples of the policy loss, plus ``kl_weight`` times the KL to the
        reference policy, each step with its weight."""
        names = "old", "weights", "ratios", "reference"
        old, weights, ratios, reference = (minibatch.tensors[name].transpose(0, 1) for name in names)
        new = policy.log_probs(minibatch.rollout, minibatch.steps)
        kl = policy.kl(minibatch.rollout, minibatch.steps, new, StepStats(old, distribution=reference))
        mean_kl = (kl * weights).mean()
        if self.recentred:
            drew = StepStats(old, distribution=minibatch.tensors["old_distribution"].transpose(0, 1))
            exact = getattr(policy, "unweighted_kl", policy.kl)
            old = old - exact(minibatch.rollout, minibatch.steps, drew, new)
        loss = (self.policy_loss(new.log_probs, old, minibatch.advantages.T) * weights).mean()
        loss = loss + self.kl_weight * mean_kl
        metrics = {"loss": loss.detach(), "kl": mean_kl.detach()}
        metrics |= ratio_metrics(new.log_probs, old, ratios, **clip_range(self))
        if new.entropy is not None:
            metrics["entropy"] = (new.entropy.detach() * weights).mean()
        return loss, metrics


@dataclass(frozen=True)
class ClippedObjective(StepObjective):
    """Settings of an objective with PPO's clipped loss."""

    clip: float = 5e-3
    """Range of the probability ratio around 1. Log-probs of a flow are averages over about 150
    numbers, so ratios stay near 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, clip=0)

    def policy_loss(
        self, new: Float[Tensor, "s b"], old: Float[Tensor, "s b"], advantages: Float[Tensor, "s b"]
    ) -> Float[Tensor, "s b"]:
        return clipped_policy_loss(new, old, advantages, self.clip)


def step_advantages(
    whole: Float[Tensor, "b"], of_units: Float[Tensor, "b u"], units: Int[Tensor, "s b"] | None, count: int
) -> Float[Tensor, "b s"]:
    """The advantage of every step: that of the unit (part) which the step draws, where units have
    advantages of their own, else that of the sample."""
    if units is None or of_units.shape[1] == 1:
        return whole.unsqueeze(1).expand(-1, count)
    units = units.T.to(of_units.device)
    own = of_units.gather(1, units.clamp(0, of_units.shape[1] - 1))
    return torch.where((units >= 0) & (units < of_units.shape[1]), own, whole.unsqueeze(1))


def clipped_policy_loss(
    log_probs: Float[Tensor, "s *b"],
    old_log_probs: Float[Tensor, "s *b"],
    advantages: Float[Tensor, "#s *b"],
    clip: float,
    clip_high: float | None = None,
) -> Float[Tensor, "s *b"]:
    """max(-A r, -A clip(r, 1 - clip, 1 + clip_high)) with r = exp(log p - log p_old).

    The pessimistic bound of PPO (Schulman et al., 2017). ``clip_high`` None is ``clip``.
    """
    ratio = (log_probs - old_log_probs).exp()
    high = clip if clip_high is None else clip_high
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + high))


def clip_range(objective: Objective) -> dict[str, float | None]:
    """The clip range of an objective's ratios, if it has one."""
    return {name: getattr(objective, name, None) for name in ("clip", "clip_high")}


@torch.no_grad()
def ratio_metrics(
    log_probs: Float[Tensor, "s *b"],
    old_log_probs: Float[Tensor, "s *b"],
    weights: Float[Tensor, "s *b"] | None = None,
    *,
    clip: float | None = None,
    clip_high: float | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Diagnostics of the importance ratio r.

    ``ratio_deviation``: mean abs(r - 1). ``clip_fraction``: fraction of ratios outside the clip
    range, if there is one (``clip_high`` None is ``clip``). ``approx_kl``: mean r - 1 - log r, an
    estimate of the KL between the old and the present policy (Schulman, Approximating KL
    divergence, 2020). ``weights`` average to 1 over the batch.
    """
    log_ratio = log_probs - old_log_probs
    off = torch.expm1(log_ratio)
    figures = {"ratio_deviation": off.abs(), "approx_kl": off - log_ratio}
    if clip is not None:
        high = clip if clip_high is None else clip_high
        figures["clip_fraction"] = ((off < -clip) | (off > high)).float()
    return {name: (value if weights is None else value * weights).mean() for name, value in figures.items()}
