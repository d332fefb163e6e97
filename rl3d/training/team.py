"""Processes of one machine that share a supervised training: each has its part of every batch, and
all have the same weights. On a CPU two processes of one thread are faster than one of two threads.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rl3d.training.corpus_data import end_with_parent


@dataclass(frozen=True)
class Team:
    """One process among ``count`` that train together. Every method is called by all of them."""

    rank: int = 0
    count: int = 1
    meeting: str = ""
    """A file, not there yet, through which the processes find each other."""

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

    def share(self, tensors: Sequence[Tensor], owner: int) -> None:
        """Replace tensors by those of one process."""
        if self.count > 1:
            flat = torch.cat([t.flatten() for t in tensors])
            dist.broadcast(flat, owner)
            _put(flat, tensors)


@contextmanager
def assembled(
    train: Callable[[Any, Team], Iterator[object]], config: Any, count: int, seat: Team | None
) -> Iterator[Team]:
    """The team of this process: the main one starts the others, which run ``train(config, seat)``
    and end with it. The main one has no ``seat``."""
    if count == 1:
        yield Team()
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        team = seat or Team(0, count, str(Path(folder) / "meeting"))
        context = get_context("spawn")
        others = [
            context.Process(target=_work, args=(train, config, Team(rank, count, team.meeting)), daemon=False)
            for rank in range(1, count if team.main else 1)
        ]
        for process in others:
            process.start()
        try:
            dist.init_process_group("gloo", init_method=f"file://{team.meeting}", rank=team.rank, world_size=count)
            yield team
        finally:
            for process in others:
                process.terminate()
                process.join()
            if dist.is_initialized():
                dist.destroy_process_group()


def _work(train: Callable[[Any, Team], Iterator[object]], config: Any, seat: Team) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    for _ in train(config, seat):
        pass


def _put(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, values in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(values.view_as(tensor))
