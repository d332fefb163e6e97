"""Gradient matching: the steps of the policy differ from those of the reference policy by the
gradient of the rewards (Nabla-GFlowNet, Liu et al., 2025; Nabla-R2D3, Liu et al., 2025).

The optimum of beta times the rewards minus the KL is p_ref exp(beta r): the score of a step that
leads to the state x is that of the reference policy plus beta times the gradient of r at x. The
reward of a state is that of the clean sample which the network predicts from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience, Metrics, Objective, Score
from rl3d.configs import above_0, at_least
from rl3d.generators.base import Generator


@dataclass(frozen=True)
class Nabla(Objective):
    """Settings of ``--objective nabla``. Rewards without a gradient are measured, not learnt."""

    name = "nabla"
    needs = ("log-probs", "clean states")
    compares = False

    lr: float = 3e-5
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    beta: float = 100.0
    """How much a reward of 1 counts against a KL of 1 to the reference policy."""
    furthest: float = 1.0
    """How far a step's mean should move from the reference policy's, at most: in standard
    deviations, as a root mean square over the numbers of a sample."""
    timesteps_per_iteration: int = 2
    """Steps with noise of each trajectory that are matched, drawn anew in every iteration."""

    def __post_init__(self) -> None:
        above_0(self, "beta", "furthest")
        at_least(self, lr=0, timesteps_per_iteration=1)

    def options(self, generator: type[Generator]) -> Any:
        return generator.exploration or generator.default_options

    def collect(self, policy: Any, draw: Draw, score: Score) -> Experience:
        rollout, asset = draw.sample(policy)
        judgement = score(draw, asset)
        noisy, _ = policy.steps(rollout)
        if not noisy:
            raise ValueError(f"{self.name} needs rollouts with noise: give --sampling.noise above 0")
        rng = np.random.default_rng([draw.seed, max(draw.iteration, 0), 1])
        chosen = rng.permutation(noisy)[: self.timesteps_per_iteration].tolist()
        tensors = [self._targets(policy, rollout[i], chosen, i, draw, score) for i in draw.pieces(len(rollout))]
        joined = {name: torch.cat([piece[name] for piece in tensors]) for name in tensors[0]}
        return Experience(
            rollout, judgement.advantages, joined, tuple(chosen), draw.group_size, judgement=judgement, asset=asset
        )

    def _targets(
        self, policy: Any, rollout: Any, steps: list[int], numbers: Tensor, draw: Draw, score: Score
    ) -> dict[str, Tensor]:
        """The means under the reference policy, the std of the steps, and how many std the means
        should move: std times beta times the gradient of the rewards. Each (B, S, ...)."""
        prompts = [draw.prompts[n // draw.group_size] for n in numbers.tolist()]
        moves, stds = [], []
        for step in steps:
            clean = policy.clean(rollout, step)
            values = score.values(prompts, policy.decode(clean.rollout), draw.azimuth_deg)
            total = torch.where(values.isfinite(), values, 0.0).sum()
            (gradient,) = torch.autograd.grad(total, clean.states)
            moves.append(held(gradient.nan_to_num(0.0) * clean.std * self.beta, self.furthest))
            stds.append(torch.full_like(gradient, clean.std))
        with torch.no_grad(), policy.reference():
            means = policy.log_probs(rollout, steps).distribution
        return {"means": means.transpose(0, 1), "moves": torch.stack(moves, 1), "stds": torch.stack(stds, 1)}

    def loss(self, policy: Any, minibatch: Experience) -> tuple[Float[Tensor, ""], Metrics]:
        """Half the squared distance to where the means should be, in standard deviations: a mean
        over numbers, steps and samples."""
        reference, moves, stds = (minibatch.tensors[k].transpose(0, 1) for k in ("means", "moves", "stds"))
        means = policy.log_probs(minibatch.rollout, minibatch.steps).distribution
        moved = (means - reference) / stds
        loss = 0.5 * (moved - moves).square().mean()
        return loss, {"loss": loss.detach(), "kl": 0.5 * moved.detach().square().mean()}


def held(moves: Float[Tensor, "b ..."], furthest: float) -> Float[Tensor, "b ..."]:
    """Moves of samples, each scaled down to a root mean square of at most ``furthest``."""
    size = moves.flatten(1).square().mean(1).sqrt()
    return moves * (furthest / size.clamp_min(furthest)).view(-1, *[1] * (moves.dim() - 1))
