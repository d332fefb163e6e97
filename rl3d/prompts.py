"""Lists of prompts: a user's file, or captions of the corpus."""

from __future__ import annotations

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


def corpus_prompts(count: int, seed: int) -> list[str]:
    """Captions of the corpus's training split, none twice."""
    from rl3d.corpus import sample

    rng, found = np.random.default_rng([seed, 77]), {}
    while len(found) < count:
        found.setdefault(sample(rng, "train").caption)
    return list(found)
