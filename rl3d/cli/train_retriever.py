"""``rl3d train-retriever --library FOLDER``: learn which assets of a library help a generator. It
reports what the first example brings on held-out prompts, before and after."""

from __future__ import annotations

import sys

from rl3d.cli.options import parse_with_sampling
from rl3d.training.train_retriever import RetrieverTraining, train_retriever


def run(arguments: list[str]) -> None:
    config = parse_with_sampling(RetrieverTraining, "train-retriever", __doc__, arguments)

    def progress(fraction: float) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[Ktrials: {100 * fraction:.0f} %", end="", file=sys.stderr, flush=True)

    try:
        found = train_retriever(config, progress)
    finally:
        if sys.stderr.isatty():
            print(file=sys.stderr)
    named = {"nearest by text": found.nearest, "retrieved": found.retrieved, "best of the candidates": found.best}
    print(
        f"fitted to {found.prompts} prompts; gain in score by the first example on {found.best.prompts} held-out ones:"
    )
    for name, gain in {**named, "retrieved - nearest": found.difference}.items():
        print(f"  {name:22} {gain.mean:+.4f} ± {gain.error:.4f}")
    print(
        f"saved: {found.path}"
        if found.path
        else "not saved: it does not gain more than a standard error on held-out prompts"
    )
