"""Rewards to advantages: how much better a sample is than the others of the same prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor


def group_normalized(rewards: Float[Tensor, "p g"], floor: float = 0.05) -> Float[Tensor, "p g"]:
    """(r - mean) / (std + floor) within each prompt's group (GRPO; Shao et al., DeepSeekMath,
    2024).

    ``floor`` keeps small advantages small: without it, a group whose rewards differ only by noise
    would have advantages of size 1.
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True, correction=0) + floor)


def gdpo(
    rewards: Mapping[str, Float[Tensor, "p g"]],
    weights: Mapping[str, float],
    *,
    per_part_reward: Mapping[str, Float[Tensor, "p g u"]] | None = None,
    floor: float = 0.05,
    gather: Callable[[Tensor], Tensor] = lambda local: local,
) -> tuple[Float[Tensor, "p g"], Float[Tensor, "p g u"]]:
    """Advantages of several rewards (GDPO; Liu et al., 2026), of samples and of their units.

    Each reward is normalised within its groups, weighted, summed, and normalised over the batch.
    The scale of a reward therefore does not matter, only its weight. A weight of 0 leaves it out.

    ``per_part_reward`` has the per-part rewards of each unit (part) of a sample, NaN for a unit
    that does not exist. A unit's advantage is that of its sample, plus how much better the unit is
    than the same unit of the group's other samples. Without per-part rewards, U is 1. ``gather``
    joins the prompts of all processes: the batch is normalised over all of them.
    """
    missing = weights.keys() - rewards.keys()
    if missing or not any(weights.values()):
        raise ValueError(f"weights must name the rewards {sorted(rewards)} and not all be 0, got {dict(weights)}")
    counted = [name for name in weights if weights[name]]
    total = torch.stack([weights[name] * group_normalized(rewards[name], floor) for name in counted]).sum(0)
    # A floor here as well, so that a batch of tied groups is not scaled up.
    scale = gather(total).std(correction=0) + 0.1
    units = total.unsqueeze(-1)
    for name, values in (per_part_reward or {}).items():
        units = units + weights[name] * _unit_advantages(values, floor)
    return total / scale, units / scale


def _unit_advantages(values: Float[Tensor, "p g u"], floor: float) -> Float[Tensor, "p g u"]:
    """``group_normalized`` for every unit, over the samples that have it; 0 for those that do
    not."""
    centred = values - values.nanmean(1, keepdim=True)
    std = centred.square().nanmean(1, keepdim=True).sqrt()
    return (centred / (std + floor)).nan_to_num(0.0)
