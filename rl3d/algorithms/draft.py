"""DRaFT-K: the gradient of the rewards themselves, through the renderer, the decoder and the last K
steps of sampling (Clark et al., 2024; AlignProp, Prabhudesai et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience, Metrics, Objective, Score
from rl3d.configs import at_least


@dataclass(frozen=True)
class DRaFT(Objective):
    """Settings of ``--objective draft``. Rewards without a gradient are measured, not learnt."""

    name = "draft"
    needs = ("sample gradient",)
    compares = False

    lr: float = 3e-5
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    last: int = 1
    """Sampling steps K that carry gradient. 1 has the least noise; more reach the coarse shape."""

    def __post_init__(self) -> None:
        at_least(self, lr=0, last=1)

    def collect(self, policy: Any, draw: Draw, score: Score) -> Experience:
        rollout, asset = draw.sample(policy)
        judgement = score(draw, asset)
        numbers = {"number": torch.arange(len(rollout))}
        return Experience(
            rollout, judgement.advantages, numbers, (), draw.group_size, False, judgement, asset, draw, score
        )

    def loss(self, policy: Any, minibatch: Experience) -> tuple[Float[Tensor, ""], Metrics]:
        """Minus the mean of the rewards of the same samples, drawn again with gradient. An asset
        that a reward cannot score counts for nothing."""
        draw, score = minibatch.draw, minibatch.score
        assert draw is not None and score is not None
        numbers = minibatch.tensors["number"].tolist()
        initial = None if draw.initial_seeds is None else [draw.initial_seeds[n] for n in numbers]
        rollout = policy.sample_with_gradient(
            minibatch.rollout.condition,
            seeds=[draw.seeds[n] for n in numbers],
            initial_seeds=initial,
            options=draw.options,
            last=self.last,
        )
        prompts = [draw.prompts[n // draw.group_size] for n in numbers]
        values = score.values(prompts, policy.decode(rollout), draw.azimuth_deg)
        loss = -torch.where(values.isfinite(), values, 0.0).mean()
        return loss, {"loss": loss.detach()}
