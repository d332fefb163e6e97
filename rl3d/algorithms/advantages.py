"""Rewards to advantages: how much better a sample is than the others made for the same prompt."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def group_normalized(rewards: Float[Tensor, "b g"], floor: float = 0.05) -> Float[Tensor, "b g"]:
    """(r - mean) / (std + floor) within each prompt's group (GRPO; Shao et al., DeepSeekMath, 2024).

    ``floor`` keeps a group whose rewards barely differ from turning their noise into advantages of size 1.
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True, correction=0) + floor)


def gdpo(rewards: dict[str, Float[Tensor, "b g"]], weights: dict[str, float], floor: float = 0.05) -> Float[Tensor, "b g"]:
    """Advantages of several rewards: each normalised in its groups, then weighted, summed and normalised over the batch.

    The scale of a reward therefore does not matter, only its weight (GDPO; Liu et al., 2026). A weight of 0 leaves it out.
    """
    missing = weights.keys() - rewards.keys()
    if missing or not any(weights.values()):
        raise ValueError(f"weights must name the rewards {sorted(rewards)} and not all be 0, got {weights}")
    total = torch.stack([weights[name] * group_normalized(rewards[name], floor) for name in weights if weights[name]]).sum(0)
    # Floored again: a batch in which every group ties must not be blown up either.
    return total / (total.std(correction=0) + 0.1)
