"""What a corpus item is: a caption, the facts it states, and the parts drawn for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rl3d.corpus.shapes import Appearance


@dataclass(frozen=True)
class Facts:
    """What a caption states, in base colours and canonical names. The checks read it."""

    main: str | None = None
    """Base colour of the object as a whole."""
    colors: tuple[str, ...] = ()
    """Other named base colours. Each is carried by some part."""
    relation: str | None = None
    """One of ``relations.RELATIONS``: the first solid is ... the second."""
    shapes: tuple[str, ...] = ()
    """The solids of a relation or a count."""
    shape_colors: tuple[str, ...] = ()
    """Base colour of each of the solids."""
    count: int | None = None


@dataclass(frozen=True)
class Spec:
    """A caption and everything that it fixes. Geometry is drawn from it any number of times."""

    caption: str
    kind: str
    """"single", "relation", "count" or "composition"."""
    category: str
    facts: Facts
    appearances: tuple[Appearance, ...] = ()
    """One for a single object. For a composition: the upper object, then the lower one."""
    solids: tuple[tuple[str, str], ...] = ()
    """Shape and colour name of the solids of a relation or a count."""
    arrangement: str = ""
    """The relation; "row" or "stack" for a count."""


@dataclass(frozen=True)
class Item:
    """A captioned asset of the corpus."""

    caption: str
    vectors: np.ndarray
    """(p, 19) float32: the existing parts in canonical order, in the layout of
    ``Parts.from_vectors``."""
    kind: str
    category: str
    facts: Facts
    spec: Spec
