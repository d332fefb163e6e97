"""``rl3d train-reward PAIRS``: fit a reward to the choices of ``rl3d prefer``. It reports accuracy
and calibration on a held-out quarter of the prompts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from rl3d.cli.options import parse as parse_options
from rl3d.preferences import read_pairs
from rl3d.training.train_preference import RewardConfig, fit


@dataclass(frozen=True)
class _Arguments:
    pairs: tyro.conf.Positional[Path]
    """File of choices, .jsonl."""
    config: Annotated[RewardConfig, tyro.conf.arg(name="")] = field(default_factory=RewardConfig)


def run(arguments: list[str]) -> None:
    parsed = parse_options(_Arguments, "train-reward", __doc__, arguments)
    found = fit(read_pairs(parsed.pairs), parsed.config)
    print(
        f"fitted to {found.pairs} pairs; on {found.held_out} pairs of held-out prompts: accuracy "
        f"{100 * found.accuracy:.1f} ± {100 * found.standard_error:.1f} %, calibration error "
        f"{found.calibration_error:.3f}, negative log-likelihood {found.nll:.3f} (chance: 0.693)"
    )
    print(f"use it: rl3d train --rewards {parsed.config.out}=1,stability=1,connected=1")
