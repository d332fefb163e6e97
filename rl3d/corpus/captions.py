"""The grammar of captions: single objects with adjectives, materials and named parts, relations and
counts of solids, and compositions. Scenes are in ``scene_captions``."""

from __future__ import annotations

from typing import Any

import numpy as np

from rewards.composition.facts import Facts, Relation
from rewards.relations import RELATION_WORDS
from rl3d.corpus.categories import CATALOGUE, CATEGORIES, NOVEL
from rl3d.corpus.categories.category import Category
from rl3d.corpus.items import Spec
from rl3d.corpus.relations import RELATIONS, STACKABLE, SUPPORTS
from rl3d.corpus.shapes import MATERIALS, Appearance
from rl3d.corpus.splits import is_pair_held_out
from rl3d.corpus.wording import (
    NUMBERS,
    SOLID_NOUNS,
    article,
    color_for,
    color_words,
    dressed,
    noun_for,
    opened,
    pick,
    plural,
    role_words,
    solid_noun,
    synonym,
    thing_of,
)
from scenes.colors import BASE_COLORS, BASE_OF

SIZE_WORDS = {
    ("height", 1): ("tall", "tall", "high", "towering"),
    ("height", -1): ("short", "low", "squat"),
    ("width", 1): ("wide", "broad", "wide"),
    ("width", -1): ("narrow", "slim", "thin", "slender"),
    ("length", 1): ("long", "long", "elongated"),
    ("length", -1): ("compact", "stubby"),
}
PLAIN_ADJECTIVES = (
    "small",
    "big",
    "tiny",
    "large",
    "little",
    "huge",
    "cute",
    "simple",
    "old",
    "modern",
    "new",
    "toy",
    "cartoon",
    "low poly",
    "stylized",
    "nice",
)
MAX_COUNT = 6
DRESSED = 0.13
"""Chance of a finish or a pattern of a single object without a material word."""
DRESSED_SOLID = 0.08
"""The same for each solid of a relation or a count."""


def single(rng: np.random.Generator, split: str, category: str | None = None) -> Spec:
    """A caption of one object, e.g. "a tall red lamp with a black stand"."""
    name = category or pick(rng, NOVEL if split == "novel" else CATEGORIES)
    kind = CATALOGUE[name]
    color = color_for(rng, name, split)
    dress: dict[str, Any] = {}
    if kind.materials and rng.random() < 0.16:
        dress["material"] = pick(rng, kind.materials.split(" "))
        if finish := MATERIALS[dress["material"]][1]:
            dress["finish"] = finish
    if split != "heldout" and rng.random() < (0.5 if dress else 0.12):
        color = None
    if not dress:
        dress = dressed(rng, name, color, DRESSED)
    sizes = None
    adjectives: list[str] = []
    if kind.sizes and rng.random() < 0.3:
        axis, way = pick(rng, kind.sizes.split(" ")), 1 if rng.random() < 0.55 else -1
        sizes = {axis: way}
        adjectives.append(pick(rng, SIZE_WORDS[axis, way]))
    elif rng.random() < 0.18:
        adjectives.append(pick(rng, PLAIN_ADJECTIVES))
    clauses, colors, numbers, details = _clauses(rng, kind, color, dress.get("second"))
    appearance = Appearance(name, color, colors, sizes or {}, numbers, frozenset(details), **dress)
    caption = _phrase(rng, noun_for(rng, name), adjectives, appearance, clauses)
    return Spec(caption, "single", name, Facts((thing_of(appearance),)), appearances=(appearance,))


def relation(rng: np.random.Generator, split: str) -> Spec:
    """A caption of two solids, e.g. "a red ball on top of a blue cube"."""
    while True:
        what = pick(rng, RELATIONS)
        shapes = [pick(rng, tuple(SOLID_NOUNS)), pick(rng, tuple(SOLID_NOUNS))]
        bases = [pick(rng, BASE_COLORS), pick(rng, BASE_COLORS)]
        support = {"on": shapes[1], "under": shapes[0]}.get(what)
        if bases[0] == bases[1] or (support and support not in SUPPORTS):
            continue
        if is_pair_held_out("relation", *sorted(zip(shapes, bases, strict=True))) == (split == "heldout"):
            break
    appearances = tuple(_solid(rng, shape, base, bases) for shape, base in zip(shapes, bases, strict=True))
    first, second = (_named(rng, appearance) for appearance in appearances)
    caption = f"{article(first)} {first} {pick(rng, RELATION_WORDS[what])} {article(second)} {second}"
    facts = Facts(tuple(map(thing_of, appearances)), (Relation(what, 0, (1,)),))
    return Spec(opened(rng, caption), "relation", "relation", facts, appearances, what)


