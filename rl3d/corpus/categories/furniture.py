"""Furniture and household objects that stand on a floor."""

from __future__ import annotations

from rl3d.corpus.categories.category import Category
from rl3d.corpus.shapes import PLUMP, SIDES, SOFT, Sketch

WOOD = "brown chestnut tan"
LEGS = "main brown tan black gray"


def chair(s: Sketch) -> None:
    w, d, seat, back = s.width(0.42, 0.52), s.u(0.42, 0.5), s.height(0.42, 0.5), s.u(0.42, 0.5)
    s.box(s.main, 0, 0, seat - 0.06, w, d, 0.07)
    if s.has("slats", 0.35):
        for side in SIDES:
            s.box(s.main, side * (w / 2 - 0.03), d / 2 - 0.03, seat - 0.03, 0.06, 0.06, back)
        for k in range(3):
            s.box(s.main, 0, d / 2 - 0.03, seat + back * (0.25 + 0.25 * k), w - 0.04, 0.04, 0.09)
    else:
        s.box(s.main, 0, d / 2 - 0.03, seat - 0.02, w, 0.06, back)
    s.legs(s.paint("legs"), w / 2 - 0.04, d / 2 - 0.04, 0.06, seat - 0.03)
    if s.has("cushion", 0.25):
        s.box(s.paint("cushion"), 0, -0.03, seat - 0.01, w * 0.86, d * 0.8, 0.06, soft=SOFT)


def armchair(s: Sketch) -> None:
    w, d, arm, back = s.width(0.72, 0.86), s.u(0.66, 0.76), s.u(0.5, 0.58), s.height(0.8, 0.92)
    s.box(s.main, 0, 0, 0.1, w - 0.06, d, 0.28, soft=SOFT)
    s.box(s.main, 0, d / 2 - 0.1, 0.12, w - 0.06, 0.2, back - 0.12, soft=SOFT)
    for side in SIDES:
        s.box(s.main, side * (w / 2 - 0.08), -0.01, 0.1, 0.16, d, arm - 0.1, soft=SOFT)
    s.box(s.paint("cushion"), 0, -0.09, 0.35, w - 0.28, d - 0.24, 0.11, soft=SOFT)
    s.legs(s.paint("legs"), w / 2 - 0.12, d / 2 - 0.1, 0.07, 0.16, round_=True)


def sofa(s: Sketch) -> None:
    w, d, arm, back = s.width(1.05, 1.25), s.u(0.48, 0.54), s.u(0.36, 0.42), s.height(0.52, 0.6)
    s.box(s.main, 0, 0, 0.08, w - 0.06, d, 0.2, soft=SOFT)
    s.box(s.main, 0, d / 2 - 0.08, 0.1, w - 0.06, 0.16, back - 0.1, soft=SOFT)
    for side in SIDES:
        s.box(s.main, side * (w / 2 - 0.07), -0.01, 0.08, 0.14, d, arm - 0.08, soft=SOFT)
    n = s.number("cushions", 2, 3)
    pitch = (w - 0.26) / n
    for k in range(n):
        s.box(s.paint("cushions"), (k - (n - 1) / 2) * pitch, -0.08, 0.25, pitch + 0.005, d - 0.18, 0.09, soft=SOFT)
    s.legs(s.paint("legs"), w / 2 - 0.12, d / 2 - 0.08, 0.06, 0.13, round_=True)


def stool(s: Sketch) -> None:
    r, h = s.width(0.24, 0.3), s.height(0.46, 0.6)
    s.cyl(s.main, 0, 0, h - 0.09, r, 0.1)
    s.legs(s.paint("legs"), r * 0.58, r * 0.58, 0.055, h - 0.03, round_=True)
    for side in SIDES:
        s.box(s.paint("legs"), 0, side * r * 0.58, h * 0.3, r * 1.16, 0.03, 0.035)
    s.top = (0, 0, h + 0.01, r * 0.8, r * 0.8)


def table(s: Sketch) -> None:
    w, d, h = s.width(0.85, 1.05), s.u(0.5, 0.65), s.height(0.42, 0.58)
    s.box(s.main, 0, 0, h - 0.06, w, d, 0.065)
    s.legs(s.paint("legs"), w / 2 - 0.07, d / 2 - 0.07, 0.075, h - 0.03)
    s.top = (0, 0, h + 0.005, w * 0.4, d * 0.4)


def round_table(s: Sketch) -> None:
    r, h = s.width(0.44, 0.52), s.height(0.48, 0.6)
    s.cyl(s.main, 0, 0, h - 0.06, r, 0.065)
    s.cyl(s.paint("base"), 0, 0, 0, r * 0.5, 0.06, 0.2)
    s.cyl(s.paint("base"), 0, 0, 0.03, 0.055, h - 0.06)
    s.top = (0, 0, h + 0.005, r * 0.6, r * 0.6)


