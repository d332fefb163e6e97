"""Scenes of two to four objects of the catalogue, solids included: which there are, and how they
are drawn. A scene is one cluster, and its objects are of similar size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from rewards.composition.facts import Facts, Relation
from rl3d.corpus.categories import CATALOGUE
from rl3d.corpus.categories.animals import ANIMALS
from rl3d.corpus.categories.solids import SOLIDS
from rl3d.corpus.categories.things import THINGS
from rl3d.corpus.items import Spec
from rl3d.corpus.placing import Body, beside, in_cavity, merged, on_top, worn
from rl3d.corpus.shapes import Appearance, Drawing, Sketch, together
from rl3d.corpus.splits import is_pair_held_out
from scenes.colors import BASE_OF

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
"""Something can stand on these. In scenes also on a cube and on a cylinder."""
RIDERS = (
    "mug", "bottle", "teapot", "cake", "ice cream", "candle", "trophy", "bucket", "lantern", "bell",
    "crown", "top hat", "pumpkin", "apple", "mushroom", "cactus", "snowman", "penguin", "duck", "owl",
    "cat", "dog", "rabbit", "robot", "turtle", "gift box", "book", "table lamp", "television",
    "chess pawn", "drum", "hourglass", "elephant", "pig", "barrel", "bowl", "basket",
)  # fmt: skip
WEARERS = (
    "dog", "cat", "elephant", "cow", "pig", "sheep", "rabbit", "teddy bear", "penguin", "duck", "owl", "turtle",
    "robot", "snowman",
)  # fmt: skip
HATS = ("hat", "top hat", "cowboy hat", "party hat", "crown")
STACKED = ("book", "gift box", "crate", "barrel", "cube", "cylinder", "stool", "chest of drawers")
"""The middle of a stack of three."""
CONTAINERS = ("bucket", "crate", "mug", "basket", "bowl", "wagon")
CONTENTS = (
    "apple", "pumpkin", "duck", "cat", "dog", "rabbit", "teddy bear", "penguin", "owl", "robot", "sphere", "cube",
    "mushroom", "cactus", "snowman", "bottle", "candle", "doughnut", "cone", "pig",
)  # fmt: skip
SEVERAL_CONTENTS = ("apple", "pumpkin", "duck", "sphere", "cube", "mushroom", "bottle", "candle", "owl", "penguin")
WIDE_CONTAINERS = ("bucket", "crate", "basket", "bowl", "wagon")
CENTRES = ("table", "round table", "tree", "barrel", "cake", "well", "cube", "cylinder", "pine tree", "crate", "drum")
GATHERED = (
    "chair", "stool", "armchair", "cube", "sphere", "cylinder", "cone", "duck", "cat", "dog", "rabbit", "penguin",
    "sheep", "mug", "barrel", "mushroom", "pumpkin", "candle", "chess pawn", "traffic cone",
)  # fmt: skip
COUNTED = (
    "apple", "mug", "candle", "duck", "cat", "dog", "rabbit", "penguin", "owl", "mushroom", "pumpkin", "bottle",
    "book", "gift box", "chess pawn", "barrel", "cube", "sphere", "cylinder", "cone", "pyramid", "bell", "drum",
    "teapot", "chair", "stool", "cactus", "flower", "crate", "bucket", "robot", "traffic cone",
)  # fmt: skip
"""Scenes have several of these."""
MAX_COMPOSED, MAX_SCENE = 24, 46
"""Most parts of a composition and of a scene."""
MEDIUM = frozenset(
    {*ANIMALS, "snowman", "barrel", "guitar", "mailbox", "ladder", "parasol", "crate", "stool", "boot", "drum"}
)
SIDES = {"left": (0, -1), "right": (0, 1), "front": (1, -1), "behind": (1, 1)}
"""Axis and side of the first object, seen from the second."""
_TURNS = {"left": 1, "right": 3, "front": 2, "behind": 0}
"""Quarter turns after which an object at this side faces the middle."""


def relations_of(arrangement: str, count: int) -> tuple[Relation, ...]:
    """What an arrangement of ``count`` things states of them, in the order of the caption."""
    if arrangement == "list":
        return ()
    if arrangement in ("row", "stack"):
        kind = "next" if arrangement == "row" else "on"
        return tuple(Relation(kind, k, (k + 1,)) for k in range(count - 1))
    if arrangement == "between":
        return (Relation("between", 0, (1, 2)),)
    if arrangement == "on next":
        return Relation("on", 0, (1,)), Relation("next", 1, (2,))
    return (Relation(arrangement, 0, (1,)),)


def is_scene_held_out(kind: str, facts: Facts) -> bool:
    """Whether a scene states a held-out combination: any three of its things, a relation of a
    category, or a count of a category. Of a composition, its two things."""
    nouns = [thing.noun for thing in facts.things]
    if kind == "composition":
        first = facts.relations[0].kind
        return is_pair_held_out("wearing" if first == "wearing" else "composition", *nouns)
    return (
        any(is_pair_held_out("triple", *sorted(three)) for three in combinations(nouns, 3))
        or any(is_pair_held_out("scene", relation.kind, nouns[relation.subject]) for relation in facts.relations)
        or any(is_pair_held_out("several", thing.noun, thing.count) for thing in facts.things if thing.count > 1)
    )


def part_count(appearance: Appearance) -> int:
    """Number of parts of the plain object, from a drawing with a fixed seed. Plain drawings of an
    appearance all have the same number."""
    key = appearance.category, *sorted(appearance.colors)
    if key not in _COUNTS:
        sketch = Sketch(np.random.default_rng(0), appearance, CATALOGUE[appearance.category], plain=True)
        CATALOGUE[appearance.category].draw(sketch)
        _COUNTS[key] = len(sketch.rows)
    return _COUNTS[key]


_COUNTS: dict[tuple[str, ...], int] = {}


def draw_scene(spec: Spec, rng: np.random.Generator) -> Drawing:
    """The objects of a scene or a composition. What stands on something, or in it, comes after
    it."""
    bodies: list[Body] = []
    taken = [BASE_OF[appearance.main] for appearance in spec.appearances if appearance.main]
    container = 1 if spec.arrangement == "inside" else -1
    for k, appearance in enumerate(spec.appearances):
        body, base = Body.drawn(rng, appearance, avoid=taken, open=k == container)
        taken.append(base)
        bodies.append(body)
    counts = [thing.count for thing in spec.facts.things]
    placed = _PLACEMENTS[spec.arrangement](bodies, counts, rng)
    return together([body.drawing for body in placed])


def _natural(body: Body, rng: np.random.Generator) -> Body:
    """On the ground at its natural size beside others: no two differ by more than a factor of
    about two. A bulky object is a little smaller than a slender one."""
    noun = body.drawing.nouns[0]
    small = noun in THINGS or noun in SOLIDS or noun in ("flower", "apple", "mushroom", "pumpkin", "cactus")
    size = 0.85 if noun in MEDIUM else 0.7 if small else 1.0
    low, high = body.box
    extent = high - low
    return body.standing(size * rng.uniform(0.92, 1.08) / float(0.6 * extent.max() + 0.4 * extent.mean()))


def _in_row(bodies: Sequence[Body]) -> list[Body]:
    placed = [bodies[0]]
    for body in bodies[1:]:
        placed.append(beside(body, placed[-1], 0, 1))
    middle = (placed[0].box[0][0] + placed[-1].box[1][0]) / 2
    return [body.moved(shift=(-middle, 0, 0)) for body in placed]


def _copies(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    sized = [_natural(body, rng) for body in bodies]
    return [body for body, count in zip(sized, counts, strict=True) for _ in range(count)]


def _row(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    return _in_row(_copies(bodies, counts, rng))


def _side(kind: str) -> Callable[[Sequence[Body], Sequence[int], np.random.Generator], list[Body]]:
    def place(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
        axis, side = SIDES[kind if kind != "next" else ("left", "right")[int(rng.integers(2))]]
        first, second = (_natural(body, rng) for body in bodies)
        if axis == 1:  # what is in front does not hide what is behind
            tall, low = (first, second) if side > 0 else (second, first)
            scale = float(np.clip(0.8 * tall.box[1][2] / low.box[1][2], 0.65, 1))
            first, second = (first, second.moved(scale)) if side > 0 else (first.moved(scale), second)
        group, other = _in_row([first] * counts[0]), _in_row([second] * counts[1])
        whole = merged(group)
        offset = beside(whole, merged(other), axis, side).box[0] - whole.box[0]
        return [*(body.moved(shift=offset) for body in group), *other]

    return place


def _between(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    middle, one, other = _copies(bodies, counts, rng)
    return _in_row([one, middle, other] if rng.random() < 0.5 else [other, middle, one])


def _around(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    one, centre = (_natural(body, rng) for body in bodies)
    sides = {2: ("left", "right"), 3: ("left", "right", "behind"), 4: tuple(SIDES)}[counts[0]]
    return [centre, *(beside(one.turned(_TURNS[side]), centre, *SIDES[side]) for side in sides)]


def _on(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    rider, base = bodies
    return [base, *on_top(rider, base, rng, counts[0])]


def _under(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    return _on(bodies[::-1], counts[::-1], rng)


def _stack(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    placed = [bodies[-1]]
    for body in bodies[-2::-1]:
        placed += on_top(body, placed[-1], rng)
    return placed


def _on_next(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    rider, base, other = bodies
    low = _natural(base, rng)
    lower = [low, *on_top(rider, low, rng, counts[0])]
    side = 1 if rng.random() < 0.5 else -1
    return [*lower, beside(_natural(other, rng), merged(lower), 0, side)]


def _inside(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    content, container = bodies
    return [container, *in_cavity(content, container, rng, counts[0])]


def _wearing(bodies: Sequence[Body], counts: Sequence[int], rng: np.random.Generator) -> list[Body]:
    wearer, hat = bodies
    return [wearer, worn(hat, wearer)]


_PLACEMENTS: dict[str, Callable[[Sequence[Body], Sequence[int], np.random.Generator], list[Body]]] = {
    **{kind: _side(kind) for kind in (*SIDES, "next")},
    "row": _row,
    "list": _row,
    "between": _between,
    "around": _around,
    "on": _on,
    "under": _under,
    "stack": _stack,
    "on next": _on_next,
    "inside": _inside,
    "wearing": _wearing,
}
