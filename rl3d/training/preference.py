"""Choices between two assets, their file, and the reward that is fitted to them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rewards.base import Batch
from rewards.image.alignment import SHIPPED, load_scorer
from rewards.image.preference import KIND, Preference, PreferenceHead, features
from rl3d.training.checkpoints import as_paths, at_least, save_tensors
from rl3d.training.rollouts import render_views
from scenes.asset import PartAsset
from scenes.files import FileError
from scenes.files.trees import parse_json
from scenes.parts import MAX_PARTS, VECTOR_SIZE, Parts

Choice = Literal["left", "right", "equal"]
HELD_OUT = 0.25
"""Share of the prompts whose pairs are never fitted."""


@dataclass(frozen=True)
class Pair:
    """Two assets (P parts each, (P, 19) numbers) for one prompt, and which a person found
    better."""

    prompt: str
    left: Float[Tensor, "p 19"]
    right: Float[Tensor, "q 19"]
    choice: Choice

    def line(self) -> str:
        """As a line of the file."""
        assets = {"left": self.left.tolist(), "right": self.right.tolist()}
        return json.dumps({"prompt": self.prompt, "choice": self.choice, **assets}) + "\n"


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a .jsonl file, one a line; FileError with the line's number for one that is
    none. Half a line at the end, left by a page that was killed, is passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path}: cannot read pairs ({getattr(error, 'strerror', None) or 'not UTF-8 text'})"
        ) from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == len(lines) and not line.endswith("\n")):
            continue
        try:
            found = parse_json(line)
            sides = [torch.tensor(found[side], dtype=torch.float32) for side in ("left", "right")]
            if not isinstance(found["prompt"], str) or found["choice"] not in get_args(Choice):
                raise ValueError
            for side in sides:
                if (
                    side.dim() != 2
                    or side.shape[1] != VECTOR_SIZE
                    or not 1 <= len(side) <= MAX_PARTS
                    or not side.isfinite().all()
                ):
                    raise ValueError
        except (ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
            raise FileError(f"{path}: line {number} is not a pair of assets with a prompt and a choice") from error
        pairs.append(Pair(found["prompt"], sides[0], sides[1], found["choice"]))
    if not pairs:
        raise FileError(f"{path}: holds no pair: collect some with rl3d prefer")
    return pairs


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
        at_least(self, epochs=1, seed=0)
        if self.out.suffix != ".safetensors":
            raise ValueError(f"--out must name a .safetensors file, got {self.out}")


@dataclass(frozen=True)
class Fit:
    """How well a head foretells choices that it was not fitted to: the share it gets right; the
    expected calibration error, which is the mean distance in ten bins between the probability it
    gives and the share that comes true; and the mean negative log-likelihood, to be compared with
    log 2 = 0.693 of a coin."""

    pairs: int
    held_out: int
    accuracy: float
    standard_error: float
    calibration_error: float
    nll: float


def fit(pairs: list[Pair], config: RewardConfig | None = None) -> Fit:
    """Fit a head to the pairs and write it to ``config.out``; what it says is of the pairs of
    held-out prompts."""
    config = config or RewardConfig()
    decided = [pair for pair in pairs if pair.choice != "equal"]
    held = [is_held_out(pair.prompt) for pair in pairs]
    if sum(not is_held_out(p.prompt) for p in decided) < 8 or sum(is_held_out(p.prompt) for p in decided) < 4:
        raise ValueError(
            f"{len(decided)} decided pairs are too few to fit and "
            "to check: "
            "collect "
            "at least "
            "8 to fit "
            "and 4 on "
            "held-out prompts "
            f"(a quarter of the prompts are held out)"
        )
    left, right = embed(pairs)
    target = torch.tensor([{"left": 1.0, "right": 0.0, "equal": 0.5}[pair.choice] for pair in pairs])
    held_out = torch.tensor(held)
    seen = ~held_out
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(config.seed)  # dropout and the weights' start know no generator of their own
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
    save_tensors(config.out, dict(head.state_dict()), {"kind": KIND, "pairs": int(seen.sum())})
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
def embed(pairs: list[Pair], size: int = 64) -> tuple[Float[Tensor, "n f"], Float[Tensor, "n f"]]:
    """Features of the left and the right assets, seen as the reward sees them."""
    scorer = load_scorer(SHIPPED)

    def side(assets: list[Tensor]) -> Iterator[Tensor]:
        for start in range(0, len(pairs), size):
            piece = slice(start, start + size)
            prompts = [pair.prompt for pair in pairs[piece]]
            asset = PartAsset(Parts.stack([Parts.from_vectors(vectors) for vectors in assets[piece]]))
            seen = _Views()
            batch = Batch(prompts, asset, render_views(asset, [seen]))
            yield features(scorer, batch, seen.needs)

    return torch.cat(list(side([pair.left for pair in pairs]))), torch.cat(list(side([pair.right for pair in pairs])))


class _Views:
    """Stands for the reward while there is none."""

    name, version, needs = KIND, "", Preference.needs

    def __call__(self, batch: Batch):
        raise NotImplementedError
