"""What all rectified flows share: sampling by ODE or SDE, log-probs of the steps, matching errors.

A flow generator implements ``velocity``, ``shape`` and ``decode``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.generators.base import CleanStates, Generator, MatchingStats, StepStats, valid_mask
from rl3d.generators.sde import Sampling, gaussian_log_prob


@dataclass(frozen=True)
class FlowRollout:
    """Trajectories of B samples over T steps: ``states[t + 1]`` was drawn from
    N(``means[t]``, ``stds[t]``^2)."""

    condition: Any
    sampling: Sampling
    states: Float[Tensor, "t1 b u f"]
    means: Float[Tensor, "t b u f"]
    stds: Float[Tensor, "t"]
    log_probs: Float[Tensor, "t b"]

    @property
    def mask(self) -> Tensor:
        """A flow takes every step."""
        return valid_mask(self.log_probs)

    def __len__(self) -> int:
        return self.states.shape[1]

    def __getitem__(self, index: Tensor) -> FlowRollout:
        of = self.states[:, index], self.means[:, index], self.stds, self.log_probs[:, index]
        return FlowRollout(self.condition[index], self.sampling, *of)


class Flow(Generator):
    """A policy that integrates a velocity from noise (level 1) to a sample (level 0)."""

    default_options = Sampling(steps=8)
    exploration = Sampling(steps=8, noise=0.7, sde_type="cps")

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Units and numbers of a state, (U, F)."""

    @abstractmethod
    def velocity(
        self, x: Float[Tensor, "b u f"], sigma: Float[Tensor, "b"], condition: Any, guidance: float
    ) -> Float[Tensor, "b u f"]:
        """The network's velocity at noise levels ``sigma``, in float32."""

    def counted(self, final: Float[Tensor, "b u f"]) -> Float[Tensor, "b u f"]:
        """1 for the numbers that belong to a finished sample, 0 for those that mean nothing."""
        return torch.ones_like(final)

    def sample(
        self,
        condition: Any,
        *,
        seeds: Sequence[int],
        options: Sampling | None = None,
        initial_seeds: Sequence[int] | None = None,
    ) -> FlowRollout:
        with torch.no_grad():
            return self._integrate(condition, seeds, options, initial_seeds or seeds)

    def sample_with_gradient(
        self,
        condition: Any,
        *,
        seeds: Sequence[int],
        options: Sampling | None = None,
        initial_seeds: Sequence[int] | None = None,
        last: int | None = None,
    ) -> FlowRollout:
        return self._integrate(condition, seeds, options, initial_seeds or seeds, last)

    def _integrate(
        self,
        condition: Any,
        seeds: Sequence[int],
        options: Sampling | None,
        initial_seeds: Sequence[int],
        last: int | None = None,
    ) -> FlowRollout:
        """Only the ``last`` steps carry gradient; None: all."""
        sampling, count = options or self.default_options, len(condition)
        if len(seeds) != count:
            raise ValueError(f"{count} prompts need {count} seeds, got {len(seeds)}")

        def draws(seed: int, number: int) -> Tensor:
            # On the CPU whatever the device: the same seed means the same asset everywhere.
            return torch.randn((number, *self.shape), generator=torch.Generator().manual_seed(seed))

        x = torch.stack([draws(s, 1)[0] for s in initial_seeds], 0).to(self.device)
        # One stream per sample, apart from the initial noise's: samples do not depend on the batch
        # they are in.
        noise = (
            torch.stack([draws(s + 2**40, sampling.steps) for s in seeds], 1).to(self.device)
            if sampling.noise
            else None
        )
        states, means, stds = [x], [], sampling.stds()
        first = 0 if last is None else sampling.steps - last
        for step, sigma in enumerate(sampling.sigmas()[:-1]):
            with torch.set_grad_enabled(torch.is_grad_enabled() and step >= first):
                velocity = self.velocity(x, torch.full((count,), sigma, device=x.device), condition, sampling.guidance)
                mean = sampling.mean(x, velocity, step)
                x = mean if noise is None else mean + stds[step] * noise[step]
                means.append(mean)
                states.append(x)
        if noise is None:
            log_probs = torch.zeros(sampling.steps, count, device=x.device)
        else:
            counted = self.counted(x)
            steps = range(sampling.steps)
            log_probs = torch.stack([_log_prob(states[t + 1], means[t], stds[t], counted) for t in steps])
        levels = torch.tensor(stds, device=x.device)
        return FlowRollout(condition, sampling, torch.stack(states), torch.stack(means), levels, log_probs)

    def steps(self, rollout: FlowRollout) -> tuple[list[int], list[int]]:
        stds = rollout.sampling.stds()
        return [t for t, std in enumerate(stds) if std > 0], [t for t, std in enumerate(stds) if std == 0]

    def log_probs(self, rollout: FlowRollout, steps: Sequence[int]) -> StepStats:
        count, levels = len(rollout), rollout.sampling.sigmas()
        counted = self.counted(rollout.states[-1])
        means, log_probs = [], []
        for step in steps:
            x = rollout.states[step]
            sigma = torch.full((count,), levels[step], device=x.device)
            velocity = self.velocity(x, sigma, rollout.condition, rollout.sampling.guidance)
            mean = rollout.sampling.mean(x, velocity, step)
            means.append(mean)
            log_probs.append(_log_prob(rollout.states[step + 1], mean, float(rollout.stds[step]), counted))
        return StepStats(torch.stack(log_probs), distribution=torch.stack(means))

    def kl(
        self, rollout: FlowRollout, steps: Sequence[int], new: StepStats, reference: StepStats
    ) -> Float[Tensor, "s b"]:
        """KL of two Gaussians with the same std, (m - m_ref)^2 / (2 std^2), summed with
        ``kl_weights``.

        A step without noise is treated as if it had the smallest std of the others. It has no
        log-prob, but without a KL it would drift. The last step of cps places parts to the
        millimetre, and without this term it drifted until nothing stood (docs/results.md).
        """
        min_std = min((std for std in rollout.sampling.stds() if std > 0), default=1.0)
        stds = rollout.stds[list(steps)].clamp_min(min_std)
        return gaussian_kl(new.distribution, reference.distribution, stds, self.kl_weights(rollout))

    def unweighted_kl(
        self, rollout: FlowRollout, steps: Sequence[int], new: StepStats, reference: StepStats
    ) -> Float[Tensor, "s b"]:
        """The KL of steps with noise, averaged over numbers as ``log_probs`` is; 0 for others."""
        counted = self.counted(rollout.states[-1])
        weights, stds = counted / counted.sum((-1, -2), keepdim=True), rollout.stds[list(steps)]
        return gaussian_kl(new.distribution, reference.distribution, stds.masked_fill(stds == 0, torch.inf), weights)

    def clean(self, rollout: FlowRollout, step: int) -> CleanStates:
        """x - s v, with gradient to x but not through the network."""
        states = rollout.states[step + 1].detach().clone().requires_grad_()
        level = rollout.sampling.sigmas()[step + 1]
        samples = states
        if level:
            with torch.no_grad():
                sigma = torch.full((len(states),), level, device=states.device)
                velocity = self.velocity(states, sigma, rollout.condition, rollout.sampling.guidance)
            samples = states - level * velocity
        std = rollout.sampling.stds()[step]
        return CleanStates(states, std, replace(rollout, states=samples.unsqueeze(0)))

    def final(self, rollout: FlowRollout) -> Float[Tensor, "b u f"]:
        return rollout.states[-1]

    def matching(
        self, rollout: FlowRollout, sigmas: Float[Tensor, "d b"], noise: Float[Tensor, "d b u f"]
    ) -> MatchingStats:
        final = rollout.states[-1]
        counted = self.counted(final)
        errors, velocities, targets = [], [], []
        for sigma, e in zip(sigmas, noise, strict=True):
            at = sigma[:, None, None]
            velocity = self.velocity((1 - at) * final + at * e, sigma, rollout.condition, rollout.sampling.guidance)
            target = e - final
            velocities.append(velocity)
            targets.append(target)
            errors.append(((velocity - target) ** 2 * counted).sum(-1) / counted.sum((-1, -2)).unsqueeze(-1))
        return MatchingStats(torch.stack(errors), torch.stack(velocities), torch.stack(targets))

    def kl_weights(self, rollout: FlowRollout) -> Float[Tensor, "b u f"]:
        counted = self.counted(rollout.states[-1])
        return counted / counted.sum((-1, -2), keepdim=True)


def gaussian_kl(
    means: Float[Tensor, "s b u f"],
    reference: Float[Tensor, "s b u f"],
    stds: Float[Tensor, "s"],
    kl_weights: Float[Tensor, "b u f"],
) -> Float[Tensor, "s b"]:
    """KL of two Gaussians with the same std, (m - m_ref)^2 / (2 std^2), summed with weights."""
    variance = stds.view(-1, 1, 1, 1) ** 2
    return (((means - reference) ** 2 / (2 * variance)) * kl_weights).sum((-1, -2))


def _log_prob(x: Tensor, mean: Tensor, std: float, counted: Tensor) -> Tensor:
    # Averaged, not summed, over the counted numbers: a clip range then means the same for small and
    # large assets.
    if std == 0:
        return torch.zeros(len(x), device=x.device)
    return (gaussian_log_prob(x, mean, std) * counted).sum((-1, -2)) / counted.sum((-1, -2))
