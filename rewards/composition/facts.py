"""What a caption states: things with their number, colours and material, and how they stand to each
other. Names are canonical: "a crimson couch" is a red sofa."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    """What a caption says of one kind of object. None: it does not say."""

    noun: str
    """Canonical name of the category or solid, e.g. "chair" or "cube"."""
    color: str | None = None
    """Base colour of the main parts."""
    parts: tuple[tuple[str, str], ...] = ()
    """Role and base colour of named parts, e.g. (("legs", "white"),). The second colour of a
    pattern is named like a part: (("stripes", "white"),)."""
    count: int = 1
    pattern: str | None = None
    """One of ``scenes.parts.PATTERNS``, on the main parts."""
    finish: str | None = None
    """One of ``scenes.parts.FINISHES``, of the main parts."""


@dataclass(frozen=True)
class Relation:
    """``things[subject]`` stands in ``kind`` to ``things[objects[0]]``."""

    kind: str
    """on, under, left, right, front, behind, next, around, between, inside or wearing. The bear is
    ``wearing`` the hat."""
    subject: int
    objects: tuple[int, ...]
    """One index into ``things``; two for "between"."""


@dataclass(frozen=True)
class Facts:
    """Everything that a caption states."""

    things: tuple[Thing, ...]
    relations: tuple[Relation, ...] = ()
