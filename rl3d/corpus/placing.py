"""Puts drawn objects together: beside each other until their surfaces touch, on top, inside, on a
head.

Objects slide along x or y, so that the surface of an upright part is known in closed form. Parts
that are turned count as the ellipsoid inside them: they touch a little later, and surely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rl3d.corpus.categories import CATALOGUE
from rl3d.corpus.shapes import Appearance, Drawing, Number, Sketch, bounds, rotation_matrices, together
from scenes.parts import (
    AXIS_X,
    AXIS_Y,
    CENTRE,
    EAST,
    LOG_HALF_SIZE,
    LOG_HALF_X,
    LOG_HALF_Y,
    NORTH,
    TAPER,
)

OVERLAP = 0.02
"""Depth in drafting units to which neighbours overlap."""
SINK = 0.022
"""The same for what stands on something."""
PAIRS, RAYS = 6, (7, 9)
"""Pairs of parts that may touch first, and the grid of rays on which each is tried."""

Anchor = tuple[Number, ...]


@dataclass(frozen=True)
class Body:
    """A drawn object, or several, with the boxes of its parts and the places for other objects, as
    in ``Sketch``. Lengths in drafting units."""

    drawing: Drawing
    low: np.ndarray
    high: np.ndarray
    """Corners of the boxes of the parts, (p, 3) each."""
    top: Anchor | None = None
    cavity: Anchor | None = None
    head: Anchor | None = None
    opening: Number = 0.0

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, appearance: Appearance, avoid: Sequence[str] = (), open: bool = False
    ) -> tuple[Body, str]:
        """A plain drawing, and the base colour of its main parts."""
        kind = CATALOGUE[appearance.category]
        sketch = Sketch(rng, appearance, kind, plain=True, avoid=avoid, open=open)
        kind.draw(sketch)
        drawing = sketch.drawing()
        low, high = bounds(drawing.vectors)
        body = cls(drawing, low, high, sketch.top, sketch.cavity, sketch.head, sketch.opening or 0.0)
        return body, sketch.main_base

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return self.low.min(0), self.high.max(0)

    def moved(self, scale: Number = 1.0, shift: Sequence[Number] | np.ndarray = (0.0, 0.0, 0.0)) -> Body:
        """A copy, shifted and then scaled about the origin."""
        offset = np.asarray(shift, dtype=np.float64)

        def anchor(at: Anchor | None) -> Anchor | None:
            if at is None:
                return None
            place = ((at[0] + offset[0]) * scale, (at[1] + offset[1]) * scale, (at[2] + offset[2]) * scale)
            return (*place, *(length * scale for length in at[3:]))

        return Body(
            self.drawing.moved(scale, offset),
            (self.low + offset) * scale,
            (self.high + offset) * scale,
            anchor(self.top),
            anchor(self.cavity),
            anchor(self.head),
            self.opening * scale,
        )

    def standing(self, scale: Number = 1.0) -> Body:
        """The middle of its box over the origin, its bottom on the ground, and scaled."""
        low, high = self.box
        return self.moved(scale, (-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]))

    def turned(self, quarters: int) -> Body:
        """A copy, turned about the vertical axis by quarter turns, counter-clockwise from above.
        Its places for other objects are lost."""
        if quarters % 4 == 0:
            return self
        c, s = ((0, 1), (-1, 0), (0, -1))[quarters % 4 - 1]
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=np.float64)
        v = self.drawing.vectors.copy()
        v[:, CENTRE] = v[:, CENTRE] @ turn.T
        tilted = _tilted(v)
        v[tilted, AXIS_X], v[tilted, AXIS_Y] = v[tilted, AXIS_X] @ turn.T, v[tilted, AXIS_Y] @ turn.T
        if quarters % 2:  # an upright part stays upright: its width becomes its depth
            upright = ~tilted
            v[upright, LOG_HALF_X], v[upright, LOG_HALF_Y] = v[upright, LOG_HALF_Y], v[upright, LOG_HALF_X]
        one, other = self.low @ turn.T, self.high @ turn.T
        return Body(replace(self.drawing, vectors=v), np.minimum(one, other), np.maximum(one, other))


def merged(bodies: Sequence[Body]) -> Body:
    """Several bodies as one, without places for others."""
    if len(bodies) == 1:
        return bodies[0]
    low, high = np.concatenate([b.low for b in bodies]), np.concatenate([b.high for b in bodies])
    return Body(together([b.drawing for b in bodies]), low, high)


def beside(body: Body, other: Body, axis: int, side: int) -> Body:
    """``body`` moved along x (``axis`` 0) or y (1) until it touches ``other`` on its low (``side``
    -1) or high (+1) side."""
    shift = np.zeros(3)
    shift[axis] = side * (_touching(body, other, axis, side) - OVERLAP)
    return body.moved(shift=shift)


def on_top(rider: Body, base: Body, rng: np.random.Generator, count: int = 1) -> list[Body]:
    """Copies of a rider in a row on the top of a base, small enough for it."""
    if base.top is None:
        raise ValueError(f"nothing can stand on a {base.drawing.nouns[0]}: its drawing sets no top")
    x, y, z, half_x, half_y = base.top
    low, high = rider.box
    width, depth, height = high - low
    across = 2.2 * half_x if count == 1 else 2.1 * half_x / count
    scale = min(across / width, 2.2 * half_y / depth, rng.uniform(0.5, 0.62) / height)
    # About the middle of the feet, where the object is balanced. Drafts are centred there.
    small = rider.standing(scale)
    pitch = 2.1 * half_x / count
    return [small.moved(shift=(x + (k - (count - 1) / 2) * pitch, y, z - SINK)) for k in range(count)]


def in_cavity(content: Body, container: Body, rng: np.random.Generator, count: int = 1) -> list[Body]:
    """Copies of something in an open container. Its middle is in the box of the container, the
    handle included."""
    if container.cavity is None:
        raise ValueError(f"nothing fits into a {container.drawing.nouns[0]}: its drawing sets no cavity")
    x, y, rim, half_x, half_y, depth = container.cavity
    low, high = content.box
    size = high - low
    places = _PLACES[count]
    fill = rng.uniform(0.76, 0.9) * (1.0 if count == 1 else 0.55)
    # A cube has its corners farther out than a round mouth is wide.
    across = (1.6 if content.drawing.nouns[0] == "cube" else 2.0) * fill
    sunk = 0.4 if container.box[1][2] > rim + 0.15 else 0.53
    height = 2.6 * depth if depth else 0.7 * rim / sunk
    scale = min(across * half_x / size[0], across * half_y / size[1], height / size[2])
    small = content.standing(scale)
    bottom = rim - depth - SINK if depth else rim - sunk * scale * size[2]
    spread = (1 - fill) if count > 1 else 0.0
    return [small.moved(shift=(x + dx * half_x * spread, y + dy * half_y * spread, bottom)) for dx, dy in places]


def worn(hat: Body, wearer: Body) -> Body:
    """A hat on the head of its wearer."""
    if wearer.head is None or not hat.opening:
        raise ValueError(f"a {wearer.drawing.nouns[0]} cannot wear a {hat.drawing.nouns[0]}")
    x, y, z, radius = wearer.head
    return hat.moved(1.12 * radius / hat.opening).moved(shift=(x, y, z - SINK))


_PLACES = {
    1: ((0, 0),),
    2: ((-0.9, 0), (0.9, 0)),
    3: ((-0.9, -0.55), (0.9, -0.55), (0, 0.9)),
    4: ((-0.8, -0.8), (0.8, -0.8), (-0.8, 0.8), (0.8, 0.8)),
}


def _touching(body: Body, other: Body, axis: int, side: int) -> float:
    """The shift at which ``body`` just touches ``other``, towards ``side``."""
    across = 1 - axis
    # Pairs that meet when one slides past the other: their boxes overlap across the way and in
    # height.
    low = np.maximum(body.low[:, None], other.low[None])
    high = np.minimum(body.high[:, None], other.high[None])
    meet = (high[..., across] - low[..., across] > 0.01) & (high[..., 2] - low[..., 2] > 0.01)
    if side > 0:
        reach = other.high[None, :, axis] - body.low[:, None, axis]
    else:
        reach = body.high[:, None, axis] - other.low[None, :, axis]
    reach = np.where(meet, reach, -np.inf)
    best = np.argsort(reach, axis=None)[::-1][:PAIRS]
    i, j = np.unravel_index(best[np.isfinite(reach.flat[best])], reach.shape)
    if not len(i):
        # Nothing meets: the boxes of the whole touch.
        return float((other.box[1] - body.box[0])[axis] if side > 0 else (body.box[1] - other.box[0])[axis])
    t, u = np.linspace(0.04, 0.96, RAYS[0]), np.linspace(0.04, 0.96, RAYS[1])
    from_, to = low[i, j], high[i, j]
    o = from_[:, across, None] + t * (to - from_)[:, across, None]
    z = from_[:, 2, None] + u * (to - from_)[:, 2, None]
    o, z = np.repeat(o, len(u), 1), np.tile(z, (1, len(t)))
    near = _surface(body.drawing.vectors[i], axis, o, z, -side)
    far = _surface(other.drawing.vectors[j], axis, o, z, side)
    gap = np.nan_to_num(side * (far - near), nan=-np.inf)
    at = float(gap.max())
    # Round parts can miss each other on all rays; then the corner of their boxes is near enough.
    return at if np.isfinite(at) else float(reach.flat[best[0]]) - 2 * OVERLAP


def _surface(v: np.ndarray, axis: int, o: np.ndarray, z: np.ndarray, side: int) -> np.ndarray:
    """Where rays along ``axis`` at (o, z), (n, r) each, leave n parts on one side; NaN where they
    miss."""
    half, centre = np.exp(v[:, LOG_HALF_SIZE]), v[:, CENTRE]
    across = 1 - axis
    do, dz = o - centre[:, across, None], z - centre[:, 2, None]
    out = np.empty_like(o)
    tilted = _tilted(v)
    with np.errstate(invalid="ignore", divide="ignore"):
        k = np.flatnonzero(~tilted)
        if len(k):
            h, north, east, taper = half[k], v[k, NORTH, None], v[k, EAST, None], v[k, TAPER, None]
            up = dz[k] / h[:, 2, None]
            radius = (1 - np.abs(up) ** (2 / north)) ** (north / 2)
            radius = radius * (1 - np.maximum(taper, 0) * (1 + up) / 2 + np.minimum(taper, 0) * (1 - up) / 2)
            off = np.abs(do[k]) / (h[:, across, None] * radius)
            extent = h[:, axis, None] * radius * (1 - off ** (2 / east)) ** (east / 2)
            out[k] = centre[k, axis, None] + side * extent
        k = np.flatnonzero(tilted)
        if len(k):
            h = half[k].copy()
            h[:, :2] *= 1 - np.abs(v[k, TAPER, None]) / 2
            axes = rotation_matrices(v[k]) / h[:, None, :]  # (n, world axis, local axis)
            start = do[k][..., None] * axes[:, None, across] + dz[k][..., None] * axes[:, None, 2]
            way = axes[:, None, axis]
            dot, square = (start * way).sum(-1), (way * way).sum(-1)
            root = np.sqrt(dot**2 - square * ((start * start).sum(-1) - 1))
            out[k] = centre[k, axis, None] + (side * root - dot) / square
    return out


def _tilted(v: np.ndarray) -> np.ndarray:
    return (v[:, AXIS_X.start] < 0.9999) | (v[:, AXIS_Y.start + 1] < 0.9999)
