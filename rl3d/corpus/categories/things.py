"""Food, tools, toys and other small things."""

from __future__ import annotations

from math import cos, pi, sin

from rl3d.corpus.categories.category import Category
from rl3d.corpus.shapes import SIDES, SOFT, Sketch

INSIDE = "chocolate charcoal/black"
"""Of an open container."""


def mug(s: Sketch) -> None:
    r, h = s.width(0.3, 0.36), s.height(0.64, 0.76)
    s.cyl(s.main, 0, 0, 0, r, h)
    s.cyl(s.paint("inside" if s.open else "coffee"), 0, 0, h - 0.1, r * 0.84, 0.115)
    s.cavity = (0, 0, h, r * 0.84, r * 0.84, 0)
    reach, low, high = r + s.u(0.13, 0.18), h * 0.25, h * 0.75
    s.rod(s.paint("handle"), (r - 0.05, 0, high), (reach, 0, high), 0.042, soft=0.4)
    s.rod(s.paint("handle"), (r - 0.05, 0, low), (reach, 0, low), 0.042, soft=0.4)
    s.cyl(s.paint("handle"), reach, 0, low - 0.04, 0.042, high - low + 0.08, soft=0.4)


def bottle(s: Sketch) -> None:
    r, h = s.width(0.16, 0.2), s.height(0.5, 0.58)
    neck = s.u(0.2, 0.26)
    s.cyl(s.main, 0, 0, 0, r, h)
    s.cyl(s.main, 0, 0, h - 0.03, r, 0.15, 0.62)
    s.cyl(s.main, 0, 0, h + 0.06, r * 0.4, neck)
    s.cyl(s.paint("cap"), 0, 0, h + 0.04 + neck, r * 0.46, 0.08)
    s.cyl(s.paint("label"), 0, 0, h * 0.32, r * 1.03, h * 0.36)


def wine_glass(s: Sketch) -> None:
    r, h = s.width(0.2, 0.24), s.height(0.36, 0.44)
    s.cyl(s.main, 0, 0, 0, r * 1.1, 0.05, 0.2)
    s.cyl(s.main, 0, 0, 0.03, 0.035, 0.4)
    s.part(s.main, (0, 0, 0.39 + h / 2), (r * 1.1, r * 1.1, h / 2), (0.6, 1.0), -0.15)
    s.cyl(s.paint("wine"), 0, 0, 0.36 + h - 0.02, r * 0.82, 0.055)


def teapot(s: Sketch) -> None:
    r, h = s.width(0.34, 0.39), s.height(0.5, 0.58)
    s.part(s.main, (0, 0, h / 2), (r, r, h / 2), (0.6, 1.0))
    s.cyl(s.paint("lid"), 0, 0, h - 0.045, r * 0.56, 0.07, 0.3)
    s.ball(s.paint("lid"), 0, 0, h + 0.05, 0.06)
    s.rod(s.main, (-r * 0.75, 0, h * 0.4), (-r - 0.2, 0, h * 0.85), 0.085, 0.5)
    x = r + 0.15
    s.rod(s.paint("handle"), (r * 0.8, 0, h * 0.75), (x, 0, h * 0.75), 0.035, soft=0.4)
    s.rod(s.paint("handle"), (r * 0.8, 0, h * 0.3), (x, 0, h * 0.3), 0.035, soft=0.4)
    s.cyl(s.paint("handle"), x, 0, h * 0.3 - 0.035, 0.035, h * 0.45 + 0.07, soft=0.4)


def bucket(s: Sketch) -> None:
    r, h = s.width(0.34, 0.4), s.height(0.56, 0.66)
    s.cyl(s.main, 0, 0, 0, r, h, -0.28)
    s.cyl(s.paint("rim"), 0, 0, h - 0.06, r * 1.05, 0.07)
    s.cyl(s.paint("inside" if s.open else "water"), 0, 0, h - 0.04, r * 0.88, 0.07)
    s.cavity = (0, 0, h + 0.02, r * 0.88, r * 0.88, 0)
    for side in SIDES:
        s.rod(s.paint("handle"), (side * r, 0, h - 0.03), (side * r * 0.45, 0, h + 0.26), 0.03)
    s.rod(s.paint("handle"), (-r * 0.5, 0, h + 0.25), (r * 0.5, 0, h + 0.25), 0.035)


def cake(s: Sketch) -> None:
    r, h = s.width(0.4, 0.46), s.height(0.34, 0.42)
    s.cyl(s.paint("plate"), 0, 0, 0, r * 1.1, 0.045)
    s.cyl(s.main, 0, 0, 0.03, r, h, soft=0.2)
    s.cyl(s.paint("icing"), 0, 0, h - 0.03, r * 0.86, 0.08, soft=0.3)
    n = s.number("candles", 1, 5)
    for k in range(n):
        a = 2 * pi * k / n
        ring = 0 if n == 1 else r * 0.55
        s.cyl(s.paint("candles"), ring * sin(a), -ring * cos(a), h + 0.03, 0.03, 0.21)
    for k in range(n):
        a = 2 * pi * k / n
        ring = 0 if n == 1 else r * 0.55
        s.ball(s.paint("flames"), ring * sin(a), -ring * cos(a), h + 0.26, 0.03, 0.03, 0.05)


