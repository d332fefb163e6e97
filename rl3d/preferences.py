"""Choices between two assets, and their file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from scenes.files import FileError
from scenes.files.trees import parse_json
from scenes.parts import MAX_PARTS, VECTOR_SIZE

Choice = Literal["left", "right", "equal"]


@dataclass(frozen=True)
class Pair:
    """Two assets (P parts each, (P, 19) numbers) for one prompt, and which a person found
    better."""

    prompt: str
    left: Float[Tensor, "p 19"]
    right: Float[Tensor, "q 19"]
    choice: Choice

    def line(self) -> str:
        """As a line of the file."""
        assets = {"left": self.left.tolist(), "right": self.right.tolist()}
        return json.dumps({"prompt": self.prompt, "choice": self.choice, **assets}) + "\n"


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a .jsonl file, one a line; FileError with the line's number for one that is
    none. Half a line at the end, left by a page that was killed, is passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path}: cannot read pairs ({getattr(error, 'strerror', None) or 'not UTF-8 text'})"
        ) from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == len(lines) and not line.endswith("\n")):
            continue
        try:
            found = parse_json(line)
            sides = [torch.tensor(found[side], dtype=torch.float32) for side in ("left", "right")]
            if not isinstance(found["prompt"], str) or found["choice"] not in get_args(Choice):
                raise ValueError
            for side in sides:
                if (
                    side.dim() != 2
                    or side.shape[1] != VECTOR_SIZE
                    or not 1 <= len(side) <= MAX_PARTS
                    or not side.isfinite().all()
                ):
                    raise ValueError
        except (ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
            raise FileError(f"{path}: line {number} is not a pair of assets with a prompt and a choice") from error
        pairs.append(Pair(found["prompt"], sides[0], sides[1], found["choice"]))
    if not pairs:
        raise FileError(f"{path}: holds no pair: collect some with rl3d prefer")
    return pairs
