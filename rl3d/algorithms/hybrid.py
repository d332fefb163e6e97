"""The policy gradient of any objective plus the gradient of the rewards through the renderer.

The policy gradient knows all rewards, and is noisy. The pathwise gradient (DRaFT) is less so, but
only some rewards have one, and it sees no further than the last steps of sampling. Both are
measured on two halves of the samples, so every iteration says how noisy they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl3d.algorithms.base import Draw, Experience, Metrics, Objective, Score
from rl3d.algorithms.distill import Distill
from rl3d.algorithms.draft import DRaFT
from rl3d.algorithms.load import usual_objective
from rl3d.algorithms.nabla import Nabla
from rl3d.algorithms.pairs import PairObjective
from rl3d.configs import at_least
from rl3d.generators.base import Generator


@dataclass(frozen=True)
class Hybrid(Objective):
    """Settings of ``--objective hybrid``."""

    name = "hybrid"
    needs = ("sample gradient",)
    compares = False

    lr: float = 1e-4
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    policy_objective: str = ""
    """The objective of the policy gradient, with the settings that suit the generator. Empty: the
    generator's usual one."""
    pathwise: float = 1.0
    """Length of the pathwise gradient, as a multiple of that of the policy gradient."""
    last: int = 1
    """Sampling steps that carry the pathwise gradient."""

    def __post_init__(self) -> None:
        at_least(self, lr=0, pathwise=0, last=1)

    def base(self, generator: type[Generator]) -> Objective:
        """The objective of the policy gradient. ValueError for one that has none."""
        found = usual_objective(generator, self.policy_objective or None)
        if isinstance(found, (DRaFT, Nabla, Hybrid, PairObjective, Distill)):
            raise ValueError(
                f"--policy-objective {found.name} has no policy gradient of all samples: choose another one"
            )
        return found

    def check(self, policy: Generator) -> None:
        super().check(policy)
        self.base(type(policy)).check(policy)

    def options(self, generator: type[Generator]) -> Any:
        return self.base(generator).options(generator)

    def memory(self, policy: Generator) -> nn.Module | None:
        return self.base(type(policy)).memory(policy)

    def remember(self, policy: Generator, memory: nn.Module | None, iteration: int) -> None:
        self.base(type(policy)).remember(policy, memory, iteration)

    def collect(self, policy: Any, draw: Draw, score: Score) -> Experience:
        if draw.micro_batch:
            raise ValueError("hybrid needs all samples of an update at once: leave --micro-batch out")
        return self.base(type(policy)).collect(policy, draw, score)

    def loss(self, policy: Any, minibatch: Experience) -> tuple[Float[Tensor, ""], Metrics]:
        """The loss of the policy gradient, with the gradient of both. ``policy_noise`` and
        ``pathwise_noise`` are the variance of each gradient over its squared length."""
        weights, halves = policy.parameters(), minibatch.halves()
        first = _gradient(self.base(type(policy)), policy, halves, weights)
        second = _gradient(DRaFT(last=self.last), policy, halves, weights)
        scale = self.pathwise * first.value.norm() / second.value.norm().clamp_min(1e-12)
        both = first.value + scale * second.value
        flat = torch.cat([w.flatten() for w in weights])
        along = flat @ both
        metrics = first.metrics | {"policy_noise": first.noise, "pathwise_noise": second.noise}
        return metrics["loss"] + along - along.detach(), metrics


@dataclass(frozen=True)
class _Gradient:
    value: Float[Tensor, "n"]
    noise: Float[Tensor, ""]
    metrics: Metrics


@torch.enable_grad()
def _gradient(objective: Objective, policy: Any, halves: list[Experience], weights: list[nn.Parameter]) -> _Gradient:
    """The gradient of a loss, a mean over the samples of the halves."""
    found, figures = [], []
    for half in halves:
        loss, metrics = objective.loss(policy, half)
        gradient = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        found.append(torch.cat([g.flatten() for g in gradient]))
        figures.append(metrics)
    share = torch.tensor([len(half) for half in halves], device=found[0].device)
    share = share / share.sum()
    means = {name: torch.stack([one[name] for one in figures]) @ share for name in figures[0]}
    return _Gradient(torch.stack(found, 1) @ share, noise(found), means)


def noise(gradients: list[Float[Tensor, "n"]]) -> Float[Tensor, ""]:
    """Variance of the mean of two gradients, over its squared length. NaN for one alone."""
    if len(gradients) < 2:
        return torch.tensor(torch.nan)
    one, two = gradients
    return (one - two).square().sum() / (one + two).square().sum()
