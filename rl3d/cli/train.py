"""``rl3d train``: fine-tune the generator on rewards; an interrupted run goes on with --resume."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from rewards.mix import parse
from rl3d.cli.options import parse as parse_options
from rl3d.generators.part_flow import DEFAULT_SAMPLING
from rl3d.pictures import Picture, previews, render_sheet, save_image
from rl3d.report import report
from rl3d.training.trainer import TrainConfig, Trainer, saved_config

SHEET_PROMPTS = 12


def train(
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    on_step: Callable[[dict[str, int | float]], None] | None = None,
    on_alarm: Callable[[str], None] = lambda alarm: print(f"guard: {alarm}", file=sys.stderr),
) -> Path:
    """Run a training to its end; returns the weights. ``on_step`` sees every iteration's metrics,
    ``on_alarm`` what the guard has to say.

    An interrupt lets the iteration in work finish, saves, and raises KeyboardInterrupt.
    """
    from torch.utils.tensorboard import SummaryWriter

    trainer = Trainer(config or TrainConfig(), resume=resume)
    config = trainer.config
    interrupted = False

    def remember(*_: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        print("\nfinishing the iteration, then saving (interrupt again to stop at once)", file=sys.stderr)

    # Signals reach the main thread alone; elsewhere (a notebook's worker, a server) there is none
    # to catch.
    main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, remember) if main_thread else None
    writer = SummaryWriter(str(config.out / "tensorboard"), purge_step=trainer.iteration + 1)
    try:
        if trainer.iteration == 0:
            sheet(trainer)
        for metrics in trainer:
            for name, value in metrics.items():
                if name != "iteration":
                    writer.add_scalar(name, value, trainer.iteration)
            if on_step:
                on_step(metrics)
            for alarm in trainer.alarms:
                on_alarm(f"round {trainer.iteration}: {alarm}")
            if trainer.alarms and config.guard == "rollback":
                on_alarm(f"round {trainer.iteration}: back to the last good weights, with half the learning rate")
            if trainer.stopped:
                on_alarm(f"round {trainer.iteration}: the run ends here")
            last = trainer.iteration == config.iterations or trainer.stopped
            if interrupted or last or trainer.iteration % config.save_every == 0:
                trainer.save()
                sheet(trainer)
                report(config.out)
            if interrupted and not last:
                raise KeyboardInterrupt
    finally:
        writer.close()
        if main_thread:
            signal.signal(signal.SIGINT, previous)
    return config.out / "part_flow.safetensors"


def sheet(trainer: Trainer) -> Path:
    """Contact sheet of fixed prompts with fixed seeds under the averaged weights."""
    prompts = trainer.prompts[:SHEET_PROMPTS]
    parts = trainer.averaged.generate(prompts, seeds=list(range(len(prompts))), sampling=DEFAULT_SAMPLING)
    with torch.no_grad():
        images = previews(parts.gaussians(6144), 192)
    pictures = [Picture(image, caption) for image, caption in zip(images, prompts, strict=True)]
    path = trainer.config.out / "samples" / f"{trainer.iteration:06d}.png"
    save_image(
        path,
        render_sheet(
            [pictures[i : i + 6] for i in range(0, len(pictures), 6)], title=f"iteration {trainer.iteration}", size=192
        ),
    )
    return path


@dataclass(frozen=True)
class _Arguments:
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    resume: bool = False
    """Go on with the run in --out from its newest checkpoint."""


def run(arguments: list[str]) -> None:
    parsed = parse_options(_Arguments, "train", __doc__, arguments)
    if parsed.resume:
        # The run's own settings, with what the command line says on top.
        default = _Arguments(saved_config(parsed.config.out), True)
        parsed = parse_options(_Arguments, "train", __doc__, arguments, default)
    progress(parsed.config, parsed.resume)


def progress(config: TrainConfig, resume: bool = False) -> Path:
    """Train with a progress bar that shows every reward."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rewards]}"),
    )
    bar = Progress(*columns)
    task = bar.add_task("training", total=config.iterations, rewards="")
    names = [reward.name for reward, _ in parse(config.rewards)]
    shown: dict[str, float] = {}

    def on_step(metrics: dict[str, int | float]) -> None:
        bar.start()  # only now: what cannot begin ends in one line and no bar
        for name in names:
            shown[name] = 0.9 * shown.get(name, metrics[name]) + 0.1 * metrics[name]
        text = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
        bar.update(task, completed=metrics["iteration"], rewards=f"{text} kl {metrics['kl']:.3f}")

    try:
        weights = train(
            config,
            resume=resume,
            on_step=on_step,
            on_alarm=lambda alarm: bar.console.print(f"guard: {alarm}", style="yellow"),
        )
    except KeyboardInterrupt:
        if any((config.out / "checkpoints").glob("state_*.safetensors")):
            print(f"saved: go on with  rl3d train --out {config.out} --resume", file=sys.stderr)
        raise
    finally:
        if shown:  # stopping a bar that never began would draw it
            bar.stop()
    print(f"weights: {weights}\nreport:  {config.out / 'report.html'}\nmetrics: {config.out / 'metrics.jsonl'}")
    return weights
