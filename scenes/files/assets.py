"""Files that hold one asset of parts: a .glb that rl3d has written, the folder of ``rl3d
generate``, or a .safetensors of ``write_asset``."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from scenes.files.atomic import FileError, read_bytes
from scenes.files.glb import read_parts
from scenes.files.tensors import read_tensors, write_tensors
from scenes.parts import EXISTENCE, MAX_PARTS, VECTOR_SIZE

KIND = "parts"
"""In the header of a .safetensors file that holds one asset."""
MESH = "mesh.glb"
"""The file with parts in a folder of ``rl3d generate``."""


class NoParts(FileError):
    """A file that can be read, but holds no parts."""


def write_asset(path: Path, vectors: Float[Tensor, "p v"], caption: str) -> None:
    """Write the parts of one asset (``Parts.vectors``) and its caption as .safetensors."""
    write_tensors(path, {KIND: vectors.float()}, {"kind": KIND, "caption": caption})


def read_asset(path: Path) -> tuple[Float[Tensor, "p v"], str]:
    """The parts of an asset as vectors, and the caption in its .safetensors or "".

    ``NoParts`` for an asset without parts, FileError for a file that cannot be read: one line each.
    """
    if path.is_dir():
        if not (path / MESH).is_file():
            raise FileError(f"cannot read {path}: it has no {MESH}; name an asset's folder or its file")
        path = path / MESH
    if path.suffix.lower() not in (".glb", ".safetensors") and path.exists():
        raise FileError(f"cannot read {path}: it is no .glb or .safetensors file")
    if path.suffix.lower() == ".glb":
        try:
            parts = read_parts(path, read_bytes(path))
        except FileError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileError(f"cannot read {path}: {error}") from error
        vectors, caption = None if parts is None else parts.vectors(), ""
    else:
        tensors, header, _ = read_tensors(path, "an asset of parts")
        vectors, caption = tensors.get(KIND) if header.get("kind") == KIND else None, header.get("caption", "")
    if vectors is None or not vectors.numel():
        raise _without(path)
    if (
        vectors.dim() != 2
        or vectors.shape[1] != VECTOR_SIZE
        or len(vectors) > MAX_PARTS
        or not vectors.is_floating_point()
    ):
        raise FileError(f"cannot read {path}: its parts are not up to {MAX_PARTS} times {VECTOR_SIZE} numbers")
    if not vectors.isfinite().all():
        raise FileError(f"cannot read {path}: its parts have numbers that are not finite")
    present = vectors[vectors[:, EXISTENCE] > 0].float()
    if not len(present):
        raise _without(path)
    return present, caption.strip() if isinstance(caption, str) else ""


def _without(path: Path) -> NoParts:
    return NoParts(f"cannot use {path}: it has no parts; give a mesh.glb that rl3d generate wrote")


def as_vectors(rows: object) -> Float[Tensor, "p v"]:
    """Parts as a card holds them. ValueError for anything else."""
    try:
        vectors = torch.tensor(rows, dtype=torch.float32)
    except (TypeError, RuntimeError, OverflowError) as error:
        raise ValueError("its parts") from error
    if vectors.dim() != 2 or vectors.shape[1] != VECTOR_SIZE or not len(vectors) or not vectors.isfinite().all():
        raise ValueError("its parts")
    return vectors
