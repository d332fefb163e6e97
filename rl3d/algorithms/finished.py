"""What objectives over finished samples share. They need no log-probs of steps, so samples may come
from any sampler, also from the deterministic one that makes kept assets.

Of a flow or a diffusion model, minus the matching error of a finished sample at drawn noise levels
stands in for its log-prob. Of a token model it is the log-prob itself, token by token.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience, Judgement, Metrics, Objective, Score
from rl3d.algorithms.steps import clip_range, ratio_metrics, step_advantages
from rl3d.configs import at_least
from rl3d.generators.base import Generator, HasMatching, StepStats


@dataclass(frozen=True)
class Fit:
    """How well a policy fits finished samples, with gradient."""

    log_likes: Float[Tensor, "d b u"]
    """Minus the matching error at D noise levels by unit; of tokens the log-probs of each of U
    tokens (D is 1), 0 for those that were not taken."""
    predictions: Tensor
    """What ``distances`` compares: velocities (D, B, U, F), or the log-probs of all values."""
    targets: Tensor | None = None
    """(D, B, U, F); None for tokens."""


@dataclass(frozen=True)
class FinishedObjective(Objective):
    """Settings of an objective over finished samples. A subclass gives ``sample_loss``."""

    needs = ("matching or log-probs",)

    kl_weight: float = 0.0
    """Weight of the distance to the reference policy."""
    timesteps_per_iteration: int = 4
    """Noise levels at which each sample of a flow is matched, drawn anew in every iteration. Tokens
    need none."""

    def __post_init__(self) -> None:
        at_least(self, lr=0, kl_weight=0, timesteps_per_iteration=1)

    @abstractmethod
    def sample_loss(self, policy: Any, minibatch: Experience, new: Fit, old: Fit, reference: Fit) -> Float[Tensor, ""]:
        """The loss without the distance to the reference policy. ``old`` is the fit of the policy
        that drew the samples, ``reference`` that of the reference policy, both without
        gradient."""

    def options(self, generator: type[Generator]) -> Any:
        explores = not issubclass(generator, HasMatching)
        return (generator.exploration if explores else None) or generator.default_options

    def chosen(self, draw: Draw, advantages: Float[Tensor, "b"]) -> tuple[Tensor, int] | None:
        """The samples that are learnt from, and how many of each prompt; their units then have the
        advantage of the sample. None: all samples."""
        return None

    def drawing(self, policy: Any, draw: Draw) -> AbstractContextManager[Any]:
        """In this context the policy has the weights that draw the samples."""
        return nullcontext()

    def collect(self, policy: Any, draw: Draw, score: Score) -> Experience:
        with self.drawing(policy, draw):
            rollout, asset = draw.sample(policy)
        judgement = score(draw, asset)
        advantages, size = unit_advantages(policy, rollout, judgement), draw.group_size
        tensors = {"number": torch.arange(len(rollout))} | self.noise(policy, draw, rollout)
        chosen = self.chosen(draw, judgement.advantages)
        if chosen is not None:
            index, size = chosen
            rollout, advantages = rollout[index], judgement.advantages[index].unsqueeze(1).to(advantages.device)
            tensors = {name: t[index] for name, t in tensors.items()}
        samples = Experience(rollout, advantages, tensors, (), size, True, judgement, asset, draw, score)
        return self.with_fits(policy, samples, draw)

    def noise(self, policy: Any, draw: Draw, rollout: Any) -> dict[str, Tensor]:
        """Levels and noise at which the samples of a flow are matched; nothing for tokens."""
        if not isinstance(policy, HasMatching):
            return {}
        final, rng, count = policy.final(rollout), draw.torch_rng(1), self.timesteps_per_iteration
        sigmas = draw.group_levels(count, rng).to(final.device)
        noise = draw.group_noise(count, *final.shape[1:], rng=rng).to(final.device)
        return {"sigmas": sigmas.transpose(0, 1), "noise": noise.transpose(0, 1)}

    def with_fits(self, policy: Any, samples: Experience, draw: Draw) -> Experience:
        """The samples with how well the old and the reference policy fit them."""

        def fits(name: str) -> dict[str, Tensor]:
            found = [fit(policy, samples[i]) for i in draw.pieces(len(samples))]
            joined = {k: torch.cat([getattr(f, k) for f in found], 1) for k in ("log_likes", "predictions")}
            return {f"{name}.{k}": t.transpose(0, 1) for k, t in joined.items()}

        with torch.no_grad():
            known = {}
            if draw.updates > 1 or draw.memory is not None:  # else the present policy, in its only update
                with self.drawing(policy, draw):
                    known |= fits("old")
            with policy.reference():
                known |= fits("reference")
        return replace(samples, tensors=samples.tensors | known)

    def loss(self, policy: Any, minibatch: Experience) -> tuple[Float[Tensor, ""], Metrics]:
        new = fit(policy, minibatch)
        reference, old = _kept("reference", minibatch), _kept("old", minibatch)
        old = old or Fit(new.log_likes.detach(), new.predictions.detach())
        assert reference is not None
        kl = distances(policy, minibatch, new, reference).mean()
        loss = self.sample_loss(policy, minibatch, new, old, reference) + self.kl_weight * kl
        metrics = {"loss": loss.detach(), "kl": kl.detach()}
        taken = None if new.targets is not None else minibatch.rollout.mask.T.expand_as(new.log_likes)
        weights = None if taken is None else taken * (taken.numel() / taken.sum())
        return loss, metrics | ratio_metrics(*self.likes(new, old), weights, **clip_range(self))

    def likes(self, new: Fit, old: Fit) -> tuple[Float[Tensor, "d b u"], Float[Tensor, "d b u"]]:
        """What stands for log-probs in ratios, under the present policy and the one that drew."""
        return new.log_likes, old.log_likes


def _kept(name: str, minibatch: Experience) -> Fit | None:
    if f"{name}.log_likes" not in minibatch.tensors:
        return None
    return Fit(*(minibatch.tensors[f"{name}.{k}"].transpose(0, 1) for k in ("log_likes", "predictions")))


def fit(policy: Any, experience: Experience) -> Fit:
    """How well the present policy fits the samples."""
    rollout, tensors = experience.rollout, experience.tensors
    if isinstance(policy, HasMatching):
        found = policy.matching(rollout, tensors["sigmas"].transpose(0, 1), tensors["noise"].transpose(0, 1))
        return Fit(-found.errors, found.predictions, found.targets)
    stats = policy.log_probs(rollout, policy.steps(rollout)[0])
    return Fit((stats.log_probs * rollout.mask).T.unsqueeze(0), stats.distribution.transpose(0, 1).unsqueeze(0))


def distances(policy: Any, experience: Experience, new: Fit, other: Fit) -> Float[Tensor, "d b"]:
    """How far the predictions are from others: of flows the weighted squared distance, to
    which the KL between two flows is proportional; of tokens the KL, a mean over tokens."""
    if new.targets is not None:
        return ((new.predictions - other.predictions) ** 2 * policy.kl_weights(experience.rollout)).sum((-1, -2))
    steps = policy.steps(experience.rollout)[0]
    one, two = (StepStats(f.log_likes[0].T, distribution=f.predictions[0].transpose(0, 1)) for f in (new, other))
    mask = experience.rollout.mask
    kl = policy.kl(experience.rollout, steps, one, two) * mask
    return (kl.sum(0) / mask.sum(0)).unsqueeze(0)


def unit_advantages(policy: Any, rollout: Any, judgement: Judgement) -> Float[Tensor, "b u"]:
    """Of every unit of a sample's state, or of every token: that of its sample, where it was not
    judged by itself."""
    if not isinstance(policy, HasMatching):
        units = rollout.units if hasattr(rollout, "units") else None
        count = len(rollout.log_probs)
        return step_advantages(judgement.advantages, judgement.unit_advantages, units, count).to(policy.device)
    final = policy.final(rollout)
    by_unit = policy.units_are_parts
    judged = judgement.unit_advantages if by_unit else judgement.advantages.unsqueeze(1)
    rest = judgement.advantages.unsqueeze(1).expand(-1, final.shape[1] - judged.shape[1])
    return torch.cat([judged, rest], 1).to(final.device)
