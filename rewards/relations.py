"""Prompts that place one thing by another: reading "a red ball on top of a blue cube", and whether
two boxes stand like that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
"""Low and high corner of a thing, (3,) each, or of each of its parts, (p, 3) each; in metres."""


def related(kind: str, a: Box, b: Box) -> bool:
    """Whether thing a stands to thing b as the relation says: a key of ``RELATION_WORDS``, or
    "wearing"."""
    if kind == "under":
        return related("on", b, a)
    if kind == "wearing":
        return _rests(b, a, reach=1.0)
    if kind == "on":
        return _rests(a, b, reach=0.6)
    a, b = whole(a), whole(b)
    offset, reach, beside = _apart(a, b)
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


def arranged(kind: str, subjects: Sequence[Box], objects: Sequence[Box]) -> float:
    """How far several things stand to others as the relation says, from 0 to 1, which is all of
    them. The relation is one of those of ``related``, "between" or "around".

    Several things at one side count as one: two cubes to the left of a ball. On, in or next to
    something, each counts for itself."""
    if not subjects or not objects:
        return 0.0
    if kind == "around":
        return float(_around(subjects, union(objects)))
    if kind == "between":
        return sum(_between(a, *objects) for a in subjects) / len(subjects) if len(objects) == 2 else 0.0
    if kind in ("left", "right", "front", "behind"):
        return float(related(kind, union(subjects), union(objects)))
    hold = np.array([[related(kind, a, b) for b in objects] for a in subjects])
    # Three cups under a table, or a table with three cups under it: each of the many has one of the
    # few.
    return float(hold.any(1).mean() if len(subjects) >= len(objects) else hold.any(0).mean())


def whole(box: Box) -> Box:
    """The box around all parts, (3,) each."""
    return box[0].reshape(-1, 3).min(0), box[1].reshape(-1, 3).max(0)


def union(boxes: Sequence[Box]) -> Box:
    """The box around several things, (3,) each."""
    wholes = [whole(box) for box in boxes]
    return np.min([low for low, _ in wholes], 0), np.max([high for _, high in wholes], 0)


def _apart(a: Box, b: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From the middle of b to that of a, the sum of their half sizes, and the ratio of both along x
    and y: 1 where they are flush."""
    offset = (a[0] + a[1] - b[0] - b[1]) / 2
    reach = (a[1] - a[0] + b[1] - b[0]) / 2
    return offset, reach, np.abs(offset[:2]) / reach[:2].clip(1e-9)


def _rests(a: Box, b: Box, reach: float) -> bool:
    """Whether a rests on b: it is over b, off its middle by less than ``reach``, and little of it
    lies below the top of b's parts there. A chair's seat is below the top of its back."""
    a, base = whole(a), whole(b)
    if _apart(a, base)[2].max() >= reach:
        return False
    low, high = b[0].reshape(-1, 3), b[1].reshape(-1, 3)
    middle = (a[0] + a[1]) / 2
    below = ((low[:, :2] < middle[:2]) & (middle[:2] < high[:, :2])).all(1) & (high[:, 2] <= middle[2])
    top = high[below, 2].max() if below.any() else base[1][2]
    return bool(a[0][2] > top - 0.25 * (top - base[0][2]))


def _between(a: Box, b: Box, c: Box) -> bool:
    """Whether the middle of a is about halfway from that of b to that of c, all on one level."""
    a, b, c = whole(a), whole(b), whole(c)
    if not all(abs(a[0][2] - o[0][2]) < 0.35 * max(_apart(a, o)[1][2], 1e-6) for o in (b, c)):
        return False
    at, start, end = (((box[0] + box[1]) / 2)[:2] for box in (a, b, c))
    way = end - start
    length = float(way @ way)
    along = float((at - start) @ way) / max(length, 1e-12)
    off = abs(float((at - start)[0] * way[1] - (at - start)[1] * way[0])) / max(length, 1e-12)
    return 0.2 < along < 0.8 and off < 0.3


def _around(subjects: Sequence[Box], centre: Box) -> bool:
    """Whether all subjects are beside the centre, and no wide side of it is free."""
    if not all(related("next", a, centre) for a in subjects):
        return False
    offsets = np.array([_apart(whole(a), centre)[0][:2] for a in subjects])
    angles = np.sort(np.arctan2(offsets[:, 1], offsets[:, 0]))
    gaps = np.diff(angles, append=angles[0] + 2 * np.pi)
    return len(subjects) == 1 or bool(np.degrees(gaps.max()) < WIDEST_GAP_DEG)


WIDEST_GAP_DEG = 230.0
"""Angle between neighbours around something. Two things are opposite each other, and three may
leave its front free: 180."""

_COLOR = any_of(COLORS)
_KIND_OF = {word: kind for kind, words in RELATION_WORDS.items() for word in words}
_RELATION = re.compile(any_of(_KIND_OF).pattern + r"(?= (?:an?|the|one)\b)")
