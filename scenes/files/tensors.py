"""Tensors with a JSON header in safetensors files: weights, checkpoints, learned rewards.

Nothing is unpickled. The header is a JSON object under the key ``rl3d`` of the file's metadata.
Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from scenes.files.atomic import FileError, atomic_write, read_bytes, reason
from scenes.files.trees import parse_json

MAX_BYTES = 2**31


class TensorFile(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]
    header: dict[str, Any]
    sha256: str
    """Of the whole file, in hex."""


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header, whole or not at all."""
    from safetensors.torch import save

    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata={"rl3d": json.dumps(header)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def read_tensors(path: str | Path, what: str = "an rl3d checkpoint", *, max_bytes: int = MAX_BYTES) -> TensorFile:
    """Read a file that ``write_tensors`` made.

    ``what`` names the expected kind in messages, with an article: "an rl3d checkpoint". FileError
    for any other file. A file larger than ``max_bytes`` is refused before it is read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; name {what}") from None
    except OSError as error:
        raise FileError(f"cannot read {path}: {reason(error)}") from error
    if size > max_bytes:
        raise FileError(f"{path}: larger than {max_bytes >> 20} MiB, not {what}")
    data = read_bytes(path)
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = parse_json(parse_json(data[8 : 8 + length])["__metadata__"]["rl3d"])
        if not isinstance(header, dict):
            raise TypeError("header")
        tensors = load(data)
    except (SafetensorError, struct.error, KeyError, ValueError, TypeError) as error:
        if path.suffix != ".safetensors":
            raise FileError(f"{path}: no .safetensors file, so not {what}; name another file") from error
        raise FileError(f"{path}: not {what}, or cut short; make or fetch it again") from error
    return TensorFile(tensors, header, hashlib.sha256(data).hexdigest())
