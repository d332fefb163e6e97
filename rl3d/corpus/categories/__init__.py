"""The categories of objects in the corpus, one function each."""

from rl3d.corpus.categories.animals import ANIMALS
from rl3d.corpus.categories.buildings import BUILDINGS
from rl3d.corpus.categories.category import Category
from rl3d.corpus.categories.furniture import FURNITURE
from rl3d.corpus.categories.nature import NATURE
from rl3d.corpus.categories.solids import SOLIDS
from rl3d.corpus.categories.things import THINGS
from rl3d.corpus.categories.vehicles import VEHICLES

CATALOGUE: dict[str, Category] = {**FURNITURE, **BUILDINGS, **VEHICLES, **NATURE, **ANIMALS, **THINGS, **SOLIDS}
CATEGORIES: tuple[str, ...] = tuple(CATALOGUE)
FACED: tuple[str, ...] = tuple(ANIMALS)
"""Categories with one front: animals, toys and robots."""

__all__ = ["CATALOGUE", "CATEGORIES", "FACED", "SOLIDS", "Category"]
