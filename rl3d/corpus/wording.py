"""Words for one thing: its noun with synonyms, colours, finish and pattern, and its named parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from rewards.composition.facts import Thing
from rl3d.corpus.categories import CATALOGUE
from rl3d.corpus.shapes import MATERIALS, Appearance
from rl3d.corpus.splits import is_held_out
from scenes.colors import BASE_COLORS, BASE_OF, SYNONYMS

T = TypeVar("T")

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
OPENINGS = (
    "a 3d model of",
    "a 3d render of",
    "a model of",
    "3d model of",
    "a picture of",
    "a low poly model of",
    "an image of",
)
MASS_NOUNS = frozenset("feet laces icing lettuce cheese wine sand skin trim water coffee glass".split())
SOLID_NOUNS = {
    "cube": ("cube", "cube", "box", "block"),
    "sphere": ("sphere", "ball", "ball"),
    "cylinder": ("cylinder",),
    "cone": ("cone",),
    "pyramid": ("pyramid",),
}
FINISH_WORDS = {"glossy": ("glossy", "glossy", "shiny"), "matte": ("matte",), "metallic": ("metallic",)}
"""Adjectives of a finish that no material word gives."""
PATTERN_WORDS = {
    "stripes": ("striped",),
    "spots": ("polka dotted", "spotted", "dotted"),
    "checks": ("checkered", "checked"),
}
PATTERN_NOUNS = {"stripes": ("stripes",), "spots": ("polka dots", "spots", "dots"), "checks": ("checks",)}
_FINISHED = (*("glossy", "matte") * 2, "metallic", "shiny metal", "polished metal", "brushed metal")
_PLURALS = {
    "sheep": "sheep", "snowman": "snowmen", "cactus": "cacti", "bookshelf": "bookshelves", "mouse": "mice",
    "piece of fruit": "pieces of fruit",
}  # fmt: skip


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options with equal probability. Several times faster than ``rng.choice``."""
    return options[int(rng.random() * len(options))]


def opened(rng: np.random.Generator, caption: str) -> str:
    return f"{pick(rng, OPENINGS)} {caption}" if rng.random() < 0.08 else caption


def article(words: str) -> str:
    vowel = words[0] in "aeio" or words.startswith(("hour", "umbrella"))
    return "an" if vowel and not words.startswith("one") else "a"


def noun_for(rng: np.random.Generator, category: str) -> str:
    names = CATALOGUE[category].names
    return names[0] if rng.random() < 0.5 else pick(rng, names)


def plural(noun: str) -> str:
    if noun in _PLURALS:
        return _PLURALS[noun]
    for joint in (" of ", " in "):
        if joint in noun:
            head, tail = noun.split(joint, 1)
            return f"{plural(head)}{joint}{tail}"
    head, _, last = noun.rpartition(" ")
    if last in _PLURALS:
        return f"{head} {_PLURALS[last]}".strip()
    if last.endswith("y") and last[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if last.endswith(("s", "x", "ch", "sh")) else "s")


def synonym(rng: np.random.Generator, base: str, chance: float) -> str:
    return pick(rng, SYNONYMS[base]) if rng.random() < chance else base


def color_for(rng: np.random.Generator, category: str, split: str) -> str:
    """A colour name whose base colour is in this split for this category."""
    while True:
        base = pick(rng, BASE_COLORS)
        if split == "novel" or is_held_out(category, base) == (split == "heldout"):
            return synonym(rng, base, 0.32)


def thing_of(appearance: Appearance, count: int = 1) -> Thing:
    """What a caption states that names all of an appearance, in base colours."""
    parts = dict(appearance.colors)
    if appearance.pattern and appearance.second:
        parts[appearance.pattern] = appearance.second
    return Thing(
        appearance.category,
        BASE_OF[appearance.main] if appearance.main else None,
        tuple((role, BASE_OF[name]) for role, name in sorted(parts.items())),
        count,
        appearance.pattern,
        appearance.finish,
    )


def dressed(rng: np.random.Generator, category: str, color: str | None, chance: float) -> dict[str, Any]:
    """Perhaps a pattern or a finish for an appearance: some of the fields pattern, second, finish
    and material."""
    kind = CATALOGUE[category]
    options = (["pattern"] if kind.patterns else []) + (["finish"] if kind.finishes else [])
    if rng.random() >= chance or not options:
        return {}
    if pick(rng, options) == "pattern":
        pattern = pick(rng, kind.patterns)
        if rng.random() < 0.3:
            return {"pattern": pattern}
        others = [base for base in ("white", "white", "black", *BASE_COLORS) if not color or base != BASE_OF[color]]
        return {"pattern": pattern, "second": synonym(rng, pick(rng, others), 0.2)}
    word = pick(
        rng, ("glossy", "glossy", "matte", "matte", "metallic", "shiny metal", "polished metal", "brushed metal")
    )
    if word in FINISH_WORDS:
        return {"finish": word}
    return {"material": word, "finish": MATERIALS[word][1]}


def color_words(rng: np.random.Generator, appearance: Appearance) -> tuple[list[str], list[str]]:
    """The words before the noun that say colour, finish and pattern, and clauses for after
    "with"."""
    color, second, pattern, material = appearance.main, appearance.second, appearance.pattern, appearance.material
    before = [pick(rng, FINISH_WORDS[appearance.finish])] if appearance.finish and not material else []
    if pattern is None:
        return [*before, *filter(None, (color, material))], []
    striped = pick(rng, PATTERN_WORDS[pattern])
    if second is None:
        words = [striped, color] if rng.random() < 0.7 else [color, striped]
        return [*before, *filter(None, words)], []
    form = rng.random()
    if color and form < 0.55:
        both = f"{color} and {second}"
        return [*before, *((striped, both) if form < 0.35 else (both, striped))], []
    return [*before, *([color] if color else [])], [f"{second} {pick(rng, PATTERN_NOUNS[pattern])}"]


def role_words(role: str, color: str | None, number: int = 0) -> str:
    """A named part, e.g. "a black stand" or "three buttons"."""
    words = f"{color} {role}" if color else role
    if number == 1:
        return f"one {words.removesuffix('s')}"
    if number:
        return f"{NUMBERS[number]} {words}"
    return words if role.endswith("s") or role in MASS_NOUNS else f"{article(words)} {words}"


def solid_noun(rng: np.random.Generator, shape: str) -> str:
    return pick(rng, SOLID_NOUNS[shape])


def phrase(rng: np.random.Generator, appearance: Appearance, count: int = 1, clauses: bool = True) -> str:
    """A thing of a scene in words, e.g. "two red chairs with white legs". Named parts only if
    ``clauses``."""
    name = appearance.category
    if name in SOLID_NOUNS:
        noun = solid_noun(rng, name)
    else:
        names = [n for n in CATALOGUE[name].names if " in " not in n]
        noun = names[0] if rng.random() < 0.65 else pick(rng, names)
    before, after = color_words(rng, appearance)
    words = " ".join([*before, noun if count == 1 else plural(noun)])
    after += [role_words(role, color) for role, color in sorted(appearance.colors.items())]
    if after and clauses:
        words += f" with {' and '.join(after)}"
    return f"{article(words)} {words}" if count == 1 else f"{NUMBERS[count]} {words}"
