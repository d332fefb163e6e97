"""Captions that are nearly right: one colour, relation, number or noun is changed. A scorer must
tell them from true captions.

None of them names a held-out combination. A scorer that saw these only in wrong captions would
learn that they are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from rewards.relations import RELATION_WORDS, any_of
from rl3d.corpus.categories import CATALOGUE, CATEGORIES, SOLIDS
from rl3d.corpus.items import Item, Spec
from rl3d.corpus.scene_captions import worded
from rl3d.corpus.scenes import is_scene_held_out
from rl3d.corpus.shapes import Appearance
from rl3d.corpus.splits import is_held_out, is_pair_held_out
from rl3d.corpus.wording import NUMBERS, pick
from scenes.colors import BASE_COLORS, BASE_OF, COLORS

OPPOSITE = {"on": "under", "under": "on", "left": "right", "right": "left", "front": "behind", "behind": "front"}


_COLOR = any_of(COLORS)
_NUMBER = any_of(NUMBERS[1:])
_RELATION = any_of(word for key in OPPOSITE for word in RELATION_WORDS[key])
_KEY_OF = {word: key for key in OPPOSITE for word in RELATION_WORDS[key]}


def wrong_caption(item: Item, rng: np.random.Generator) -> str:
    """A caption that differs from that of the item in one fact, which is wrong."""
    if item.kind in ("scene", "composition"):
        return _wrong_scene(item.spec, rng)
    caption, changes = item.caption, []
    colors = list(_COLOR.finditer(caption))
    if colors:
        changes += [_recolored] * 3
    if len({BASE_OF[m.group()] for m in colors}) > 1 and not any(a.second for a in item.spec.appearances):
        changes += [_colors_exchanged] * 2
    if item.kind == "relation" and item.facts.relations[0].kind in OPPOSITE:
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
    """Whether the caption of the item, a single object or solids, with other colours or another
    number names a held-out combination."""
    bases = [BASE_OF[m.group()] for m in _COLOR.finditer(caption)]
    if item.kind == "single":
        # The main colour is named before the colours of parts.
        return item.facts.things[0].color is not None and is_held_out(item.category, bases[0])
    # A pattern's second colour comes after the colour of its thing.
    main = [first for a in item.spec.appearances for first in ((True, False) if a.second else (True,))]
    bases = [base for base, first in zip(bases, main, strict=True) if first]
    nouns = [thing.noun for thing in item.facts.things]
    if item.kind == "relation":
        return is_pair_held_out("relation", *sorted(zip(nouns, bases, strict=True)))
    number = _NUMBER.search(caption)
    counted = NUMBERS.index(number.group()) if number else 1
    return is_pair_held_out("count", nouns[0], bases[0], counted)


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
    words = RELATION_WORDS[OPPOSITE[_KEY_OF[match.group()]]]
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


# Scenes
# ------------------------------------------------------------

Change = Callable[[Spec, np.random.Generator], Spec | None]


def _wrong_scene(spec: Spec, rng: np.random.Generator) -> str:
    """A caption of a scene or a composition with one thing changed, worded anew."""
    while True:
        changed = pick(rng, _CHANGES)(spec, rng)
        if changed is None or changed.facts == spec.facts or is_scene_held_out(changed.kind, changed.facts):
            continue
        colored = [(thing.noun, thing.color) for thing in changed.facts.things if thing.noun not in SOLIDS]
        if not any(color and is_held_out(noun, color) for noun, color in colored):
            return changed.caption


def _reworded(
    spec: Spec,
    rng: np.random.Generator,
    appearances: Sequence[Appearance] | None = None,
    counts: Sequence[int] | None = None,
    arrangement: str | None = None,
) -> Spec:
    counts = counts or [thing.count for thing in spec.facts.things]
    return worded(rng, spec.kind, appearances or spec.appearances, counts, arrangement or spec.arrangement)


def _one_recolored(spec: Spec, rng: np.random.Generator) -> Spec | None:
    things = list(spec.appearances)
    named = [k for k, thing in enumerate(things) if thing.main]
    if not named:
        return None
    k = pick(rng, named)
    taken = {BASE_OF[thing.main] for thing in things if thing.main}
    things[k] = replace(things[k], main=pick(rng, [base for base in BASE_COLORS if base not in taken]))
    return _reworded(spec, rng, things)


def _two_exchanged(spec: Spec, rng: np.random.Generator) -> Spec | None:
    things = exchanged(spec.appearances, rng)
    return _reworded(spec, rng, things) if things else None


def exchanged(appearances: Sequence[Appearance], rng: np.random.Generator) -> list[Appearance] | None:
    """The main colours of two of the things exchanged; None if not two of them are named."""
    named = [k for k, thing in enumerate(appearances) if thing.main]
    if len(named) < 2:
        return None
    i, j = rng.permutation(named)[:2].tolist()
    things = list(appearances)
    things[i] = replace(things[i], main=appearances[j].main)
    things[j] = replace(things[j], main=appearances[i].main)
    return things


def _turned(spec: Spec, rng: np.random.Generator) -> Spec | None:
    if spec.arrangement in OPPOSITE:
        return _reworded(spec, rng, arrangement=OPPOSITE[spec.arrangement])
    if spec.arrangement in ("inside", "wearing"):
        return _reworded(spec, rng, arrangement="next")
    if spec.arrangement in ("between", "stack", "on next"):
        order = {"between": (1, 0, 2), "stack": (2, 1, 0), "on next": (2, 1, 0)}[spec.arrangement]
        counts = [spec.facts.things[k].count for k in order]
        return _reworded(spec, rng, [spec.appearances[k] for k in order], counts)
    return None


def _number_changed(spec: Spec, rng: np.random.Generator) -> Spec | None:
    counts = [thing.count for thing in spec.facts.things]
    several = [k for k, count in enumerate(counts) if count > 1]
    if not several:
        return None
    counts[pick(rng, several)] += 1 if rng.random() < 0.5 else -1
    return _reworded(spec, rng, counts=counts)


def _one_renamed(spec: Spec, rng: np.random.Generator) -> Spec:
    things = list(spec.appearances)
    k = int(rng.integers(len(things)))
    others = [name for name in CATEGORIES if name not in {thing.category for thing in things}]
    things[k] = Appearance(pick(rng, others), things[k].main)
    return _reworded(spec, rng, things)


def _one_more(spec: Spec, rng: np.random.Generator) -> Spec | None:
    if spec.arrangement not in ("row", "list") or len(spec.appearances) > 3:
        return None
    others = [name for name in CATEGORIES if name not in {thing.category for thing in spec.appearances}]
    counts = [thing.count for thing in spec.facts.things]
    return _reworded(spec, rng, [*spec.appearances, Appearance(pick(rng, others))], [*counts, 1])


_CHANGES: tuple[Change, ...] = (
    _one_recolored, _two_exchanged, _two_exchanged, _turned, _turned, _number_changed, _number_changed, _one_renamed,
    _one_more,
)  # fmt: skip
