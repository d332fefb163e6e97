"""The categories of objects in the corpus, one function each."""

from dataclasses import replace

from rl3d.corpus.categories.animals import ANIMALS
from rl3d.corpus.categories.buildings import BUILDINGS
from rl3d.corpus.categories.category import Category
from rl3d.corpus.categories.furniture import FURNITURE
from rl3d.corpus.categories.nature import NATURE
from rl3d.corpus.categories.novel import NOVEL as _NOVEL
from rl3d.corpus.categories.solids import SOLIDS
from rl3d.corpus.categories.things import THINGS
from rl3d.corpus.categories.vehicles import VEHICLES
from scenes.parts import PATTERNS

_OWN = {
    "stripes": ("stripe", "stripes", "hoops", "bands"),
    "spots": ("spots", "seeds"),
    "checks": ("windows", "drawers"),
}
"""Parts that would be taken for a pattern."""


def _dressed(kind: Category, finishes: bool) -> Category:
    """A category that may have any pattern that its parts do not look like."""
    own = {*kind.roles, *kind.accents}
    return replace(kind, patterns=tuple(p for p in PATTERNS if own.isdisjoint(_OWN[p])), finishes=finishes)


_NAMED = {
    **{name: _dressed(kind, True) for name, kind in (FURNITURE | VEHICLES).items()},
    **BUILDINGS,
    **NATURE,
    **{name: _dressed(kind, name == "robot") for name, kind in ANIMALS.items()},
    **{name: _dressed(kind, True) for name, kind in (THINGS | SOLIDS).items()},
}
CATALOGUE: dict[str, Category] = {**_NAMED, **_NOVEL}
"""All categories."""
CATEGORIES: tuple[str, ...] = tuple(_NAMED)
"""Those that captions name, in training or held out."""
NOVEL: tuple[str, ...] = tuple(_NOVEL)
"""Those that only captions of the split "novel" name."""
FACED: tuple[str, ...] = tuple(ANIMALS)
"""Categories with one front: animals, toys and robots."""

__all__ = ["CATALOGUE", "CATEGORIES", "FACED", "NOVEL", "SOLIDS", "Category"]
