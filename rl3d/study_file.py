"""The file of a study: generators, objectives, seeds and prompts, read and checked before anything
runs."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from rewards.mix import Constraints, Gates, parse
from rl3d.algorithms.base import Objective
from rl3d.algorithms.load import find_objective, usual_objective
from rl3d.configs import MAX_SEED, above_0, as_paths, at_least, excludes, from_file
from rl3d.corpus import MIX, Facts, Spec
from rl3d.corpus import prompts as held_out_prompts
from rl3d.generators.base import Generator
from rl3d.generators.load import find_generator, generator_class, load_generator
from rl3d.prompts import caption_kinds, read_prompts
from rl3d.retrieval import RetrievalConfig
from rl3d.study_page import DOMAINS
from rl3d.training.config import TrainConfig
from scenes.files import FileError
from scenes.files.trees import parse_yaml

_LABEL = re.compile(r"[A-Za-z0-9][\w.+-]*")
FIXED = {"out", "generator", "checkpoint", "adapter", "objective", "sampling", "iterations", "seed"}
"""Settings of a training that a study decides for each run."""
_TRAIN = {f.name for f in fields(TrainConfig)} - {f.name for f in fields(RetrievalConfig)} - FIXED
"""Settings of a training that the file may set."""
T = TypeVar("T")


@dataclass(frozen=True)
class Domain:
    """Prompts of an evaluation."""

    kinds: str = ""
    """Kinds of captions of the corpus's held-out split: some of single, relation, count,
    composition, scene. Empty: all."""
    prompts: Path | None = None
    """Text file with one prompt a line, all of which are used. None: captions of the corpus."""
    num_prompts: int = 64
    """Number of those captions."""
    samples: int = 2
    """Assets for each prompt."""

    def __post_init__(self) -> None:
        as_paths(self, "prompts")
        at_least(self, num_prompts=2, samples=2)
        excludes(self, "prompts", "num_prompts", "kinds")
        caption_kinds(self.kinds)
        if self.prompts is not None and len(read_prompts(self.prompts)) < 2:
            raise ValueError(f"{self.prompts} holds one prompt: an error needs at least 2")

    def describe(self) -> str:
        """In words."""
        if self.prompts is not None:
            return f"{len(read_prompts(self.prompts))} prompts of {self.prompts.name}"
        kinds = " and ".join(caption_kinds(self.kinds)) or "all kinds"
        return f"{self.num_prompts} held-out captions of the corpus ({kinds})"

    def items(self, seed: int) -> list[Spec]:
        if self.prompts is not None:
            return [Spec(prompt, "prompt", "", Facts(())) for prompt in read_prompts(self.prompts)]
        kinds = caption_kinds(self.kinds) or tuple(MIX)
        return [item.spec for item in held_out_prompts(self.num_prompts, seed, "heldout", kinds)]


@dataclass(frozen=True)
class Evaluation:
    """What is measured of the weights of every mark."""

    rewards: str = "stability,connected,alignment"
    """Rewards to measure."""
    seed: int = 12345
    """Seed of prompts and samples."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be at least 0 and at most {MAX_SEED}, got {self.seed}")
        parse(self.rewards)


@dataclass(frozen=True)
class Plan:
    """The plain settings of a study."""

    out: Path
    """Folder of the study."""
    minutes: float
    """Training time of every run. Evaluations, checkpoints and the guard do not count."""
    marks: int = 5
    """How often, at even distances, a run's averaged weights are kept and measured."""
    figure: str = "stable_and_connected"
    """The main figure: of the curves, and of the time to reach a share."""
    share: float = 0.9
    """The page says when an objective had reached this share of the largest gain of the main
    figure."""

    def __post_init__(self) -> None:
        as_paths(self, "out")
        at_least(self, marks=1)
        above_0(self, "minutes", "share")
        if self.share > 1:
            raise ValueError(f"--share must be at most 1, got {self.share}")


@dataclass(frozen=True)
class Start:
    """A generator, and the weights that all its runs start from."""

    label: str
    generator: str
    checkpoint: Path | None

    def load(self, device: str) -> Generator:
        named = self.generator or None
        return load_generator(self.checkpoint, device, generator=named, pretrained=True)


