"""Supervised trainings compared: ``python -m benchmarks.pretraining flow=runs/a tokens=runs/b``.

Every copy of the averaged weights that a run left (``RUN/steps``) makes assets of the same held-out
prompts with the same seeds. The x axis is the processor time of the steps, in minutes. It prints a
table of the last copies and writes the curves as an SVG picture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from rewards.mix import parse
from rl3d.charts import Points, picture
from rl3d.corpus import Spec, prompts
from rl3d.evaluate import measure
from rl3d.generators.load import load_generator
from rl3d.tables import Estimate, mean_and_error, per_prompt
from scenes.files import FileError, atomic_write
from scenes.files.tensors import read_tensors

FIGURES = {
    "stable_and_connected": "stable and connected",
    "composition_success_rate": "composition: all facts right",
    "category": "category (judge, single objects)",
    "colors": "named colours",
}


def curve(run: Path, items: list[Spec], samples: int, seed: int) -> dict[float, dict[str, Estimate]]:
    """{processor minutes: figures} of a run's copies. Figures that are known are read again from
    ``RUN/curve.jsonl``. FileError with one line for weights that cannot be read."""
    known, path = {}, run / "curve.jsonl"
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            known[entry["step"], entry["prompts"], entry["samples"], entry["seed"]] = entry["figures"]
    found = {}
    for copy in sorted((run / "steps").glob("*.safetensors")):
        header = read_tensors(copy)[1]
        if "seconds" not in header:
            raise FileError(f"{copy}: does not say how long it was trained; train it again")
        key = header["step"], len(items), samples, seed
        if key not in known:
            rewards = [reward for reward, _ in parse("stability=1,connected=1,composition=1")]
            values = measure(load_generator(copy), items, rewards, samples=samples, seed=seed).values
            known[key] = {name: mean_and_error(per_prompt(values[name], samples)) for name in FIGURES}
            with path.open("a", encoding="utf-8") as file:
                entry = dict(zip(("step", "prompts", "samples", "seed"), key, strict=True))
                file.write(json.dumps({**entry, "figures": known[key]}) + "\n")
            print(f"{run} step {key[0]}", {name: round(e[0], 3) for name, e in known[key].items()}, flush=True)
        found[round(header["seconds"] / 60, 1)] = {name: Estimate(*e) for name, e in known[key].items()}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="NAME=FOLDER of a supervised training")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--seed", type=int, default=12345)
    parser.add_argument("--picture", type=Path, help="SVG file for the curves")
    options = parser.parse_args(arguments)
    items = [item.spec for item in prompts(options.prompts, options.seed)]
    curves = {}
    for run in options.runs:
        name, _, folder = run.partition("=")
        try:
            curves[name] = curve(Path(folder), items, options.samples, options.seed)
        except FileError as error:
            parser.error(str(error))
        if not curves[name]:
            parser.error(f"{run}: no copies of weights in {folder}/steps; give NAME=FOLDER of a supervised training")
    print("| run | minutes | " + " | ".join(FIGURES.values()) + " |\n" + "|---" * (len(FIGURES) + 2) + "|")
    for name, points in curves.items():
        minutes, last = max(points.items())
        cells = " | ".join(f"{last[figure].mean:.3f} ± {last[figure].error:.3f}" for figure in FIGURES)
        print(f"| {name} | {minutes:.0f} | {cells} |")
    if options.picture is not None:
        panels: dict[str, dict[str, Points]] = {
            title: {name: [(m, e[figure].mean) for m, e in points.items()] for name, points in curves.items()}
            for figure, title in FIGURES.items()
        }
        with atomic_write(options.picture) as temporary:
            temporary.write_text(picture(panels, "processor minutes"), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
