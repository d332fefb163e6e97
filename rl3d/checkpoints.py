"""Checkpoints: safetensors files with a JSON header, written aside and renamed. Nothing is ever
unpickled."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from scenes.files import FileError, atomic_write
from scenes.files.trees import parse_json

MAX_BYTES = 2**31
"""A checkpoint larger than this is refused before it is read."""


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header to ``path`` at once or not at all."""
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata={"rl3d": json.dumps(header)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file made by ``save_tensors``; FileError with one line for anything
    else."""
    if not path.is_file():
        raise FileError(f"{path}: no such checkpoint")
    if path.stat().st_size > MAX_BYTES:
        raise FileError(f"{path}: larger than {MAX_BYTES >> 30} GiB, not an rl3d checkpoint")
    data = path.read_bytes()
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = parse_json(parse_json(data[8 : 8 + length])["__metadata__"]["rl3d"])
        if not isinstance(header, dict):
            raise TypeError("header")
        return load(data), header
    except (SafetensorError, struct.error, KeyError, ValueError, TypeError) as error:
        raise FileError(
            f"{path}: not an rl3d checkpoint, or cut short ({type(error).__name__}); make or fetch it again"
        ) from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_weights(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """FileError naming the first weight that is missing, unexpected, or of another shape."""
    own = network.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors:
            raise FileError(f"{path}: weight {name} is missing: the checkpoint is of another model")
        if name not in own or own[name].shape != tensors[name].shape:
            raise FileError(f"{path}: weight {name} does not fit: the checkpoint is of another model")


def load_network(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy weights into a network. FileError naming the first that is missing, unexpected, of
    another shape or not finite."""
    check_weights(network, tensors, path)
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise FileError(f"{path}: weight {name} has values that are not finite numbers")
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})


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
