"""Rewards to advantages: how much better a sample is than the others made for the same prompt."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def group_normalized(rewards: Float[Tensor, "b g"], floor: float = 0.05) -> Float[Tensor, "b g"]:
    """(r - mean) / (std + floor) within each prompt's group (GRPO; Shao et al., DeepSeekMath,
    2024).

    ``floor`` keeps a group whose rewards barely differ from turning their noise into advantages of
    size 1."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True, correction=0) + floor)


def gdpo(
    rewards: dict[str, Float[Tensor, "b g"]],
    weights: dict[str, float],
    floor: float = 0.05,
    credit: dict[str, Float[Tensor, "b g u"]] | None = None,
) -> Float[Tensor, "b g"] | Float[Tensor, "b g u"]:
    """Advantages of several rewards: each normalised in its groups, then weighted, summed and
    normalised over the batch.

    The scale of a reward therefore does not matter, only its weight (GDPO; Liu et al., 2026). A
    weight of 0 leaves it out.

    With ``credit``, what some of the rewards say of each unit (part) of a sample, NaN for one that
    is not there, advantages are a unit's: the sample's, plus how much better the unit did than the
    same unit of the group's other samples."""
    missing = weights.keys() - rewards.keys()
    if missing or not any(weights.values()):
        raise ValueError(f"weights must name the rewards {sorted(rewards)} and not all be 0, got {weights}")
    total = torch.stack(
        [weights[name] * group_normalized(rewards[name], floor) for name in weights if weights[name]]
    ).sum(0)
    # Floored again: a batch in which every group ties must not be blown up either.
    scale = total.std(correction=0) + 0.1
    if credit is None:
        return total / scale
    units = total.unsqueeze(-1)
    for name, values in credit.items():
        units = units + weights[name] * _unit_advantages(values, floor)
    return units / scale


def _unit_advantages(credit: Float[Tensor, "b g u"], floor: float) -> Float[Tensor, "b g u"]:
    """``group_normalized`` for every unit apart, over the samples that have it; 0 for those that do
    not."""
    centred = credit - credit.nanmean(1, keepdim=True)
    std = centred.square().nanmean(1, keepdim=True).sqrt()
    return (centred / (std + floor)).nan_to_num(0.0)
