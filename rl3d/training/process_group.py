"""Processes of one machine that share a supervised training: each has its part of every batch, and
all have the same weights. On a CPU two processes of one thread are faster than one of two threads.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rl3d.training.corpus_data import end_with_parent

T = TypeVar("T")
_DIED = "a process of the training ended with code {}: run it again, it goes on from its last state"


@dataclass(frozen=True)
class ProcessGroup:
    """One of ``count`` processes that train together. Each method is called by all of them, in the
    same order. For one process they do nothing."""

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this process reports and writes files."""
        return self.rank == 0

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over all processes."""
        if self.count > 1:
            flat = torch.cat([t.flatten() for t in tensors])
            dist.all_reduce(flat)
            _put(flat / self.count, tensors)

    def broadcast(self, tensors: Sequence[Tensor], owner: int) -> None:
        """Replace tensors by those of one process."""
        if self.count > 1:
            flat = torch.cat([t.flatten() for t in tensors])
            dist.broadcast(flat, owner)
            _put(flat, tensors)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The others begin once the main process has done it: it may write what they read."""
        if not self.main:
            dist.barrier()
        yield
        if self.main and self.count > 1:
            dist.barrier()


def check_processes(processes: int, batch: int) -> None:
    """ValueError with one line if a batch cannot be shared equally."""
    if batch % processes:
        raise ValueError(f"--batch {batch} must be a multiple of --processes {processes}")


def together(train: Callable[[Any, ProcessGroup], Iterator[T]], config: Any, count: int) -> Iterator[T]:
    """What ``train(config, group)`` yields in this process. ``count - 1`` others run the same, and
    end with it. ChildProcessError with one line if one of them dies."""
    if count == 1:
        yield from train(config, ProcessGroup())
        return
    threads, met = torch.get_num_threads(), threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "processes")
        context = get_context("spawn")
        others = [context.Process(target=_work, args=(train, config, rank, count, meeting)) for rank in range(1, count)]
        try:
            for process in others:
                process.start()
                atexit.register(process.terminate)  # before those that are left are waited for
            threading.Thread(target=_watch, args=(others, met), daemon=True).start()
            torch.set_num_threads(1)
            with _joined(0, count, meeting) as group:
                met.set()
                yield from train(config, group)
        except RuntimeError as error:
            for process in others:
                process.join(1)
            if dead := [process.exitcode for process in others if process.exitcode]:
                raise ChildProcessError(_DIED.format(dead[0])) from error
            raise
        finally:
            met.set()
            torch.set_num_threads(threads)
            for process in others:
                atexit.unregister(process.terminate)
                if process.pid is not None:
                    process.terminate()
                    process.join()


def _work(train: Callable[[Any, ProcessGroup], Iterator[object]], config: Any, *seat: Any) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process hears Ctrl-C, and ends this one
    torch.set_num_threads(1)
    with _joined(*seat) as group:
        for _ in train(config, group):
            pass


@contextmanager
def _joined(rank: int, count: int, meeting: str) -> Iterator[ProcessGroup]:
    store = dist.FileStore(meeting, count)  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count)
    try:
        yield ProcessGroup(rank, count)
    finally:
        dist.destroy_process_group()


def _watch(others: Sequence[BaseProcess], met: threading.Event) -> None:
    """Before they have met, the main process would wait for a dead one for half an hour."""
    while not met.is_set():
        wait([process.sentinel for process in others], timeout=1)
        if (dead := [process.exitcode for process in others if process.exitcode]) and not met.is_set():
            print(f"rl3d: {_DIED.format(dead[0])}", file=sys.stderr)
            os._exit(2)


def _put(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, values in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(values.view_as(tensor))
