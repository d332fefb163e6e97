"""The combinations that are held out for evaluation: about one in seven, by a hash that never
changes."""

from __future__ import annotations

import zlib
from functools import cache

from scenes.colors import BASE_COLORS, BASE_OF

HELD_OUT_ONE_IN = 7


def is_held_out(category: str, color: str) -> bool:
    """Whether a category in this colour (by any of its names) is held out: 2 of the 13 base colours
    of every category."""
    return BASE_OF[color] in _held_out_colors(category)


def is_pair_held_out(*key: object) -> bool:
    """The same for relations, counts and compositions: one in seven keys."""
    return stable_hash(*key) % HELD_OUT_ONE_IN == 0


@cache
def _held_out_colors(category: str) -> frozenset[str]:
    return frozenset(sorted(BASE_COLORS, key=lambda color: stable_hash("single", category, color))[:2])


def stable_hash(*key: object) -> int:
    """A hash that is the same in every process and version (unlike ``hash``)."""
    return zlib.crc32("/".join(map(str, key)).encode())
