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

    @property
    def standing(self) -> int:
        """How many of the things stand on the ground by themselves: not on another thing, nor
        inside one, nor worn."""
        carried = {relation.subject for relation in self.relations if relation.kind in ("on", "inside")}
        for relation in self.relations:
            if relation.kind in ("under", "wearing"):
                carried.update(relation.objects)
        return max(1, sum(thing.count for k, thing in enumerate(self.things) if k not in carried))

    def ordered(self) -> tuple[tuple[Thing, ...], tuple[tuple[str, Thing, tuple[Thing, ...]], ...]]:
        """The same facts in an order that does not depend on the wording: equal for "a cube beside
        a mug and a cone" and "a cone and ...", if things and relations are the same."""
        relations = [
            (
                relation.kind,
                self.things[relation.subject],
                tuple(sorted((self.things[k] for k in relation.objects), key=repr)),
            )
            for relation in self.relations
        ]
        return tuple(sorted(self.things, key=repr)), tuple(sorted(relations, key=repr))
