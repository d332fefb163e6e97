"""Plants, and figures of snow."""

from __future__ import annotations

from math import cos, pi, sin

from rl3d.corpus.categories.category import Category
from rl3d.corpus.shapes import SIDES, Number, Sketch


def tree(s: Sketch) -> None:
    r, h = s.width(0.26, 0.31), s.height(0.34, 0.44)
    s.cyl(s.paint("trunk"), 0, 0, 0.02, 0.085, h + 0.1, 0.25)
    s.cyl(s.paint("ground"), 0, 0, 0, 0.25, 0.06, 0.35)
    top = h + r * 0.8
    s.ball(s.main, 0, 0, top, r, r, r * 0.95)
    for k in range(3):
        a = 2 * pi * k / 3 + pi / 6
        s.ball(s.main, 0.62 * r * sin(a), -0.62 * r * cos(a), top - 0.2 * r, r * 0.62)
    if s.has("apples", 0.35):
        for x, z in ((-0.5, 0.25), (0.1, 0.5), (0.5, 0.1)):
            y = -r * (1 - x * x - z * z * 1.1) ** 0.5
            s.ball(s.paint("apples"), x * r, y + 0.01, top + z * r, 0.045)


def pine_tree(s: Sketch) -> None:
    r, h = s.width(0.28, 0.36), s.height(0.92, 1.05)
    s.cyl(s.paint("trunk"), 0, 0, 0, r * 0.4, 0.26, 0.3)
    n = s.number("tiers", 3, 4)
    step = (h - 0.17) / (n + 0.7)
    for k in range(n):
        s.cone(s.main, 0, 0, 0.16 + k * step, r * (1 - 0.72 * k / n), step * 1.7)
    if s.has("star", 0.35):
        s.ball(s.paint("star"), 0, 0, h - 0.0, 0.055)
        if s.has("ornaments", 0.5):
            for k in range(n):
                s.ball(s.paint("ornaments"), *_on_cone(k, n, r, step), 0.032)


def _on_cone(k: int, n: int, r: Number, step: Number) -> tuple[float, float, float]:
    a, radius = 2.1 * k - 0.6, r * (1 - 0.72 * k / n) * 0.84
    return radius * sin(a), -radius * cos(a), 0.16 + k * step + 0.16 * step


def palm_tree(s: Sketch) -> None:
    h = s.height(0.62, 0.76)
    s.cyl(s.paint("sand"), 0, 0, 0, 0.27, 0.08, 0.4)
    s.rod(s.paint("trunk"), (0, 0, 0.03), (0.03, 0, h), 0.075, 0.35)
    n = s.number("leaves", 5, 6)
    for k in range(n):
        a = 2 * pi * k / n + 0.3
        x, y = sin(a), -cos(a)
        s.leaf(s.main, (0.03 - 0.04 * x, -0.04 * y, h - 0.01), (0.03 + 0.4 * x, 0.4 * y, h - 0.08), 0.17, 0.07)
    for x, y in ((-0.05, -0.08), (0.1, -0.07)):
        s.ball(s.paint("coconuts"), x, y, h - 0.06, 0.055)


def mushroom(s: Sketch) -> None:
    r, h = s.width(0.4, 0.48), s.height(0.36, 0.46)
    s.cyl(s.paint("stem"), 0, 0, 0, r * 0.42, h + 0.06, 0.2, soft=0.3)
    rz = s.u(0.28, 0.36)
    s.part(s.main, (0, 0, h + rz * 0.55), (r, r, rz * 0.6), (0.8, 1.0), 0.4)
    n = s.number("spots", 4, 6)
    for k in range(n):
        a = 2 * pi * k / max(n - 1, 1) + 0.35
        if k == n - 1:
            s.ball(s.paint("spots"), 0, 0, h + rz * 1.14, 0.07, 0.07, 0.04)
        else:
            s.ball(s.paint("spots"), r * 0.66 * sin(a), -r * 0.66 * cos(a), h + rz * 0.7, 0.07)


def cactus(s: Sketch) -> None:
    r, h = s.width(0.12, 0.15), s.height(0.85, 1.0)
    s.cyl(s.paint("pot"), 0, 0, 0, r * 1.5, 0.24, -0.25)
    s.cyl(s.paint("pot"), 0, 0, 0.19, r * 1.65, 0.07)
    s.cyl(s.main, 0, 0, 0.22, r, h - 0.22, soft=0.4)
    for side, z in ((-1, h * s.u(0.48, 0.56)), (1, h * s.u(0.56, 0.66))):
        s.rod(s.main, (side * r * 0.5, 0, z), (side * (r + 0.13), 0, z), 0.062, soft=0.4)
        s.cyl(s.main, side * (r + 0.12), 0, z - 0.06, 0.062, s.u(0.2, 0.28), soft=0.4)
    if s.has("flower", 0.45):
        s.ball(s.paint("flower"), 0, 0, h, 0.075, 0.075, 0.05)


def flower(s: Sketch) -> None:
    h, r = s.height(0.62, 0.74), s.width(0.155, 0.185)
    s.cyl(s.paint("pot"), 0, 0, 0, 0.16, 0.24, -0.25)
    s.cyl(s.paint("stem"), 0, 0, 0.18, 0.03, h - 0.16)
    n = s.number("petals", 5, 7)
    for k in range(n):
        a = 2 * pi * k / n
        s.ball(s.main, r * sin(a), -0.02, h + r * cos(a), r * 0.72, 0.045, r * 0.72)
    s.ball(s.paint("centre"), 0, -0.05, h, r * 0.6, 0.06, r * 0.6)
    for side in SIDES:
        s.ball(s.paint("stem"), side * 0.08, 0, 0.38, 0.095, 0.035, 0.045)


