"""Houses, towers and other buildings."""

from __future__ import annotations

from math import cos, pi, sin

from rl3d.corpus.categories.category import Category
from rl3d.corpus.shapes import SIDES, Number, Sketch


def house(s: Sketch) -> None:
    w, d, h, roof = s.width(0.66, 0.82), s.u(0.58, 0.7), s.height(0.46, 0.56), s.u(0.24, 0.32)
    s.box(s.main, 0, 0, 0, w, d, h)
    s.pyramid(s.paint("roof"), 0, 0, h - 0.025, w + 0.11, d + 0.11, roof, s.u(0.7, 0.95))
    if s.has("chimney", 0.6):
        s.box(s.paint("chimney"), w * 0.26, d * 0.1, h, 0.1, 0.1, roof * 0.95)
    s.box(s.paint("door"), 0, -d / 2, 0, 0.14, 0.05, h * 0.58)
    s.pair(s.box, s.paint("windows"), w * 0.3, -d / 2, h * 0.4, 0.13, 0.05, 0.14)
    s.pair(s.box, s.paint("windows"), w / 2, 0, h * 0.4, 0.05, 0.15, 0.14)
    s.ball(s.paint("knob"), 0.04, -d / 2 - 0.025, h * 0.28, 0.02)


def gable_roof(s: Sketch, w: Number, d: Number, y: Number, h: Number) -> None:
    """A roof of two slopes of 45 degrees over walls of size (w, d, h): a bar of square section on
    its edge, and a slab on each slope."""
    half = (w / 2 - 0.012) / 2**0.5
    s.part(
        s.main, (0, y, h + 0.01), (half, d / 2 - 0.003, half), (0.14, 0.1), 0.0, (0.7071, 0.0, -0.7071, 0.0, 1.0, 0.0)
    )
    ridge = h + 0.01 + w / 2
    for side in SIDES:
        s.rod(
            s.paint("roof"), (side * (w / 2 + 0.04), y, h - 0.03), (0, y, ridge), 0.028, round_=0.14, ry=d / 2 + 0.025
        )


def barn(s: Sketch) -> None:
    w, d, h = s.width(0.62, 0.72), s.u(0.78, 0.9), s.height(0.46, 0.54)
    s.box(s.main, 0, 0, 0, w, d, h)
    gable_roof(s, w, d, 0, h)
    s.box(s.paint("door"), 0, -d / 2, 0, 0.26, 0.06, h * 0.68)
    s.box(s.paint("trim"), 0, -d / 2 - 0.02, h * 0.66, 0.32, 0.06, 0.04)
    s.pair(s.box, s.paint("trim"), 0.15, -d / 2 - 0.02, 0, 0.04, 0.06, h * 0.7)
    s.box(s.paint("window"), 0, -d / 2, h + 0.04, 0.13, 0.05, 0.13)


def tower(s: Sketch) -> None:
    r, h = s.width(0.21, 0.26), s.height(0.62, 0.74)
    s.cyl(s.main, 0, 0, 0, r, h, 0.1)
    s.cyl(s.main, 0, 0, h - 0.03, r * 1.2, 0.1)
    for k in range(6):
        a = pi / 3 * k
        s.cyl(s.main, r * 1.0 * sin(a), -r * 1.0 * cos(a), h + 0.04, 0.055, 0.11)
    if s.has("roof", 0.5):
        s.cone(s.paint("roof"), 0, 0, h + 0.04, r * 0.86, 0.32)
    s.box(s.paint("door"), 0, -r * 0.95, 0, 0.15, 0.07, 0.2)
    s.box(s.paint("windows"), 0, -r * 0.92, h * 0.6, 0.07, 0.06, 0.13)
    s.box(s.paint("windows"), r * 0.93, 0, h * 0.6, 0.06, 0.07, 0.13)