def desk(s: Sketch) -> None:
    w, d, h = s.width(0.92, 1.05), s.u(0.45, 0.55), s.height(0.52, 0.62)
    s.box(s.main, 0, 0, h - 0.06, w, d, 0.065)
    s.box(s.main, w / 2 - 0.17, 0, 0, 0.28, d - 0.06, h - 0.04)
    s.box(s.main, -w / 2 + 0.06, 0, 0, 0.06, d - 0.06, h - 0.03)
    n = s.number("drawers", 2, 3)
    step = (h - 0.1) / n
    for k in range(n):
        s.box(s.paint("drawers"), w / 2 - 0.17, -d / 2 + 0.03, 0.03 + k * step, 0.23, 0.05, step - 0.03)
    for k in range(n):
        s.ball(s.paint("knobs"), w / 2 - 0.17, -d / 2 + 0.0, 0.015 + (k + 0.5) * step, 0.022)
    s.top = (-0.12, 0, h + 0.005, w * 0.3, d * 0.36)


def bench(s: Sketch) -> None:
    w, d, h = s.width(0.95, 1.1), s.u(0.32, 0.38), s.height(0.28, 0.36)
    s.box(s.main, 0, 0, h - 0.06, w, d, 0.06)
    for side in SIDES:
        s.box(s.paint("legs"), side * w * 0.38, 0, 0, 0.07, d - 0.05, h - 0.03)
    for side in SIDES:
        s.box(s.main, side * w * 0.38, d / 2 - 0.025, h - 0.04, 0.05, 0.045, 0.36)
    for k in range(2):
        s.box(s.main, 0, d / 2 - 0.035, h + 0.08 + 0.13 * k, w, 0.045, 0.1)
    s.top = (0, -0.03, h, w * 0.4, d * 0.36)


def bed(s: Sketch) -> None:
    w, l, head = s.width(0.6, 0.72), s.length(0.92, 1.05), s.height(0.42, 0.54)
    frame = s.paint("frame")
    s.box(s.main, 0, 0, 0.1, w, l, 0.1)
    s.box(s.main, 0, -0.07, 0.17, w - 0.02, l * 0.78, 0.15, soft=SOFT)
    s.box(s.paint("sheet"), 0, l * 0.3, 0.17, w - 0.04, l * 0.38, 0.12, soft=SOFT)
    s.box(frame, 0, l / 2 - 0.02, 0.02, w + 0.03, 0.06, head)
    s.box(frame, 0, -l / 2 + 0.01, 0.04, w + 0.03, 0.06, 0.22)
    s.legs(frame, w / 2 - 0.05, l / 2 - 0.06, 0.07, 0.15)
    n = s.number("pillows", 1, 2)
    for k in range(n):
        x = 0 if n == 1 else (k - 0.5) * w * 0.48
        s.box(s.paint("pillows"), x, l * 0.38, 0.26, w * (0.6 if n == 1 else 0.42), 0.17, 0.09, soft=PLUMP)
    s.top = (0, -0.1, 0.315, w * 0.38, l * 0.26)


def bookshelf(s: Sketch) -> None:
    w, d, h = s.width(0.48, 0.62), s.u(0.26, 0.32), s.height(0.9, 1.05)
    s.box(s.main, 0, d / 2 - 0.02, 0, w, 0.04, h)
    for side in SIDES:
        s.box(s.main, side * (w / 2 - 0.02), 0, 0, 0.045, d, h)
    n = 3
    gap = (h - 0.05) / n
    for k in range(n + 1):
        s.box(s.main, 0, 0.005, k * gap, w - 0.03, d - 0.02, 0.05)
    inner = w - 0.09
    for k in range(n):
        fraction = s.u(0.35, 0.65)
        tall = gap * s.u(0.6, 0.75)
        s.box(
            s.paint("books"),
            -inner / 2 + inner * fraction / 2,
            0.02,
            k * gap + 0.03,
            inner * fraction - 0.01,
            d * 0.6,
            tall,
        )
        s.box(
            s.paint(f"books {k}"),
            inner / 2 - inner * (1 - fraction) / 2,
            0.02,
            k * gap + 0.03,
            inner * (1 - fraction),
            d * 0.55,
            tall * s.u(0.8, 1),
        )