def burger(s: Sketch) -> None:
    r = s.width(0.44, 0.48)
    s.cyl(s.main, 0, 0, 0, r * 0.96, 0.16, soft=0.4)
    s.cyl(s.paint("lettuce"), 0, 0, 0.13, r * 1.04, 0.06, soft=0.3)
    s.cyl(s.paint("patty"), 0, 0, 0.17, r, 0.12, soft=0.4)
    s.box(s.paint("cheese"), 0, 0, 0.275, r * 1.52, r * 1.52, 0.04)
    top = s.height(0.26, 0.34)
    s.part(s.main, (0, 0, 0.29 + top / 2), (r, r, top / 2), (0.6, 1.0), 0.35)
    for k in range(5):
        a = 2 * pi * k / 4 + 0.5
        ring = 0 if k == 4 else r * 0.38
        s.ball(
            s.paint("seeds"), ring * sin(a), -ring * cos(a), 0.29 + top * (1.0 if k == 4 else 0.96), 0.035, 0.03, 0.025
        )


def sundae(s: Sketch) -> None:
    r, h = s.width(0.24, 0.28), s.height(0.27, 0.33)
    s.cyl(s.paint("cup"), 0, 0, 0, 0.2, 0.05, 0.2)
    s.cyl(s.paint("cup"), 0, 0, 0.03, r, h, -0.55)
    n = s.number("scoops", 1, 3)
    z = h + 0.08
    s.ball(s.main, 0, 0, z, r * 1.02, r * 1.02, r * 0.82)
    if n > 1:
        s.ball(s.main, 0, 0, z + r * 0.85, r * 0.78, r * 0.78, r * 0.7)
    if n > 2:
        s.ball(s.main, 0, 0, z + r * 1.6, r * 0.62, r * 0.62, r * 0.58)
    top = z + (0.8, 1.55, 2.18)[n - 1] * r
    s.ball(s.paint("cherry"), 0, 0, top + 0.02, 0.06)
    s.rod(s.paint("wafer"), (r * 0.4, 0.05, h), (r * 0.95, 0.05, top + 0.02), 0.035)


def doughnut(s: Sketch) -> None:
    r = s.width(0.44, 0.48)
    s.part(s.main, (0, 0, 0.13), (r, r, 0.13), (0.6, 1.0))
    s.part(s.paint("icing"), (0, 0, 0.2), (r * 0.93, r * 0.93, 0.09), (0.6, 1.0))
    s.cyl(s.paint("hole"), 0, 0, 0.02, r * 0.26, 0.275)


def gift(s: Sketch) -> None:
    w, d, h = s.width(0.62, 0.78), s.width(0.62, 0.78), s.height(0.52, 0.66)
    s.box(s.main, 0, 0, 0, w, d, h)
    s.box(s.paint("ribbon"), 0, 0, 0.0, w + 0.03, 0.1, h + 0.015)
    s.box(s.paint("ribbon"), 0, 0, 0.0, 0.1, d + 0.03, h + 0.015)
    if s.plain:
        s.top = (0, 0, h + 0.012, w * 0.4, d * 0.4)
        return
    for side in SIDES:
        s.ball(s.paint("ribbon"), side * 0.12, 0, h + 0.065, 0.13, 0.06, 0.065)
    s.ball(s.paint("ribbon"), 0, 0, h + 0.05, 0.055)


def barrel(s: Sketch) -> None:
    r, h = s.width(0.3, 0.36), s.height(0.8, 0.94)
    s.cyl(s.main, 0, 0, 0, r * 0.88, h)
    s.part(s.main, (0, 0, h / 2), (r, r, h * 0.47), (0.45, 1.0))
    for z in (0.16, 0.72):
        s.cyl(s.paint("hoops"), 0, 0, h * z, r * 1.01, h * 0.08)
    s.cyl(s.paint("lid"), 0, 0, h - 0.03, r * 0.72, 0.045)
    s.top = (0, 0, h + 0.012, r * 0.6, r * 0.6)


def crate(s: Sketch) -> None:
    w, h = s.width(0.72, 0.8), s.height(0.56, 0.68)
    s.box(s.main, 0, 0, 0.02, w, w, h - 0.01, soft=0.1)
    for z in (0, h - 0.1):
        s.box(s.paint("frame"), 0, 0, z, w + 0.06, w + 0.06, 0.09, soft=0.1)
    for sx, sy in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        s.box(s.paint("frame"), sx * (w / 2 - 0.02), sy * (w / 2 - 0.02), 0.03, 0.1, 0.1, h - 0.07, soft=0.1)
    s.top = (0, 0, h + 0.01, w * 0.38, w * 0.38)
    if s.open:
        s.box(s.paint("inside"), 0, 0, h - 0.04, w - 0.06, w - 0.06, 0.06, soft=0.1)
    s.cavity = (0, 0, h, w * 0.46, w * 0.46, 0)


