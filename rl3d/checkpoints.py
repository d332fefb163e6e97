"""Weights and optimisers: from and to named tensors, with one clear line for those of another
model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from scenes.files import FileError


def check_weights(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """FileError naming the first weight that is missing, unexpected, or of another shape."""
    own = network.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors:
            raise FileError(f"{path}: weight {name} is missing: the checkpoint is of another model or version")
        if name not in own or own[name].shape != tensors[name].shape:
            raise FileError(f"{path}: weight {name} does not fit: the checkpoint is of another model or version")


def load_network(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy weights into a network. FileError naming the first that is missing, unexpected, of
    another shape or not finite."""
    check_weights(network, tensors, path)
    learned = {name for name, _ in network.named_parameters()}
    for name, value in tensors.items():
        if name in learned and not value.isfinite().all():
            raise FileError(f"{path}: weight {name} has values that are not finite numbers")
    network.load_state_dict(tensors)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimiser as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": value
        for index, entry in state.items()
        for key, value in entry.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], path: Path) -> None:
    """The inverse of ``optimizer_tensors``; FileError if the state is that of other weights."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        if not index.isdecimal() or int(index) >= len(weights) or value.shape not in ((), weights[int(index)].shape):
            raise FileError(f"{path}: the optimiser's {name} does not fit: the checkpoint is of another model")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