def count(rng: np.random.Generator, split: str) -> Spec:
    """A caption of one to six equal solids, e.g. "a stack of three green boxes"."""
    while True:
        shape, base, number = pick(rng, tuple(SOLID_NOUNS)), pick(rng, BASE_COLORS), 1 + int(rng.random() * MAX_COUNT)
        if is_pair_held_out("count", shape, base, number) == (split == "heldout"):
            break
    appearance, word = _solid(rng, shape, base, [base]), NUMBERS[number]
    one = _named(rng, appearance)
    arrangement = "stack" if number > 1 and shape in STACKABLE and rng.random() < 0.35 else "row"
    if number == 1:
        caption = pick(rng, (f"one {one}", f"a single {one}", f"exactly one {one}"))
        return _counted(rng, caption, appearance, number, arrangement)
    # "balls with white stripes": the noun is not the last word.
    head, joint, tail = one.partition(" with ")
    adjectives, _, noun = head.rpartition(" ")
    several, tail = f"{adjectives} {plural(noun)}", joint + tail
    if arrangement == "row":
        captions = (
            f"{word} {several}{tail} in a row",
            f"a row of {word} {several}{tail}",
            f"{word} {several}{tail}",
            f"{word} {several}{tail} side by side",
        )
    else:
        captions = (
            f"a stack of {word} {several}{tail}",
            f"{word} stacked {several}{tail}",
            f"{word} {several}{tail} stacked up",
            f"a tower of {word} {several}{tail}",
        )
    return _counted(rng, pick(rng, captions), appearance, number, arrangement)


def _counted(rng: np.random.Generator, caption: str, appearance: Appearance, number: int, arrangement: str) -> Spec:
    facts = Facts((thing_of(appearance, number),))
    return Spec(opened(rng, caption), "count", "count", facts, (appearance,), arrangement)


def _solid(rng: np.random.Generator, shape: str, base: str, taken: list[str]) -> Appearance:
    """A solid in a base colour. The second colour of a pattern is none of those taken."""
    dress = dressed(rng, shape, base, DRESSED_SOLID)
    if "second" in dress and BASE_OF[dress["second"]] in taken:
        del dress["second"]
    if "material" in dress and dress["material"] != "wooden":
        del dress["material"]
        dress["finish"] = "metallic"
    return Appearance(shape, synonym(rng, base, 0.2), **dress)


def _named(rng: np.random.Generator, appearance: Appearance) -> str:
    """A solid in words, without an article."""
    before, after = color_words(rng, appearance)
    words = " ".join([*before, solid_noun(rng, appearance.category)])
    return f"{words} with {after[0]}" if after else words


def _clauses(
    rng: np.random.Generator, kind: Category, main: str | None, second: str | None
) -> tuple[list[str], dict[str, str], dict[str, int], list[str]]:
    """The words after "with": phrases, colours of named parts, numbers of counted parts, optional
    details."""
    phrases: list[str] = []
    colors: dict[str, str] = {}
    numbers: dict[str, int] = {}
    details: list[str] = []
    for detail, (low, high) in kind.counts.items():
        if rng.random() < 0.3:
            numbers[detail] = low + int(rng.random() * (high - low + 1))
    if second is None and rng.random() < 0.36:
        colors = role_colors(rng, kind, main, 2 if rng.random() < 0.25 else 1)
    if kind.details and rng.random() < 0.22:
        detail = pick(rng, kind.details.split(", "))
        if detail not in colors:
            details.append(detail)
    for role in sorted({*colors, *numbers, *details}):
        phrases.append(role_words(role, colors.get(role), numbers.get(role, 0)))
    return phrases, colors, numbers, details


def role_colors(rng: np.random.Generator, kind: Category, main: str | None, count: int) -> dict[str, str]:
    """Colour names for up to ``count`` named parts; none is the main colour."""
    roles, colors = list(kind.roles), {}
    if not roles:
        return colors
    # Not a set: its order would differ between processes, and so would every later draw.
    for role in dict.fromkeys([pick(rng, roles) for _ in range(count)]):
        usual = [n.replace("_", " ") for n in kind.roles[role].replace("/", " ").split(" ") if n != "main"]
        name = pick(rng, usual) if rng.random() < 0.35 and usual else synonym(rng, pick(rng, BASE_COLORS), 0.2)
        if main is None or BASE_OF[name] != BASE_OF[main]:
            colors[role] = name
    return colors


def _phrase(
    rng: np.random.Generator, noun: str, adjectives: list[str], appearance: Appearance, clauses: list[str]
) -> str:
    """One object in words. The colour is mostly before the noun, sometimes after it."""
    color = appearance.main
    form = rng.random()
    before, after = color_words(rng, appearance)
    body = " ".join([*adjectives, *before, noun])
    if appearance.pattern is None and color:
        rest = [*adjectives, *(word for word in before if word != color), noun]
        if form < 0.04:
            body = " ".join([*rest, "in", color])
        elif form < 0.07:
            colored = [f"{color} colored" if word == color else word for word in before]
            body = " ".join([*adjectives, *colored, noun])
        elif form < 0.09:
            body = " ".join([*rest, "painted", color])
    clauses = after + clauses
    tail = f" with {' and '.join(clauses)}" if clauses else ""
    form = rng.random()
    if form < 0.12:
        return body + tail
    if form < 0.15:
        return f"the {body}{tail}"
    return opened(rng, f"{article(body)} {body}{tail}")