def basket(s: Sketch) -> None:
    r, h = s.width(0.36, 0.42), s.height(0.36, 0.46)
    s.cyl(s.main, 0, 0, 0, r, h, -0.25)
    for z in (0.22, 0.56):
        s.cyl(s.paint("bands"), 0, 0, h * z, r * (0.78 + 0.25 * z), h * 0.1, -0.03)
    s.cyl(s.paint("rim"), 0, 0, h - 0.04, r * 1.05, 0.07, soft=0.4)
    s.cyl(s.paint("inside"), 0, 0, h - 0.02, r * 0.9, 0.06)
    top = h + s.u(0.3, 0.38)
    for side in SIDES:
        s.rod(s.paint("handle"), (side * r, 0, h - 0.02), (side * r * 0.6, 0, top - 0.04), 0.03, soft=0.4)
    s.rod(s.paint("handle"), (-r * 0.64, 0, top - 0.05), (r * 0.64, 0, top - 0.05), 0.035, soft=0.4)
    s.cavity = (0, 0, h + 0.03, r * 0.85, r * 0.85, 0)


def bowl(s: Sketch) -> None:
    r, h = s.width(0.44, 0.5), s.height(0.3, 0.38)
    s.cyl(s.paint("foot"), 0, 0, 0, r * 0.5, 0.06)
    s.cyl(s.main, 0, 0, 0.03, r, h, -0.5, soft=0.2)
    s.cyl(s.paint("rim"), 0, 0, h - 0.02, r * 1.03, 0.06, soft=0.4)
    s.cyl(s.paint("inside"), 0, 0, h, r * 0.9, 0.05)
    s.cavity = (0, 0, h + 0.04, r * 0.7, r * 0.7, 0)


def candle(s: Sketch) -> None:
    r, h = s.width(0.13, 0.17), s.height(0.52, 0.62)
    s.cyl(s.paint("holder"), 0, 0, 0, r * 1.8, 0.06, 0.2)
    s.cyl(s.main, 0, 0, 0.03, r, h)
    s.rod(s.paint("holder"), (r * 1.5, 0, 0.05), (r * 1.5 + 0.15, 0, 0.05), 0.04, soft=0.4)
    s.cyl(s.paint("wick"), 0, 0, h, 0.016, 0.1)
    s.ball(s.paint("flame"), 0, 0, h + 0.15, 0.055, 0.055, 0.11, 0.3)


def hammer(s: Sketch) -> None:
    l, head = s.length(0.9, 1.02), s.width(0.36, 0.44)
    s.box(s.paint("handle"), 0.08, 0, 0, l, 0.085, 0.08, soft=SOFT)
    s.box(s.main, 0.08 - l / 2, 0, 0, 0.22, head, 0.2)
    s.rod(
        s.main, (0.08 - l / 2, -head / 2 + 0.03, 0.1), (0.08 - l / 2, -head / 2 - 0.09, 0.1), 0.1, soft=0.2, round_=0.5
    )
    s.box(s.main, 0.08 - l / 2, head / 2 + 0.02, 0.06, 0.16, 0.14, 0.1, soft=0.3)
    s.box(s.paint("grip"), 0.08 + l * 0.34, 0, 0, l * 0.34, 0.11, 0.105, soft=SOFT)


def axe(s: Sketch) -> None:
    l = s.length(0.92, 1.02)
    s.box(s.paint("handle"), 0, 0, 0, l, 0.085, 0.08, soft=SOFT)
    x = -l * 0.36
    s.box(s.main, x, -0.02, 0, 0.2, 0.22, 0.13)
    # The blade is a tapered block lying on its side: wide at the cutting edge.
    s.rod(s.main, (x, -0.38, 0.06), (x, -0.08, 0.06), 0.26, 0.45, soft=0.2, round_=0.14, ry=0.06)


def sword(s: Sketch) -> None:
    l, w = s.length(0.62, 0.7), s.width(0.15, 0.19)
    s.box(s.main, -l / 2 + 0.02, 0, 0, l, w, 0.055, soft=0.2)
    s.rod(s.main, (-l + 0.05, 0, 0.0275), (-l - 0.15, 0, 0.0275), 0.0275, 0.9, soft=0.1, round_=0.2, ry=w / 2)
    s.box(s.paint("guard"), 0.03, 0, 0, 0.075, w + 0.24, 0.09)
    s.box(s.paint("handle"), 0.14, 0, 0, 0.22, 0.075, 0.075, soft=SOFT)
    s.cyl(s.paint("guard"), 0.27, 0, 0, 0.065, 0.09)


def shield(s: Sketch) -> None:
    r = s.width(0.42, 0.48)
    s.part(s.main, (0, 0, 0.06), (r, r, 0.06), (0.3, 1.0), 0.2)
    s.cyl(s.paint("boss"), 0, 0, 0.1, r * 0.3, 0.09, 0.3)
    s.box(s.paint("cross"), 0, 0, 0.1, r * 1.5, 0.12, 0.045)
    s.box(s.paint("cross"), 0, 0, 0.1, 0.12, r * 1.5, 0.045)


