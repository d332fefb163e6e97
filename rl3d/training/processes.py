"""Communication between the processes of a training. For one process it is the identity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rl3d.algorithms.base import Draw


@dataclass(frozen=True)
class Processes:
    """The processes that train together. This class is for one alone; a distributed one overrides
    the four methods below."""

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def shard(self, draw: Draw, together: int = 1) -> Draw:
        """The prompts of a draw that this process samples, with the seeds they have anywhere. Every
        ``together`` prompts in a row stay in one process."""
        places = len(draw.prompts) // together
        first, last = (together * (places * rank // self.count) for rank in (self.rank, self.rank + 1))
        return replace(draw, prompts=draw.prompts[first:last], first=first, total=len(draw.prompts))

    def gather(self, local: Tensor) -> Tensor:
        """The tensors of all processes, one after the other along the first dimension."""
        return local

    def mean(self, local: dict[str, float], weight: float) -> dict[str, float]:
        """Figures averaged over all processes, each with its weight."""
        return local

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes."""
