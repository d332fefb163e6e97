"""Several rewards at once: parsing ``stability=1,alignment=0.5``, scoring a batch with all of them,
gates and constraints.

The training loop turns the scores into advantages: each reward is normalised within its group, then
weighted (GDPO)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from rewards import resolve
from rewards.base import FINER, Batch, Reward, Scores

SUCCESS = "_success_rate"
"""What follows the name of a reward where the mean of its verdicts is meant."""


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


def check_needs(rewards: Iterable[Reward], gives: frozenset[str], generator: str = "the asset") -> None:
    """Refuse rewards that an asset cannot be scored by.

    ``gives`` is a subset of {"parts", "motion"}: what the asset has besides bodies, a mesh and
    views, which every asset has. ``generator`` is what the message calls it. ValueError with one
    line that names the reward, the generator, what is missing and what to use instead."""
    for reward in rewards:
        for needed, missing in ((reward.needs.parts, "parts"), (reward.needs.frames, "motion")):
            if needed and missing not in gives:
                instead = getattr(reward, "instead", "a reward of views, bodies or meshes")
                raise ValueError(
                    f"reward {reward.name!r} needs {missing}, which {generator} lacks: use {instead} instead"
                )


def score(rewards: Iterable[Reward], batch: Batch) -> dict[str, Scores]:
    """Every reward's scores by its name.

    ValueError if the values are not one finite number in [0, 1] per asset, or if verdicts or finer
    scores have a wrong shape or range."""
    scores: dict[str, Scores] = {}
    for reward in rewards:
        if reward.name in scores:
            raise ValueError(f"two rewards are called {reward.name!r}")
        scores[reward.name] = _checked(reward, reward(batch), batch)
    return scores


def _checked(reward: Reward, result: Scores, batch: Batch) -> Scores:
    values, verdict, wrong = result.values, result.verdict, f"reward {reward.name!r} gave"
    if values.shape != (len(batch),):
        raise ValueError(f"{wrong} {tuple(values.shape)} values for {len(batch)} assets")
    if not bool(((values >= 0) & (values <= 1)).all()):  # a NaN fails this too
        raise ValueError(f"{wrong} a value that is NaN or outside [0, 1]")
    if verdict is not None and (verdict.shape != values.shape or verdict.dtype != torch.bool):
        raise ValueError(f"{wrong} a verdict {verdict.dtype} {tuple(verdict.shape)}: expected bool ({len(batch)},)")
    parts = batch.asset.parts if batch.asset is not None else None
    shots = batch.shots.get(reward.needs.rig)
    views = shots.views.rgb.shape[1] if shots is not None else reward.needs.cameras
    counts = {"per_part": parts.count if parts is not None else None, "per_view": views}
    for name in FINER:
        finer, count = getattr(result, name), counts.get(name)
        if finer is None:
            continue
        if finer.dim() != 2 or len(finer) != len(batch) or (count is not None and finer.shape[1] != count):
            expected = f"({len(batch)}, {'any' if count is None else count})"
            raise ValueError(f"{wrong} {name} of shape {tuple(finer.shape)}: expected {expected}")
        if bool(((finer < 0) | (finer > 1)).any()):
            raise ValueError(f"{wrong} {name} outside [0, 1]")
    return result


class Gates:
    """What must hold before a reward counts, ``alignment=stability+connected>0.95``.

    ``stability`` is a gate of a sample: alignment counts where its verdict is good. This is a
    lexicographic preference with the gates first. ``connected>0.95`` is a gate of the run (a
    curriculum): alignment weighs 0 until the running mean of connected has passed 0.95, and from
    then on counts. ``connected_success_rate`` is the mean of its verdicts."""

    RATE = 0.2
    """Weight of the present iteration in a running mean, which starts at 0: one lucky batch is not
    enough."""

    def __init__(self, text: str, weights: Mapping[str, float]) -> None:
        self.verdicts: dict[str, list[str]] = {}
        """The gates of samples, by the reward that they shut."""
        self.thresholds: dict[str, dict[str, float]] = {}
        """The gates of the run, likewise."""
        for name, value in _pairs(text, "gates", "alignment=stability+connected"):
            for gate in value.split("+"):
                figure, above, number = (piece.strip() for piece in gate.partition(">"))
                if above:
                    self.thresholds.setdefault(name, {})[figure] = _threshold(gate.strip(), number)
                    figure = figure.removesuffix(SUCCESS)
                else:
                    self.verdicts.setdefault(name, []).append(figure)
                for known in (name, figure):
                    if known not in weights:
                        raise ValueError(f"gates name {known!r}, which is none of the rewards ({', '.join(weights)})")
                if name == figure:
                    raise ValueError(f"reward {name!r} cannot be its own gate")
        self.running = {name: dict.fromkeys(gates, 0.0) for name, gates in self.thresholds.items()}
        """The running means. Those of a reward stay as they are once they have opened its gates."""
        if all(self.shut(name) for name, weight in weights.items() if weight):
            raise ValueError(f"gates {text!r} leave no reward at the start: one of weight above 0 must not wait")

    def shut(self, name: str) -> bool:
        """Whether a reward still waits for a gate of the run."""
        return any(self.running[name][figure] <= least for figure, least in self.thresholds.get(name, {}).items())

    def update(self, values: Mapping[str, Float[Tensor, "..."]]) -> None:
        """Take the values and verdicts of an iteration into the running means."""
        for name, running in self.running.items():
            if self.shut(name):
                for figure, mean in running.items():
                    running[figure] = mean + self.RATE * (values[figure].mean().item() - mean)

    def apply(self, scores: dict[str, Scores]) -> dict[str, Scores]:
        """The scores after the gates of samples. Where a gate of a reward is shut, the reward's
        values and its per-part, per-view and per-frame scores are 0 (NaN stays).

        Verdicts stay, so the order of gates does not matter. ValueError for a gate without
        verdicts."""
        rates = [f.removesuffix(SUCCESS) for gates in self.thresholds.values() for f in gates if f.endswith(SUCCESS)]
        for gate in [*rates, *(gate for gates in self.verdicts.values() for gate in gates)]:
            if scores[gate].verdict is None:
                raise ValueError(f"reward {gate!r} gives no verdict, so it cannot be a gate")
        out = dict(scores)
        for name, needed in self.verdicts.items():
            for gate in needed:
                verdict = scores[gate].verdict
                assert verdict is not None
                left = {"values": torch.where(verdict, out[name].values, 0)}
                for key in FINER:
                    if (finer := getattr(out[name], key)) is not None:
                        left[key] = torch.where(verdict.unsqueeze(-1) | finer.isnan(), finer, 0)
                out[name] = replace(out[name], **left)
        return out


def _threshold(gate: str, number: str) -> float:
    try:
        threshold = float(number)
    except ValueError:
        threshold = math.nan
    if not 0 <= threshold < 1:
        raise ValueError(f"gate {gate!r} must have a mean in [0, 1) behind the >, got {number!r}")
    return threshold


class Constraints:
    """Rewards that must reach a mean, ``alignment=0.55``. Their weights are Lagrange multipliers.

    Dual ascent raises a weight while the batch's mean is below the target, and lowers it, down to
    0, while the mean is above (as in MVC-ZigAL)."""

    RATE = 0.5
    """Change of a weight in an iteration whose mean is off by 1."""
    MOST = 10.0
    """Largest weight."""

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

    def counts(self, name: str) -> bool:
        """Whether a reward has a weight, or may have one later."""
        return bool(self.weights[name]) or name in self.targets

    def update(self, values: dict[str, Float[Tensor, "..."]]) -> None:
        """One step of dual ascent on a batch's values. A reward without values keeps its
        weight."""
        for name, target in self.targets.items():
            if name not in values:
                continue
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
