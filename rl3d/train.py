"""Fine-tune a generator on rewards."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rl3d.training.config import TrainConfig
from rl3d.training.loop import Run, begin, iterate


def train(
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    on_iteration: Callable[[dict[str, float]], None] | None = None,
    on_alarm: Callable[[str], None] = lambda alarm: print(f"guard: {alarm}", file=sys.stderr),
) -> Path:
    """Run a training to its end; returns the weights' file.

    ``on_iteration`` gets every iteration's metrics, ``on_alarm`` what the guard reports. An
    interrupt (Ctrl-C) lets the iteration in work finish, saves, and raises KeyboardInterrupt; a
    second one stops at once.
    """
    run = begin(config or TrainConfig(), resume=resume)
    with interrupts(run):
        for metrics in iterate(run):
            if on_iteration:
                on_iteration(metrics)
            for alarm in run.alarms:
                on_alarm(f"iteration {run.state.iteration}: {alarm}")
            if run.alarms and run.config.guard == "rollback":
                on_alarm(f"iteration {run.state.iteration}: back to the last good weights, with half the learning rate")
            if run.state.stopped:
                on_alarm(f"iteration {run.state.iteration}: the run ends here")
    if run.interrupted and run.state.iteration < run.config.iterations:
        raise KeyboardInterrupt
    return run.config.weights


@contextmanager
def interrupts(run: Run) -> Iterator[None]:
    """The first interrupt asks the run to end after its iteration."""

    def remember(*_: object) -> None:
        if run.interrupted:
            raise KeyboardInterrupt
        run.interrupted = True
        print("\nfinishing the iteration, then saving (interrupt again to stop at once)", file=sys.stderr)

    # Signals reach the main thread alone; elsewhere (a notebook's worker, a server) there is none
    # to catch.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
