"""Captions of scenes and compositions: "three red chairs around a grey table", "a cat in a blue
bucket", "a teddy bear wearing a purple hat"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rewards.composition.facts import Facts, Thing
from rewards.relations import RELATION_WORDS
from rl3d.corpus.captions import role_colors
from rl3d.corpus.categories import CATALOGUE, CATEGORIES
from rl3d.corpus.categories.solids import SOLIDS
from rl3d.corpus.items import Spec
from rl3d.corpus.scenes import (
    BASES,
    CENTRES,
    CONTAINERS,
    CONTENTS,
    COUNTED,
    GATHERED,
    HATS,
    MAX_COMPOSED,
    MAX_SCENE,
    RIDERS,
    SEVERAL_CONTENTS,
    SIDES,
    STACKED,
    WEARERS,
    WIDE_CONTAINERS,
    is_scene_held_out,
    part_count,
    relations_of,
)
from rl3d.corpus.shapes import Appearance
from rl3d.corpus.wording import color_for, dressed, opened, phrase, pick, synonym, thing_of
from scenes.colors import BASE_COLORS, BASE_OF

ARRANGEMENTS = (
    "side",
    "side",
    "several",
    "on",
    "on next",
    "between",
    "around",
    "row",
    "row",
    "list",
    "stack",
    "inside",
)
"""Of scenes, drawn evenly."""
ON = ("on", "on", "on top of", "standing on", "placed on")
DRESSED = 0.06
WIDE = ("table", "table", "bench", "bed", "chest of drawers", "desk", "truck", "crate")
"""Several things can stand on these."""
_NOUNS = tuple(name for name in CATEGORIES if name not in SOLIDS)
_SOLIDS = tuple(SOLIDS)
_UPPER, _SUPPORTS = (*RIDERS, *_SOLIDS), (*BASES, "cube", "cylinder")


def composition(rng: np.random.Generator, split: str) -> Spec:
    """A caption of an object on another, or of somebody in a hat: "a cat on a blue bench"."""
    arrangement = "wearing" if rng.random() < 0.4 else "on"
    wearing = arrangement == "wearing"
    while True:
        first, second = (pick(rng, WEARERS), pick(rng, HATS)) if wearing else (pick(rng, RIDERS), pick(rng, BASES))
        parts = part_count(Appearance(first)) + part_count(Appearance(second))
        if first == second or parts > MAX_COMPOSED:
            continue
        if is_scene_held_out("composition", _plain((first, second), (1, 1), arrangement)) == (split == "heldout"):
            break
    one = _appearance(rng, first, 0.55, [], parts=0.0, solid=0.55)
    other = _appearance(rng, second, 0.75 if wearing else 0.55, [one], parts=0.0, solid=0.55)
    return worded(rng, "composition", (one, other), (1, 1), arrangement)


def scene(rng: np.random.Generator, split: str) -> Spec:
    """A caption of two to four objects, e.g. "two blue cubes beside a white cylinder"."""
    while True:
        arrangement, nouns, counts = _plan(rng, pick(rng, ARRANGEMENTS))
        if len(set(nouns)) < len(nouns):
            continue
        if is_scene_held_out("scene", _plain(nouns, counts, arrangement)) != (split == "heldout"):
            continue
        appearances: list[Appearance] = []
        # Of what is inside something, and of what it hides, no parts are named.
        hidden = (nouns[0], "mug") if arrangement == "inside" else ()
        for noun in nouns:
            appearances.append(_appearance(rng, noun, 0.65, appearances, 0.0 if noun in hidden else 0.14))
        if sum(part_count(a) * count for a, count in zip(appearances, counts, strict=True)) <= MAX_SCENE:
            return worded(rng, "scene", appearances, counts, arrangement)


def _plain(nouns: Sequence[str], counts: Sequence[int], arrangement: str) -> Facts:
    """What a caption states before colours are drawn."""
    things = tuple(Thing(noun, count=count) for noun, count in zip(nouns, counts, strict=True))
    return Facts(things, relations_of(arrangement, len(nouns)))


def worded(
    rng: np.random.Generator, kind: str, appearances: Sequence[Appearance], counts: Sequence[int], arrangement: str
) -> Spec:
    """A caption that names all of the things and how they are arranged."""
    facts = Facts(tuple(map(thing_of, appearances, counts)), relations_of(arrangement, len(appearances)))
    return Spec(
        opened(rng, _words(rng, appearances, counts, arrangement)), kind, kind, facts, tuple(appearances), arrangement
    )


def _words(rng: np.random.Generator, things: Sequence[Appearance], counts: Sequence[int], arrangement: str) -> str:
    names = [phrase(rng, thing, count) for thing, count in zip(things, counts, strict=True)]
    first, second = names[:2]
    # "a table with an apple on it" only where "with" is not said already.
    bare = " with " not in first + second
    it = "it" if counts[1] == 1 else "them"
    if arrangement in ("row", "list"):
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        if arrangement == "list":
            return listed
        forms = (f"{listed} in a row", f"{listed} side by side", f"{listed} next to each other", f"a row of {listed}")
        return pick(rng, forms)
    if arrangement == "between":
        return f"{first} {pick(rng, ('between', 'between', 'in between', 'standing between'))} {second} and {names[2]}"
    if arrangement == "around":
        if bare and rng.random() < 0.25:
            return pick(rng, (f"{second} surrounded by {first}", f"{second} with {first} around {it}"))
        return f"{first} {pick(rng, ('around', 'around', 'standing around', 'placed around'))} {second}"
    if arrangement == "wearing":
        return f"{first} {pick(rng, ('wearing', 'wearing', 'wearing', 'in'))} {second}"
    if arrangement == "inside":
        if bare and rng.random() < 0.25:
            return f"{second} with {first} {pick(rng, ('in it', 'inside', 'inside it'))}"
        return f"{first} {pick(rng, ('in', 'in', 'inside', 'inside of', 'within'))} {second}"
    if arrangement == "stack":
        word = pick(rng, ("on", "on top of", "stacked on", "standing on"))
        return f"{first} {word} {second} {word} {names[2]}"
    if arrangement == "on next":
        return f"{first} {pick(rng, ON)} {second} {pick(rng, RELATION_WORDS['next'])} {names[2]}"
    if arrangement == "on":
        if bare and rng.random() < 0.2:
            return f"{second} with {first} {pick(rng, ('on it', 'on top', 'on top of it'))}"
        return f"{first} {pick(rng, ON)} {second}"
    if arrangement == "next" and rng.random() < 0.2:
        return f"{first} and {second} {pick(rng, ('side by side', 'next to each other'))}"
    return f"{first} {pick(rng, RELATION_WORDS[arrangement])} {second}"


def _plan(rng: np.random.Generator, arrangement: str) -> tuple[str, list[str], list[int]]:
    """The arrangement, the nouns in the order of the caption and their numbers."""
    if arrangement == "side":
        return pick(rng, (*SIDES, "next")), [_any(rng), _any(rng)], [1, 1]
    if arrangement == "several":
        # In front or behind, a long row would be beside the other thing as well.
        kind, count = pick(rng, ("left", "right", "next", "next", "front", "behind")), 2 + int(rng.random() * 3)
        return kind, [pick(rng, COUNTED), _any(rng)], [2 if kind in ("front", "behind") else count, 1]
    if arrangement == "on":
        if rng.random() < 0.15:
            return "under", [pick(rng, _SUPPORTS), pick(rng, RIDERS)], [1, 1]
        if rng.random() < 0.3:
            return "on", [pick(rng, _UPPER), pick(rng, _SUPPORTS)], [1, 1]
        return "on", [pick(rng, COUNTED), pick(rng, WIDE)], [2 + int(rng.random() * 3), 1]
    if arrangement == "on next":
        return arrangement, [pick(rng, _UPPER), pick(rng, _SUPPORTS), _any(rng)], [1, 1, 1]
    if arrangement == "between":
        return arrangement, [_any(rng), _any(rng), _any(rng)], [1, 1, 1]
    if arrangement == "around":
        return arrangement, [pick(rng, GATHERED), pick(rng, CENTRES)], [2 + int(rng.random() * 3), 1]
    if arrangement == "stack":
        return arrangement, [pick(rng, _UPPER), pick(rng, STACKED), pick(rng, _SUPPORTS)], [1, 1, 1]
    if arrangement == "inside":
        count = 1 if rng.random() < 0.7 else 2 + int(rng.random() * 2)
        if count == 1:
            return arrangement, [pick(rng, CONTENTS), pick(rng, CONTAINERS)], [1, 1]
        return arrangement, [pick(rng, SEVERAL_CONTENTS), pick(rng, WIDE_CONTAINERS)], [count, 1]
    if arrangement == "row":
        number = 3 if rng.random() < 0.75 else 4
        return arrangement, [_any(rng) for _ in range(number)], [1] * number
    number = 2 if rng.random() < 0.5 else 3
    nouns, counts = [_any(rng) for _ in range(number)], [1] * number
    several = [k for k, noun in enumerate(nouns) if noun in COUNTED]
    if several and rng.random() < 0.5:
        counts[pick(rng, several)] = 2
    return arrangement, nouns, counts


def _any(rng: np.random.Generator) -> str:
    return pick(rng, _SOLIDS) if rng.random() < 0.3 else pick(rng, _NOUNS)


def _appearance(
    rng: np.random.Generator,
    noun: str,
    chance: float,
    others: Sequence[Appearance],
    parts: float = 0.14,
    solid: float = 0.95,
) -> Appearance:
    """Colours of one thing: its main colour with ``chance`` (of a solid ``solid``), differing from
    those of the others, and with the chance ``parts`` the colour of a named part."""
    taken = {BASE_OF[other.main] for other in others if other.main}
    color = None
    if rng.random() < (solid if noun in SOLIDS else chance):
        while color is None or BASE_OF[color] in taken:
            color = color_for(rng, noun, "train") if noun not in SOLIDS else synonym(rng, pick(rng, BASE_COLORS), 0.2)
    dress = dressed(rng, noun, color, DRESSED)
    colors = role_colors(rng, CATALOGUE[noun], color, 1) if not dress and rng.random() < parts else {}
    return Appearance(noun, color, colors, **dress)
