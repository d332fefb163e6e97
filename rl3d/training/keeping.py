"""Keeping what a generator could do before a run: replay, and elastic weight consolidation.

Replay holds the predictions on samples of the start, for prompts of all kinds, to those of the
start (pseudo-rehearsal, Robins, 1995): it needs no training data, only prompts. Elastic weight
consolidation (EWC; Kirkpatrick et al., 2017) holds each weight by how much the start's samples
depend on it.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience, Metrics
from rl3d.algorithms.finished import distances, fit
from rl3d.generators.base import Generator, HasLogProbs, HasMatching

REPLAYED = 8
"""Prompts that are replayed in an update, each with a sample."""
FISHER_SAMPLES = 64
LEVELS = 4
"""Noise levels at which the samples of a flow are compared."""
STREAM = 2**31
"""Apart from the seeds of the run's own samples."""


class Keeping:
    """The start of a run, and how strongly the policy is held to it."""

    def __init__(self, policy: Generator, prompts: list[str], seed: int, *, replay: float, ewc: float) -> None:
        """``policy`` has the weights of the start. ValueError for one whose samples cannot be
        fitted."""
        if not isinstance(policy, (HasMatching, HasLogProbs)):
            raise ValueError(f"--replay and --ewc need matching or log-probs, which {policy.name!r} does not have")
        self.prompts, self.seed, self.replay, self.ewc = prompts, seed, replay, ewc
        self.start = copy.deepcopy(policy.network).requires_grad_(False)
        self.weights = [p.detach().clone() for p in policy.parameters()]
        self.fisher = self._fisher(policy) if ewc else []

    def loss(self, policy: Generator, iteration: int) -> tuple[Float[Tensor, ""], Metrics]:
        """What is added to the loss of an update. ``replay`` is the mean distance on replayed
        samples, ``ewc`` the weighted squared distance of the weights."""
        total, metrics = torch.zeros((), device=policy.device), {}
        if self.replay:
            with policy.using(self.start), torch.no_grad():
                samples = self._samples(policy, iteration, REPLAYED)
                start = fit(policy, samples)
            found = distances(policy, samples, fit(policy, samples), start).mean()
            total, metrics["replay"] = total + self.replay * found, found.detach()
        if self.ewc:
            pairs = zip(policy.parameters(), self.weights, self.fisher, strict=True)
            found = torch.stack([(f * (p - w).square()).sum() for p, w, f in pairs]).sum()
            total, metrics["ewc"] = total + 0.5 * self.ewc * found, found.detach()
        return total, metrics

    def _samples(self, policy: Any, iteration: int, count: int) -> Experience:
        """Samples, with the noise at which they are looked at; the same in every process."""
        rng = np.random.default_rng([self.seed, max(iteration, 0), STREAM])
        chosen = rng.choice(len(self.prompts), min(count, len(self.prompts)), replace=False)
        draw = Draw([self.prompts[i] for i in chosen], 1, iteration + STREAM, self.seed)
        rollout, _ = draw.sample(policy)
        tensors = {}
        if isinstance(policy, HasMatching):
            final, noise = policy.final(rollout), draw.torch_rng(3)
            tensors["sigmas"] = draw.group_levels(LEVELS, noise).to(final.device).transpose(0, 1)
            tensors["noise"] = draw.group_noise(LEVELS, *final.shape[1:], rng=noise).to(final.device).transpose(0, 1)
        return Experience(rollout, torch.zeros(len(rollout)), tensors)

    def _fisher(self, policy: Any) -> list[Tensor]:
        """Mean squared gradient of the log-likelihood of the start's own samples, by weight; the
        mean over all weights is 1, so that ``ewc`` means the same for all generators."""
        weights, sums = policy.parameters(), [torch.zeros_like(p) for p in policy.parameters()]
        samples = self._samples(policy, -1, FISHER_SAMPLES)
        for i in range(len(samples)):
            loss = fit(policy, samples[torch.tensor([i])]).log_likes.mean(0).sum()
            gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
            for total, gradient in zip(sums, gradients, strict=True):
                total += gradient.square()
        mean = sum(float(s.sum()) for s in sums) / sum(s.numel() for s in sums)
        return [s / max(mean, 1e-30) for s in sums]
