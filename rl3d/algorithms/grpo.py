"""GRPO over the steps of a rollout: Flow-GRPO for flows sampled by an SDE (Liu et al., 2025), and
GRPO on tokens for autoregressive policies (Shao et al., DeepSeekMath, 2024).

The noise is a setting of the sampler: --sampling.sde-type flow is Flow-GRPO's, dance DanceGRPO's
(Xue et al., 2025), cps coefficient-preserving (Wang and Yu, 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.steps import ClippedObjective, clipped_policy_loss
from rl3d.configs import at_least


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_high is not None:
            at_least(self, clip_high=0)

    def policy_loss(
        self, new: Float[Tensor, "s b"], old: Float[Tensor, "s b"], advantages: Float[Tensor, "s b"]
    ) -> Float[Tensor, "s b"]:
        return clipped_policy_loss(new, old, advantages, self.clip, self.clip_high)
