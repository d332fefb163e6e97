"""Draws assets part by part. A ``Sketch`` collects superquadric rows, in the order of
``Parts.from_vectors``.

Lengths are in drafting units of about one metre. ``normalized`` scales the finished asset to a
largest extent of 1 and puts it on the ground.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from rl3d.corpus.splits import is_held_out
from scenes.colors import BASE_COLORS, BASE_OF, COLORS
from scenes.parts import (
    AXIS_X,
    AXIS_Y,
    CENTRE,
    CENTRE_Z,
    COLOR,
    EAST,
    FINISHES,
    LOG_HALF_SIZE,
    LOG_HALF_X,
    LOG_HALF_Z,
    METALLIC,
    MIN_HALF_SIZE,
    NORTH,
    PATTERN,
    PATTERNS,
    PLAIN,
    ROUGHNESS,
    SECOND_COLOR,
    SHAPE_SIZE,
    TAPER,
    UPRIGHT,
    VECTOR_SIZE,
)

if TYPE_CHECKING:
    from rl3d.corpus.categories import Category

Number = float | int
Color = tuple[float, float, float]
Point = tuple[Number, Number, Number]
Row = list[Number]

CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
"""Signs of the four corners in canonical order: front left, front right, back left, back right."""
SIDES = (-1, 1)
HARD, SOFT, PLUMP = 0.14, 0.3, 0.55
"""Exponents of a box with sharp, rounded and cushion-like edges."""


class Paint(tuple[float, float, float]):
    """A colour that knows what it is for."""

    role: str
    """Of the parts that are painted with it."""
    main: bool
    """Whether it is the colour of the object as a whole."""

    def __new__(cls, rgb: Color, role: str, main: bool = False) -> Paint:
        paint = super().__new__(cls, rgb)
        paint.role, paint.main = role, main
        return paint


@dataclass(frozen=True)
class Drawing:
    """Parts of one or more objects, and which is which."""

    vectors: np.ndarray
    """(p, n) float64."""
    objects: np.ndarray
    """(p,) int: the object of each part."""
    nouns: tuple[str, ...]
    """Of each object."""
    roles: tuple[str, ...]
    """(p,) of each part in its object."""

    def moved(self, scale: Number = 1.0, shift: np.ndarray | Point = (0.0, 0.0, 0.0)) -> Drawing:
        """A copy, shifted and then scaled about the origin."""
        return replace(self, vectors=moved(self.vectors, scale, shift))


def together(drawings: Sequence[Drawing]) -> Drawing:
    """All the objects of some drawings as one, in order."""
    before = accumulate((len(drawing.nouns) for drawing in drawings), initial=0)
    return Drawing(
        np.concatenate([drawing.vectors for drawing in drawings]),
        np.concatenate([drawing.objects + n for drawing, n in zip(drawings, before)]),
        tuple(noun for drawing in drawings for noun in drawing.nouns),
        tuple(role for drawing in drawings for role in drawing.roles),
    )


@dataclass(frozen=True)
class Appearance:
    """The appearance of one object as far as its caption fixes it. Everything else is drawn anew
    for each geometry."""

    category: str
    main: str | None = None
    """Colour name of the main parts. None: one of the natural colours of the category."""
    colors: Mapping[str, str] = field(default_factory=dict)
    """Colour names of named parts, e.g. {"legs": "white"}."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """+1 or -1 for "height", "width" or "length": tall or short, wide or narrow, long."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Numbers of counted details, e.g. {"buttons": 3}."""
    details: frozenset[str] = frozenset()
    """Optional details that the caption asks for."""
    material: str | None = None
    """A key of ``MATERIALS``. It says the natural colours."""
    finish: str | None = None
    """One of ``FINISHES``, of all parts in the main colour."""
    pattern: str | None = None
    """One of ``PATTERNS``, on the main parts."""
    second: str | None = None
    """Colour name of the pattern's other colour. None: one that stands out."""


