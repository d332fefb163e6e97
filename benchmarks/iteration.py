"""What one training iteration costs, and beside another checkout in pairs.

    python -m benchmarks.iteration
    python -m benchmarks.iteration --against ../rl3d-before --pairs 5

Every run trains with the default settings, without the guard. Runs of the two checkouts alternate,
so that both see the same machine. A figure is the median over iterations; the ratio is the median
over pairs of runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

HERE = Path(__file__).parents[1]
FIGURES = ("seconds", "rollout_s", "reward_s", "update_s")


@dataclass(frozen=True)
class Options:
    """Settings of the benchmark."""

    against: Path | None = None
    """Another checkout of rl3d, with its kernels built in place (python -m
    renderers.kernels.build)."""
    generator: str = "part-tokens"
    """Generator that is trained."""
    objective: str | None = None
    """Objective of the training. None: the generator's usual one."""
    iterations: int = 10
    """Iterations of a run; the first two are not counted."""
    pairs: int = 3
    """Runs of each checkout."""


def run(checkout: Path, options: Options) -> dict[str, float]:
    """Median seconds of an iteration and of its stages, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings = ["--iterations", str(options.iterations), "--save-every", "1000", "--guard", "off"]
        command = [
            sys.executable,
            "-S",
            "-m",
            "rl3d",
            "train",
            "--generator",
            options.generator,
            *(["--objective", options.objective] if options.objective else []),
            "--out",
            str(out),
            *settings,
        ]
        paths = f"{checkout}{os.pathsep}{sysconfig.get_paths()['purelib']}"
        # -S leaves out an editable install, which would hide the checkout.
        subprocess.run(command, cwd=checkout, env={**os.environ, "PYTHONPATH": paths}, check=True, capture_output=True)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {name: statistics.median(line[name] for line in lines[2:]) for name in FIGURES}


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    ratios = []
    for pair in range(options.pairs):
        own = run(HERE, options)
        print(f"pair {pair}: here   " + "  ".join(f"{name} {value:.3f}" for name, value in own.items()), flush=True)
        if options.against is not None:
            other = run(options.against.resolve(), options)
            print(f"pair {pair}: there  " + "  ".join(f"{n} {v:.3f}" for n, v in other.items()), flush=True)
            ratios.append(own["seconds"] / other["seconds"])
    if ratios:
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"here over there: {statistics.median(ratios):.3f} (median of {len(ratios)} pairs; {spread})")


if __name__ == "__main__":
    main()
