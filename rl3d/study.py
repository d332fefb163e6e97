"""A study: objectives, generators and seeds compared at equal training time from the same weights.

The learning rate falls over the iterations, so their number must be known before a run: a short
pilot measures the seconds of an iteration. Runs go one after the other, because runs at the same
time slow each other down. A study that was stopped goes on where it was: runs by their checkpoints,
and what was measured is read again from the folder of the study.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rewards.mix import check_needs, parse
from rl3d.charts import Points
from rl3d.doctor import processor
from rl3d.evaluate import measure
from rl3d.generators.base import Generator
from rl3d.generators.load import load_generator, save_generator
from rl3d.runs import read_run
from rl3d.study_file import FIXED, Contender, Start, Study, read_study
from rl3d.study_page import DOMAINS, FORGETTING, curves, page
from rl3d.tables import mean_and_error, mean_of_seeds, per_prompt
from rl3d.train import interrupts
from rl3d.training.config import TrainConfig, as_saved
from rl3d.training.loop import begin, iterate
from rl3d.training.state import checkpoints
from scenes.files import FileError, atomic_write, check_folder, make_folder
from scenes.files.trees import parse_json

PILOT_ITERATIONS = 6
"""Iterations of a pilot. The first one is not timed: it compiles and fills caches."""
CERTAIN = 2.0
"""A gain below this many of its errors is none."""


class Record:
    """What a study has settled: the settings it began with, and the pilots' seconds. It is kept in
    ``settings.json``, so that a study that goes on uses the same."""

    def __init__(self, study: Study, starts: Mapping[str, Generator]) -> None:
        self.path = study.out / "settings.json"
        self.values: dict[str, Any] = {"began": time.strftime("%Y-%m-%d"), "machines": [], "seconds": {}}
        if self.path.exists():
            try:
                self.values = parse_json(self.path.read_text(encoding="utf-8"))
                known = self.values["fixed"]
                self.machines, self.seconds = list(self.values["machines"]), dict(self.values["seconds"])
            except (ValueError, KeyError, TypeError) as error:
                raise FileError(f"{self.path}: not the record of a study; name another out") from error
        elif study.out.is_dir() and any(study.out.iterdir()):
            raise FileError(f"{study.out}: holds something else than a study: name another out")
        else:
            known, self.machines, self.seconds = {}, [], {}
        fixed = json.loads(json.dumps(_fixed(study, starts)))
        for where, old, new in _differences(known, fixed):
            raise FileError(
                f"{study.file}: {where} was {old!r} when the study in {study.out} began, and is now {new!r}: "
                "put it back, or name another out"
            )
        self.fixed = {kind: {**known.get(kind, {}), **entries} for kind, entries in fixed.items()}
        here = machine()
        if here not in self.machines:
            self.machines.append(here)

    def save(self) -> None:
        self.values |= {"machines": self.machines, "seconds": self.seconds, "fixed": self.fixed}
        _write_json(self.path, self.values)


def _fixed(study: Study, starts: Mapping[str, Generator]) -> dict[str, dict[str, Any]]:
    """What must stay as it is while a study goes on, by kind. New generators, objectives and seeds
    may come."""
    shared = {"minutes": study.minutes, "marks": study.marks, **asdict(study.evaluation)}
    runs, generators = {}, {}
    for start, contender in itertools.product(study.generators, study.objectives):
        policy = starts[start.label]
        generators[start.label] = {"name": policy.name, **policy.source}
        config = study.config(start, contender, study.out, 0, 1)
        values = {key: value for key, value in as_saved(config).items() if key not in FIXED - {"objective"}}
        if "bfloat16" not in study.train | contender.train:
            del values["bfloat16"]  # the default is what the machine is fast in
        files = {name: getattr(config, name) for name in ("prompts", "keep_prompts")}
        files["pairs"] = getattr(config.objective, "pairs", None)
        values |= {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file}
        runs[f"{start.label}/{contender.label}"] = values
    for key, domain in study.domains.items():
        captions = [item.caption for item in domain.items(study.evaluation.seed)]
        shared[key] = {"samples": domain.samples, "prompts": captions}
    return {"study": shared, "generators": generators, "runs": runs}


def _differences(old: Any, new: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """Where two trees that share their upper keys differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        both = [key for key in old if key in new]
        return [found for key in both for found in _differences(old[key], new[key], f"{where}.{key}".lstrip("."))]
    return [] if old == new else [(where, old, new)]


def machine() -> str:
    """The machine in one line."""
    count = torch.get_num_threads()
    threads = f"{count} thread{'s' if count > 1 else ''}"
    return f"{processor()}, {os.cpu_count()} processors, {threads}, torch {torch.__version__}"