def wardrobe(s: Sketch) -> None:
    w, d, h = s.width(0.55, 0.7), s.u(0.34, 0.42), s.height(0.85, 1.0)
    s.box(s.main, 0, 0, 0.05, w, d, h - 0.05)
    s.box(s.paint("base"), 0, 0, 0, w - 0.04, d - 0.04, 0.08)
    s.box(s.main, 0, -0.01, h - 0.04, w + 0.06, d + 0.05, 0.07)
    s.pair(s.box, s.paint("doors"), w * 0.235, -d / 2, 0.12, w * 0.44, 0.04, h - 0.22)
    s.pair(s.ball, s.paint("handles"), 0.05, -d / 2 - 0.02, h * 0.5, 0.022, 0.022, 0.045)


def drawers(s: Sketch) -> None:
    w, d, h = s.width(0.75, 0.92), s.u(0.4, 0.48), s.height(0.66, 0.82)
    s.box(s.main, 0, 0, 0.06, w, d, h - 0.06)
    s.legs(s.paint("legs"), w / 2 - 0.06, d / 2 - 0.06, 0.07, 0.1)
    n = s.number("drawers", 2, 4)
    step = (h - 0.12) / n
    for k in range(n):
        s.box(s.paint("drawers"), 0, -d / 2, 0.1 + k * step, w - 0.08, 0.045, step - 0.035)
    for k in range(n):
        for side in SIDES:
            s.ball(s.paint("knobs"), side * w * 0.22, -d / 2 - 0.025, 0.085 + (k + 0.5) * step, 0.024)
    s.top = (0, 0, h, w * 0.36, d * 0.4)


def lamp(s: Sketch) -> None:
    r, h, shade = s.width(0.2, 0.25), s.height(0.9, 1.05), s.u(0.26, 0.34)
    s.cyl(s.main, 0, 0, h - shade, r, shade, s.u(0.3, 0.5))
    s.cyl(s.paint("stand"), 0, 0, 0, s.u(0.19, 0.22), 0.06, 0.15)
    s.cyl(s.paint("stand"), 0, 0, 0.04, 0.025, h - shade * 0.6)
    if s.has("ball on top", 0.4):
        s.ball(s.paint("stand"), 0, 0, h + 0.01, 0.03)


def table_lamp(s: Sketch) -> None:
    r, h, shade = s.width(0.28, 0.33), s.height(0.75, 0.9), s.u(0.32, 0.4)
    s.cyl(s.main, 0, 0, h - shade, r, shade, s.u(0.35, 0.5))
    s.cyl(s.paint("base"), 0, 0, 0, 0.2, 0.05)
    s.ball(s.paint("base"), 0, 0, 0.2, 0.15, 0.15, 0.17)
    s.cyl(s.paint("base"), 0, 0, 0.3, 0.03, h - shade * 0.7 - 0.3)


def television(s: Sketch) -> None:
    w, h = s.width(0.9, 1.02), s.u(0.54, 0.62)
    s.box(s.main, 0, 0, 0.12, w, 0.1, h)
    s.box(s.paint("screen"), 0, -0.045, 0.185, w - 0.13, 0.04, h - 0.13)
    s.box(s.paint("stand"), 0, 0.02, 0.02, 0.2, 0.07, 0.15)
    s.box(s.paint("stand"), 0, 0, 0, w * 0.55, 0.34, 0.045)
    if s.has("antennas", 0.35):
        for side in SIDES:
            s.rod(s.paint("antennas"), (side * 0.02, 0.02, h + 0.09), (side * 0.2, 0.02, h + 0.34), 0.017)


def fridge(s: Sketch) -> None:
    w, d, h = s.width(0.44, 0.54), s.u(0.38, 0.46), s.height(0.92, 1.05)
    split = h * s.u(0.58, 0.66)
    s.box(s.main, 0, 0, 0.03, w, d, h - 0.03, soft=0.2)
    s.box(s.paint("feet"), 0, 0, 0, w - 0.05, d - 0.05, 0.06)
    s.box(s.main, 0, -d / 2 - 0.01, 0.06, w - 0.02, 0.06, split - 0.08, soft=0.2)
    s.box(s.main, 0, -d / 2 - 0.01, split, w - 0.02, 0.06, h - split - 0.02, soft=0.2)
    s.box(s.paint("handles"), -w * 0.36, -d / 2 - 0.05, split - 0.28, 0.035, 0.06, 0.22)
    s.box(s.paint("handles"), -w * 0.36, -d / 2 - 0.05, split + 0.04, 0.035, 0.06, 0.16)


def clock(s: Sketch) -> None:
    r = s.width(0.36, 0.42)
    s.disc(s.main, 0, 0, r + 0.08, r, 0.2)
    s.disc(s.paint("face"), 0, -0.09, r + 0.08, r * 0.82, 0.06)
    s.pair(s.box, s.paint("feet"), r * 0.55, 0, 0, 0.12, 0.26, 0.24)
    s.pair(s.ball, s.paint("bells"), r * 0.55, 0, r * 1.85 + 0.1, 0.14, 0.13, 0.12)
    s.box(s.paint("hands"), 0, -0.125, r + 0.07, 0.035, 0.03, r * 0.58)
    s.box(s.paint("hands"), r * 0.2, -0.125, r + 0.06, r * 0.46, 0.03, 0.035)