def lighthouse(s: Sketch) -> None:
    r, h = s.width(0.2, 0.24), s.height(0.62, 0.72)
    s.cyl(s.paint("base"), 0, 0, 0, r * 1.45, 0.08, 0.15)
    s.cyl(s.main, 0, 0, 0.05, r, h, 0.4)
    for z in (0.24, 0.6):
        s.cyl(s.paint("stripes"), 0, 0, 0.05 + z * h, r * (1.025 - 0.4 * z), h * 0.15, 0.08)
    s.cyl(s.paint("gallery"), 0, 0, h + 0.03, r * 0.85, 0.045)
    s.cyl(s.paint("light"), 0, 0, h + 0.055, r * 0.5, 0.15)
    s.cone(s.paint("roof"), 0, 0, h + 0.185, r * 0.72, 0.15)
    s.box(s.paint("gallery"), 0, -r * 0.93, 0.06, 0.1, 0.08, 0.15)


def windmill(s: Sketch) -> None:
    r, h = s.width(0.24, 0.29), s.height(0.56, 0.66)
    s.cyl(s.main, 0, 0, 0, r, h, 0.38)
    s.cone(s.paint("roof"), 0, 0, h - 0.025, r * 0.78, 0.2)
    hub, y = h * 0.9, -r * 0.72
    s.rod(s.paint("blades"), (0, 0, hub), (0, y - 0.05, hub), 0.04)
    reach, turn = s.u(0.34, 0.42), pi / 4
    for k in range(4):
        x, z = cos(turn + k * pi / 2), sin(turn + k * pi / 2)
        s.rod(s.paint("blades"), (0, y, hub), (x * reach, y, hub + z * reach), 0.055, round_=0.14, ry=0.02)
    s.box(s.paint("door"), 0, -r * 0.93, 0, 0.13, 0.08, 0.19)
    s.box(s.paint("window"), 0, -r * 0.82, h * 0.45, 0.08, 0.06, 0.1)


def well(s: Sketch) -> None:
    r, h = s.width(0.32, 0.38), s.height(0.68, 0.8)
    s.cyl(s.main, 0, 0, 0, r, 0.36)
    s.cyl(s.paint("water"), 0, 0, 0.24, r * 0.74, 0.135)
    for side in SIDES:
        s.box(s.paint("posts"), side * (r - 0.06), 0, 0.2, 0.06, 0.06, h - 0.17)
    s.rod(s.paint("posts"), (0.06 - r, 0, h * 0.72), (r - 0.06, 0, h * 0.72), 0.03)
    s.pyramid(s.paint("roof"), 0, 0, h - 0.03, r * 2.0, r * 1.5, 0.24)
    s.cyl(s.paint("bucket"), 0, 0, h * 0.72 - 0.16, 0.06, 0.15, -0.2)


def skyscraper(s: Sketch) -> None:
    w, h = s.width(0.3, 0.36), s.height(0.5, 0.6)
    s.box(s.paint("base"), 0, 0, 0, w + 0.1, w + 0.1, 0.07)
    s.box(s.main, 0, 0, 0.05, w, w, h)
    s.box(s.main, 0, 0, h + 0.02, w * 0.7, w * 0.7, 0.26)
    s.cyl(s.paint("antenna"), 0, 0, h + 0.25, 0.025, 0.17, 0.4)
    rows = s.number("rows of windows", 3, 4)
    for k in range(rows):
        s.box(s.paint("windows"), 0, 0, 0.13 + (h - 0.1) * k / rows, w + 0.025, w + 0.025, 0.06)
    s.box(s.paint("windows"), 0, 0, h + 0.12, w * 0.7 + 0.025, w * 0.7 + 0.025, 0.06)


def church(s: Sketch) -> None:
    w, d, h = s.width(0.4, 0.48), s.u(0.62, 0.74), s.height(0.38, 0.46)
    s.box(s.main, 0, 0.1, 0, w, d, h)
    gable_roof(s, w, d, 0.1, h)
    front = 0.1 - d / 2
    s.box(s.main, 0, front, 0, 0.25, 0.25, h + 0.22)
    s.pyramid(s.paint("roof"), 0, front, h + 0.2, 0.31, 0.31, 0.3)
    s.box(s.paint("door"), 0, front - 0.125, 0, 0.13, 0.05, 0.21)
    s.disc(s.paint("windows"), 0, front - 0.12, h + 0.08, 0.055, 0.05)
    for side in SIDES:
        for k in range(2):
            s.box(s.paint("windows"), side * w / 2, 0.12 + 0.2 * k, h * 0.32, 0.05, 0.08, 0.16)


