"""One supervised training: Muon for the matrices of hidden layers, AdamW for the rest, averaged
weights, and a state to go on from.

Muon (Jordan et al., 2024) reaches AdamW's loss in about three quarters of its steps on the networks
here."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from rl3d.checkpoints import load_network, load_optimizer, optimizer_tensors
from rl3d.training.muon import Muon
from rl3d.training.process_group import ProcessGroup
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors

REPORT_EVERY, SAVE_EVERY = 25, 200
COPIES = 10
"""Copies of the averaged weights that a training leaves, evenly spread over its steps."""


@runtime_checkable
class Settings(Protocol):
    """What the settings of a training have in common: a dataclass of plain values and paths."""

    @property
    def out(self) -> Path: ...

    @property
    def bfloat16(self) -> bool: ...


@dataclass(frozen=True)
class Recipe:
    """Optimiser settings of a supervised training."""

    steps: int
    lr: float
    """Peak learning rate of Muon. It falls to a hundredth by a cosine after the warm-up."""
    adam_lr: float
    adam_betas: tuple[float, float]
    weight_decay: float
    warmup: int
    ema: float
    """Decay of the averaged weights, which are the result."""


def fit(
    network: nn.Module,
    loss_of: Callable[[int], tuple[Tensor, dict[str, float]]],
    recipe: Recipe,
    config: Settings,
    *,
    result: str,
    header: dict[str, Any],
    teacher: nn.Module | None = None,
    group: ProcessGroup | None = None,
) -> Iterator[dict[str, int | float]]:
    """Train; yields mean metrics every 25 steps. The result is the averaged weights, in
    ``config.out/result`` as float16; ten copies on the way stay in ``config.out/steps``.

    ``loss_of(step)`` must depend on the step and the network alone: an interrupted training then
    resumes from ``config.out`` exactly. The result's header is ``header`` with the settings, the
    step and the processor ``seconds`` of all steps: those of this process times the processes of
    the ``group``, without those that make batches. A folder that holds a run with other settings is
    refused. The hidden layers of the network lie in blocks. ``teacher`` is a network of the same
    kind that has the averaged weights in every step. Gradients and metrics are averaged over the
    group; each of its processes steps its share of the hidden layers.
    """
    group = group or ProcessGroup()
    group.broadcast(list(network.state_dict().values()), 0)
    out = config.out
    values = {k: v for k, v in vars(config).items() if k != "out"}
    settings = json.loads(json.dumps(values, default=lambda path: path.name))
    ema = {k: v.clone() for k, v in network.state_dict().items()}
    hidden = [
        p for name, p in network.named_parameters() if "blocks" in name and p.dim() == 2 and not name.endswith("table")
    ]
    others = [p for p in network.parameters() if all(p is not h for h in hidden)]
    shares = [hidden[rank :: group.count] for rank in range(min(group.count, len(hidden)))]
    optimizers = [
        *(Muon(own, lr=recipe.lr, weight_decay=recipe.weight_decay) for own in shares),
        torch.optim.AdamW(others, lr=recipe.adam_lr, betas=recipe.adam_betas, weight_decay=recipe.weight_decay),
    ]
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    state_path, first, earlier = out / "state.safetensors", 0, 0.0
    if state_path.exists():
        tensors, state, _ = read_tensors(state_path)
        if state.get("training") != settings:
            raise FileError(f"{out}: holds a run with other settings: choose another folder")
        load_network(network, _named(tensors, "network."), state_path)
        ema = _named(tensors, "ema.")
        for i, optimizer in enumerate(optimizers):
            load_optimizer(optimizer, _named(tensors, f"optimizer{i}."), state_path)
        first, earlier = state["step"], state["seconds"]
    sums: dict[str, float] = {}
    started, worked, since = time.monotonic(), time.process_time(), first
    for step in range(first, recipe.steps):
        rate = min(1.0, (step + 1) / recipe.warmup) * max(0.01, 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate
        if teacher is not None:
            load_network(teacher, ema, state_path)
        # bfloat16 in the matrix products alone: 1.8 times as fast on CPUs that have it, with
        # attention and norms in float32.
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            loss, metrics = loss_of(step)
        network.zero_grad()
        loss.backward()
        figures = torch.tensor([loss.item(), *metrics.values()])
        if group.count > 1:  # what one process had no use for, another may have used
            group.mean([figures, *(p.grad if p.grad is not None else _zero_gradient(p) for p in network.parameters())])
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in {optimizers[min(group.rank, len(shares))], optimizers[-1]}:
            optimizer.step()
        for rank, own in enumerate(shares):
            state = optimizers[rank].state
            momenta = [state[p].setdefault("momentum_buffer", torch.zeros_like(p)) for p in own]
            group.broadcast([*own, *momenta], rank)
        with torch.no_grad():
            # A short run must forget its random start: the decay grows with the steps made.
            for name, value in network.state_dict().items():
                ema[name].lerp_(value, 1 - min(recipe.ema, (1 + step) / (10 + step)))
        for name, value in zip(("loss", *metrics), figures.tolist(), strict=True):
            sums[name] = sums.get(name, 0.0) + value
        last, copied = step + 1 == recipe.steps, (step + 1) * COPIES % recipe.steps < COPIES
        if (step + 1) % REPORT_EVERY == 0 or last:
            count = step + 1 - since
            yield {"step": step + 1, **{k: v / count for k, v in sums.items()}, "seconds": time.monotonic() - started}
            sums, since = {}, step + 1
        if group.main and ((step + 1) % SAVE_EVERY == 0 or copied or last):
            tensors = {f"network.{k}": v for k, v in network.state_dict().items()} | {
                f"ema.{k}": v for k, v in ema.items()
            }
            for i, optimizer in enumerate(optimizers):
                tensors |= {f"optimizer{i}.{k}": v for k, v in optimizer_tensors(optimizer).items()}
            done = {
                "training": settings,
                "step": step + 1,
                "seconds": earlier + group.count * (time.process_time() - worked),
            }
            write_tensors(state_path, tensors, done)
            made = {**header, **done}
            averaged = {k: v.half() for k, v in ema.items()}
            write_tensors(out / result, averaged, made)
            if copied:
                write_tensors(out / f"steps/{step + 1:06d}.safetensors", averaged, made)


def generator_of(*numbers: int) -> torch.Generator:
    """A random stream of its own for each tuple of numbers: a seed, a step, a process."""
    stream = np.random.default_rng(np.random.SeedSequence(0, spawn_key=numbers))
    return torch.Generator().manual_seed(int(stream.integers(2**62)))


def _zero_gradient(parameter: nn.Parameter) -> Tensor:
    parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
