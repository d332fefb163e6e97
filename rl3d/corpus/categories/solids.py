"""The five primitive solids: alone here, and in relations and counts."""

from __future__ import annotations

from math import exp

from rl3d.corpus.categories.category import Category
from rl3d.corpus.shapes import Color, Point, Row, Sketch, row
from scenes.parts import CENTRE_X, CENTRE_Y, CENTRE_Z, COLOR, LOG_HALF_X, LOG_HALF_Z

_EXPONENTS = {
    "cube": (0.12, 0.12),
    "sphere": (1.0, 1.0),
    "cylinder": (0.12, 1.0),
    "cone": (0.1, 1.0),
    "pyramid": (0.1, 0.1),
}
_TAPERS = {"cone": 0.97, "pyramid": 0.97}


def solid(shape: str, color: Color, half: Point, centre: Point = (0, 0, 0)) -> Row:
    """One primitive as a part."""
    return row(color, centre, half, _EXPONENTS[shape], _TAPERS.get(shape, 0.0))


def foot(ball: Row) -> Row:
    """The flat spot that a ball on the ground rests on: a thin disc, nearly hidden in it, without
    which it would roll away."""
    r, thickness = exp(ball[LOG_HALF_X]), 0.11 * exp(ball[LOG_HALF_Z])
    bottom = ball[CENTRE_Z] - exp(ball[LOG_HALF_Z])
    red, green, blue = ball[COLOR]
    return row(
        (red, green, blue),
        (ball[CENTRE_X], ball[CENTRE_Y], bottom + thickness / 2),
        (0.4 * r, 0.4 * r, thickness / 2),
        _EXPONENTS["cylinder"],
    )


def _one(s: Sketch, shape: str, half: Point, centre: Point) -> None:
    s.part(s.main, centre, half, _EXPONENTS[shape], _TAPERS.get(shape, 0.0))


def _cube(s: Sketch) -> None:
    _one(s, "cube", (0.5, 0.5, 0.5), (0, 0, 0.5))
    s.top = (0, 0, 1.0, 0.42, 0.42)


def _sphere(s: Sketch) -> None:
    _one(s, "sphere", (0.5, 0.5, 0.5), (0, 0, 0.5))
    s.rows.append(foot(s.rows[0]))
    s.paints.append(s.main)


def _cylinder(s: Sketch) -> None:
    r, h = s.width(0.28, 0.38), s.height(0.4, 0.5)
    _one(s, "cylinder", (r, r, h), (0, 0, h))
    s.top = (0, 0, 2 * h, 0.72 * r, 0.72 * r)


def _cone(s: Sketch) -> None:
    r, h = s.width(0.34, 0.44), s.height(0.4, 0.5)
    _one(s, "cone", (r, r, h), (0, 0, h))


def _pyramid(s: Sketch) -> None:
    r, h = s.width(0.42, 0.5), s.height(0.34, 0.45)
    _one(s, "pyramid", (r, r, h), (0, 0, h))


_ANY = "red blue green yellow orange purple"
SOLIDS = {
    "cube": Category(_cube, "cube, box, block", _ANY, materials="wooden metal stone plastic"),
    "sphere": Category(_sphere, "sphere, ball, globe", _ANY, materials="wooden metal stone plastic"),
    "cylinder": Category(
        _cylinder, "cylinder, tube", _ANY, sizes="height width", materials="wooden metal stone plastic"
    ),
    "cone": Category(_cone, "cone, cone shape", _ANY, sizes="height width", materials="wooden stone plastic"),
    "pyramid": Category(_pyramid, "pyramid, square pyramid", _ANY, sizes="height width", materials="wooden stone"),
}