def compare(path: Path, say: Callable[[str], None] = print) -> Path:
    """Run the study of a file, or go on with it; returns the page, which is brought up to date
    after every run.

    FileError or ValueError with one line, before anything is written, for a study that cannot be
    done. An interrupt (Ctrl-C) lets the iteration in work finish and saves.
    """
    study = read_study(path)
    check_folder(study.out)
    starts = {start.label: start.load(study.device) for start in study.generators}
    rewards = [reward for reward, _ in parse(study.evaluation.rewards)]
    for start in study.generators:
        check_needs(rewards, starts[start.label].gives, starts[start.label].name)
    pairs, left_out = _pairs(study, starts)
    record = Record(study, starts)
    for start, contender in pairs:
        if f"{start.label}/{contender.label}" not in record.seconds:
            _try(study, start, contender)
    files = {start.label: study.out / start.label / "start.json" for start in study.generators}
    fresh = {label: _figures_of(study, starts[label]) for label, file in files.items() if not file.exists()}
    begun = fresh | {label: _read_values(file) for label, file in files.items() if file.exists()}
    for label, values in begun.items():
        if not values["in_domain"].get(study.figure, torch.tensor([math.nan])).isfinite().any():
            raise FileError(f"{path}: figure: {label} has no {study.figure} on the in-domain prompts")
    make_folder(study.out)
    record.save()
    for label, values in fresh.items():
        _write_values(files[label], values)
    for label, values in begun.items():
        say(f"{label} start: {_brief(study, values)}")
    starts.clear()
    for start, contender in pairs:
        name = f"{start.label}/{contender.label}"
        if name not in record.seconds:
            record.seconds[name] = pilot(study, start, contender)
            record.save()
        say(f"{name}: {record.seconds[name]:.2f} s an iteration, {_iterations(study, record.seconds[name])} iterations")
    for seed, (start, contender) in itertools.product(study.seeds, pairs):
        iterations = _iterations(study, record.seconds[f"{start.label}/{contender.label}"])
        _train_and_measure(study, start, contender, seed, iterations, say)
        write_page(study, record, left_out)
    return study.out / "study.md"


def _train_and_measure(
    study: Study, start: Start, contender: Contender, seed: int, iterations: int, say: Callable[[str], None]
) -> None:
    """One run of a study, or what is left of it. What was measured needs no weights any more."""
    name, folder = f"{start.label}/{contender.label} seed {seed}", study.folder(start, contender, seed)
    weights = {mark: folder / "marks" / f"{mark:06d}.safetensors" for mark in study.marks_of(iterations)}
    if not weights[iterations].exists() and not all(file.with_suffix(".json").exists() for file in weights.values()):
        say(f"{name}: training in {folder}")
        _train(study.config(start, contender, folder, seed, iterations), weights)
    for mark, file in weights.items():
        figures = file.with_suffix(".json")
        if not figures.exists():
            values = _measured(study, lambda f=file: load_generator(f, study.device), figures)
            say(f"{name} iteration {mark}: {_brief(study, values)}")
    for state in checkpoints(folder / "checkpoints"):
        state.unlink()  # nothing is left to resume, and they are ten times as large as the weights


def _pairs(study: Study, starts: Mapping[str, Generator]) -> tuple[list[tuple[Start, Contender]], dict[str, list[str]]]:
    """Generators with the objectives that can train them, and those left out by generator.
    FileError for an objective that can train none."""
    pairs, left_out = [], {start.label: [] for start in study.generators}
    for contender in study.objectives:
        reasons = []
        for start in study.generators:
            policy, config = starts[start.label], study.config(start, contender, study.out, 0, 1)
            try:
                config.objective.check(policy)
            except ValueError as error:
                left_out[start.label].append(contender.label)
                reasons.append(str(error))
                continue
            try:
                rewards = parse(",".join(filter(None, (config.rewards, config.held_out))))
                check_needs([reward for reward, _ in rewards], policy.gives, policy.name)
            except ValueError as error:
                raise FileError(f"{study.file}: train: {error}") from error
            pairs.append((start, contender))
        if len(reasons) == len(study.generators):
            raise FileError(f"{study.file}: objectives: {contender.label}: {reasons[0]}")
    return pairs, left_out


def _try(study: Study, start: Start, contender: Contender) -> None:
    """FileError if a run cannot begin. Nothing of the study is written."""
    with tempfile.TemporaryDirectory() as folder:
        config = study.config(start, contender, Path(folder) / "run", 0, PILOT_ITERATIONS)
        try:
            begin(dataclasses.replace(config, guard="off")).log.close()
        except ValueError as error:
            raise FileError(f"{study.file}: {start.label}/{contender.label}: {error}") from error


