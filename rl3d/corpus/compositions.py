"""Two objects of the catalogue, one on top of the other."""

from __future__ import annotations

import numpy as np

from rl3d.corpus.categories import CATALOGUE
from rl3d.corpus.items import Spec
from rl3d.corpus.shapes import Appearance, Drawing, Sketch, bounds, together

BASES = (
    "table",
    "round table",
    "stool",
    "bench",
    "bed",
    "chest of drawers",
    "barrel",
    "gift box",
    "crate",
    "book",
    "truck",
    "desk",
)
RIDERS = (
    "mug", "bottle", "teapot", "cake", "ice cream", "candle", "trophy", "bucket", "lantern", "bell",
    "crown", "top hat", "pumpkin", "apple", "mushroom", "cactus", "snowman", "penguin", "duck", "owl",
    "cat", "dog", "rabbit", "robot", "turtle", "gift box", "book", "table lamp", "television",
    "chess pawn", "drum", "hourglass", "elephant", "pig", "barrel",
)  # fmt: skip
MAX_COMPOSED = 22
SINK = 0.022


def fits(rider: str, base: str) -> bool:
    """Whether the corpus has this pair."""
    return rider != base and _parts(rider) + _parts(base) <= MAX_COMPOSED


def draw_composition(spec: Spec, rng: np.random.Generator) -> Drawing:
    """The lower object, then the upper one."""
    rider, base = spec.appearances
    below = Sketch(rng, base, CATALOGUE[base.category], plain=True)
    above = Sketch(rng, rider, CATALOGUE[rider.category], plain=True, avoid=below.main_base)
    CATALOGUE[base.category].draw(below)
    CATALOGUE[rider.category].draw(above)
    if below.top is None:
        raise ValueError(f"nothing can stand on a {base.category}: its drawing sets no top")
    x, y, z, half_x, half_y = below.top
    upper = above.drawing()
    low, high = bounds(upper.vectors)
    low, high = low.min(0), high.max(0)
    width, depth, height = high - low
    scale = min(2.2 * half_x / width, 2.2 * half_y / depth, rng.uniform(0.5, 0.62) / height)
    # About the middle of the feet, where the object is balanced. Drafts are centred there.
    upper = upper.moved(scale, np.array([-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]]))
    return together([below.drawing(), upper.moved(shift=(x, y, z - SINK))])


_COUNTS: dict[str, int] = {}


def _parts(category: str) -> int:
    """Number of parts of the plain object, from a drawing with a fixed seed. Plain drawings of a
    category all have the same number."""
    if category not in _COUNTS:
        sketch = Sketch(np.random.default_rng(0), Appearance(category), CATALOGUE[category], plain=True)
        CATALOGUE[category].draw(sketch)
        _COUNTS[category] = len(sketch.rows)
    return _COUNTS[category]
