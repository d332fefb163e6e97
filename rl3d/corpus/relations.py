"""Scenes of primitive solids: two in a relation, or one to six in a row or a stack. Neighbours
touch, so that each scene is one cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl3d.corpus.categories.solids import foot, solid
from rl3d.corpus.items import Spec
from rl3d.corpus.shapes import Color, Drawing, Paint, Row, profile, with_materials
from scenes.colors import COLORS
from scenes.parts import CENTRE_X, CENTRE_Y, CENTRE_Z, LOG_HALF_Z, VECTOR_SIZE

RELATIONS = ("on", "under", "left", "right", "front", "behind", "next")
SUPPORTS = ("cube", "cylinder", "sphere")
"""Solids that something can stand on."""
STACKABLE = ("cube", "cylinder")
OVERLAP = 0.014

_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "front": (0, -1), "behind": (0, 1)}


def draw_relation(spec: Spec, rng: np.random.Generator) -> Drawing:
    """The two solids, in the order of the caption."""
    shape_a, shape_b = (appearance.category for appearance in spec.appearances)
    paint_a, paint_b = (_jitter(appearance.main or "gray", rng) for appearance in spec.appearances)
    if spec.arrangement == "on":
        upper, lower = _stacked(shape_a, paint_a, shape_b, paint_b, rng)
        return _on_feet(spec, rng, [upper, lower], [1] if shape_b == "sphere" else [])
    if spec.arrangement == "under":
        upper, lower = _stacked(shape_b, paint_b, shape_a, paint_a, rng)
        return _on_feet(spec, rng, [lower, upper], [0] if shape_a == "sphere" else [])
    a, b = (
        _standing(shape, paint, rng.uniform(0.2, 0.27), rng)
        for shape, paint in ((shape_a, paint_a), (shape_b, paint_b))
    )
    names = list(_DIRECTIONS)
    dx, dy = _DIRECTIONS[spec.arrangement if spec.arrangement in names else names[int(rng.integers(2))]]
    distance = touching_distance(np.array(a), np.array(b)) - OVERLAP
    a[CENTRE_X], a[CENTRE_Y] = dx * distance, dy * distance
    return _on_feet(spec, rng, [a, b], [k for k, shape in enumerate((shape_a, shape_b)) if shape == "sphere"])


def draw_count(spec: Spec, rng: np.random.Generator) -> Drawing:
    """``count`` equal solids: a row along x from left to right, or a stack from the ground up."""
    shape, count = spec.appearances[0].category, spec.facts.things[0].count
    paint = _jitter(spec.appearances[0].main or "gray", rng)
    if spec.arrangement == "stack":
        # A high stack of slender solids would topple, so more solids are flatter.
        r = 0.25
        h = r if shape == "cube" and count <= 4 else r * rng.uniform(0.5, 0.75)
        return _on_feet(
            spec, rng, [solid(shape, paint, (r, r, h), (0, 0, h + k * (2 * h - OVERLAP))) for k in range(count)]
        )
    first = _standing(shape, paint, 0.2, rng)
    pitch = touching_distance(np.array(first), np.array(first)) - OVERLAP * max(1.0, 0.3 * count)
    rows = [list(first) for _ in range(count)]
    for k, other in enumerate(rows):
        other[CENTRE_X] = (k - (count - 1) / 2) * pitch
    return _on_feet(spec, rng, rows, range(count) if shape == "sphere" else [])


def touching_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Distance at which two solids on the ground, next to each other along x or y, just touch:
    their profiles meet."""
    heights = np.linspace(0.01, 0.99, 33) * 2 * min(np.exp(a[LOG_HALF_Z]), np.exp(b[LOG_HALF_Z]))
    return float((profile(a, heights) + profile(b, heights)).max())


def _on_feet(spec: Spec, rng: np.random.Generator, rows: list[Row], balls: Sequence[int] = ()) -> Drawing:
    """The solids, then the flat feet of the balls that stand on the ground."""
    objects = np.array([*range(len(rows)), *balls])
    which = [k for k, thing in enumerate(spec.facts.things) for _ in range(thing.count)]
    nouns = tuple(spec.facts.things[k].noun for k in which)
    every = rows + [foot(rows[k]) for k in balls]
    vectors = np.empty((len(every), VECTOR_SIZE))
    for k, appearance in enumerate(spec.appearances):
        own = [i for i, n in enumerate(objects.tolist()) if which[n] == k]
        paint = Paint((0, 0, 0), "main", main=True)  # the rows have their colours already
        vectors[own] = with_materials([every[i] for i in own], appearance, [paint] * len(own), rng)
    return Drawing(vectors, objects, nouns, ("main",) * len(objects))


def _standing(shape: str, paint: Color, r: float, rng: np.random.Generator) -> Row:
    aspect = {
        "cube": (1.0, 1.0),
        "sphere": (1.0, 1.0),
        "cylinder": (1.0, 1.5),
        "cone": (1.0, 1.4),
        "pyramid": (0.85, 1.2),
    }[shape]
    h = r * rng.uniform(*aspect)
    return solid(shape, paint, (r, r, h), (0, 0, h))


def _stacked(shape_a: str, paint_a: Color, shape_b: str, paint_b: Color, rng: np.random.Generator) -> list[Row]:
    """The upper solid, then the lower one. A lower ball is the larger of the two, and its pole
    sinks into the upper solid."""
    low, ratio, sink = rng.uniform(0.24, 0.28), rng.uniform(0.72, 0.98), OVERLAP
    if shape_b == "sphere":
        low, ratio, sink = rng.uniform(0.3, 0.34), rng.uniform(0.55, 0.68), 0.03
    lower = _standing(shape_b, paint_b, low, rng)
    upper = _standing(shape_a, paint_a, low * ratio, rng)
    top = lower[CENTRE_Z] * 2
    upper[CENTRE_Z] += top - (max(sink, 0.02) if shape_a == "sphere" else sink)
    return [upper, lower]


def _jitter(name: str, rng: np.random.Generator) -> Color:
    r, g, b = (np.array(COLORS[name]) + rng.uniform(-0.02, 0.02, 3)).clip(0, 1).tolist()
    return r, g, b
