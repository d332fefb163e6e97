"""Lists of prompts: a user's file, or captions of the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scenes.files import FileError


def read_prompts(path: Path) -> list[str]:
    """Prompts of a text file, one a line; blank lines and lines that start with # are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path}: cannot read prompts ({getattr(error, 'strerror', None) or 'not UTF-8 text'})"
        ) from error
    prompts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not prompts:
        raise FileError(f"{path}: holds no prompt: write one a line")
    return prompts


def corpus_prompts(count: int, seed: int, kinds: Sequence[str] = ()) -> list[str]:
    """Distinct captions of the corpus's training split. ``kinds`` empty means all kinds."""
    from rl3d.corpus import sample_spec

    rng, found = np.random.default_rng([seed, 77]), {}
    while len(found) < count:
        spec = sample_spec(rng, "train")
        if not kinds or spec.kind in kinds:
            found.setdefault(spec.caption)
    return list(found)


def caption_kinds(text: str) -> tuple[str, ...]:
    """Read ``composition,relation``: kinds of captions of the corpus. Empty text means all."""
    from rl3d.corpus import MIX

    kinds = tuple(filter(None, (kind.strip() for kind in text.split(","))))
    unknown = [kind for kind in kinds if kind not in MIX]
    if unknown:
        raise ValueError(f"--kinds names {unknown[0]!r}: choose among {', '.join(MIX)}")
    return kinds
