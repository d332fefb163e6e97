"""Several rewards at once: reading ``stability=1,alignment=0.5`` and scoring a batch by all of them.

Only the raw scores are made here; how they become advantages (normalised per reward within the group, then weighted, as in GDPO)
is the training loop's business.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from rewards import resolve
from rewards.base import Batch, Reward, Scores


def parse(text: str) -> list[tuple[Reward, float]]:
    """Read ``name=weight,name=weight``; a name alone weighs 1. Weight 0 means measured, not optimised."""
    entries = [entry.strip() for entry in text.split(",")]
    if not text.strip():
        raise ValueError("no rewards given; write for example stability=1,alignment=1")
    mixed: list[tuple[Reward, float]] = []
    for entry in entries:
        name, equals, number = (piece.strip() for piece in entry.partition("="))
        if not name:
            raise ValueError(f"a reward without a name in {text!r}")
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            raise ValueError(f"weight of reward {name!r} must be a number, got {number!r}") from None
        if not math.isfinite(weight) or weight < 0:
            raise ValueError(f"weight of reward {name!r} must be a finite number that is not negative, got {number}")
        reward = resolve(name)
        if any(other.name == reward.name for other, _ in mixed):
            raise ValueError(f"reward {reward.name!r} is given twice in {text!r}")
        mixed.append((reward, weight))
    if all(weight == 0 for _, weight in mixed):
        raise ValueError(f"every weight in {text!r} is 0; at least one reward must count")
    return mixed


def score(rewards: Iterable[Reward], batch: Batch) -> dict[str, Scores]:
    """Every reward's scores by its name, checked: one finite number in [0, 1] per asset."""
    scores: dict[str, Scores] = {}
    for reward in rewards:
        if reward.name in scores:
            raise ValueError(f"two rewards are called {reward.name!r}")
        result = reward(batch)
        values = result.values
        if values.shape != (len(batch),):
            raise ValueError(f"reward {reward.name!r} gave {tuple(values.shape)} values for {len(batch)} assets")
        if not bool(((values >= 0) & (values <= 1)).all()):  # a NaN fails this too
            raise ValueError(f"reward {reward.name!r} gave a value that is NaN or outside [0, 1]")
        scores[reward.name] = result
    return scores