def pencil(s: Sketch) -> None:
    l, r = s.length(0.62, 0.7), s.width(0.06, 0.075)
    s.rod(s.main, (-l / 2, 0, r), (l / 2, 0, r), r, round_=0.35)
    s.rod(s.paint("tip"), (l / 2 - 0.02, 0, r), (l / 2 + 0.17, 0, r), r, 0.85, round_=0.5)
    s.rod(s.paint("lead"), (l / 2 + 0.1, 0, r), (l / 2 + 0.2, 0, r), r * 0.45, 0.9)
    s.rod(s.paint("band"), (-l / 2 - 0.05, 0, r), (-l / 2 + 0.02, 0, r), r, round_=0.35)
    s.rod(s.paint("eraser"), (-l / 2 - 0.13, 0, r), (-l / 2 - 0.03, 0, r), r * 0.96, round_=0.4, soft=SOFT)


def dumbbell(s: Sketch) -> None:
    l, r = s.length(0.5, 0.6), s.width(0.19, 0.24)
    s.rod(s.paint("handle"), (-l / 2, 0, r), (l / 2, 0, r), 0.055)
    for side in SIDES:
        x = side * (l / 2 + 0.02)
        s.part(s.main, (x, 0, r), (0.11, r, r), (0.4, 0.4))
    for side in SIDES:
        x = side * (l / 2 + 0.15)
        s.part(s.main, (x, 0, r), (0.06, r * 0.78, r * 0.78), (0.4, 0.4))


def guitar(s: Sketch) -> None:
    w, h = s.width(0.2, 0.23), s.height(0.9, 1.0)
    s.box(s.paint("stand"), 0, 0.02, 0, 0.4, 0.32, 0.045)
    s.disc(s.main, 0, 0, w + 0.02, w, 0.12)
    s.disc(s.main, 0, 0, w * 2.25, w * 0.76, 0.12)
    s.box(s.paint("neck"), 0, -0.045, w * 1.8, 0.065, 0.06, h - w * 1.8)
    s.box(s.paint("head"), 0, -0.035, h - 0.05, 0.11, 0.06, 0.15)
    s.disc(s.paint("hole"), 0, -0.05, w * 1.75, 0.075, 0.05)
    s.box(s.paint("bridge"), 0, -0.055, w * 0.85, 0.17, 0.045, 0.04)
    s.box(s.paint("stand"), 0, 0.09, 0.03, 0.07, 0.06, w * 1.6)


def trophy(s: Sketch) -> None:
    r, h = s.width(0.21, 0.26), s.height(0.36, 0.44)
    s.box(s.paint("base"), 0, 0, 0, 0.36, 0.36, 0.14)
    s.cyl(s.main, 0, 0, 0.12, 0.14, 0.07, 0.4)
    s.cyl(s.main, 0, 0, 0.15, 0.055, 0.2)
    s.part(s.main, (0, 0, 0.31 + h / 2), (r, r, h / 2), (0.3, 1.0), -0.45)
    for side in SIDES:
        s.rod(s.main, (side * r * 0.8, 0, 0.28 + h * 0.85), (side * (r + 0.1), 0, 0.28 + h * 0.85), 0.03, soft=0.4)
        s.rod(s.main, (side * (r + 0.09), 0, 0.29 + h * 0.9), (side * r * 0.6, 0, 0.3 + h * 0.3), 0.03, soft=0.4)
    if s.has("star", 0.4):
        s.ball(s.paint("star"), 0, -r * 0.82, 0.3 + h * 0.65, 0.07, 0.07, 0.07)


def parasol(s: Sketch) -> None:
    r, h = s.width(0.44, 0.5), s.height(0.82, 0.95)
    s.cyl(s.paint("base"), 0, 0, 0, 0.26, 0.09, 0.15)
    s.cyl(s.paint("pole"), 0, 0, 0.06, 0.03, h - 0.1)
    s.cyl(s.main, 0, 0, h - 0.24, r, 0.24, 0.93, soft=0.1)
    s.ball(s.paint("pole"), 0, 0, h + 0.01, 0.04)


def traffic_cone(s: Sketch) -> None:
    r, h = s.width(0.26, 0.31), s.height(0.74, 0.88)
    s.box(s.paint("base"), 0, 0, 0, r * 2.35, r * 2.35, 0.06)
    s.cyl(s.main, 0, 0, 0.05, r, h, 0.8)
    for z in (0.26, 0.56):
        s.cyl(s.paint("stripes"), 0, 0, 0.05 + z * h, r * (1.03 - 0.8 * z), h * 0.115, 0.12)