MATERIALS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "wooden": (("brown", "chestnut", "tan"), None),
    "metal": (("gray", "silver"), "metallic"),
    "steel": (("silver", "gray"), "brushed"),
    "stone": (("gray",), "matte"),
    "marble": (("white",), "glossy"),
    "brass": (("golden",), "metallic"),
    "concrete": (("gray",), "matte"),
    "ceramic": (("white", "cream"), "glossy"),
    "plastic": (("red", "yellow", "blue", "green", "white"), "glossy"),
    "shiny metal": (("gray", "silver", "golden"), "metallic"),
    "polished metal": (("gray", "silver", "golden"), "metallic"),
    "brushed metal": (("gray", "silver", "golden"), "brushed"),
}
"""Natural colours and finish of what a caption calls wooden, metal, ..."""


class Sketch:
    """A sheet for one object. Dimensions and colours are drawn from ``rng``, within what
    ``appearance`` fixes."""

    def __init__(
        self,
        rng: np.random.Generator,
        appearance: Appearance,
        category: Category,
        plain: bool = False,
        avoid: Collection[str] = (),
        open: bool = False,
    ) -> None:
        """``plain`` leaves out optional details. The main parts do not get the base colours
        ``avoid`` by chance. ``open`` shows the inside of a container."""
        self.rng, self.appearance, self.category, self.plain, self.open = rng, appearance, category, plain, open
        self.rows: list[Row] = []
        self.paints: list[Paint] = []
        """Of each row."""
        self.top: tuple[Number, Number, Number, Number, Number] | None = None
        """The area where something can stand on this object: centre x, y, height z, and
        half-widths."""
        self.cavity: tuple[Number, Number, Number, Number, Number, Number] | None = None
        """The mouth of an open container: centre x, y, height z, half-widths, and the depth of the
        floor below it. 0: what is inside is sunk into a solid."""
        self.head: tuple[Number, Number, Number, Number] | None = None
        """Where a hat sits: x, y, z, and the radius of the head there."""
        self.opening: Number | None = None
        """Of a hat: the radius of the head that it fits."""
        self._paints: dict[str, Paint] = {}
        name = appearance.main or self._natural(avoid)
        self.main_base = BASE_OF[name]
        self._paints["main"] = Paint(self._jitter(COLORS[name]), "main", main=True)

    # Random choices
    # ------------------------------------------------------------

    def u(self, low: Number, high: Number) -> float:
        """A uniform dimension."""
        return low + (high - low) * self.rng.random()

    def height(self, low: Number, high: Number) -> float:
        return self._sized("height", low, high)

    def width(self, low: Number, high: Number) -> float:
        return self._sized("width", low, high)

    def length(self, low: Number, high: Number) -> float:
        return self._sized("length", low, high)

    def has(self, detail: str, chance: Number = 0.5) -> bool:
        """Whether an optional detail is drawn: always if the caption names it."""
        if detail in self.appearance.details or detail in self.appearance.colors or detail in self.appearance.numbers:
            return True
        return not self.plain and self.rng.random() < chance

    def number(self, detail: str, low: int, high: int) -> int:
        """The number of a counted detail: from the caption, or random in the range."""
        return self.appearance.numbers.get(detail) or (
            low if self.plain else low + int(self.rng.random() * (high - low + 1))
        )

    def paint(self, role: str) -> Paint:
        """The colour of a named part, drawn once for an asset. Natural colours differ from the main
        colour, so that details stay visible."""
        if role not in self._paints:
            self._paints[role] = self._choose_paint(role)
        return self._paints[role]

    @property
    def main(self) -> Paint:
        return self._paints["main"]

    def _sized(self, axis: str, low: Number, high: Number) -> float:
        way = self.appearance.sizes.get(axis, 0)
        spread = high - low
        return self.u(low + way * 0.75 * spread, high + way * 0.75 * spread)

    def _natural(self, avoid: Collection[str]) -> str:
        material = self.appearance.material
        names = MATERIALS[material][0] if material else self.category.natural.split(" ")
        avoid = {*avoid, BASE_OF[self.appearance.second]} if self.appearance.second else avoid
        allowed = [n for n in (x.replace("_", " ") for x in names) if not is_held_out(self.appearance.category, n)]
        allowed = allowed or [c for c in BASE_COLORS if not is_held_out(self.appearance.category, c)]
        allowed = [n for n in allowed if BASE_OF[n] not in avoid] or [
            c for c in BASE_COLORS if c not in avoid and not is_held_out(self.appearance.category, c)
        ]
        return allowed[int(self.rng.random() * len(allowed))]

    def _choose_paint(self, role: str) -> Paint:
        if role in self.appearance.colors:
            return Paint(self._jitter(COLORS[self.appearance.colors[role]]), role)
        options = self.category.roles.get(role) or self.category.accents[role]
        for group in options.split("/"):
            names = [n.replace("_", " ") for n in group.split(" ")]
            allowed = [n for n in names if n == "main" or BASE_OF[n] != self.main_base]
            if allowed:
                break
        else:
            allowed = names
        name = allowed[int(self.rng.random() * len(allowed))]
        return Paint(self.main, role, main=True) if name == "main" else Paint(self._jitter(COLORS[name]), role)

    def _jitter(self, rgb: Color) -> Color:
        r, g, b = self.rng.random(3).tolist()
        clip = lambda c: min(1.0, max(0.0, c))  # noqa: E731
        return clip(rgb[0] + 0.04 * r - 0.02), clip(rgb[1] + 0.04 * g - 0.02), clip(rgb[2] + 0.04 * b - 0.02)

    # Parts
    # ------------------------------------------------------------

    def part(
        self,
        color: Paint,
        centre: Point,
        half: Point,
        exponents: tuple[Number, Number],
        taper: Number = 0.0,
        rotation=UPRIGHT,
    ) -> None:
        """A superquadric from its centre and half sizes."""
        self.rows.append(row(color, centre, half, exponents, taper, rotation))
        self.paints.append(color)

    def box(
        self,
        color: Paint,
        x: Number,
        y: Number,
        z: Number,
        w: Number,
        d: Number,
        h: Number,
        taper: Number = 0.0,
        soft: Number = HARD,
    ) -> None:
        """A box of full size (w, d, h) whose bottom centre is (x, y, z)."""
        self.part(color, (x, y, z + h / 2), (w / 2, d / 2, h / 2), (soft, soft), taper)

    def cyl(
        self,
        color: Paint,
        x: Number,
        y: Number,
        z: Number,
        r: Number,
        h: Number,
        taper: Number = 0.0,
        soft: Number = HARD,
        ry: Number = 0.0,
    ) -> None:
        """An upright cylinder, or a truncated cone, whose bottom centre is (x, y, z)."""
        self.part(color, (x, y, z + h / 2), (r, ry or r, h / 2), (soft, 1.0), taper)

    def cone(self, color: Paint, x: Number, y: Number, z: Number, r: Number, h: Number) -> None:
        self.cyl(color, x, y, z, r, h, taper=0.97, soft=0.1)

    def pyramid(
        self, color: Paint, x: Number, y: Number, z: Number, w: Number, d: Number, h: Number, taper: Number = 0.97
    ) -> None:
        self.box(color, x, y, z, w, d, h, taper, soft=0.1)

    def ball(
        self,
        color: Paint,
        x: Number,
        y: Number,
        z: Number,
        rx: Number,
        ry: Number = 0.0,
        rz: Number = 0.0,
        taper: Number = 0.0,
    ) -> None:
        """An ellipsoid about its centre."""
        self.part(color, (x, y, z), (rx, ry or rx, rz or rx), (1.0, 1.0), taper)

    def pebble(
        self, color: Paint, x: Number, y: Number, z: Number, rx: Number, ry: Number, rz: Number, soft: Number = PLUMP
    ) -> None:
        """A rounded block about its centre, between a box and an ellipsoid, for animal bodies and
        cushions."""
        self.part(color, (x, y, z), (rx, ry, rz), (soft, soft))

    def rod(
        self,
        color: Paint,
        a: Point,
        b: Point,
        r: Number,
        taper: Number = 0.0,
        soft: Number = HARD,
        round_: Number = 1.0,
        ry: Number = 0.0,
    ) -> None:
        """A cylinder from ``a`` to ``b`` (``round_`` 1), or a beam with a square section
        (``round_`` 0.14). It tapers towards ``b``."""
        dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        length = sqrt(dx * dx + dy * dy + dz * dz)
        centre = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)
        rotation = _turn_z_to(dx / length, dy / length, dz / length)
        self.part(color, centre, (r, ry or r, length / 2), (soft, round_), taper, rotation)

    def leaf(self, color: Paint, a: Point, b: Point, width: Number, thick: Number) -> None:
        """A flat ellipsoid from ``a`` to ``b``, as level as its direction allows."""
        z = np.subtract(b, a)
        length = float(np.linalg.norm(z))
        z = z / length
        side = np.array([-z[1], z[0], 0.0]) / np.hypot(z[0], z[1])
        rotation = (*np.cross(side, z).tolist(), *side.tolist())
        centre = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)
        self.part(color, centre, (thick / 2, width / 2, length / 2), (1.0, 1.0), 0.0, rotation)

    def wheel(self, color: Paint, x: Number, y: Number, z: Number, r: Number, t: Number) -> None:
        """A disc of radius r about (x, y, z), with an axle of length t along x."""
        self.rod(color, (x - t / 2, y, z), (x + t / 2, y, z), r)

    def disc(self, color: Paint, x: Number, y: Number, z: Number, r: Number, t: Number) -> None:
        """A disc about (x, y, z) facing the viewer, its axis along y."""
        self.rod(color, (x, y + t / 2, z), (x, y - t / 2, z), r)

    def legs(
        self, color: Paint, x: Number, y: Number, size: Number, h: Number, round_: bool = False, taper: Number = 0.0
    ) -> None:
        """Four legs at (+-x, +-y), from the ground to height h."""
        for sx, sy in CORNERS:
            if round_:
                self.cyl(color, sx * x, sy * y, 0, size / 2, h, taper)
            else:
                self.box(color, sx * x, sy * y, 0, size, size, h, taper)

    def pair(self, draw, color: Paint, x: Number, *args: Number, **kwargs: Number) -> None:
        """The same part on the left and on the right of the plane x = 0."""
        for side in SIDES:
            draw(color, side * x, *args, **kwargs)

    def drawing(self) -> Drawing:
        """The object as drawn so far."""
        roles = tuple(paint.role for paint in self.paints)
        vectors = with_materials(self.rows, self.appearance, self.paints, self.rng)
        return Drawing(vectors, np.zeros(len(roles), dtype=np.int64), (self.appearance.category,), roles)


