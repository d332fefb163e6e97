"""Choices between two assets for one prompt, and their file.

A line of the .jsonl file is one pair. An asset of parts is written as its numbers, another one as
Gaussians: a .ply, named by its hash, in a folder beside the file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from scenes.asset import Asset, PartAsset
from scenes.files import FileError
from scenes.files.atomic import reason
from scenes.files.ply import read_ply, write_ply
from scenes.files.trees import parse_json
from scenes.parts import MAX_PARTS, PART_SIZES, Parts

Choice = Literal["left", "right", "equal"]
SIDES = ("left", "right")


@dataclass(frozen=True)
class Pair:
    """Two assets for one prompt, each a batch of one scene, and which of them a person prefers."""

    prompt: str
    left: Asset
    right: Asset
    choice: Choice

    def __post_init__(self) -> None:
        if len(self.left) != 1 or len(self.right) != 1:
            raise ValueError(f"a pair is of single scenes, got batches of {len(self.left)} and {len(self.right)}")


def append_pair(path: Path, pair: Pair) -> None:
    """Add a pair to the end of a file; FileError with one line if it cannot be written."""
    line = {"prompt": pair.prompt, "choice": pair.choice}
    line |= {side: _written(path, getattr(pair, side)) for side in SIDES}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise FileError(f"cannot write {path}: {reason(error)}") from error


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file. FileError with the number of the first line that is no pair.

    The last line is skipped if it is cut short: a page that is killed may leave half a line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "not UTF-8 text"
        raise FileError(f"{path}: cannot read pairs ({why})") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == len(lines) and not line.endswith("\n")):
            continue
        try:
            found = parse_json(line)
            if not isinstance(found["prompt"], str) or found["choice"] not in get_args(Choice):
                raise ValueError
            left, right = (_read(path, found[side]) for side in SIDES)
        except FileError as error:
            raise FileError(f"{path}: line {number}: {error}") from error
        except (ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
            raise FileError(f"{path}: line {number} is not a pair of assets with a prompt and a choice") from error
        pairs.append(Pair(found["prompt"], left, right, found["choice"]))
    if not pairs:
        raise FileError(f"{path}: holds no pair: collect some with rl3d prefer")
    return pairs


def _splats(path: Path) -> Path:
    """The folder for Gaussians that belongs to a file of pairs."""
    return path.with_name(f"{path.stem}_splats")


def _written(path: Path, asset: Asset) -> list[list[float]] | str:
    """An asset as a line of ``path`` holds it; Gaussians are written to their folder."""
    if asset.parts is not None:
        return asset.parts[0].present().detach().vectors().tolist()
    scene = asset.gaussians().detach()[0].to("cpu")
    scene = scene.select(scene.opacities > 0)
    temporary = _splats(path) / ".new.ply"
    write_ply(temporary, scene)
    name = f"{hashlib.sha256(temporary.read_bytes()).hexdigest()[:16]}.ply"
    temporary.replace(temporary.with_name(name))
    return name


def _read(path: Path, value: Any) -> Asset:
    """The inverse of ``_written``; ValueError or FileError for anything else."""
    if isinstance(value, str):
        from renderers.assets import SplatAsset

        if Path(value).name != value or not value.endswith(".ply"):
            raise ValueError("the name of a .ply file")
        return SplatAsset.of([read_ply(_splats(path) / value)])
    vectors = torch.tensor(value, dtype=torch.float32)
    if vectors.dim() != 2 or vectors.shape[1] not in PART_SIZES or not 1 <= len(vectors) <= MAX_PARTS:
        raise ValueError("the numbers of parts")
    if not vectors.isfinite().all():
        raise ValueError("finite numbers")
    return PartAsset(Parts.from_vectors(vectors)[None])