def book(s: Sketch) -> None:
    w, d, h = s.width(0.62, 0.7), 0.9, s.height(0.16, 0.24)
    s.box(s.main, 0, 0, 0, w, d, 0.05)
    s.box(s.paint("pages"), 0.015, 0, 0.03, w - 0.06, d - 0.06, h - 0.06)
    s.box(s.main, 0, 0, h - 0.05, w, d, 0.05)
    s.box(s.main, -w / 2 + 0.025, 0, 0.01, 0.05, d, h - 0.02)
    s.box(s.paint("label"), 0.03, -0.12, h - 0.02, w * 0.55, 0.24, 0.035)
    s.top = (0, 0, h + 0.01, w * 0.36, d * 0.36)


def drum(s: Sketch) -> None:
    r, h = s.width(0.38, 0.43), s.height(0.52, 0.64)
    s.cyl(s.main, 0, 0, 0.02, r, h - 0.04)
    s.cyl(s.paint("rims"), 0, 0, 0, r * 1.05, 0.06)
    s.cyl(s.paint("rims"), 0, 0, h - 0.06, r * 1.05, 0.06)
    s.cyl(s.paint("skin"), 0, 0, h - 0.04, r * 0.93, 0.055)
    s.rod(s.paint("sticks"), (-0.28, -0.22, h + 0.03), (0.22, 0.1, h + 0.03), 0.028)
    s.rod(s.paint("sticks"), (0.28, -0.22, h + 0.04), (-0.22, 0.1, h + 0.04), 0.028)


def hourglass(s: Sketch) -> None:
    r, h = s.width(0.27, 0.31), s.height(0.86, 0.96)
    for z in (0, h - 0.08):
        s.cyl(s.main, 0, 0, z, r * 1.12, 0.08)
    for k in range(3):
        a = 2 * pi * k / 3 + pi
        s.cyl(s.main, r * 0.92 * sin(a), -r * 0.92 * cos(a), 0.04, 0.04, h - 0.08)
    s.cyl(s.paint("glass"), 0, 0, 0.06, r * 0.74, h / 2 - 0.04, 0.85)
    s.cyl(s.paint("sand"), 0, 0, h / 2 - 0.02, r * 0.74, h / 2 - 0.04, -0.85)


def pawn(s: Sketch) -> None:
    r, h = s.width(0.29, 0.34), s.height(0.52, 0.6)
    s.cyl(s.main, 0, 0, 0, r, 0.12, soft=0.3)
    s.cyl(s.main, 0, 0, 0.1, r * 0.78, 0.08, 0.2)
    s.cyl(s.main, 0, 0, 0.15, r * 0.6, h - 0.1, 0.45)
    s.cyl(s.main, 0, 0, h + 0.02, r * 0.6, 0.06, soft=0.3)
    s.ball(s.main, 0, 0, h + 0.06 + r * 0.52, r * 0.6)


def top_hat(s: Sketch) -> None:
    r, h = s.width(0.28, 0.32), s.height(0.5, 0.6)
    s.cyl(s.main, 0, 0, 0, r * 1.6, 0.06, soft=0.3)
    s.cyl(s.main, 0, 0, 0.03, r, h, -0.12)
    s.cyl(s.paint("band"), 0, 0, 0.05, r * 0.96, 0.12, -0.04)
    s.opening = r * 0.88


def bowler(s: Sketch) -> None:
    r, h = s.width(0.3, 0.34), s.height(0.4, 0.46)
    s.cyl(s.main, 0, 0, 0, r * 1.55, 0.06, soft=0.4)
    s.part(s.main, (0, 0, h / 2 + 0.01), (r, r, h / 2), (0.55, 1.0))
    s.cyl(s.paint("band"), 0, 0, 0.05, r * 1.02, 0.1)
    s.opening = r * 0.9


def cowboy_hat(s: Sketch) -> None:
    r, h = s.width(0.25, 0.29), s.height(0.34, 0.4)
    s.cyl(s.main, 0, 0, 0, r * 1.75, 0.05, soft=0.4, ry=r * 1.95)
    for side in SIDES:
        s.part(s.main, (side * r * 1.62, 0, 0.085), (0.05, r * 1.5, 0.085), (0.6, 0.8))
    s.part(s.main, (0, 0, h / 2), (r, r * 1.1, h / 2), (0.4, 0.8), 0.25)
    for side in SIDES:
        s.ball(s.main, side * r * 0.4, 0, h - 0.01, r * 0.32, r * 0.75, 0.075)
    s.cyl(s.paint("band"), 0, 0, 0.04, r * 1.03, 0.09, ry=r * 1.13)
    s.opening = r * 0.92


def party_hat(s: Sketch) -> None:
    r, h = s.width(0.28, 0.34), s.height(0.7, 0.82)
    s.cone(s.main, 0, 0, 0, r, h)
    for z in (0.12, 0.42):
        s.cyl(s.paint("bands"), 0, 0, z * h, r * (1.04 - 0.97 * z), h * 0.1, 0.12)
    s.ball(s.paint("pompom"), 0, 0, h + 0.02, 0.085)
    s.opening = r * 0.95


