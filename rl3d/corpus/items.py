"""What a corpus item is: a caption, the facts it states, and the parts drawn for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rewards.composition.facts import Facts
from rl3d.corpus.shapes import Appearance


@dataclass(frozen=True)
class Spec:
    """A caption and everything that it fixes. Geometry is drawn from it any number of times."""

    caption: str
    kind: str
    """"single", "relation", "count", "composition" or "scene"."""
    category: str
    """Of a single object; else the kind."""
    facts: Facts
    appearances: tuple[Appearance, ...] = ()
    """One for each of the things of ``facts``, in their order."""
    arrangement: str = ""
    """How the things are placed, e.g. "left", "row" or "stack". Empty for a single object."""


@dataclass(frozen=True)
class Item:
    """A captioned asset of the corpus."""

    caption: str
    vectors: np.ndarray
    """(p, n) float32: the existing parts in canonical order, in the layout of
    ``Parts.from_vectors``."""
    kind: str
    category: str
    facts: Facts
    spec: Spec
    objects: np.ndarray
    """(p,) int: the object that each part belongs to, from 0 to n - 1."""
    nouns: tuple[str, ...]
    """(n,) canonical noun of each object."""
    roles: tuple[str, ...]
    """(p,) role of each part in its object: "main", "legs", "roof", ..."""