@dataclass(frozen=True)
class Contender:
    """An objective with its settings, and those of the training that it has for itself."""

    label: str
    objective: str
    settings: dict[str, Any]
    train: dict[str, Any]

    def made_for(self, kind: type[Generator]) -> Objective:
        usual = usual_objective(kind, self.objective)
        return from_file(type(usual), {**asdict(usual), **self.settings}) if self.settings else usual


@dataclass(frozen=True)
class Study(Plan):
    """A study file, read and checked."""

    file: Path = Path()
    generators: tuple[Start, ...] = ()
    objectives: tuple[Contender, ...] = ()
    seeds: tuple[int, ...] = ()
    train: dict[str, Any] = dataclasses.field(default_factory=dict)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    domains: dict[str, Domain] = dataclasses.field(default_factory=dict)

    def config(self, start: Start, contender: Contender, out: Path, seed: int, iterations: int) -> TrainConfig:
        values = {**self.train, **contender.train, "generator": start.generator, "iterations": iterations}
        values |= {"checkpoint": start.checkpoint, "seed": seed, "out": out}
        objective = contender.made_for(generator_class(start.checkpoint, start.generator or None))
        return dataclasses.replace(from_file(TrainConfig, values), objective=objective)

    def folder(self, start: Start, contender: Contender, seed: int) -> Path:
        return self.out / start.label / contender.label / f"seed-{seed}"

    def marks_of(self, iterations: int) -> list[int]:
        """The iterations after which weights are kept."""
        return [round(iterations * k / self.marks) for k in range(1, self.marks + 1)]

    @property
    def device(self) -> str:
        return self.train.get("device", "cpu")


def read_study(path: Path) -> Study:
    """A study file. FileError with one line, naming the file and the key, for what does not fit."""
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise FileError(f"{path}: cannot read the study ({reason}); name a YAML file") from error
    except ValueError as error:
        raise FileError(f"{path}: {error}") from error
    plain = {f.name for f in fields(Plan)}
    nested = ("generators", "objectives", "seeds", "train", "evaluation")
    _check_keys(values, {*plain, *nested}, f"{path}")
    for key in ("out", "minutes", "generators", "objectives", "evaluation"):
        if key not in values:
            raise FileError(f"{path}: {key} is missing: a study needs it")
    plan = _config(Plan, {key: value for key, value in values.items() if key in plain}, f"{path}")
    train = _train_settings(values.get("train", {}), f"{path}: train")
    evaluation = values["evaluation"]
    _check_keys(evaluation, {*DOMAINS, *(f.name for f in fields(Evaluation))}, f"{path}: evaluation")
    for key in DOMAINS:
        if key not in evaluation:
            raise FileError(f"{path}: evaluation.{key} is missing: say which prompts, such as {{kinds: single}}")
    own = {key: value for key, value in evaluation.items() if key not in DOMAINS}
    study = Study(
        **vars(plan),
        file=path,
        generators=_labelled(values["generators"], _start, f"{path}: generators"),
        objectives=_labelled(values["objectives"], _contender, f"{path}: objectives"),
        seeds=_seeds(values.get("seeds", [0]), f"{path}: seeds"),
        train=train,
        evaluation=_config(Evaluation, own, f"{path}: evaluation"),
        domains={key: _config(Domain, evaluation[key], f"{path}: evaluation.{key}") for key in DOMAINS},
    )
    known = [reward.name for reward, _ in parse(study.evaluation.rewards)]
    figures = [*known, *(f"{name}_success_rate" for name in known), "judge", "category", "diversity"]
    if {"stability", "connected"} <= set(known):
        figures.append("stable_and_connected")
    if study.figure not in figures:
        raise FileError(f"{path}: figure: {study.figure!r} is not measured: choose one of {', '.join(figures)}")
    for start, contender in itertools.product(study.generators, study.objectives):
        try:
            study.config(start, contender, study.out, 0, 1)
        except ValueError as error:
            raise FileError(f"{path}: objectives: {contender.label}: {error}") from error
    return study