def snowman(s: Sketch) -> None:
    r, h = s.width(0.25, 0.29), s.height(0.9, 1.0)
    mid, head = r * 0.74, r * 0.56
    z1, z3 = r * 0.88, h - head
    z2 = (z1 + r + z3 - head) / 2 - 0.01
    s.cyl(s.main, 0, 0, 0, r * 0.8, 0.09, 0.2)
    s.ball(s.main, 0, 0, z1, r, r, r * 0.87)
    s.ball(s.main, 0, 0, z2, mid, mid, max(mid, (z3 - head - z1 - r) / 2 + 0.05))
    s.ball(s.main, 0, 0, z3, head)
    s.head = (0, 0, z3 + head * 0.68, head * 0.74)
    if s.has("hat", 0.6):
        s.cyl(s.paint("hat"), 0, 0, z3 + head * 0.7, head * 1.1, 0.04)
        s.cyl(s.paint("hat"), 0, 0, z3 + head * 0.7 + 0.02, head * 0.7, 0.17)
    if s.has("scarf", 0.5):
        s.cyl(s.paint("scarf"), 0, 0, z3 - head * 0.92, head * 0.98, 0.065, soft=0.4)
    s.rod(s.paint("nose"), (0, -head * 0.85, z3), (0, -head - 0.12, z3), 0.04, 0.9)
    s.pair(s.ball, s.paint("eyes"), head * 0.36, -head * 0.86, z3 + head * 0.36, 0.026)
    for k in range(s.number("buttons", 2, 3)):
        dz = mid * (0.45 - 0.42 * k)
        s.ball(s.paint("buttons"), 0, -((mid * mid - dz * dz) ** 0.5), z2 + dz, 0.03)
    for side in SIDES:
        s.rod(s.paint("arms"), (side * mid * 0.7, 0, z2 + 0.03), (side * (mid + 0.2), 0, z2 + 0.16), 0.02)


def pumpkin(s: Sketch) -> None:
    r, h = s.width(0.42, 0.48), s.height(0.6, 0.72)
    s.part(s.main, (0, 0, h / 2), (r, r, h / 2), (0.65, 1.0))
    s.cyl(s.paint("stem"), 0, 0, h - 0.04, 0.06, 0.17, 0.3)
    if s.has("face", 0.6):
        y = -r * 0.95
        s.pair(s.pyramid, s.paint("face"), r * 0.36, y + 0.01, h * 0.55, 0.15, 0.09, 0.13)
        s.box(s.paint("face"), 0, y, h * 0.27, r * 0.8, 0.08, 0.07)


def apple(s: Sketch) -> None:
    r, h = s.width(0.42, 0.46), s.height(0.76, 0.84)
    s.part(s.main, (0, 0, h / 2 + 0.01), (r, r, h / 2), (0.85, 1.0), -0.18)
    s.cyl(s.main, 0, 0, 0, r * 0.36, 0.07)
    s.rod(s.paint("stem"), (0, 0, h - 0.05), (0.03, 0, h + 0.15), 0.03)
    s.ball(s.paint("leaf"), 0.13, 0, h + 0.07, 0.12, 0.06, 0.035)


NATURE = {
    "tree": Category(
        tree,
        "tree, leafy tree, oak tree",
        "green olive emerald",
        roles={"trunk": "brown chestnut", "apples": "red yellow/orange"},
        accents={"ground": "olive tan"},
        details="apples",
        sizes="height width",
    ),
    "pine tree": Category(
        pine_tree,
        "pine tree, fir, christmas tree, conifer, pine",
        "green emerald",
        roles={"trunk": "brown chocolate", "star": "yellow golden/red", "ornaments": "red yellow/blue"},
        details="star",
        sizes="height width",
    ),
    "palm tree": Category(
        palm_tree,
        "palm tree, palm, coconut palm",
        "green lime",
        roles={"trunk": "brown tan"},
        accents={"sand": "beige tan", "coconuts": "chocolate brown"},
        sizes="height",
    ),
    "mushroom": Category(
        mushroom,
        "mushroom, toadstool",
        "red brown orange",
        roles={"stem": "cream white beige", "spots": "white cream/yellow"},
        counts={"spots": (4, 6)},
        sizes="height width",
    ),
    "cactus": Category(
        cactus,
        "cactus, potted cactus, saguaro cactus",
        "green emerald",
        roles={"pot": "orange brown white blue", "flower": "pink red yellow"},
        details="flower",
        sizes="height width",
    ),
    "flower": Category(
        flower,
        "flower, potted flower, daisy, flower in a pot",
        "red pink yellow purple",
        roles={"pot": "brown orange white blue"},
        accents={"stem": "green/teal", "centre": "yellow/brown"},
        sizes="height width",
        counts={"petals": (5, 7)},
    ),
    "snowman": Category(
        snowman,
        "snowman, snow figure, frosty snowman",
        "white cream",
        roles={"hat": "black red blue", "scarf": "red green blue", "buttons": "black charcoal/red"},
        accents={"nose": "orange/yellow", "eyes": "black/white", "arms": "brown chocolate"},
        details="hat, scarf",
        counts={"buttons": (2, 3)},
        sizes="height width",
    ),
    "pumpkin": Category(
        pumpkin,
        "pumpkin, halloween pumpkin, jack-o'-lantern",
        "orange",
        roles={"stem": "green brown"},
        accents={"face": "black/yellow"},
        details="face",
        sizes="width height",
    ),
    "apple": Category(
        apple,
        "apple, piece of fruit",
        "red green",
        roles={"stem": "brown chocolate", "leaf": "green/yellow"},
        sizes="width height",
    ),
}
