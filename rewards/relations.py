"""Prompts that place one thing by another: reading "a red ball on top of a blue cube", and whether
two boxes stand like that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scenes.colors import BASE_OF, COLORS

RELATION_WORDS = {
    "on": ("on top of", "on", "above", "standing on", "stacked on"),
    "under": ("under", "below", "underneath", "beneath"),
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "front": ("in front of",),
    "behind": ("behind", "at the back of"),
    "next": ("next to", "beside", "by the side of"),
    "inside": ("inside of", "inside", "within", "contained in", "in"),
}
"""How a prompt says each relation; the first thing named is ... the second."""


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern of whole words, the longest first: "sky blue" is one colour, "to the left of" one
    relation."""
    return re.compile(r"\b(" + "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) + r")\b")


@dataclass(frozen=True)
class Relation:
    """The thing in the ``first`` base colour is ``kind`` (a key of ``RELATION_WORDS``) the thing in
    the ``second``."""

    kind: str
    first: str
    second: str


def parse(prompt: str) -> Relation | None:
    """The relation that a prompt states between two things of different colours, or None: things
    without a colour are not told apart."""
    text = prompt.lower()
    # The relation stands before an article, which "in a row" and "on wheels" do not have after
    # both.
    for match in _RELATION.finditer(text):
        before, after = list(_COLOR.finditer(text[: match.start()])), _COLOR.search(text[match.end() :])
        if before and after:
            first, second = BASE_OF[before[0].group()], BASE_OF[after.group()]
            return Relation(_KIND_OF[match.group(1)], first, second) if first != second else None
    return None


Box = tuple[np.ndarray, np.ndarray]
"""Low and high corner, (3,) each, in metres."""


def related(kind: str, a: Box, b: Box) -> bool:
    """Whether box a stands to box b as the relation says."""
    if kind == "under":
        return related("on", b, a)
    offset = (a[0] + a[1] - b[0] - b[1]) / 2
    reach = (a[1] - a[0] + b[1] - b[0]) / 2
    beside = np.abs(offset[:2]) / reach[:2].clip(1e-9)
    if kind == "on":
        # The rest of a's weight is over b, and little of a lies below b's top.
        return bool(a[0][2] > b[1][2] - 0.25 * (b[1][2] - b[0][2]) and beside.max() < 0.6)
    if kind == "inside":
        # Its middle is within b, and it reaches out at the top at most.
        middle = (a[0] + a[1]) / 2
        return bool(
            (middle > b[0]).all()
            and (middle < b[1]).all()
            and (a[0] > b[0] - 0.01).all()
            and (a[1] < b[1] + 0.01)[:2].all()
        )
    level = abs(a[0][2] - b[0][2]) < 0.35 * max(reach[2], 1e-6)
    if not level or beside.max() < 0.5:
        return False
    if kind == "next":
        return True
    along = {"left": -offset[0], "right": offset[0], "front": -offset[1], "behind": offset[1]}[kind]
    return bool(along > 0 and along >= 0.99 * np.abs(offset[:2]).max())


_COLOR = any_of(COLORS)
_KIND_OF = {word: kind for kind, words in RELATION_WORDS.items() for word in words}
_RELATION = re.compile(any_of(_KIND_OF).pattern + r"(?= (?:an?|the|one)\b)")
