"""Which combinations are held out for evaluation: about one in seven, by a hash that never changes."""

from __future__ import annotations

from functools import cache

from rl3d.corpus.colors import BASE_COLORS, BASE_OF, stable_hash

HELD_OUT_SHARE = 7


def is_held_out(category: str, color: str) -> bool:
    """Whether a category in this colour (any name of it) is held out: 2 of the 13 base colours of every category."""
    return BASE_OF[color] in _held_out_colors(category)


def is_pair_held_out(*key: object) -> bool:
    """The same for relations, counts and compositions: one in seven of the keys."""
    return stable_hash(*key) % HELD_OUT_SHARE == 0


@cache
def _held_out_colors(category: str) -> frozenset[str]:
    return frozenset(sorted(BASE_COLORS, key=lambda color: stable_hash("single", category, color))[:2])
