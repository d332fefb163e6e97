"""The procedural corpus: captioned part assets made on the fly, checks of what a caption states,
and known faults.

An asset is made of superquadric parts, stands on the ground, is in one piece and does not topple;
see ``scenes.parts``.
"""

from rewards.composition.facts import Facts, Relation, Thing
from rl3d.corpus.categories import CATALOGUE, CATEGORIES, FACED, NOVEL
from rl3d.corpus.checks import check_colors, check_count, check_facts, check_relation
from rl3d.corpus.corruptions import CORRUPTIONS, SUBTLE
from rl3d.corpus.items import Item, Spec
from rl3d.corpus.sampling import MIX, prompts, sample, sample_for, sample_spec
from scenes.colors import BASE_COLORS, BASE_OF, COLORS, nearest_base

__all__ = [
    "BASE_COLORS",
    "BASE_OF",
    "CATALOGUE",
    "CATEGORIES",
    "COLORS",
    "CORRUPTIONS",
    "FACED",
    "MIX",
    "NOVEL",
    "SUBTLE",
    "Facts",
    "Item",
    "Relation",
    "Spec",
    "Thing",
    "check_colors",
    "check_count",
    "check_facts",
    "check_relation",
    "nearest_base",
    "prompts",
    "sample",
    "sample_for",
    "sample_spec",
]  # fmt: skip
