"""The grammar of captions: nouns and colours with synonyms, adjectives, materials, named parts,
counts, relations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from rewards.composition.facts import Facts, Relation, Thing
from rewards.relations import RELATION_WORDS
from rl3d.corpus.categories import CATALOGUE, CATEGORIES
from rl3d.corpus.categories.category import Category
from rl3d.corpus.compositions import BASES, RIDERS, fits
from rl3d.corpus.items import Spec
from rl3d.corpus.relations import RELATIONS, STACKABLE, SUPPORTS
from rl3d.corpus.shapes import Appearance
from rl3d.corpus.splits import is_held_out, is_pair_held_out
from scenes.colors import BASE_COLORS, BASE_OF, SYNONYMS

T = TypeVar("T")

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
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
OPENINGS = (
    "a 3d model of",
    "a 3d render of",
    "a model of",
    "3d model of",
    "a picture of",
    "a low poly model of",
    "an image of",
)
MASS_NOUNS = frozenset("icing lettuce cheese wine sand skin trim water coffee glass".split())
SOLID_NOUNS = {
    "cube": ("cube", "cube", "box", "block"),
    "sphere": ("sphere", "ball", "ball"),
    "cylinder": ("cylinder",),
    "cone": ("cone",),
    "pyramid": ("pyramid",),
}
RIDING_WORDS = ("on", "on top of", "standing on", "placed on")
MAX_COUNT = 6


def single(rng: np.random.Generator, split: str, category: str | None = None) -> Spec:
    """A caption of one object, e.g. "a tall red lamp with a black stand"."""
    name = category or pick(rng, CATEGORIES)
    kind = CATALOGUE[name]
    color = _color_for(rng, name, split)
    material = sizes = None
    if kind.materials and rng.random() < 0.16:
        material = pick(rng, kind.materials.split(" "))
    if split == "train" and rng.random() < (0.5 if material else 0.12):
        color = None
    adjectives: list[str] = []
    if kind.sizes and rng.random() < 0.3:
        axis, way = pick(rng, kind.sizes.split(" ")), 1 if rng.random() < 0.55 else -1
        sizes = {axis: way}
        adjectives.append(pick(rng, SIZE_WORDS[axis, way]))
    elif rng.random() < 0.18:
        adjectives.append(pick(rng, PLAIN_ADJECTIVES))
    clauses, colors, numbers, details = _clauses(rng, kind, color)
    facts = Facts((_thing(name, color, colors),))
    appearance = Appearance(name, color, colors, sizes or {}, numbers, frozenset(details), None if color else material)
    caption = _phrase(rng, _noun(rng, kind), adjectives, color, material, clauses)
    return Spec(caption, "single", name, facts, appearances=(appearance,))


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
    names = [_synonym(rng, base, 0.2) for base in bases]
    first, second = (
        f"{_article(name)} {name} {pick(rng, SOLID_NOUNS[shape])}" for name, shape in zip(names, shapes, strict=True)
    )
    caption = f"{first} {pick(rng, RELATION_WORDS[what])} {second}"
    facts = Facts(tuple(map(Thing, shapes, bases)), (Relation(what, 0, (1,)),))
    return Spec(
        _opened(rng, caption),
        "relation",
        "relation",
        facts,
        tuple(map(Appearance, shapes, names)),
        arrangement=what,
    )


def count(rng: np.random.Generator, split: str) -> Spec:
    """A caption of one to six equal solids, e.g. "a stack of three green boxes"."""
    while True:
        shape, base, number = pick(rng, tuple(SOLID_NOUNS)), pick(rng, BASE_COLORS), 1 + int(rng.random() * MAX_COUNT)
        if is_pair_held_out("count", shape, base, number) == (split == "heldout"):
            break
    name, word = _synonym(rng, base, 0.2), NUMBERS[number]
    noun = pick(rng, SOLID_NOUNS[shape])
    plural = noun + ("es" if noun.endswith("x") else "s")
    arrangement = "stack" if number > 1 and shape in STACKABLE and rng.random() < 0.35 else "row"
    if number == 1:
        caption = pick(rng, (f"one {name} {noun}", f"a single {name} {noun}", f"exactly one {name} {noun}"))
    elif arrangement == "row":
        caption = pick(
            rng,
            (
                f"{word} {name} {plural} in a row",
                f"a row of {word} {name} {plural}",
                f"{word} {name} {plural}",
                f"{word} {name} {plural} side by side",
            ),
        )
    else:
        caption = pick(
            rng,
            (
                f"a stack of {word} {name} {plural}",
                f"{word} stacked {name} {plural}",
                f"{word} {name} {plural} stacked up",
                f"a tower of {word} {name} {plural}",
            ),
        )
    facts = Facts((Thing(shape, base, count=number),))
    return Spec(_opened(rng, caption), "count", "count", facts, (Appearance(shape, name),), arrangement)


def composition(rng: np.random.Generator, split: str) -> Spec:
    """A caption of an object on another, e.g. "a cat on a blue bench"."""
    while True:
        rider, base = pick(rng, RIDERS), pick(rng, BASES)
        if fits(rider, base) and is_pair_held_out("composition", rider, base) == (split == "heldout"):
            break
    appearances, phrases = [], []
    for name in (rider, base):
        color = _color_for(rng, name, "train") if rng.random() < 0.55 else None
        noun = _noun(rng, CATALOGUE[name])
        phrase = f"{color} {noun}" if color else noun
        appearances.append(Appearance(name, color))
        phrases.append(f"{_article(phrase)} {phrase}")
    caption = f"{phrases[0]} {pick(rng, RIDING_WORDS)} {phrases[1]}"
    things = tuple(_thing(appearance.category, appearance.main) for appearance in appearances)
    facts = Facts(things, (Relation("on", 0, (1,)),))
    return Spec(_opened(rng, caption), "composition", "composition", facts, tuple(appearances), "on")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options with equal probability. Several times faster than ``rng.choice``."""
    return options[int(rng.random() * len(options))]


