"""Things with invented names, which only examples explain.

A generator that is to follow retrieved examples must copy what it does not know. The catalogue
cannot teach that, because the generator soon knows all of it. Half of these things have a shape
that exists nowhere else. The others are things of the catalogue under an invented name: the rest of
their captions means what it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from rl3d.corpus import CATALOGUE, CATEGORIES, Spec, captions, sample_for
from rl3d.corpus.shapes import Appearance, Sketch, bounds, moved, normalized
from scenes.colors import BASE_COLORS, COLORS
from scenes.parts import CENTRE, LOG_HALF_SIZE, MAX_PARTS

ONSETS = (
    "b",
    "bl",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "s",
    "sn",
    "t",
    "tr",
    "v",
    "z",
)
RHYMES = (
    "ab",
    "ack",
    "aff",
    "ang",
    "ast",
    "eck",
    "eeb",
    "elm",
    "enk",
    "ib",
    "ift",
    "ing",
    "oob",
    "ogg",
    "omp",
    "orl",
    "ub",
    "unk",
)
ENDINGS = ("", "", "er", "le", "o", "y", "ax", "et")


_KNOWN = {part for name in (*COLORS, *(n for kind in CATALOGUE.values() for n in kind.names)) for part in name.split()}
"""Words that mean something: "black", "table"."""


@dataclass(frozen=True)
class Invented:
    """A caption, and what fixes the thing's design: parts of one or two categories, stretched, or
    the caption of a thing of the catalogue."""

    caption: str
    categories: tuple[str, ...]
    color: str | None
    stretch: tuple[float, float, float]
    disguised: Spec | None = None


def draw_invented(count: int, seed: int) -> list[Invented]:
    """Captions with invented names, the same in every process."""
    rng = np.random.default_rng([seed, 7])
    pick = lambda options: options[int(rng.integers(len(options)))]  # noqa: E731
    out = []
    for _ in range(count):
        word = pick(ONSETS) + pick(RHYMES) + pick(ENDINGS)
        word += "oo" * (word in _KNOWN)
        if rng.random() < 0.5:
            spec = captions.single(rng, "train")
            if caption := _renamed(spec, word):
                out.append(Invented(caption, (spec.category,), None, (1.0, 1.0, 1.0), spec))
                continue
        color = pick(BASE_COLORS) if rng.random() < 0.6 else None
        words = f"{color} {word}" if color else word
        caption = f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
        kinds = tuple(pick(CATEGORIES) for _ in range(1 + (rng.random() < 0.5)))
        out.append(Invented(caption, kinds, color, tuple(np.exp(rng.uniform(-0.5, 0.5, 3)))))
    return out


def _renamed(spec: Spec, word: str) -> str | None:
    """The caption of a single object with another noun; None if its noun is not found."""
    names = sorted(CATALOGUE[spec.category].names, key=len, reverse=True)
    found = re.search(rf"\b(an? )?({'|'.join(map(re.escape, names))})\b", spec.caption)
    if not found:
        return None
    article = found.group(1) and ("an " if word[0] in "aeiou" else "a ")
    return spec.caption[: found.start()] + (article or "") + word + spec.caption[found.end() :]


def invent(thing: Invented, rng: np.random.Generator, example: bool = False) -> np.ndarray:
    """The parts of one such thing, (p, v). An example may have another colour than its caption
    says, or be another thing of its category."""
    if thing.disguised is not None:
        spec = captions.single(rng, "train", thing.disguised.category) if example else thing.disguised
        return sample_for(spec, rng).vectors
    color = str(rng.choice(BASE_COLORS)) if example and thing.color and rng.random() < 0.7 else thing.color
    drawn = []
    for category in thing.categories:
        sketch = Sketch(rng, Appearance(category, color), CATALOGUE[category], plain=True)
        CATALOGUE[category].draw(sketch)
        drawn.append(normalized(sketch.drawing().vectors))
    vectors = drawn[0]
    if len(drawn) > 1:
        # The second stands on its head on the first, or hangs beside it, by the same rule for all.
        top = bounds(vectors)[1].max(0)[2]
        vectors = np.concatenate([vectors, moved(drawn[1], 0.6, (0, 0, (top - 0.03) / 0.6))])
    vectors = vectors[:MAX_PARTS].copy()
    # Along the axes of the world: exact for upright parts, and as good as any for the others.
    vectors[:, CENTRE] *= thing.stretch
    vectors[:, LOG_HALF_SIZE] += np.log(thing.stretch)
    return normalized(vectors).astype(np.float32)