FURNITURE = {
    "chair": Category(
        chair,
        "chair, dining chair, kitchen chair",
        "brown tan white",
        roles={"legs": LEGS, "cushion": "red blue green beige white"},
        details="cushion, slats",
        sizes="height width",
        materials="wooden metal plastic",
    ),
    "armchair": Category(
        armchair,
        "armchair, easy chair, lounge chair, club chair",
        "red gray green brown blue",
        roles={"legs": "brown black tan", "cushion": "main main beige white gray"},
        sizes="height width",
    ),
    "sofa": Category(
        sofa,
        "sofa, couch, settee, loveseat",
        "gray beige blue red",
        roles={"legs": "brown black tan", "cushions": "main main white beige"},
        counts={"cushions": (2, 3)},
        sizes="height width",
    ),
    "stool": Category(
        stool,
        "stool, bar stool, kitchen stool",
        "brown tan black red",
        roles={"legs": LEGS},
        sizes="height width",
        materials="wooden metal",
    ),
    "table": Category(
        table,
        "table, dining table, coffee table",
        "brown tan white",
        roles={"legs": LEGS},
        sizes="height width",
        materials="wooden metal plastic stone",
    ),
    "round table": Category(
        round_table,
        "round table, bistro table, pedestal table",
        "brown white tan",
        roles={"base": "main gray black brown"},
        sizes="height width",
        materials="wooden marble",
    ),
    "desk": Category(
        desk,
        "desk, writing desk, office desk",
        "brown tan white gray",
        roles={"drawers": "main white beige brown gray"},
        accents={"knobs": "black golden silver"},
        counts={"drawers": (2, 3)},
        sizes="height width",
        materials="wooden metal",
    ),
    "bench": Category(
        bench,
        "bench, park bench, garden bench",
        "brown green tan",
        roles={"legs": "black gray brown"},
        sizes="width height",
        materials="wooden stone metal",
    ),
    "bed": Category(
        bed,
        "bed, single bed, bedstead",
        "blue red green purple",
        roles={"frame": "brown white tan", "pillows": "white beige/gray"},
        accents={"sheet": "white beige/gray"},
        counts={"pillows": (1, 2)},
        sizes="width length height",
    ),
    "bookshelf": Category(
        bookshelf,
        "bookshelf, bookcase, book shelf",
        "brown white tan",
        roles={"books": "red blue green yellow orange"},
        accents={"books 0": "yellow green white", "books 1": "red purple cyan", "books 2": "blue orange pink"},
        sizes="height width",
        materials="wooden",
    ),
    "wardrobe": Category(
        wardrobe,
        "wardrobe, closet, armoire",
        "brown white tan",
        roles={"doors": "main tan brown white", "base": "main brown black"},
        accents={"handles": "golden black silver"},
        sizes="height width",
        materials="wooden",
    ),
    "chest of drawers": Category(
        drawers,
        "chest of drawers, dresser, commode",
        "brown white tan blue",
        roles={"drawers": "main tan white brown", "legs": "main brown black"},
        accents={"knobs": "golden black silver"},
        counts={"drawers": (2, 4)},
        sizes="height width",
        materials="wooden",
    ),
    "lamp": Category(
        lamp,
        "lamp, floor lamp, standing lamp",
        "beige yellow white red",
        roles={"stand": "black gray brown golden"},
        sizes="height width",
    ),
    "table lamp": Category(
        table_lamp,
        "table lamp, bedside lamp, desk lamp",
        "cream yellow white orange",
        roles={"base": "blue green brown white golden"},
        sizes="height width",
    ),
    "television": Category(
        television,
        "television, tv, tv set, flat screen",
        "black gray charcoal",
        roles={"screen": "cyan black navy/white", "stand": "gray black main"},
        accents={"antennas": "gray silver/black"},
        details="antennas",
        sizes="width",
    ),
    "fridge": Category(
        fridge,
        "fridge, refrigerator, freezer",
        "white silver red",
        roles={"handles": "gray silver black"},
        accents={"feet": "black charcoal"},
        sizes="height width",
    ),
    "alarm clock": Category(
        clock,
        "alarm clock, clock, table clock",
        "red blue yellow",
        roles={"face": "white cream/lemon", "bells": "golden gray", "feet": "main black gray"},
        accents={"hands": "black/red"},
    ),
}