def _thing(noun: str, color: str | None, parts: Mapping[str, str] | None = None, count: int = 1) -> Thing:
    """What the names of colours state, in base colours."""
    named = tuple((role, BASE_OF[name]) for role, name in sorted((parts or {}).items()))
    return Thing(noun, BASE_OF[color] if color else None, named, count)


def _clauses(
    rng: np.random.Generator, kind: Category, main: str | None
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
    roles = list(kind.roles)
    if roles and rng.random() < 0.36:
        drawn = [pick(rng, roles) for _ in range(2 if rng.random() < 0.25 else 1)]
        for role in dict.fromkeys(
            drawn
        ):  # not a set: its order would differ between processes, and so would every later draw
            usual = [n.replace("_", " ") for n in kind.roles[role].replace("/", " ").split(" ") if n != "main"]
            name = pick(rng, usual) if rng.random() < 0.35 and usual else _synonym(rng, pick(rng, BASE_COLORS), 0.2)
            if main is None or BASE_OF[name] != BASE_OF[main]:
                colors[role] = name
    if kind.details and rng.random() < 0.22:
        detail = pick(rng, kind.details.split(", "))
        if detail not in colors:
            details.append(detail)
    for role in sorted({*colors, *numbers, *details}):
        number, color = numbers.get(role), colors.get(role)
        words = f"{color} {role}" if color else role
        if number == 1:
            words = f"one {words.removesuffix('s')}"
        elif number:
            words = f"{NUMBERS[number]} {words}"
        elif not role.endswith("s") and role not in MASS_NOUNS:
            words = f"{_article(words)} {words}"
        phrases.append(words)
    return phrases, colors, numbers, details


def _phrase(
    rng: np.random.Generator,
    noun: str,
    adjectives: list[str],
    color: str | None,
    material: str | None,
    clauses: list[str],
) -> str:
    """One object in words. The colour is mostly before the noun, sometimes after it."""
    form = rng.random()
    before = [*adjectives, *([color] if color else []), *([material] if material else []), noun]
    body = " ".join(before)
    if color and form < 0.04:
        body = " ".join([*adjectives, *([material] if material else []), noun, "in", color])
    elif color and form < 0.07:
        body = " ".join([*adjectives, f"{color} colored", *([material] if material else []), noun])
    elif color and form < 0.09:
        body = " ".join([*adjectives, *([material] if material else []), noun, "painted", color])
    tail = f" with {' and '.join(clauses)}" if clauses else ""
    article = rng.random()
    if article < 0.12:
        return body + tail
    if article < 0.15:
        return f"the {body}{tail}"
    return _opened(rng, f"{_article(body)} {body}{tail}")


def _opened(rng: np.random.Generator, caption: str) -> str:
    return f"{pick(rng, OPENINGS)} {caption}" if rng.random() < 0.08 else caption


def _article(words: str) -> str:
    return (
        "an" if (words[0] in "aeio" or words.startswith(("hour", "umbrella"))) and not words.startswith("one") else "a"
    )


def _noun(rng: np.random.Generator, kind: Category) -> str:
    names = kind.names
    return names[0] if rng.random() < 0.5 else pick(rng, names)


def _synonym(rng: np.random.Generator, base: str, chance: float) -> str:
    return pick(rng, SYNONYMS[base]) if rng.random() < chance else base


def _color_for(rng: np.random.Generator, category: str, split: str) -> str:
    """A colour name whose base colour is in this split for this category."""
    while True:
        base = pick(rng, BASE_COLORS)
        if is_held_out(category, base) == (split == "heldout"):
            return _synonym(rng, base, 0.32)
