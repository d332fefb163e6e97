"""What objectives over pairs share: of each prompt a better and a worse sample.

They are the best and the worst sample of a group, or pairs that are stored: those of ``rl3d
prefer``, chosen by a person, or any others in such a file.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Draw, Experience, Score
from rl3d.algorithms.finished import FinishedObjective
from rl3d.configs import as_paths
from rl3d.generators.base import Encodes, Generator, repeat
from rl3d.preferences import Pair, read_pairs
from scenes.files import FileError


@dataclass(frozen=True)
class PairObjective(FinishedObjective):
    """Settings of an objective over pairs."""

    pairs: Path | None = None
    """File of stored pairs (.jsonl, as rl3d prefer writes it). The run then has its prompts, and
    samples nothing. None: the best and the worst sample of each group."""

    def __post_init__(self) -> None:
        super().__post_init__()
        as_paths(self, "pairs")

    def prompts(self) -> list[str] | None:
        return None if self.pairs is None else list(decided_pairs(self.pairs))

    def check(self, policy: Generator) -> None:
        super().check(policy)
        if self.pairs is None:
            return
        if not isinstance(policy, Encodes):
            raise ValueError(f"--pairs: {policy.name!r} cannot take stored assets: leave --pairs out")
        for prompt, pairs in decided_pairs(self.pairs).items():
            for pair in pairs:
                try:
                    policy.encode(_both(pair), policy.condition([prompt, prompt]))
                except ValueError as error:
                    raise FileError(f"{self.pairs}: a pair for {prompt!r} does not fit: {error}") from error

    def chosen(self, draw: Draw, advantages: Float[Tensor, "b"]) -> tuple[Tensor, int]:
        return best_and_worst(advantages, draw.group_size), 2

    def collect(self, policy: Any, draw: Draw, score: Score) -> Experience:
        if self.pairs is None:
            return super().collect(policy, draw, score)
        known = decided_pairs(self.pairs)
        found = []
        for number, prompt in enumerate(draw.prompts, draw.first):
            rng = np.random.default_rng([draw.seed, max(draw.iteration, 0), number])
            found.append(known[prompt][rng.integers(len(known[prompt]))])
        assets = [_both(pair) for pair in found]
        asset = type(assets[0]).concatenate(assets)
        with torch.no_grad():
            rollout = policy.encode(asset, repeat(policy.prepare(draw.prompts), 2))
        advantages = torch.tensor([1.0, -1.0], device=policy.device).repeat(len(found)).unsqueeze(1)
        draw = replace(draw, group_size=2)
        noise = self.noise(policy, draw, rollout)
        return self.with_fits(policy, Experience(rollout, advantages, noise, (), 2, True), draw)


@lru_cache(maxsize=4)
def decided_pairs(path: Path) -> dict[str, list[Pair]]:
    """The pairs of a file by prompt, without those that a person found equal. FileError with one
    line if none is left."""
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in read_pairs(path):
        if pair.choice != "equal":
            found[pair.prompt].append(pair)
    if not found:
        raise FileError(f"{path}: all pairs are equal, so there is nothing to learn from them")
    return found


def _both(pair: Pair) -> Any:
    """The better asset, then the worse one."""
    assets = (pair.left, pair.right) if pair.choice == "left" else (pair.right, pair.left)
    return type(assets[0]).concatenate(assets)


def best_and_worst(advantages: Float[Tensor, "b"], group: int) -> Tensor:
    """Numbers of the best and the worst sample of each group, one after the other."""
    groups = advantages.view(-1, group)
    pairs = torch.stack([groups.argmax(1), groups.argmin(1)], 1).to(advantages.device)
    return (pairs + group * torch.arange(len(groups), device=pairs.device).unsqueeze(1)).flatten().cpu()


def preferred(advantages: Float[Tensor, "b u"]) -> Float[Tensor, "p"]:
    """1 for pairs of which the first sample is better, 0 for those that are alike."""
    first, second = advantages.mean(1).unflatten(0, (-1, 2)).unbind(1)
    return (first > second).float()


def margins(new: Float[Tensor, "d b u"], reference: Float[Tensor, "d b u"]) -> Float[Tensor, "d p"]:
    """How much more likely the first of each pair has become than the second, since the reference
    policy."""
    gain = (new - reference).sum(-1).unflatten(1, (-1, 2))
    return gain[..., 0] - gain[..., 1]
