"""Fitting a reward to choices between two assets (Bradley and Terry, 1952)."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rewards.base import Batch
from rewards.image.alignment import SHIPPED, load_scorer
from rewards.image.preference import KIND, Preference, PreferenceHead, features
from rl3d.configs import as_paths, at_least, check_seed
from rl3d.preferences import Pair
from rl3d.scoring import render_views
from scenes.asset import Asset
from scenes.files.tensors import write_tensors

HELD_OUT = 0.25
"""Fraction of the prompts whose pairs are only used to measure the fit."""


@dataclass(frozen=True)
class RewardConfig:
    """Settings of ``rl3d train-reward``."""

    out: Path = Path("runs/preference/preference.safetensors")
    """File for the reward's weights."""
    epochs: int = 60
    """Passes over the pairs."""
    seed: int = 0
    """Seed of the weights and of the order."""

    def __post_init__(self) -> None:
        as_paths(self, "out")
        at_least(self, epochs=1)
        check_seed(self)
        if self.out.suffix != ".safetensors":
            raise ValueError(f"--out must name a .safetensors file, got {self.out}")


@dataclass(frozen=True)
class Fit:
    """What a fitted head was fitted to, and how it does on pairs of held-out prompts."""

    pairs: int
    """Pairs that it was fitted to."""
    held_out: int
    """Decided pairs of held-out prompts."""
    accuracy: float
    """Fraction of these that it predicts."""
    standard_error: float
    """Of the accuracy."""
    calibration_error: float
    """Expected calibration error: mean distance in ten bins between the predicted probability and
    the observed frequency."""
    nll: float
    """Mean negative log-likelihood; chance has log 2 = 0.693."""


def fit(pairs: list[Pair], config: RewardConfig | None = None) -> Fit:
    """Fit a head to the pairs and write it to ``config.out``.

    ValueError with one line for fewer than 8 decided pairs to fit or 4 on held-out prompts.
    """
    config = config or RewardConfig()
    decided = [pair for pair in pairs if pair.choice != "equal"]
    if sum(not is_held_out(p.prompt) for p in decided) < 8 or sum(is_held_out(p.prompt) for p in decided) < 4:
        raise ValueError(
            f"{len(decided)} decided pairs are too few to fit and to check: collect at least 8 to fit and 4 on "
            "held-out prompts (a quarter of the prompts are held out)"
        )
    left, right = embed(pairs)
    target = torch.tensor([{"left": 1.0, "right": 0.0, "equal": 0.5}[pair.choice] for pair in pairs])
    held_out = torch.tensor([is_held_out(pair.prompt) for pair in pairs])
    seen = ~held_out
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(config.seed)  # dropout and initial weights use the global generator
    try:
        head = PreferenceHead(left.shape[1])
        both = torch.cat([left[seen], right[seen]])
        head.mean, head.std = both.mean(0), both.std(0) + 1e-3
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.1)
        index = seen.nonzero().flatten()
        for _ in range(config.epochs):
            for batch in index[torch.randperm(len(index))].split(64):
                loss = F.binary_cross_entropy_with_logits(head(left[batch]) - head(right[batch]), target[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    finally:
        torch.random.set_rng_state(torch_state)
    head.eval().requires_grad_(False)
    scores = head(both)
    head.layers[-1].bias -= scores.mean()  # type: ignore[operator]  # 0 is the middle of what was seen
    head.scale = scores.std().clamp_min(1e-3)
    write_tensors(config.out, dict(head.state_dict()), {"kind": KIND, "pairs": int(seen.sum())})
    clear = held_out & (target != 0.5)
    chance = torch.sigmoid(head(left[clear]) - head(right[clear]))
    right_ones = ((chance > 0.5) == (target[clear] == 1)).double()
    accuracy = right_ones.mean().item()
    error = math.sqrt(max(accuracy * (1 - accuracy), 1e-9) / len(right_ones))
    nll = F.binary_cross_entropy(chance, target[clear]).item()
    return Fit(int(seen.sum()), int(clear.sum()), accuracy, error, calibration_error(chance, target[clear]), nll)


def is_held_out(prompt: str) -> bool:
    """By a hash of the prompt: the same prompts are held out whatever else is collected."""
    return int(hashlib.sha256(prompt.encode()).hexdigest()[:8], 16) < HELD_OUT * 2**32


def calibration_error(chance: Float[Tensor, "n"], came_true: Float[Tensor, "n"], bins: int = 10) -> float:
    """Expected calibration error (Guo et al., On Calibration of Modern Neural Networks, 2017)."""
    bin_of = (chance * bins).long().clamp_max(bins - 1)
    total = 0.0
    for k in range(bins):
        inside = bin_of == k
        if inside.any():
            total += float(inside.double().mean() * (chance[inside].mean() - came_true[inside].mean()).abs())
    return total


@torch.no_grad()
def embed(pairs: list[Pair]) -> tuple[Float[Tensor, "n f"], Float[Tensor, "n f"]]:
    """Features of the left and the right assets, as the reward sees them."""
    scorer, seen = load_scorer(SHIPPED), _Views()

    def of(prompt: str, asset: Asset) -> Float[Tensor, "1 f"]:
        return features(scorer, Batch([prompt], asset, render_views(asset, [seen])), seen.needs)

    left = [of(pair.prompt, pair.left) for pair in pairs]
    return torch.cat(left), torch.cat([of(pair.prompt, pair.right) for pair in pairs])


class _Views:
    """Stands in for the reward before it exists."""

    name, version, needs = KIND, "", Preference.needs

    def __call__(self, batch: Batch):
        raise NotImplementedError