def pilot(study: Study, start: Start, contender: Contender) -> float:
    """Seconds of an iteration, measured over some."""
    with tempfile.TemporaryDirectory(prefix=".pilot-", dir=study.out) as folder:
        config = study.config(start, contender, Path(folder) / "run", 0, PILOT_ITERATIONS)
        run = begin(dataclasses.replace(config, guard="off", save_every=PILOT_ITERATIONS))
        seconds = [metrics["seconds"] for metrics in iterate(run)]
    return sum(seconds[1:]) / len(seconds[1:])


def _iterations(study: Study, seconds: float) -> int:
    """Iterations of a run. FileError if they are fewer than its marks."""
    found = round(60 * study.minutes / seconds)
    if found < study.marks:
        raise FileError(
            f"{study.file}: minutes: {study.minutes} are enough for {found} iterations of {seconds:.2f} s, "
            f"fewer than the {study.marks} marks: give more minutes, and another out"
        )
    return found


def _train(config: TrainConfig, weights: Mapping[int, Path]) -> None:
    """Train, or go on training, and keep the averaged weights at the marks."""
    run = begin(config, resume=config.out.is_dir())

    def keep() -> None:
        file = weights.get(run.state.iteration)
        if file is not None and not file.exists():
            save_generator(file, run.state.policy, run.result(), step=run.state.iteration)

    keep()  # a study that was killed may have saved the state of this iteration alone
    with interrupts(run):
        for _ in iterate(run):
            keep()
    if run.interrupted:
        raise KeyboardInterrupt


Values = dict[str, dict[str, Tensor]]
"""{domain: {figure: a value a prompt}}. NaN where a figure does not apply."""


def _measured(study: Study, load: Callable[[], Generator], file: Path) -> Values:
    """The figures of a generator, from their file if they were measured before."""
    if not file.exists():
        _write_values(file, _figures_of(study, load()))
    return _read_values(file)


def _figures_of(study: Study, generator: Generator) -> Values:
    rewards = [reward for reward, _ in parse(study.evaluation.rewards)]
    found, seed = {}, study.evaluation.seed
    for key, domain in study.domains.items():
        values = measure(generator, domain.items(seed), rewards, samples=domain.samples, seed=seed).values
        found[key] = {name: per_prompt(value, domain.samples).double().cpu() for name, value in values.items()}
    return found


def _write_values(file: Path, values: Values) -> None:
    plain = {
        key: {name: [None if math.isnan(x) else x for x in mean.tolist()] for name, mean in found.items()}
        for key, found in values.items()
    }
    _write_json(file, plain)