def igloo(s: Sketch) -> None:
    r = s.width(0.44, 0.5)
    h = r * s.u(0.9, 1.05)
    # Half a ball is not a superquadric; a rounded block narrowed at the top comes close.
    s.part(s.main, (0, 0, h / 2), (r, r, h / 2), (0.55, 1.0), 0.45)
    s.rod(s.main, (0, -r * 0.5, 0.155), (0, -r * 1.25, 0.155), 0.155)
    s.rod(s.paint("door"), (0, -r * 1.0, 0.14), (0, -r * 1.29, 0.14), 0.105)


def tent(s: Sketch) -> None:
    w, d, h = s.width(0.8, 0.95), s.u(0.75, 0.9), s.height(0.56, 0.66)
    s.pyramid(s.main, 0, 0, 0, w, d, h, 0.92)
    s.box(s.paint("floor"), 0, 0, 0, w + 0.06, d + 0.06, 0.04)
    s.pyramid(s.paint("door"), 0, -d * 0.36, 0.02, 0.26, d * 0.18, h * 0.5, 0.8)
    s.cyl(s.paint("pole"), 0, 0, h - 0.15, 0.02, 0.24)
    s.box(s.paint("flag"), 0.07, 0, h + 0.02, 0.14, 0.02, 0.07)


BUILDINGS = {
    "house": Category(
        house,
        "house, cottage, home, hut",
        "beige white cream yellow",
        roles={"roof": "red brown gray", "door": "brown red/white", "windows": "cyan azure/yellow"},
        accents={"chimney": "brown gray", "knob": "golden"},
        details="chimney",
        sizes="height width",
        materials="wooden stone",
    ),
    "barn": Category(
        barn,
        "barn, farm barn, farmhouse",
        "red brown maroon",
        roles={"roof": "gray brown charcoal", "door": "brown white", "trim": "white/beige"},
        accents={"window": "yellow cyan"},
        sizes="width height",
        materials="wooden",
    ),
    "castle tower": Category(
        tower,
        "castle tower, fortress tower, turret, castle keep",
        "gray beige tan",
        roles={"roof": "red blue purple", "door": "brown black", "windows": "black navy/yellow"},
        details="roof",
        sizes="height width",
        materials="stone",
    ),
    "lighthouse": Category(
        lighthouse,
        "lighthouse, light tower, beacon tower",
        "white red",
        roles={"stripes": "red black blue/white", "roof": "red black gray"},
        accents={"base": "gray beige", "light": "yellow/amber", "gallery": "black gray"},
        sizes="height width",
    ),
    "windmill": Category(
        windmill,
        "windmill, wind mill, dutch windmill",
        "beige white brown",
        roles={"roof": "red brown gray", "blades": "gray white brown", "door": "brown black"},
        accents={"window": "yellow cyan"},
        sizes="height width",
        materials="wooden stone",
    ),
    "well": Category(
        well,
        "well, water well, wishing well",
        "gray beige",
        roles={"roof": "red brown green", "posts": "brown tan"},
        accents={"water": "azure/navy", "bucket": "tan brown gray"},
        sizes="height width",
        materials="stone",
    ),
    "skyscraper": Category(
        skyscraper,
        "skyscraper, office tower, high-rise",
        "gray navy silver teal",
        roles={"windows": "yellow cyan white"},
        accents={"base": "gray charcoal beige", "antenna": "red black"},
        sizes="height width",
        materials="concrete",
    ),
    "church": Category(
        church,
        "church, chapel",
        "white beige cream",
        roles={"roof": "red gray brown blue", "door": "brown red", "windows": "cyan navy/yellow"},
        sizes="height width",
        materials="stone wooden",
    ),
    "igloo": Category(igloo, "igloo, snow house", "white", accents={"door": "navy charcoal"}, sizes="width"),
    "tent": Category(
        tent,
        "tent, camping tent",
        "green orange blue",
        roles={"door": "beige yellow white", "flag": "red yellow"},
        accents={"floor": "charcoal brown", "pole": "gray brown"},
        sizes="height width",
    ),
}
