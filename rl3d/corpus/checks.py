"""Checks of an asset against its caption, on the parts: colours, relation, count.

Colours are compared by visible area: the surface that is inside no other part.
"""

from __future__ import annotations

import numpy as np
import torch

from rewards.composition.facts import Facts
from rewards.relations import related
from rl3d.corpus.items import Spec
from rl3d.corpus.shapes import bounds
from scenes.colors import nearest_base
from scenes.parts import (
    COLOR,
    EAST,
    EXPONENTS,
    LOG_HALF_SIZE,
    MAX_EXPONENT,
    METALLIC,
    MIN_EXPONENT,
    NORTH,
    PATTERN,
    PATTERNS,
    ROUGHNESS,
    SECOND_COLOR,
    TAPER,
    Parts,
    finish_of,
)  # fmt: skip

NAMED_FRACTION = 0.002
"""A part carries a named colour if it has at least this fraction of the surface of the asset."""
WHOLE_FRACTION = 0.15
"""A part counts as an object if it has at least this fraction of the surface of the largest
part."""


def check_colors(facts: Facts, parts: Parts) -> tuple[int, int]:
    """How many of the named colours are right, and how many are named.

    The colour of the only thing is right if no other base colour has a larger visible area on the
    asset. Any other named colour, of one of several things or of a named part, is right if some
    visible part carries it; the second colour of a pattern, if some visible part has both.
    """
    main = facts.things[0].color if len(facts.things) == 1 else None
    named = {color for thing in facts.things for role, color in thing.parts if role != thing.pattern}
    second = {(role, color) for thing in facts.things for role, color in thing.parts if role == thing.pattern}
    if main is None:
        named |= {thing.color for thing in facts.things if thing.color}
    total = (main is not None) + len(named) + len(second)
    vectors = _vectors(parts)
    if not len(vectors) or not total:
        return 0, total
    areas, names = visible_areas(parts.present()), nearest_base(vectors[:, COLOR])
    fraction: dict[str, float] = {}
    for name, area in zip(names, areas, strict=True):
        fraction[name] = fraction.get(name, 0.0) + area
    right = int(main is not None and max(fraction, key=lambda name: fraction[name]) == main)
    visible = areas >= NAMED_FRACTION * areas.sum()
    carried = {name for name, seen in zip(names, visible, strict=True) if seen}
    both = zip(patterns_of(vectors[visible]), nearest_base(vectors[visible][:, SECOND_COLOR]), strict=True)
    return right + len(named & carried) + len(second & set(both)), total


def check_material(facts: Facts, parts: Parts, what: str) -> bool:
    """Whether the things have the pattern or the finish (``what``) that the facts state. Most of
    the visible area in the colour of the thing has it; of several things, or of a thing without a
    named colour, some of it."""
    stated = [(thing.color, getattr(thing, what)) for thing in facts.things if getattr(thing, what)]
    vectors = _vectors(parts)
    if not len(vectors):
        return not stated
    areas, names = visible_areas(parts.present()), nearest_base(vectors[:, COLOR])
    if what == "pattern":
        found = patterns_of(vectors)
    else:
        found = [
            finish_of(float(metallic), float(roughness)) for metallic, roughness in vectors[:, [METALLIC, ROUGHNESS]]
        ]
    for color, value in stated:
        own = np.array([color in (None, name) for name in names]) * areas
        least = 0.5 if len(facts.things) == 1 and color else NAMED_FRACTION
        if not own @ np.array([f == value for f in found]) > least * own.sum():
            return False
    return True


def patterns_of(vectors: np.ndarray) -> list[str | None]:
    """The pattern of each of (p, 27) parts."""
    scores = vectors[:, PATTERN]
    return [PATTERNS[best] if most > 0 else None for best, most in zip(scores.argmax(1), scores.max(1), strict=True)]


