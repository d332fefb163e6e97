"""Captions that are nearly right: one colour, relation, number or noun is changed. A scorer must
tell them from true captions.

None of them names a held-out combination. A scorer that saw these only in wrong captions would
learn that they are wrong.
"""

from __future__ import annotations

import re

import numpy as np

from rewards.relations import RELATION_WORDS, any_of
from rl3d.corpus.captions import NUMBERS
from rl3d.corpus.categories import CATALOGUE, CATEGORIES
from rl3d.corpus.items import Item
from rl3d.corpus.splits import is_held_out, is_pair_held_out
from scenes.colors import BASE_COLORS, BASE_OF, COLORS

_OPPOSITE = {"on": "under", "under": "on", "left": "right", "right": "left", "front": "behind", "behind": "front"}


_COLOR = any_of(COLORS)
_NUMBER = any_of(NUMBERS[1:])
_RELATION = any_of(word for key in _OPPOSITE for word in RELATION_WORDS[key])
_KEY_OF = {word: key for key in _OPPOSITE for word in RELATION_WORDS[key]}


def wrong_caption(item: Item, rng: np.random.Generator) -> str:
    """A caption that differs from that of the item in one fact, which is wrong."""
    caption, changes = item.caption, []
    colors = list(_COLOR.finditer(caption))
    if colors:
        changes += [_recolored] * 3
    if len({BASE_OF[m.group()] for m in colors}) > 1:
        changes += [_colors_exchanged] * 2
    if item.kind == "relation" and item.facts.relations[0].kind in _OPPOSITE:
        changes += [_reversed] * 3
    if _NUMBER.search(caption):
        changes += [_recounted] * (4 if item.kind == "count" else 1)
    if item.kind == "single":
        changes += [_renamed] * 2
    for _ in range(20 if changes else 0):
        changed = changes[rng.integers(len(changes))](item, rng)
        if changed != caption and not names_held_out(item, changed):
            return changed
    return _renamed(item, rng)


def names_held_out(item: Item, caption: str) -> bool:
    """Whether the caption of the item with other colours or another number names a held-out
    combination."""
    bases = [BASE_OF[m.group()] for m in _COLOR.finditer(caption)]
    if item.kind == "single":
        # The main colour is named before the colours of parts.
        return item.facts.things[0].color is not None and is_held_out(item.category, bases[0])
    if item.kind == "relation":
        return is_pair_held_out(
            "relation", *sorted(zip((thing.noun for thing in item.facts.things), bases, strict=True))
        )
    if item.kind == "count":
        number = _NUMBER.search(caption)
        return is_pair_held_out(
            "count", item.facts.things[0].noun, bases[0], NUMBERS.index(number.group()) if number else 1
        )
    return False


def _replace(caption: str, match: re.Match[str], word: str) -> str:
    return caption[: match.start()] + word + caption[match.end() :]


def _recolored(item: Item, rng: np.random.Generator) -> str:
    found = list(_COLOR.finditer(item.caption))
    match = found[rng.integers(len(found))]
    others = [c for c in BASE_COLORS if c != BASE_OF[match.group()]]
    return _replace(item.caption, match, others[rng.integers(len(others))])


def _colors_exchanged(item: Item, rng: np.random.Generator) -> str:
    found = list(_COLOR.finditer(item.caption))
    first = found[0]
    second = next(m for m in found if BASE_OF[m.group()] != BASE_OF[first.group()])
    return _replace(_replace(item.caption, second, first.group()), first, second.group())


def _reversed(item: Item, rng: np.random.Generator) -> str:
    match = _RELATION.search(item.caption)
    if match is None:
        return item.caption
    words = RELATION_WORDS[_OPPOSITE[_KEY_OF[match.group()]]]
    return _replace(item.caption, match, words[rng.integers(len(words))])


def _recounted(item: Item, rng: np.random.Generator) -> str:
    found = list(_NUMBER.finditer(item.caption))
    match = found[rng.integers(len(found))]
    others = [n for n in NUMBERS[1:7] if n != match.group()]
    return _replace(item.caption, match, others[rng.integers(len(others))])


def _renamed(item: Item, rng: np.random.Generator) -> str:
    """The noun of another category in the colour of the caption."""
    color = _COLOR.search(item.caption)
    others = [c for c in CATEGORIES if c != item.category and not (color and is_held_out(c, color.group()))]
    names = CATALOGUE[others[rng.integers(len(others))]].names
    return f"a {color.group() + ' ' if color else ''}{names[rng.integers(len(names))]}"
