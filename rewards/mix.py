"""Several rewards at once: reading ``stability=1,alignment=0.5``, scoring a batch by all of them,
gates and constraints between them.

Only the scores are made here; how they become advantages (normalised per reward within the group,
then weighted, as in GDPO) is the training loop's business."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from jaxtyping import Float
from torch import Tensor

from rewards import resolve
from rewards.base import Batch, Reward, Scores


def parse(text: str) -> list[tuple[Reward, float]]:
    """Read ``name=weight,name=weight``; a name alone weighs 1. Weight 0 means measured, not
    optimised."""
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


def parse_gates(text: str, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Read ``alignment=stability+connected``: alignment counts only where the verdicts of stability
    and connected are good."""
    gates: dict[str, tuple[str, ...]] = {}
    for name, value in _pairs(text, "gates", "alignment=stability+connected"):
        gates[name] = tuple(gate.strip() for gate in value.split("+"))
        for known in (name, *gates[name]):
            if known not in names:
                raise ValueError(f"gates name {known!r}, which is none of the rewards ({', '.join(names)})")
        if name in gates[name]:
            raise ValueError(f"reward {name!r} cannot be its own gate")
    return gates


def gated(scores: dict[str, Scores], gates: dict[str, tuple[str, ...]]) -> dict[str, Float[Tensor, "b"]]:
    """The values of every reward, 0 where one of its gates is shut: lexicographic preference with
    the gates first."""
    values = {name: score.values for name, score in scores.items()}
    for name, needed in gates.items():
        for gate in needed:
            verdict = scores[gate].verdict
            if verdict is None:
                raise ValueError(f"reward {gate!r} gives no verdict, so it cannot be a gate")
            values[name] = values[name] * verdict
    return values


class Constraints:
    """Rewards that are to reach a mean, ``alignment=0.55``, rather than to grow: their weights are
    Lagrange multipliers, raised by dual ascent while the batch's mean falls short and lowered, down
    to 0, while it exceeds what was asked (as in MVC-ZigAL)."""

    RATE = 0.5
    """Change of a weight in a round in which the mean is off by 1."""
    MOST = 10.0

    def __init__(self, text: str, weights: dict[str, float]) -> None:
        self.targets: dict[str, float] = {}
        for name, value in _pairs(text, "constraints", "alignment=0.55"):
            if name not in weights:
                raise ValueError(f"constraints name {name!r}, which is none of the rewards ({', '.join(weights)})")
            try:
                self.targets[name] = float(value)
            except ValueError:
                self.targets[name] = math.nan
            if not 0 < self.targets[name] <= 1:
                raise ValueError(f"constraint on {name!r} must be a mean in (0, 1], got {value!r}")
        self.weights = dict(weights)

    def update(self, values: dict[str, Float[Tensor, "..."]]) -> None:
        """One step of dual ascent on a batch's values."""
        for name, target in self.targets.items():
            raised = self.weights[name] + self.RATE * (target - values[name].mean().item())
            self.weights[name] = min(max(raised, 0.0), self.MOST)


def _pairs(text: str, what: str, example: str) -> list[tuple[str, str]]:
    pairs = []
    for entry in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = (piece.strip() for piece in entry.partition("="))
        if not (name and equals and value):
            raise ValueError(f"{what} {text!r} cannot be read: write for example {example}")
        if any(name == other for other, _ in pairs):
            raise ValueError(f"{what} name {name!r} twice")
        pairs.append((name, value))
    return pairs
