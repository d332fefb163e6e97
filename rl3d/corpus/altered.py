"""Assets that are nearly what a caption says: an object is missing or double, colours are
exchanged, a relation is turned, or a number is off by one. A reward must tell them from right
ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rl3d.corpus.items import Item, Spec
from rl3d.corpus.placing import Body, beside, merged
from rl3d.corpus.sampling import sample_for
from rl3d.corpus.shapes import Drawing, bounds, normalized
from rl3d.corpus.wording import pick
from rl3d.corpus.wrong import exchanged as colors_exchanged
from scenes.parts import MAX_PARTS

Alteration = Callable[[Item, np.random.Generator], Item | None]
"""An item with the same caption and facts, other parts, and the labels of these. None if the item
cannot be altered so."""

_TURNED = {
    "left": "right", "right": "left", "front": "behind", "behind": "front", "on": "next", "under": "next",
    "inside": "next", "wearing": "next", "between": "row", "stack": "row", "on next": "row", "around": "row",
}  # fmt: skip


def missing(item: Item, rng: np.random.Generator) -> Item | None:
    """One of the objects is not there."""
    if len(item.nouns) < 2:
        return None
    gone = int(rng.integers(len(item.nouns)))
    return _with(item, _kept(item, [k for k in range(len(item.nouns)) if k != gone]))


def doubled(item: Item, rng: np.random.Generator) -> Item | None:
    """One of the objects is there twice: the second one stands beside all others."""
    one = _kept(item, [int(rng.integers(len(item.nouns)))])
    if len(item.vectors) + len(one.vectors) > MAX_PARTS:
        return None
    whole = Drawing(item.vectors.astype(np.float64), item.objects, item.nouns, item.roles)
    scene = _body(whole)
    return _with(item, merged([scene, beside(_body(one).standing(), scene, 0, 1)]).drawing)


def exchanged(item: Item, rng: np.random.Generator) -> Item | None:
    """Two things have each other's main colour, or a single thing and its named part."""
    things = colors_exchanged(item.spec.appearances, rng)
    if item.kind == "single":
        one = item.spec.appearances[0]
        if one.main and one.colors:
            role = pick(rng, sorted(one.colors))
            things = [replace(one, main=one.colors[role], colors={**one.colors, role: one.main})]
    return _drawn(item, rng, replace(item.spec, appearances=tuple(things))) if things else None


def turned(item: Item, rng: np.random.Generator) -> Item | None:
    """The things stand otherwise than the relation says."""
    if item.kind == "count" or item.spec.arrangement not in _TURNED:
        return None
    return _drawn(item, rng, replace(item.spec, arrangement=_TURNED[item.spec.arrangement]))


def miscounted(item: Item, rng: np.random.Generator) -> Item | None:
    """One object too few or too many of what is counted."""
    things = list(item.facts.things)
    several = [k for k, thing in enumerate(things) if thing.count > 1 or item.kind == "count"]
    if not several:
        return None
    k = pick(rng, several)
    count = things[k].count + (1 if rng.random() < 0.5 else -1)
    least, most = (2, 4) if item.spec.arrangement == "around" else (1, 4 if item.kind == "scene" else 6)
    count = count if least <= count <= most else 2 * things[k].count - count
    if not least <= count <= most:
        return None
    things[k] = replace(things[k], count=count)
    changed = _drawn(item, rng, replace(item.spec, facts=replace(item.facts, things=tuple(things))))
    return changed if len(changed.vectors) <= MAX_PARTS else None


ALTERATIONS: dict[str, Alteration] = {
    change.__name__: change for change in (missing, doubled, exchanged, turned, miscounted)
}


def _drawn(item: Item, rng: np.random.Generator, spec: Spec) -> Item:
    """What another spec draws, under the caption of the item."""
    return replace(sample_for(spec, rng), caption=item.caption, facts=item.facts, spec=item.spec)


def _kept(item: Item, objects: list[int]) -> Drawing:
    """Some of the objects alone."""
    keep = np.isin(item.objects, objects)
    numbers = np.searchsorted(objects, item.objects[keep])
    roles = tuple(role for role, kept in zip(item.roles, keep, strict=True) if kept)
    return Drawing(item.vectors[keep].astype(np.float64), numbers, tuple(item.nouns[k] for k in objects), roles)


def _body(drawing: Drawing) -> Body:
    return Body(drawing, *bounds(drawing.vectors))


def _with(item: Item, drawing: Drawing) -> Item:
    labels = {"objects": drawing.objects, "nouns": drawing.nouns, "roles": drawing.roles}
    return replace(item, vectors=normalized(drawing.vectors).astype(np.float32), **labels)
