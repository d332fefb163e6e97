"""``rl3d train-reward PAIRS``: fit a reward to the choices that ``rl3d prefer`` collected, and say
how well it foretells others."""

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
        f"fitted to {found.pairs} pairs; of {found.held_out} on held-out prompts {100 * found.accuracy:.1f} ± "
        f"{100 * found.standard_error:.1f} % right, calibration error {found.calibration_error:.3f}, "
        f"negative log-likelihood {found.nll:.3f} (a coin: 0.693)"
    )
    print(f"use it: rl3d train --rewards {parsed.config.out}=1,stability=1,connected=1")