def _start(entry: Any, where: str) -> Start:
    entry = {"generator": entry} if isinstance(entry, str) else entry
    _check_keys(entry, {"label", "generator", "checkpoint"}, where)
    if not entry or not all(isinstance(value, str) and value for value in entry.values()):
        raise FileError(f"{where}: give a name, or generator and checkpoint as texts")
    name, checkpoint = entry.get("generator", ""), entry.get("checkpoint")
    try:
        kind = find_generator(name) if name else generator_class(Path(checkpoint) if checkpoint else None)
    except ValueError as error:
        raise FileError(f"{where}: {error}") from error
    label = entry.get("label") or kind.name.rpartition(":")[2]
    return Start(label, name, Path(checkpoint) if checkpoint else None)


def _contender(entry: Any, where: str) -> Contender:
    entry = {"objective": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("objective"), str):
        raise FileError(f"{where}: each is a name, or has the key objective with a name")
    name = entry["objective"]
    try:
        kind = find_objective(name)
    except ValueError as error:
        raise FileError(f"{where}: {error}") from error
    own = {f.name for f in fields(kind)}
    label = entry.get("label", name.rpartition(":")[2])
    _check_keys(entry, {"label", "objective", *own, *_TRAIN} - {"device"}, f"{where}: {label}")
    train = _train_settings({k: v for k, v in entry.items() if k in _TRAIN}, f"{where}: {label}")
    return Contender(label, name, {k: v for k, v in entry.items() if k in own}, train)


def _train_settings(values: Any, where: str) -> dict[str, Any]:
    """Settings of a training that fit, by themselves."""
    _check_keys(values, _TRAIN, where)
    config = _config(TrainConfig, values, where)
    try:
        weights = {reward.name: weight for reward, weight in parse(config.rewards)}
        Gates(config.gates, weights)
        Constraints(config.constraints, weights)
        if config.held_out:
            parse(config.held_out)
        if config.prompts is not None:
            read_prompts(config.prompts)
    except ValueError as error:
        raise FileError(f"{where}: {error}") from error
    if config.guard not in ("off", "warn"):
        raise FileError(f"{where}: guard must be off or warn: a run that it ends has no equal time")
    return values


def _seeds(values: Any, where: str) -> tuple[int, ...]:
    fit = isinstance(values, list) and values and all(type(seed) is int and 0 <= seed <= MAX_SEED for seed in values)
    if not fit or len(set(values)) < len(values):
        raise FileError(f"{where}: must be a list of different whole numbers from 0 to {MAX_SEED}, such as [0, 1, 2]")
    return tuple(values)


def _labelled(entries: Any, read: Callable[[Any, str], T], where: str) -> tuple[T, ...]:
    """The entries of a list, whose labels are different names of folders."""
    if not isinstance(entries, list) or not entries:
        raise FileError(f"{where}: must be a list with at least one entry")
    found = [read(entry, where) for entry in entries]
    labels = [getattr(one, "label", None) for one in found]
    for label in labels:
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            raise FileError(f"{where}: the label {label!r} names a folder: use letters, digits, . _ + and -")
        if labels.count(label) > 1:
            raise FileError(f"{where}: {label!r} is there twice: give each a label of its own")
    return tuple(found)


def _check_keys(values: Any, known: set[str], where: str) -> None:
    """FileError naming the first key that is not known, with the nearest one that is."""
    if not isinstance(values, dict):
        raise FileError(f"{where}: must have keys with values, such as {min(known)}: ...")
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose among {', '.join(sorted(known))}"
            raise FileError(f"{where}: there is no setting {key!r}: {hint}")


def _config(kind: type[T], values: Any, where: str) -> T:
    """A config of the values of a key; FileError naming the first that does not fit."""
    _check_keys(values, {f.name for f in fields(kind)}, where)  # type: ignore[arg-type]
    try:
        return from_file(kind, values)
    except ValueError as error:
        raise FileError(f"{where}: {error} does not fit" if " = " in str(error) else f"{where}: {error}") from error
