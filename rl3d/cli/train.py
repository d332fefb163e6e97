"""``rl3d train``: fine-tune a generator on rewards. An interrupted run goes on with --resume."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from rewards.mix import parse
from rl3d.algorithms.load import usual_objective
from rl3d.cli.options import check_sampling, value_of
from rl3d.cli.options import parse as parse_options
from rl3d.generators.load import generator_class
from rl3d.train import train
from rl3d.training.config import TrainConfig, saved_config
from rl3d.training.state import checkpoints, iteration_of


@dataclass(frozen=True)
class _Extra(TrainConfig):
    """TrainConfig with what only the command line has."""

    objective_name: Annotated[str, tyro.conf.arg(name="objective")] = "awm"
    """How the policy learns: awm, grpo, or module:Class of your own. Default: the generator's usual
    one. Its settings follow."""
    resume: bool = False
    """Resume the run in --out from its newest checkpoint, with the run's own settings as defaults.
    A run without a checkpoint starts from the beginning."""


def read_arguments(arguments: list[str]) -> tuple[TrainConfig, bool]:
    """The settings, and whether to resume.

    The objective's settings (--lr, --clip, ...) and the sampling options (--sampling.NAME) are
    those of the objective and the generator that the arguments name.
    """
    out = Path(value_of(arguments, "--out") or TrainConfig.out)
    resumed = "--resume" in arguments and (out / "config.yaml").is_file()
    saved = saved_config(out) if resumed else TrainConfig()
    checkpoint, named = value_of(arguments, "--checkpoint"), value_of(arguments, "--generator")
    kind = generator_class(Path(checkpoint) if checkpoint else saved.checkpoint, named or saved.generator or None)
    name = value_of(arguments, "--objective") or (saved.objective.name if resumed else None)
    own_again = resumed and name == saved.objective.name
    objective = saved.objective if own_again else usual_objective(kind, name)
    usual = objective.options(kind)
    options = saved.sampling or usual
    check_sampling(arguments, kind.name, options)
    typed: list[tuple[str, Any, Any]] = [
        ("objective", Annotated[type(objective), tyro.conf.arg(name="")], field(default=objective)),
        ("sampling", type(options), field(default=options)),
    ]
    wanted = make_dataclass("TrainConfig", typed, bases=(_Extra,), frozen=True)
    wanted.__doc__ = TrainConfig.__doc__
    own = {f.name: getattr(saved, f.name) for f in fields(TrainConfig)} | {"objective": objective, "sampling": options}
    parsed = parse_options(wanted, "train", __doc__, arguments, wanted(**own, objective_name=objective.name))
    values = {f.name: getattr(parsed, f.name) for f in fields(TrainConfig)}
    values["sampling"] = None if parsed.sampling == usual else parsed.sampling
    return TrainConfig(**values), parsed.resume


def run(arguments: list[str]) -> None:
    config, resume = read_arguments(arguments)
    found = checkpoints(config.out / "checkpoints")
    if resume and found and iteration_of(found[-1]) >= config.iterations:
        print(f"{config.out}: all {config.iterations} iterations are done; to go on, add a higher --iterations")
        return
    progress(config, resume)


def progress(config: TrainConfig, resume: bool = False) -> Path:
    """Train with a progress bar that shows every reward."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    names = [reward.name for reward, _ in parse(config.rewards)]
    if resume and config.out.is_dir() and not checkpoints(config.out / "checkpoints"):
        print(f"{config.out} has no checkpoint yet: beginning from the start")
    columns = [TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()]
    bar = Progress(*columns, TextColumn("{task.fields[rewards]}"))
    task = bar.add_task("training", total=config.iterations, rewards="")
    shown: dict[str, float] = {}

    def on_iteration(metrics: dict[str, float]) -> None:
        bar.start()  # only now, so that an error at the start is one line without a bar
        for name in names if names[0] in metrics else ():
            shown[name] = 0.9 * shown.get(name, metrics[name]) + 0.1 * metrics[name]
        text = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
        bar.update(task, completed=metrics["iteration"], rewards=f"{text} kl {metrics.get('kl', 0.0):.3f}")

    def on_alarm(alarm: str) -> None:
        bar.console.print(f"guard: {alarm}", style="yellow")

    try:
        weights = train(config, resume=resume, on_iteration=on_iteration, on_alarm=on_alarm)
    except KeyboardInterrupt:
        if checkpoints(config.out / "checkpoints"):
            print(f"saved: go on with  rl3d train --out {config.out} --resume", file=sys.stderr)
        raise
    finally:
        if shown:  # stopping a bar that never began would draw it
            bar.stop()
    print(f"weights: {weights}\nreport:  {config.out / 'report.html'}\nmetrics: {config.out / 'metrics.jsonl'}")
    return weights
