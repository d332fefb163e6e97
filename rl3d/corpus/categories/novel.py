"""Things that no caption names: neither in training nor held out. A library of assets has them, and
retrieval is measured on them."""

from __future__ import annotations

from math import cos, pi, sin

from rl3d.corpus.categories.category import Category
from rl3d.corpus.shapes import SIDES, Sketch


def telescope(s: Sketch) -> None:
    h, r = s.height(0.48, 0.56), s.width(0.085, 0.11)
    for k in range(3):
        a = 2 * pi * k / 3 + pi / 3
        s.rod(s.paint("tripod"), (0.3 * sin(a), -0.3 * cos(a), 0), (0, 0, h), 0.03)
    s.ball(s.paint("tripod"), 0, 0, h + 0.02, 0.085)
    s.rod(s.main, (0, 0.3, h - 0.05), (0, -0.32, h + 0.36), r, soft=0.2)
    s.rod(s.paint("rim"), (0, -0.3, h + 0.347), (0, -0.38, h + 0.4), r * 1.25)
    s.rod(s.paint("lens"), (0, -0.36, h + 0.387), (0, -0.39, h + 0.407), r * 0.95)
    s.rod(s.paint("rim"), (0, 0.28, h - 0.037), (0, 0.42, h - 0.13), r * 0.5)


def sled(s: Sketch) -> None:
    w, l, h = s.width(0.4, 0.48), s.length(0.8, 0.92), s.height(0.2, 0.26)
    for side in SIDES:
        x = side * w * 0.42
        s.box(s.paint("runners"), x, 0.04, 0, 0.055, l, 0.055)
        s.rod(s.paint("runners"), (x, -l / 2 + 0.06, 0.03), (x, -l / 2 - 0.12, 0.16), 0.03, soft=0.4)
        s.rod(s.paint("runners"), (x, -l / 2 - 0.12, 0.14), (x, -l / 2 - 0.08, h + 0.1), 0.03, soft=0.4)
        for y in (-0.28, 0.28):
            s.box(s.paint("posts"), x, y * l, 0.03, 0.045, 0.06, h - 0.05)
    for x in (-0.34, 0, 0.34):
        s.box(s.main, x * w, 0, h - 0.03, w * 0.28, l * 0.9, 0.045)
    for y in (-0.28, 0.28):
        s.box(s.paint("posts"), 0, y * l, h - 0.06, w, 0.06, 0.05)
    s.rod(s.paint("runners"), (-w * 0.45, -l / 2 - 0.08, h + 0.08), (w * 0.45, -l / 2 - 0.08, h + 0.08), 0.025)


def wheelbarrow(s: Sketch) -> None:
    w, l, h = s.width(0.5, 0.58), s.length(0.56, 0.64), s.height(0.26, 0.32)
    s.rod(s.main, (0, -0.02, 0.24), (0, -0.02, 0.24 + h), w / 2, -0.3, round_=0.14, ry=l / 2)
    s.box(s.paint("inside"), 0, -0.02, 0.2 + h, w - 0.07, l - 0.07, 0.05)
    s.wheel(s.paint("wheel"), 0, -l / 2 - 0.12, 0.15, 0.15, 0.08)
    for side in SIDES:
        s.rod(s.paint("frame"), (side * 0.07, -l / 2 - 0.14, 0.15), (side * w * 0.46, l / 2 + 0.4, 0.36), 0.028)
        s.rod(s.paint("frame"), (side * w * 0.34, 0.2, 0.27), (side * w * 0.4, 0.3, 0), 0.028)
        s.rod(s.paint("grips"), (side * w * 0.435, l / 2 + 0.3, 0.337), (side * w * 0.472, l / 2 + 0.47, 0.378), 0.04)


def snail(s: Sketch) -> None:
    l, r = s.length(0.42, 0.5), s.height(0.29, 0.34)
    s.part(s.paint("body"), (0, -0.05, 0.075), (0.14, l, 0.075), (0.6, 0.9))
    s.rod(s.paint("body"), (0, -l + 0.06, 0.06), (0, -l - 0.06, 0.3), 0.1, 0.15, soft=0.5)
    s.ball(s.paint("body"), 0, -l - 0.08, 0.31, 0.11, 0.12, 0.1)
    s.ball(s.main, 0, 0.08, 0.1 + r, 0.2, r, r)
    for side in SIDES:
        s.rod(s.paint("spiral"), (0, 0.06, 0.1 + r), (side * 0.215, 0.06, 0.1 + r), r * 0.62)
        s.rod(s.main, (0, 0.05, 0.09 + r), (side * 0.24, 0.05, 0.09 + r), r * 0.38)
        s.ball(s.paint("spiral"), side * 0.235, 0.045, 0.085 + r, 0.03, r * 0.17, r * 0.17)
    for side in SIDES:
        s.rod(s.paint("body"), (side * 0.05, -l - 0.1, 0.37), (side * 0.09, -l - 0.14, 0.53), 0.022)
        s.ball(s.paint("eyes"), side * 0.09, -l - 0.14, 0.55, 0.04)


def crab(s: Sketch) -> None:
    w, h = s.width(0.3, 0.36), s.height(0.2, 0.25)
    s.part(s.main, (0, 0, h), (w, w * 0.72, 0.125), (0.7, 1.0))
    for side in SIDES:
        for y in (-0.06, 0.08, 0.2):
            s.rod(s.paint("legs"), (side * w * 0.7, y, h), (side * (w + 0.17), y * 1.5, 0), 0.032, 0.4)
        s.rod(s.paint("claws"), (side * w * 0.6, -w * 0.45, h), (side * (w + 0.05), -w * 0.72 - 0.1, h + 0.06), 0.04)
        s.ball(s.paint("claws"), side * (w + 0.04), -w * 0.72 - 0.16, h + 0.08, 0.1, 0.13, 0.075)
        s.rod(
            s.paint("claws"),
            (side * (w + 0.07), -w * 0.72 - 0.23, h + 0.08),
            (side * (w - 0.03), -w * 0.72 - 0.37, h + 0.1),
            0.045,
            0.9,
        )
        s.rod(s.paint("legs"), (side * 0.09, -w * 0.5, h + 0.06), (side * 0.1, -w * 0.58, h + 0.2), 0.022)
        s.ball(s.paint("eyes"), side * 0.1, -w * 0.58, h + 0.22, 0.045)


NOVEL = {
    "telescope": Category(
        telescope,
        "telescope, spyglass, stargazing telescope",
        "white navy golden black",
        roles={"tripod": "brown black gray"},
        accents={"rim": "black charcoal/golden", "lens": "cyan azure"},
        sizes="height",
    ),
    "sled": Category(
        sled,
        "sled, sledge, sleigh, toboggan",
        "brown tan red",
        roles={"runners": "gray red/black"},
        accents={"posts": "main chestnut"},
        sizes="length",
        materials="wooden",
    ),
    "wheelbarrow": Category(
        wheelbarrow,
        "wheelbarrow, garden barrow",
        "green red gray",
        roles={"wheel": "black charcoal", "frame": "gray brown"},
        accents={"inside": "charcoal chocolate/black", "grips": "black red/white"},
        sizes="length width",
    ),
    "snail": Category(
        snail,
        "snail, garden snail",
        "brown orange purple",
        roles={"body": "beige tan olive"},
        accents={"spiral": "cream chocolate/tan", "eyes": "black/white"},
        sizes="length",
    ),
    "crab": Category(
        crab,
        "crab, sea crab",
        "red orange",
        roles={"claws": "main red orange"},
        accents={"legs": "main", "eyes": "black/white"},
        sizes="width",
    ),
}
