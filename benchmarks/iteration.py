"""What one training iteration costs, and beside another checkout in pairs.

    python -m benchmarks.iteration
    python -m benchmarks.iteration --against ../rl3d-before --pairs 5
    python -m benchmarks.iteration --stages

Every run trains with the default settings, without the guard. Runs of the two checkouts alternate,
so that both see the same machine. A figure is the median over iterations; the ratio is the median
over pairs of runs. With ``--stages`` it looks 200 times a second at what a run does, and prints the
share of networks, renderer, simulator and the rest.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import tyro

from rl3d.algorithms.load import usual_objective
from rl3d.generators.load import generator_class
from rl3d.training.config import TrainConfig
from rl3d.training.loop import begin, iterate

HERE = Path(__file__).parents[1]
FIGURES = ("seconds", "rollout_s", "reward_s", "update_s")
STAGES = {
    "renderer": ("/renderers/", "/tessellation.py"),
    "simulator": ("/rewards/physics/simulate.py",),
    "networks": ("/torch/nn/", "/torch/autograd/", "/rl3d/generators/", "/minilm.py", "/torch/optim/"),
}
"""Parts of file names by which a stage is known."""
PERIOD_S = 0.005


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
    stages: bool = False
    """Print the shares of one run's time instead."""


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


def stage_of(frame: FrameType | None) -> str:
    """The stage that the innermost frame of a stack belongs to, or the file that runs."""
    where = None
    while frame is not None:
        name = frame.f_code.co_filename
        for stage, places in STAGES.items():
            if any(place in name for place in places):
                return stage
        if where is None and name.startswith(str(HERE)) and ".venv" not in name:
            where = name.removeprefix(f"{HERE}/")
        frame = frame.f_back
    return where or "elsewhere"


def stages(options: Options) -> dict[str, float]:
    """{stage or file: share of the time of a run's iterations}, without the first two and the last,
    which saves."""
    objective = usual_objective(generator_class(None, options.generator), options.objective)
    seen: Counter[str] = Counter()
    main, counts, ended = threading.get_ident(), threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(PERIOD_S):
            if counts.is_set():
                seen[stage_of(sys._current_frames().get(main))] += 1

    watcher = threading.Thread(target=watch, daemon=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"iterations": options.iterations, "save_every": 1000, "guard": "off"}
        config = TrainConfig(out=Path(folder) / "run", generator=options.generator, objective=objective, **settings)
        watcher.start()
        for done, _ in enumerate(iterate(begin(config)), start=1):
            (counts.set if 2 <= done < options.iterations - 1 else counts.clear)()
        ended.set()
        watcher.join()
    total = sum(seen.values())
    return {stage: count / total for stage, count in seen.most_common()}


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.stages:
        shares = stages(options)
        for stage, share in shares.items():
            print(f"{share:6.1%}  {stage}")
        print(f"{1 - sum(shares.get(stage, 0.0) for stage in STAGES):6.1%}  all that is in no stage")
        return
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
