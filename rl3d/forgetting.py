"""What a tuned generator lost on what it was not tuned on (forgetting, or the alignment tax; Lin et
al., 2024)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rl3d.corpus import MIX
from rl3d.generators.adapters import ADAPTER
from rl3d.generators.load import RESULT
from rl3d.prompts import caption_kinds
from scenes.files import FileError
from scenes.files.tensors import read_tensors

SUMMARY = "mean success rate"
"""Of everything in the table that has one, kind by kind."""


@dataclass(frozen=True)
class Tuning:
    """What runs have optimised."""

    kinds: frozenset[str] = frozenset()
    """Kinds of captions of the corpus."""
    rewards: frozenset[str] = frozenset()
    """By name, or ``module:reward``."""

    def __or__(self, other: Tuning) -> Tuning:
        return Tuning(self.kinds | other.kinds, self.rewards | other.rewards)

    def other_rewards(self, kind: str, names: Sequence[str]) -> list[str]:
        """Those among ``names`` that were not optimised on a kind of captions."""
        return [name for name in names if kind not in self.kinds or name not in self.rewards]


def tuned_on(path: Path) -> Tuning:
    """What the training of a weights file, an adapter or a run's folder optimised. FileError with
    one line if the file does not say it, as after supervised training alone."""
    header = read_tensors(path / RESULT if path.is_dir() else path).header
    try:
        training: dict[str, Any] = header["training"]
        own_prompts = training["prompts"] is not None
        kinds = () if own_prompts else caption_kinds(training["kinds"]) or tuple(MIX)
        weighted = [entry.partition("=") for entry in training["rewards"].split(",")]
        names = [name for name, equals, weight in weighted if not equals or float(weight) > 0]
        names += [name for name, _, _ in (entry.partition("=") for entry in training["constraints"].split(","))]
        # A reward counts more where its gates are good. A threshold says only when it begins to.
        names += [name for name in re.split("[,=+]", training["gates"]) if ">" not in name]
        objective, pairs = training["objective"]["name"], training["objective"].get("pairs")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"{path}: does not say what it was tuned on, which --forgetting needs: name the {RESULT} or the {ADAPTER} "
            "of rl3d train"
        ) from error
    if objective == "distill":
        raise FileError(f"{path}: was distilled, and does not say what its teachers were tuned on")
    if pairs is not None:  # their prompts are of no known kind, and what they prefer is no reward
        return Tuning()
    return Tuning(frozenset(kinds), frozenset(name.strip() for name in names if name.strip()))


def not_tuned_on(
    values: dict[str, Tensor], kinds: Sequence[str], rewards: Sequence[str], tuning: Tuning
) -> dict[str, Tensor]:
    """The figures of the rewards, kind by kind, where they were not optimised; one value an asset,
    NaN for assets of other kinds.

    ``kinds`` has the kind of each asset. A reward with verdicts is shown by its success rate. The
    mean of all success rates comes last.
    """
    out: dict[str, Tensor] = {}
    rates: list[Tensor] = []
    for kind in dict.fromkeys(kinds):
        own = torch.tensor([k == kind for k in kinds])
        for reward in tuning.other_rewards(kind, rewards):
            name = f"{reward}_success_rate" if f"{reward}_success_rate" in values else reward
            figure = torch.where(own, values[name].float().cpu(), math.nan)
            out[f"{kind}: {name}"] = figure
            rates += [figure] if name != reward else []
    return out | ({SUMMARY: torch.stack(rates).nanmean(0)} if rates else {})