def with_materials(
    rows: Sequence[Row], appearance: Appearance, paints: Sequence[Paint], rng: np.random.Generator
) -> np.ndarray:
    """(p, 27) float64: the rows of parts with the finish and the pattern of an appearance."""
    out = np.empty((len(rows), VECTOR_SIZE))
    out[:, :SHAPE_SIZE], out[:, SHAPE_SIZE:] = rows, PLAIN
    if appearance.finish:
        out[[paint.main for paint in paints], METALLIC : ROUGHNESS + 1] = FINISHES[appearance.finish]
    if appearance.pattern:
        main = np.array([paint.role == "main" for paint in paints])
        out[main, PATTERN.start + PATTERNS.index(appearance.pattern)] = 1.0
        second = COLORS[appearance.second or _standing_out(rows[int(main.argmax())][COLOR])]
        out[main, SECOND_COLOR] = (np.array(second) + 0.04 * rng.random(3) - 0.02).clip(0, 1)
    return out


def _standing_out(rgb: Sequence[Number]) -> str:
    """White on dark colours, black on light ones."""
    return "white" if 0.3 * rgb[0] + 0.6 * rgb[1] + 0.1 * rgb[2] < 0.62 else "black"


def row(
    color: Color, centre: Point, half: Point, exponents: tuple[Number, Number], taper: Number = 0.0, rotation=UPRIGHT
) -> Row:
    """The first 19 numbers of an existing part, those before its material."""
    return [1.0, *exponents, taper, *centre, log(half[0]), log(half[1]), log(half[2]), *rotation, *color]