def check_relation(facts: Facts, parts: Parts) -> bool:
    """Whether two parts are the two solids of the relation and are placed as it says."""
    vectors = _vectors(parts)
    if len(vectors) < 2:
        return False
    seen = list(zip((solid_shape(v) for v in vectors), nearest_base(vectors[:, COLOR]), strict=True))
    areas = surface_areas(vectors)
    relation = facts.relations[0]
    found = []
    for thing in (facts.things[relation.subject], facts.things[relation.objects[0]]):
        like = [i for i, what in enumerate(seen) if what == (thing.noun, thing.color)]
        found.append(max(like, key=lambda i: areas[i], default=None))
    one, other = found
    if one is None or other is None or one == other:
        return False
    low, high = bounds(vectors)
    return related(relation.kind, (low[one], high[one]), (low[other], high[other]))


def check_count(facts: Facts, parts: Parts) -> bool:
    """Whether the solids of the named shape and colour are there in the named number, and no
    others."""
    vectors = _vectors(parts)
    if not len(vectors):
        return False
    thing, areas = facts.things[0], surface_areas(vectors)
    whole = vectors[areas >= WHOLE_FRACTION * areas.max()]
    right = sum(
        what == (thing.noun, thing.color)
        for what in zip((solid_shape(v) for v in whole), nearest_base(whole[:, COLOR]), strict=True)
    )
    return right == len(whole) == thing.count


def check_facts(item: Spec, parts: Parts) -> dict[str, float]:
    """What a caption states, checked on one asset: "colors" is the fraction of the named colours
    that are right, "relation" and "count" (of captions of these kinds), "pattern" and "finish" are
    1 or 0. What is not stated is left out."""
    out: dict[str, float] = {}
    right, total = check_colors(item.facts, parts)
    if total:
        out["colors"] = right / total
    if item.kind == "relation":
        out["relation"] = float(check_relation(item.facts, parts))
    if item.kind == "count":
        out["count"] = float(check_count(item.facts, parts))
    for what in ("pattern", "finish"):
        if any(getattr(thing, what) for thing in item.facts.things):
            out[what] = float(check_material(item.facts, parts, what))
    return out


@torch.no_grad()
def visible_areas(parts: Parts) -> np.ndarray:
    """Visible area of every part of one asset, in square metres: what neither another part nor the
    ground hides."""
    grid = parts.surface_grid(4)  # finer than the stripes of a lighthouse
    around = torch.cat([grid, grid[..., :1, :]], -2)
    a, b, c, d = around[:, :-1, :-1], around[:, :-1, 1:], around[:, 1:, :-1], around[:, 1:, 1:]
    areas = (torch.linalg.cross(d - a, c - b).norm(dim=-1) / 2).flatten(1)
    points = ((a + b + c + d) / 4).flatten(1, 2)
    count, cells = areas.shape
    depth = parts.distance(points.reshape(1, -1, 3).expand(count, -1, 3)).view(count, count, cells)
    hidden = (depth < -1e-3) & ~torch.eye(count, dtype=torch.bool, device=depth.device).unsqueeze(-1)
    hidden = hidden.any(0) | (points[..., 2] < points[..., 2].min() + 2e-3)
    return torch.where(hidden, 0, areas).sum(1).double().cpu().numpy()


def surface_areas(vectors: np.ndarray) -> np.ndarray:
    """Estimated surface area of every part in square metres, within 10 % for the five solids."""
    a, b, c = np.exp(vectors[:, LOG_HALF_SIZE]).T
    north, east = vectors[:, EXPONENTS].clip(MIN_EXPONENT, MAX_EXPONENT).T
    return (
        8
        * (a * b + b * c + c * a)
        * (1 - 0.215 * east)
        * (1 - 0.33 * north)
        * (1 - 0.4 * np.abs(vectors[:, TAPER]).clip(0, 1))
    )


def solid_shape(vector: np.ndarray) -> str:
    """The primitive solid that is most like a part."""
    round_plan = vector[EAST] > 0.56
    if abs(vector[TAPER]) > 0.55:
        return "cone" if round_plan else "pyramid"
    if vector[NORTH] > 0.45:
        return "sphere"
    return "cylinder" if round_plan else "cube"


def _vectors(parts: Parts) -> np.ndarray:
    """The existing parts of one asset as numbers."""
    if parts.existence.dim() != 1:
        raise ValueError("checks work on a single asset; index the batch first")
    with torch.no_grad():
        return parts.present().vectors().double().cpu().numpy()
