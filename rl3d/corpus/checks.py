"""Checks of an asset against its caption, on the parts: colours, relation, count.

Colours are compared by visible area: the surface that is inside no other part.
"""

from __future__ import annotations

import numpy as np
import torch

from rewards.relations import related
from rl3d.corpus.items import Facts, Spec
from rl3d.corpus.shapes import bounds
from scenes.colors import nearest_base
from scenes.parts import COLOR, EAST, EXPONENTS, LOG_HALF_SIZE, MAX_EXPONENT, MIN_EXPONENT, NORTH, TAPER, Parts

NAMED_FRACTION = 0.002
"""A part carries a named colour if it has at least this fraction of the surface of the asset."""
WHOLE_FRACTION = 0.15
"""A part counts as an object if it has at least this fraction of the surface of the largest
part."""


def check_colors(facts: Facts, parts: Parts) -> tuple[int, int]:
    """How many of the named colours are right, and how many are named.

    The main colour is right if no other base colour has a larger visible area on the asset. Any
    other named colour is right if some visible part carries it.
    """
    total = (facts.main is not None) + len(facts.colors)
    vectors = _vectors(parts)
    if not len(vectors) or not total:
        return 0, total
    areas, names = visible_areas(parts.present()), nearest_base(vectors[:, COLOR])
    fraction: dict[str, float] = {}
    for name, area in zip(names, areas, strict=True):
        fraction[name] = fraction.get(name, 0.0) + area
    right = int(facts.main is not None and max(fraction, key=lambda name: fraction[name]) == facts.main)
    carried = {name for name, area in zip(names, areas, strict=True) if area >= NAMED_FRACTION * areas.sum()}
    return right + sum(name in carried for name in facts.colors), total


def check_relation(facts: Facts, parts: Parts) -> bool:
    """Whether two parts are the two solids of the relation and are placed as it says. True for a
    caption without a relation."""
    if facts.relation is None:
        return True
    vectors = _vectors(parts)
    if len(vectors) < 2:
        return False
    shapes, names = [solid_shape(v) for v in vectors], nearest_base(vectors[:, COLOR])
    areas = surface_areas(vectors)
    seen = list(zip(shapes, names, strict=True))
    wanted = list(zip(facts.shapes, facts.shape_colors, strict=True))
    found = [
        max((i for i, what in enumerate(seen) if what == want), key=lambda i: areas[i], default=None) for want in wanted
    ]
    if found[0] is None or found[1] is None or found[0] == found[1]:
        return False
    low, high = bounds(vectors)
    return related(facts.relation, (low[found[0]], high[found[0]]), (low[found[1]], high[found[1]]))


def check_count(facts: Facts, parts: Parts) -> bool:
    """Whether the solids of the named shape and colour are there in the named number, and no
    others. True for a caption without a count."""
    if facts.count is None:
        return True
    vectors = _vectors(parts)
    if not len(vectors):
        return False
    areas = surface_areas(vectors)
    whole = vectors[areas >= WHOLE_FRACTION * areas.max()]
    right = sum(
        (shape, name) == (facts.shapes[0], facts.shape_colors[0])
        for shape, name in zip((solid_shape(v) for v in whole), nearest_base(whole[:, COLOR]), strict=True)
    )
    return right == len(whole) == facts.count


def check_facts(item: Spec, parts: Parts) -> dict[str, float]:
    """What a caption states, checked on one asset: "colors" is the fraction of the named colours
    that are right, "relation" and "count" are 1 or 0. What is not stated is left out."""
    out: dict[str, float] = {}
    right, total = check_colors(item.facts, parts)
    if total:
        out["colors"] = right / total
    if item.kind == "relation":
        out["relation"] = float(check_relation(item.facts, parts))
    if item.kind == "count":
        out["count"] = float(check_count(item.facts, parts))
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
