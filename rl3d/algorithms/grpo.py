"""GRPO over the steps of a rollout: Flow-GRPO for flows sampled by an SDE (Liu et al., 2025), and
GRPO on tokens for autoregressive policies (Shao et al., DeepSeekMath, 2024).

The noise is a setting of the sampler: --sampling.sde-type flow is Flow-GRPO's, dance DanceGRPO's
(Xue et al., 2025), cps coefficient-preserving (Wang and Yu, 2025). --window is MixGRPO's (Li et
al., 2025), --recentred GRPO-Guard's ratio, --coarse the two stages of Hi-GRPO (AR3D-R1, Tang et
al., 2025) within one rollout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Judgement
from rl3d.algorithms.steps import ClippedObjective, clipped_policy_loss
from rl3d.configs import at_least
from rl3d.generators.base import Generator
from rl3d.generators.sde import MOST_STEPS, Sampling


@dataclass(frozen=True)
class GRPO(ClippedObjective):
    """Settings of ``--objective grpo``."""

    name = "grpo"

    lr: float = 3e-5
    """Peak learning rate of AdamW. It falls to a fiftieth over the run. Most of an advantage is
    noise, which Adam turns into a random walk of this step: 1e-4 wrecked a good flow within 20
    iterations."""
    clip_high: float | None = None
    """How far above 1 the ratio may be. None: ``clip``. Higher keeps unlikely tokens alive (DAPO;
    Yu et al., 2025)."""
    kl_weight: float = 0.5
    """Weight of the KL to the reference policy."""
    window: int = 0
    """How many steps of a flow's rollout have noise, and are learnt from. The window moves on by a
    step every ``window_every`` iterations, and from the end back to the start. 0: all steps."""
    window_every: int = 5
    """Iterations between two moves of the window."""
    coarse: str = ""
    """Rewards, NAME+NAME, that count in the steps that make the coarse shape; the others count in
    the steps that make detail and colour. Empty: all rewards count everywhere."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, window=0, window_every=1)
        if self.clip_high is not None:
            at_least(self, clip_high=0)

    def check(self, policy: Generator) -> None:
        super().check(policy)
        if self.window and not isinstance(policy.default_options, Sampling):
            raise ValueError(f"--window is for flows, and {policy.name!r} is none: leave it out")

    def drawn(self, policy: Any, draw: Draw) -> Draw:
        """With noise in the steps of the window."""
        if not self.window:
            return draw
        options = draw.options or self.options(type(policy))
        noisy = sum(std > 0 for std in replace(options, noise_from=0, noise_until=MOST_STEPS).stds())
        places = max(noisy - self.window, 0) + 1  # the last step of cps has no noise
        first = max(draw.iteration, 0) // self.window_every % places
        return replace(draw, options=replace(options, noise_from=first, noise_until=first + self.window))

    def of_steps(
        self, policy: Any, rollout: Any, draw: Draw, judgement: Judgement, chosen: list[int]
    ) -> Float[Tensor, "b s"]:
        if not self.coarse:
            return super().of_steps(policy, rollout, draw, judgement, chosen)
        assert judgement.among is not None
        names = {name.strip() for name in self.coarse.split("+")}
        coarse, fine = (
            super(GRPO, self).of_steps(policy, rollout, draw, judgement.among(some), chosen)
            for some in (names, judgement.scores.keys() - names)
        )
        return torch.where(policy.coarse(rollout)[chosen], coarse, fine)

    def policy_loss(
        self, new: Float[Tensor, "s b"], old: Float[Tensor, "s b"], advantages: Float[Tensor, "s b"]
    ) -> Float[Tensor, "s b"]:
        return clipped_policy_loss(new, old, advantages, self.clip, self.clip_high)