def bounds(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of the bounding box of every part, (p, 3) each. Exact for parts
    that are not turned."""
    centre, half = vectors[:, CENTRE], np.exp(vectors[:, LOG_HALF_SIZE])
    low, high = centre - half, centre + half
    turned = np.flatnonzero((vectors[:, AXIS_X][:, 0] < 0.9999) | (vectors[:, AXIS_Y][:, 1] < 0.9999))
    if len(turned):
        v, half = vectors[turned], half[turned]
        axes = rotation_matrices(v)  # (k, world axis, local axis)
        # Support of a cross-section in direction d: the dual norm of the superellipse, q = 2 / (2 -
        # e).
        q = (2 / (2 - v[:, EAST]))[:, None]
        lateral = ((np.abs(axes[:, :, 0]) * half[:, :1]) ** q + (np.abs(axes[:, :, 1]) * half[:, 1:2]) ** q) ** (1 / q)
        e = v[:, NORTH, None]
        z, radius = _COS_SIGN * _COS**e, _SIN**e
        taper = v[:, TAPER, None]
        radius = radius * (1 - np.maximum(taper, 0) * (1 + z) / 2 + np.minimum(taper, 0) * (1 - z) / 2)
        along = axes[:, :, 2, None] * (half[:, 2:] * z)[:, None]
        across = lateral[:, :, None] * radius[:, None]
        low[turned], high[turned] = v[:, CENTRE] + (along - across).min(-1), v[:, CENTRE] + (along + across).max(-1)
    return low, high


def normalized(vectors: np.ndarray) -> np.ndarray:
    """The asset scaled to a largest extent of 1, centred on the z axis, standing on the ground. No
    part gets thinner than a part can be."""
    low, high = bounds(vectors)
    low, high = low.min(0), high.max(0)
    shift = np.array([-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]])
    out = moved(vectors, 1 / float((high - low).max()), shift)
    out[:, LOG_HALF_SIZE] = out[:, LOG_HALF_SIZE].clip(_THINNEST)
    return out


def moved(vectors: np.ndarray, scale: Number = 1.0, shift: np.ndarray | Point = (0.0, 0.0, 0.0)) -> np.ndarray:
    """A copy, shifted and then scaled about the origin."""
    out = vectors.copy()
    out[:, CENTRE] = (out[:, CENTRE] + np.asarray(shift)) * scale
    out[:, LOG_HALF_SIZE] += log(scale)
    return out


def rotation_matrices(vectors: np.ndarray) -> np.ndarray:
    """Part-to-world rotations (p, 3, 3) from the 6 numbers of every row."""
    x, y = vectors[:, AXIS_X], vectors[:, AXIS_Y]
    x = x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-6)
    y = y - (x * y).sum(-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True).clip(1e-6)
    return np.stack([x, y, np.cross(x, y)], -1)


def profile(vectors: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Half-width in x of one upright part at world heights; 0 outside it."""
    z = (heights - vectors[CENTRE_Z]) / np.exp(vectors[LOG_HALF_Z])
    inside = np.abs(z) <= 1
    z = np.where(inside, z, 0)
    radius = (1 - np.abs(z) ** (2 / vectors[NORTH])).clip(0) ** (vectors[NORTH] / 2)
    radius = radius * (1 - max(vectors[TAPER], 0) * (1 + z) / 2 + min(vectors[TAPER], 0) * (1 - z) / 2)
    return np.where(inside, radius * np.exp(vectors[LOG_HALF_X]), 0)


def _turn_z_to(x: float, y: float, z: float) -> tuple[float, ...]:
    """First two columns of the shortest rotation from the z axis to a unit direction."""
    if z < -0.9999:
        return (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    k = 1 / (1 + z)
    return (1 - k * x * x, -k * x * y, -x, -k * x * y, 1 - k * y * y, -y)


_THINNEST = log(MIN_HALF_SIZE) + 1e-4
_ANGLES = np.linspace(0, np.pi, 17)
_COS, _COS_SIGN, _SIN = np.abs(np.cos(_ANGLES)).clip(1e-9), np.sign(np.cos(_ANGLES)), np.sin(_ANGLES).clip(1e-9)
