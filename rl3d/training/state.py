"""The state of a run: weights, optimiser, priorities, constraints, gates. It is saved, and resumed
exactly."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from rewards.mix import Constraints, Gates
from rl3d.checkpoints import load_network, load_optimizer, optimizer_tensors
from rl3d.generators.base import Generator
from rl3d.training.prompts import PromptPool
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors

EMA_DECAY = 0.98
"""Decay of the averaged weights over the iterations."""


@dataclass
class State:
    """The state of a run. ``policy`` holds the present weights and the reference policy's."""

    policy: Generator
    optimizer: torch.optim.Optimizer
    prompts: PromptPool
    constraints: Constraints
    gates: Gates
    memory: nn.Module | None = None
    """What the objective keeps from iteration to iteration."""
    iteration: int = 0
    """Iterations that are done."""
    rollbacks: int = 0
    stopped: bool = False
    """Whether the guard has ended the run."""
    good: dict[str, Tensor] = field(default_factory=dict)
    """Tensors of the last state that the guard found good; empty where there is no rollback."""
    ema: nn.Module = field(init=False)
    """EMA weights: an average over the last iterations, in which their noise cancels. They are the
    result of the run."""

    def __post_init__(self) -> None:
        self.policy.keep_reference()
        self.ema = copy.deepcopy(self.policy.network).requires_grad_(False)

    @contextmanager
    def averaged(self) -> Iterator[Generator]:
        """The policy with the averaged weights."""
        with self.policy.using(self.ema):
            yield self.policy

    @torch.no_grad()
    def average(self, reference_decay: float = 1.0) -> None:
        """Move the averaged weights towards the present ones, early on by more, and the reference
        policy's by 1 - ``reference_decay``."""
        rate = 1 - min(EMA_DECAY, (1 + self.iteration) / (10 + self.iteration))
        present_weights = list(self.policy.network.parameters())
        for ema, present in zip(self.ema.parameters(), present_weights, strict=True):
            ema.lerp_(present, rate)
        if reference_decay < 1:
            with self.policy.reference():
                for reference, present in zip(self.policy.network.parameters(), present_weights, strict=True):
                    reference.lerp_(present, 1 - reference_decay)
        for ema, present in zip(self.ema.buffers(), self.policy.network.buffers(), strict=True):
            ema.copy_(present)

    def tensors(self) -> dict[str, Tensor]:
        """All that changes, by name. The tensors are the state's own, not copies."""
        named = {
            "policy": self.policy.network.state_dict(),
            "reference": self._reference_weights(),
            "ema": self.ema.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "prompts": {"priority": self.prompts.priority},
            "constraints": {name: torch.tensor(w, dtype=torch.float64) for name, w in self.constraints.weights.items()},
            "gates": {
                f"{name}.{figure}": torch.tensor(mean, dtype=torch.float64)
                for name, running in self.gates.running.items()
                for figure, mean in running.items()
            },
        }
        if self.memory is not None:
            named["memory"] = self.memory.state_dict()
        return {f"{kind}.{name}": tensor for kind, tensors in named.items() for name, tensor in tensors.items()}

    def _reference_weights(self) -> dict[str, Tensor]:
        with self.policy.reference():
            return self.policy.network.state_dict()

    def load(self, tensors: dict[str, Tensor], path: Path) -> None:
        """Take over what ``tensors`` gave. FileError naming ``path`` for those of another run."""
        load_network(self.policy.network, _under("policy", tensors), path)
        load_network(self.ema, _under("ema", tensors), path)
        with self.policy.reference():
            load_network(self.policy.network, _under("reference", tensors), path)
        if self.memory is not None:
            load_network(self.memory, _under("memory", tensors), path)
        load_optimizer(self.optimizer, {name: t.clone() for name, t in _under("optimizer", tensors).items()}, path)
        self.prompts.priority = tensors["prompts.priority"].clone()
        known = _under("constraints", tensors)
        self.constraints.weights |= {name: known[name].item() for name in self.constraints.targets if name in known}
        means = _under("gates", tensors)
        for name, running in self.gates.running.items():
            running |= {figure: means[f"{name}.{figure}"].item() for figure in running if f"{name}.{figure}" in means}

    def mark_good(self) -> None:
        """Keep a copy of this state to return to."""
        self.good = {name: tensor.clone() for name, tensor in self.tensors().items()}

    def roll_back(self) -> None:
        """Return to the last good state."""
        self.load(self.good, Path("the last good state"))
        self.rollbacks += 1

    def save(self, folder: Path) -> Path:
        """Write the checkpoint of this iteration into ``folder`` and drop older ones. FileError,
        and they stay, if a weight is not finite: nothing could be resumed from it."""
        path = folder / f"state_{self.iteration:06d}.safetensors"
        tensors = self.tensors()
        broken = [name for name, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
        if broken:
            raise FileError(f"{path}: not written, because {broken[0]} is not finite; the last checkpoint is kept")
        header = {"iteration": self.iteration, "rollbacks": self.rollbacks, "stopped": self.stopped}
        good = {f"good.{name}": tensor for name, tensor in self.good.items()}
        write_tensors(path, tensors | good, {"kind": "training-state", **header})
        for old in checkpoints(folder):
            if old != path:
                old.unlink()
        return path

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint. FileError if it is damaged or of another run."""
        tensors, header, _ = read_tensors(path)
        if "prompts.priority" not in tensors or type(header.get("iteration")) is not int:
            raise FileError(f"{path}: not the state of a training run")
        if len(tensors["prompts.priority"]) != len(self.prompts):
            had, now = len(tensors["prompts.priority"]), len(self.prompts)
            raise FileError(f"{path}: the run had {had} prompts, now there are {now}")
        self.load(tensors, path)
        self.good = _under("good", tensors)
        known = header["iteration"], header.get("rollbacks"), header.get("stopped")
        if tuple(map(type, known)) != (int, int, bool):
            raise FileError(f"{path}: not the state of a training run")
        self.iteration, self.rollbacks, self.stopped = known


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("state_*.safetensors"))


def iteration_of(checkpoint: Path) -> int:
    """The iteration in the name of a checkpoint; -1 if the name is another one."""
    number = checkpoint.stem.removeprefix("state_")
    return int(number) if number.isdecimal() else -1


def _under(kind: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose name begins with ``kind`` and a dot, without it."""
    return {name.removeprefix(f"{kind}."): t for name, t in tensors.items() if name.startswith(f"{kind}.")}