def crown(s: Sketch) -> None:
    r, h = s.width(0.42, 0.46), s.height(0.26, 0.32)
    s.cyl(s.main, 0, 0, 0, r, h)
    s.cyl(s.paint("lining"), 0, 0, h - 0.05, r * 0.8, 0.065)
    s.opening = r * 0.95
    n = s.number("points", 5, 7)
    for k in range(n):
        a = 2 * pi * k / n
        s.cone(s.main, r * 0.86 * sin(a), -r * 0.86 * cos(a), h - 0.03, 0.1, 0.27)
    for k in range(n):
        a = 2 * pi * k / n
        s.ball(s.paint("jewels"), r * 0.99 * sin(a), -r * 0.99 * cos(a), h * 0.48, 0.05)


def bell(s: Sketch) -> None:
    r, h = s.width(0.38, 0.44), s.height(0.56, 0.66)
    s.cyl(s.main, 0, 0, 0, r, 0.1, 0.12)
    s.part(s.main, (0, 0, 0.06 + h / 2), (r * 0.84, r * 0.84, h / 2), (0.45, 1.0), 0.45)
    s.cyl(s.paint("handle"), 0, 0, h + 0.02, 0.05, 0.14)
    s.ball(s.paint("handle"), 0, 0, h + 0.19, 0.075)


def camera(s: Sketch) -> None:
    w, h = s.width(0.8, 0.92), s.height(0.46, 0.54)
    s.box(s.main, 0, 0, 0, w, 0.3, h, soft=0.2)
    s.box(s.main, 0, 0, h - 0.03, w * 0.34, 0.24, 0.13, 0.25)
    s.disc(s.paint("lens"), 0, -0.24, h * 0.48, h * 0.36, 0.26)
    s.disc(s.paint("glass"), 0, -0.36, h * 0.48, h * 0.25, 0.06)
    s.cyl(s.paint("button"), w * 0.33, 0, h - 0.03, 0.06, 0.08)
    s.box(s.paint("flash"), -w * 0.32, -0.15, h * 0.72, 0.14, 0.04, 0.09)


def mailbox(s: Sketch) -> None:
    h = s.height(0.52, 0.6)
    s.box(s.paint("ground"), 0, 0.02, 0, 0.44, 0.44, 0.06)
    s.box(s.paint("post"), 0, 0.02, 0.03, 0.1, 0.1, h)
    s.box(s.main, 0, 0, h, 0.32, 0.58, 0.22)
    s.rod(s.main, (0, 0.29, h + 0.21), (0, -0.29, h + 0.21), 0.158)
    s.box(s.paint("flag"), 0.165, -0.1, h + 0.18, 0.04, 0.045, 0.25)
    s.box(s.paint("flag"), 0.165, -0.05, h + 0.36, 0.04, 0.15, 0.09)
    s.disc(s.paint("door"), 0, -0.285, h + 0.19, 0.12, 0.04)


def ladder(s: Sketch) -> None:
    h, spread = s.height(0.92, 1.02), s.width(0.24, 0.3)
    for x, y in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        s.rod(s.main, (x * 0.2, y * spread, 0), (x * 0.15, y * 0.03, h), 0.032, round_=0.14)
    s.box(s.main, 0, 0, h - 0.03, 0.38, 0.16, 0.05)
    n = s.number("steps", 3, 4)
    for k in range(n):
        t = (k + 1) / (n + 1)
        y = spread * (1 - t) + 0.03 * t
        s.box(s.paint("steps"), 0, -y, h * t - 0.02, 0.4 - 0.08 * t, 0.11, 0.04)


def boot(s: Sketch) -> None:
    h = s.height(0.56, 0.68)
    s.box(s.paint("sole"), 0, 0, 0, 0.36, 0.92, 0.08, soft=0.3)
    s.pebble(s.main, 0, -0.03, 0.19, 0.17, 0.42, 0.16, soft=0.4)
    s.cyl(s.main, 0, 0.2, 0.12, 0.175, h, ry=0.22)
    s.cyl(s.paint("trim"), 0, 0.2, h + 0.05, 0.195, 0.11, ry=0.24)
    for k in range(3):
        s.box(s.paint("laces"), 0, -0.025, 0.32 + 0.1 * k, 0.16, 0.06, 0.035)


def lantern(s: Sketch) -> None:
    w, h = s.width(0.36, 0.42), s.height(0.46, 0.54)
    s.box(s.main, 0, 0, 0, w + 0.08, w + 0.08, 0.08)
    s.box(s.paint("glass"), 0, 0, 0.05, w - 0.06, w - 0.06, h)
    for x, y in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        s.box(s.main, x * w * 0.44, y * w * 0.44, 0.05, 0.065, 0.065, h)
    s.pyramid(s.main, 0, 0, h + 0.02, w + 0.13, w + 0.13, 0.2, 0.75)
    for side in SIDES:
        s.rod(s.paint("handle"), (side * 0.05, 0, h + 0.17), (side * 0.1, 0, h + 0.33), 0.022)
    s.rod(s.paint("handle"), (-0.11, 0, h + 0.33), (0.11, 0, h + 0.33), 0.026)