def _read_values(file: Path) -> Values:
    try:
        kept = parse_json(file.read_text(encoding="utf-8"))
        return {
            key: {
                name: torch.tensor([math.nan if x is None else x for x in mean], dtype=torch.float64)
                for name, mean in kept[key].items()
            }
            for key in DOMAINS
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{file}: not the figures of a study; remove it, and they are measured again") from error


def _brief(study: Study, values: Values) -> str:
    return ", ".join(f"{name} {values[key][study.figure].nanmean():.3f}" for key, name in DOMAINS.items())


def _write_json(path: Path, values: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_page(study: Study, record: Record, left_out: Mapping[str, list[str]]) -> Path:
    """Write study.json, the curves and study.md, with the runs that are done."""
    results = {
        "command": f"rl3d compare {study.file}",
        "settings": study.file.read_text(encoding="utf-8"),
        "began": record.values["began"],
        "written": time.strftime("%Y-%m-%d"),
        "machines": record.machines,
        **{name: getattr(study, name) for name in ("minutes", "marks", "figure", "share", "seeds")},
        "prompts": {key: domain.describe() for key, domain in study.domains.items()},
        "evaluation": record.fixed["study"],
        "generators": {
            start.label: _results(study, start, record, left_out[start.label]) for start in study.generators
        },
    }
    _write_json(study.out / "study.json", results)
    for label, found in results["generators"].items():
        if not found["objectives"]:
            continue
        with atomic_write(study.out / f"{label}.svg") as temporary:
            temporary.write_text(curves(found, study.figure), encoding="utf-8")
    with atomic_write(study.out / "study.md") as temporary:
        temporary.write_text(page(results), encoding="utf-8")
    return study.out / "study.md"


def _results(study: Study, start: Start, record: Record, left_out: list[str]) -> dict[str, Any]:
    """What was found of a generator, as plain values."""
    begun = _read_values(study.out / start.label / "start.json")
    runs = {}
    for contender in study.objectives:
        seconds = record.seconds.get(f"{start.label}/{contender.label}")
        if contender.label not in left_out and seconds is not None:
            marks = study.marks_of(_iterations(study, seconds))
            found = [_read_seed(study.folder(start, contender, seed), marks) for seed in study.seeds]
            done = {seed: one for seed, one in zip(study.seeds, found, strict=True) if one is not None}
            if done:
                settings = record.fixed["runs"][f"{start.label}/{contender.label}"]
                runs[contender.label] = {
                    "objective": contender.objective,
                    "settings": {k: v for k, v in settings["objective"].items() if k != "name"} | contender.train,
                    "pilot_seconds": seconds,
                    **_of_objective(done, begun, marks, study.figure),
                }
    base = _estimates([begun])
    origin = base["in_domain"][study.figure]["mean"]
    gained = [run["gain"] for run in runs.values() if run["gain"]["mean"] > CERTAIN * run["gain"]["error"]]
    target = origin + study.share * max(gain["mean"] for gain in gained) if gained else None
    for run in runs.values():
        points = [(0.0, origin)] + [(c["minutes"], c["in_domain"][study.figure]["mean"]) for c in run["curve"]]
        run["minutes_to_share"] = reached(points, target) if target is not None else None
    return {"start": base, "target": target, "left_out": left_out, "objectives": runs}


@dataclass(frozen=True)
class SeedResult:
    """A run that is done."""

    values: list[Values]
    """Of each mark."""
    minutes: list[float]
    """Training time until each mark."""
    readings: list[dict[str, Any]]
    """Of the guard."""


def _read_seed(folder: Path, marks: list[int]) -> SeedResult | None:
    """A run in its folder; None if it is not done."""
    files = [folder / "marks" / f"{mark:06d}.json" for mark in marks]
    if not all(file.exists() for file in files):
        return None
    seconds = {int(metrics["iteration"]): metrics["seconds"] for metrics in read_run(folder)[1]}
    minutes = [sum(s for iteration, s in seconds.items() if iteration <= mark) / 60 for mark in marks]
    guard = folder / "guard.jsonl"
    lines = guard.read_text(encoding="utf-8").splitlines() if guard.exists() else []
    return SeedResult([_read_values(file) for file in files], minutes, [parse_json(line) for line in lines])


def _of_objective(done: Mapping[int, SeedResult], begun: Values, marks: list[int], figure: str) -> dict[str, Any]:
    """What was found of an objective, over its seeds."""
    results = list(done.values())
    curve = []
    for k, mark in enumerate(marks):
        minutes = sum(result.minutes[k] for result in results) / len(results)
        curve.append({"iteration": mark, "minutes": minutes, **_estimates([r.values[k] for r in results])})
    ends = [result.values[-1] for result in results]
    gained = _stacked(ends, "in_domain", figure) - begun["in_domain"][figure]
    lost = begun["out_of_domain"][FORGETTING] - _stacked(ends, "out_of_domain", FORGETTING)
    alarms = [
        {"seed": seed, "iteration": reading["iteration"], "alarm": alarm}
        for seed, result in done.items()
        for reading in result.readings
        for alarm in reading["alarms"]
    ]
    return {
        "seeds": list(done),
        "iterations": marks[-1],
        "seconds": sum(60 * r.minutes[-1] for r in results) / len(results) / marks[-1],
        "minutes": [result.minutes[-1] for result in results],
        "curve": curve,
        "gain": mean_of_seeds(gained)._asdict(),
        "forgetting": mean_of_seeds(lost)._asdict(),
        "readings": sum(len(result.readings) for result in results),
        "alarmed": sum(bool(reading["alarms"]) for result in results for reading in result.readings),
        "alarms": alarms,
    }


def _stacked(values: list[Values], key: str, figure: str) -> Float[Tensor, "s p"]:
    return torch.stack([one[key][figure] for one in values])


def _estimates(values: list[Values]) -> dict[str, dict[str, dict[str, float]]]:
    """{domain: {figure: estimate}} over seeds, of the figures that apply to a prompt."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for key in DOMAINS:
        stacked = {name: _stacked(values, key, name) for name in values[0][key]}
        found[key] = {
            name: {**mean_of_seeds(v)._asdict(), "seeds_error": mean_and_error(v.nanmean(1)).error}
            for name, v in stacked.items()
            if not v.isnan().any(0).all()
        }
    return found


def reached(points: Points, target: float) -> float | None:
    """From where a curve stays at ``target`` or above, on straight lines between its points; None
    if its end is below."""
    if points[-1][1] < target:
        return None
    for (x, y), (x_next, y_next) in reversed(list(itertools.pairwise(points))):
        if y < target:
            return x + (x_next - x) * (target - y) / (y_next - y)
    return points[0][0]