THINGS = {
    "mug": Category(
        mug,
        "mug, cup, teacup, coffee mug",
        "white blue red green",
        roles={"handle": "main main white", "coffee": "chocolate/black"},
        accents={"inside": INSIDE},
        sizes="height width",
        materials="ceramic",
    ),
    "bottle": Category(
        bottle,
        "bottle, wine bottle, flask",
        "green forest_green brown blue",
        roles={"cap": "red golden black/white", "label": "white cream/red"},
        sizes="height width",
        materials="plastic",
    ),
    "wine glass": Category(
        wine_glass,
        "wine glass, goblet, chalice",
        "silver aqua golden",
        roles={"wine": "maroon ruby/golden"},
        sizes="height width",
    ),
    "teapot": Category(
        teapot,
        "teapot, tea pot, tea kettle, kettle",
        "white blue red green",
        roles={"handle": "main black brown", "lid": "main white black"},
        sizes="width height",
        materials="ceramic metal",
    ),
    "bucket": Category(
        bucket,
        "bucket, pail, water bucket",
        "blue red gray yellow",
        roles={"handle": "gray black brown", "rim": "main white gray"},
        accents={"water": "azure/aqua", "inside": INSIDE},
        sizes="height width",
        materials="metal plastic wooden",
    ),
    "cake": Category(
        cake,
        "cake, birthday cake, cream cake, layer cake",
        "pink white brown chocolate",
        roles={"candles": "red blue yellow green", "icing": "white cream pink/red"},
        accents={"plate": "white silver/gray", "flames": "orange/yellow"},
        counts={"candles": (1, 5)},
        sizes="height width",
    ),
    "burger": Category(
        burger,
        "burger, hamburger, cheeseburger",
        "tan brown orange",
        roles={"lettuce": "lime green/emerald", "cheese": "yellow/orange"},
        accents={"patty": "chocolate/brown", "seeds": "cream/white"},
        sizes="height",
    ),
    "ice cream": Category(
        sundae,
        "ice cream, ice cream cup, sundae, gelato",
        "pink cream brown mint",
        roles={"cup": "silver cyan white", "cherry": "red/yellow"},
        accents={"wafer": "tan/brown"},
        counts={"scoops": (1, 3)},
        sizes="width",
    ),
    "doughnut": Category(
        doughnut,
        "doughnut, donut",
        "tan brown",
        roles={"icing": "pink chocolate white"},
        accents={"hole": "chocolate black/cream"},
        sizes="width",
    ),
    "gift box": Category(
        gift,
        "gift box, present, gift, wrapped present",
        "red blue green purple",
        roles={"ribbon": "golden white red/pink"},
        sizes="height width",
    ),
    "barrel": Category(
        barrel,
        "barrel, cask, keg, oil drum",
        "brown tan",
        roles={"hoops": "gray charcoal/golden"},
        accents={"lid": "tan chestnut"},
        sizes="height width",
        materials="wooden metal",
    ),
    "crate": Category(
        crate,
        "crate, packing crate, shipping crate",
        "tan brown",
        roles={"frame": "chestnut brown/tan"},
        accents={"inside": INSIDE},
        sizes="height width",
        materials="wooden",
    ),
    "basket": Category(
        basket,
        "basket, wicker basket, picnic basket",
        "tan beige brown",
        roles={"handle": "brown chestnut", "bands": "brown chestnut/tan"},
        accents={"inside": INSIDE, "rim": "main"},
        sizes="height width",
    ),
    "bowl": Category(
        bowl,
        "bowl, soup bowl, salad bowl, dish",
        "white blue cyan",
        roles={"rim": "main white blue"},
        accents={"inside": "charcoal chocolate/cream", "foot": "main"},
        sizes="height width",
        materials="ceramic wooden metal",
    ),
    "candle": Category(
        candle,
        "candle, wax candle, candlestick",
        "white cream red",
        roles={"holder": "golden gray brown"},
        accents={"flame": "amber/yellow", "wick": "black/white"},
        sizes="height width",
    ),
    "hammer": Category(
        hammer,
        "hammer, mallet, sledgehammer",
        "gray charcoal silver black",
        roles={"handle": "tan brown", "grip": "black red blue"},
        sizes="length width",
        materials="metal",
    ),
    "axe": Category(
        axe,
        "axe, hatchet, tomahawk",
        "gray silver red",
        roles={"handle": "tan brown"},
        sizes="length",
        materials="metal steel stone",
    ),
    "sword": Category(
        sword,
        "sword, blade, knight's sword, longsword",
        "silver gray",
        roles={"guard": "golden brown black", "handle": "brown black red"},
        sizes="length width",
        materials="metal steel wooden",
    ),
    "shield": Category(
        shield,
        "shield, round shield, buckler",
        "red blue brown",
        roles={"cross": "golden white/gray", "boss": "golden gray/white"},
        sizes="width",
        materials="wooden metal",
    ),
    "pencil": Category(
        pencil,
        "pencil, crayon, drawing pencil",
        "yellow red blue green",
        roles={"eraser": "pink/white"},
        accents={"tip": "cream/tan", "lead": "black/gray", "band": "silver/golden"},
        sizes="length width",
    ),
    "dumbbell": Category(
        dumbbell,
        "dumbbell, hand weight, gym weight",
        "charcoal black gray red",
        roles={"handle": "silver black"},
        sizes="length width",
        materials="metal",
    ),
    "guitar": Category(
        guitar,
        "guitar, acoustic guitar, electric guitar",
        "tan brown red orange",
        roles={"neck": "chocolate brown/cream", "stand": "black gray"},
        accents={"hole": "black/white", "bridge": "chocolate/cream", "head": "chocolate/black"},
        sizes="height width",
        materials="wooden",
    ),
    "trophy": Category(
        trophy,
        "trophy, winner's cup, award, prize cup",
        "golden silver",
        roles={"base": "black brown"},
        accents={"star": "red white"},
        details="star",
        sizes="height width",
        materials="metal brass",
    ),
    "parasol": Category(
        parasol,
        "parasol, beach umbrella, umbrella, sunshade",
        "red yellow blue green",
        roles={"pole": "white brown gray", "base": "gray charcoal white"},
        sizes="height width",
    ),
    "traffic cone": Category(
        traffic_cone,
        "traffic cone, road cone, pylon, safety cone",
        "orange",
        roles={"stripes": "white/yellow", "base": "main main black"},
        sizes="height width",
        materials="plastic",
    ),
    "book": Category(
        book,
        "book, hardcover book, novel",
        "red blue green brown",
        roles={"pages": "cream white/beige", "label": "golden white/black"},
        sizes="height width",
    ),
    "drum": Category(
        drum,
        "drum, snare drum, tom-tom",
        "red blue black",
        roles={"rims": "golden silver white", "skin": "cream white/tan", "sticks": "tan brown"},
        sizes="height width",
    ),
    "hourglass": Category(
        hourglass,
        "hourglass, sand timer, egg timer",
        "brown chestnut black",
        roles={"sand": "golden beige/orange"},
        accents={"glass": "aqua/white"},
        sizes="height width",
        materials="wooden",
    ),
    "chess pawn": Category(
        pawn,
        "chess pawn, pawn, chess piece, game piece",
        "white black cream brown",
        sizes="height width",
        materials="wooden marble stone plastic",
    ),
    "top hat": Category(
        top_hat,
        "top hat, magician's hat",
        "black charcoal",
        roles={"band": "red white purple"},
        sizes="height width",
    ),
    "hat": Category(
        bowler,
        "hat, bowler hat, bowler, felt hat",
        "brown gray black tan",
        roles={"band": "black white red/tan"},
        sizes="height",
    ),
    "cowboy hat": Category(
        cowboy_hat,
        "cowboy hat, stetson, western hat",
        "brown tan chestnut",
        roles={"band": "black white red/tan"},
        sizes="height",
    ),
    "party hat": Category(
        party_hat,
        "party hat, birthday hat",
        "pink cyan yellow purple",
        roles={"bands": "white yellow blue/red", "pompom": "white yellow red"},
        sizes="height width",
    ),
    "crown": Category(
        crown,
        "crown, king's crown, royal crown, tiara",
        "golden silver",
        roles={"jewels": "red blue green"},
        accents={"lining": "maroon purple"},
        sizes="height",
        materials="brass",
    ),
    "bell": Category(
        bell,
        "bell, hand bell, church bell",
        "golden silver",
        roles={"handle": "brown black"},
        sizes="height width",
        materials="brass metal",
    ),
    "camera": Category(
        camera,
        "camera, photo camera, film camera",
        "black charcoal silver",
        roles={"lens": "gray black/white"},
        accents={"glass": "navy azure/cyan", "button": "red/white", "flash": "white/yellow"},
        sizes="width",
    ),
    "mailbox": Category(
        mailbox,
        "mailbox, letter box, post box",
        "red blue silver",
        roles={"flag": "red yellow", "post": "brown white gray"},
        accents={"ground": "green/olive", "door": "gray white"},
        sizes="height",
    ),
    "ladder": Category(
        ladder,
        "ladder, stepladder, step ladder",
        "silver tan brown",
        roles={"steps": "main gray brown yellow"},
        counts={"steps": (3, 4)},
        sizes="height width",
        materials="wooden metal",
    ),
    "boot": Category(
        boot,
        "boot, shoe, hiking boot",
        "brown black tan",
        roles={"sole": "black chocolate/tan", "trim": "main beige white", "laces": "cream white/black"},
        sizes="height",
    ),
    "lantern": Category(
        lantern,
        "lantern, oil lantern, storm lantern",
        "black charcoal golden brown",
        roles={"glass": "yellow amber/white"},
        accents={"handle": "gray black"},
        sizes="height width",
        materials="metal brass",
    ),
}
