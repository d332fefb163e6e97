"""Animals and creatures; all face -y and stand with their legs well apart."""

from __future__ import annotations

from rl3d.corpus.categories.category import Category
from rl3d.corpus.shapes import SIDES, SOFT, Number, Sketch

EYES = "black/yellow"


def quadruped(s: Sketch, w: Number, l: Number, h: Number, leg: Number, size: Number) -> tuple[float, float]:
    """A body of half-sizes (w, l, h) on four legs; returns the height of its centre and the y of
    its chest."""
    z = leg + h * 0.85
    s.pebble(s.main, 0, 0, z, w, l, h)
    s.legs(s.paint("legs"), w * 0.62, l * 0.68, size, z, round_=True)
    return z, -l


def eyes(s: Sketch, x: Number, y: Number, z: Number, r: Number = 0.028) -> None:
    s.pair(s.ball, s.paint("eyes"), x, y, z, r)


def dog(s: Sketch) -> None:
    z, y = quadruped(s, s.width(0.15, 0.18), s.length(0.3, 0.36), 0.15, s.height(0.2, 0.28), 0.11)
    hz = z + 0.2
    s.pebble(s.main, 0, y - 0.06, hz, 0.145, 0.14, 0.14)
    s.head = (0, y - 0.06, hz + 0.105, 0.12)
    s.pebble(s.paint("snout"), 0, y - 0.21, hz - 0.05, 0.075, 0.1, 0.065)
    s.ball(s.paint("nose"), 0, y - 0.305, hz - 0.02, 0.034)
    s.pair(s.ball, s.paint("ears"), 0.15, y - 0.05, hz - 0.0, 0.045, 0.075, 0.13)
    eyes(s, 0.065, y - 0.185, hz + 0.055)
    s.rod(s.paint("tail"), (0, -y - 0.05, z + 0.04), (0, -y + 0.1, z + 0.22), 0.04, 0.4)
    if s.has("collar", 0.35):
        s.cyl(s.paint("collar"), 0, y + 0.0, hz - 0.15, 0.125, 0.06)


def cat(s: Sketch) -> None:
    z, y = quadruped(s, s.width(0.13, 0.155), s.length(0.26, 0.31), 0.135, s.height(0.16, 0.22), 0.09)
    hz = z + 0.19
    s.ball(s.main, 0, y - 0.03, hz, 0.17, 0.145, 0.15)
    s.head = (0, y - 0.03, hz + 0.095, 0.11)
    for side in SIDES:
        s.cone(s.paint("ears"), side * 0.1, y - 0.03, hz + 0.07, 0.062, 0.16)
    eyes(s, 0.065, y - 0.15, hz + 0.045, 0.032)
    s.ball(s.paint("nose"), 0, y - 0.17, hz - 0.02, 0.026)
    s.rod(s.paint("tail"), (0, -y - 0.05, z + 0.05), (0, -y + 0.1, z + 0.15), 0.038)
    s.rod(s.paint("tail"), (0, -y + 0.09, z + 0.13), (0, -y + 0.11, z + 0.38), 0.038, 0.3)
    if s.has("collar", 0.3):
        s.cyl(s.paint("collar"), 0, y + 0.02, hz - 0.15, 0.115, 0.05)


def giraffe(s: Sketch) -> None:
    z, y = quadruped(s, 0.115, s.length(0.2, 0.24), 0.11, s.height(0.3, 0.36), 0.07)
    top = z + s.height(0.4, 0.48)
    s.rod(s.main, (0, y + 0.09, z), (0, y - 0.04, top), 0.068, 0.25)
    s.pebble(s.main, 0, y - 0.1, top, 0.065, 0.12, 0.065)
    for side in SIDES:
        s.cyl(s.paint("horns"), side * 0.032, y - 0.04, top + 0.04, 0.017, 0.1)
    eyes(s, 0.06, y - 0.11, top + 0.03, 0.024)
    for x, dy, dz in ((-1, -0.08, 0.03), (1, -0.08, 0.03), (-1, 0.08, 0.02), (1, 0.08, 0.02)):
        s.ball(s.paint("spots"), x * 0.102, dy, z + dz, 0.025, 0.055, 0.055)
    s.rod(s.paint("spots"), (0, -y - 0.02, z + 0.02), (0, -y + 0.06, z - 0.13), 0.02)


def elephant(s: Sketch) -> None:
    z, y = quadruped(s, s.width(0.24, 0.28), s.length(0.34, 0.38), 0.24, 0.17, 0.15)
    hz = z + 0.12
    s.pebble(s.main, 0, y - 0.06, hz, 0.18, 0.17, 0.18)
    s.head = (0, y - 0.06, hz + 0.14, 0.13)
    s.pair(s.ball, s.paint("ears"), 0.24, y - 0.02, hz + 0.02, 0.13, 0.04, 0.17)
    s.rod(s.main, (0, y - 0.17, hz), (0, y - 0.28, 0.2), 0.065, 0.25)
    s.rod(s.main, (0, y - 0.275, 0.23), (0, y - 0.34, 0.14), 0.048)
    for side in SIDES:
        s.rod(s.paint("tusks"), (side * 0.1, y - 0.18, hz - 0.1), (side * 0.11, y - 0.32, hz - 0.14), 0.026, 0.6)
    eyes(s, 0.11, y - 0.2, hz + 0.06)
    s.rod(s.main, (0, -y - 0.03, z + 0.05), (0, -y + 0.06, z - 0.16), 0.024)


def horse(s: Sketch) -> None:
    z, y = quadruped(s, s.width(0.125, 0.15), s.length(0.29, 0.33), 0.13, s.height(0.3, 0.36), 0.085)
    s.rod(s.main, (0, y + 0.08, z), (0, y - 0.1, z + 0.3), 0.09, 0.25)
    s.rod(s.main, (0, y - 0.06, z + 0.3), (0, y - 0.27, z + 0.19), 0.078, 0.3, soft=0.5)
    for side in SIDES:
        s.cone(s.main, side * 0.045, y - 0.06, z + 0.33, 0.032, 0.11)
    s.rod(s.paint("mane"), (0, y + 0.14, z + 0.08), (0, y - 0.03, z + 0.36), 0.035, soft=0.4)
    eyes(s, 0.066, y - 0.13, z + 0.29, 0.024)
    s.rod(s.paint("tail"), (0, -y - 0.04, z + 0.08), (0, -y + 0.09, z - 0.2), 0.05, -0.4)


def cow(s: Sketch) -> None:
    z, y = quadruped(s, s.width(0.18, 0.21), s.length(0.34, 0.38), 0.18, s.height(0.2, 0.24), 0.1)
    hz = z + 0.13
    s.pebble(s.main, 0, y - 0.08, hz, 0.12, 0.15, 0.13)
    s.head = (0, y - 0.1, hz + 0.1, 0.09)
    s.pebble(s.paint("snout"), 0, y - 0.22, hz - 0.05, 0.1, 0.055, 0.075)
    for side in SIDES:
        s.rod(s.paint("horns"), (side * 0.07, y - 0.06, hz + 0.1), (side * 0.13, y - 0.08, hz + 0.22), 0.028, 0.5)
    s.pair(s.ball, s.main, 0.15, y - 0.03, hz + 0.05, 0.07, 0.03, 0.04)
    eyes(s, 0.075, y - 0.215, hz + 0.05)
    for x, dy, dz in ((-1, -0.12, 0.04), (1, -0.1, 0.05), (-1, 0.14, 0.0), (1, 0.16, -0.02)):
        s.ball(s.paint("spots"), x * 0.165, dy, z + dz, 0.045, 0.11, 0.1)
    s.rod(s.main, (0, -y - 0.03, z + 0.08), (0, -y + 0.05, z - 0.15), 0.024)


def pig(s: Sketch) -> None:
    z, y = quadruped(s, s.width(0.22, 0.25), s.length(0.33, 0.38), 0.22, s.height(0.09, 0.13), 0.11)
    s.pebble(s.main, 0, y - 0.03, z + 0.06, 0.17, 0.15, 0.16)
    s.head = (0, y - 0.03, z + 0.175, 0.11)
    s.disc(s.paint("snout"), 0, y - 0.19, z + 0.04, 0.08, 0.09)
    for side in SIDES:
        s.cone(s.paint("ears"), side * 0.1, y - 0.04, z + 0.16, 0.07, 0.14)
    eyes(s, 0.085, y - 0.165, z + 0.11, 0.027)
    s.rod(s.main, (0, -y - 0.03, z + 0.08), (0, -y + 0.08, z + 0.15), 0.024)


def sheep(s: Sketch) -> None:
    z, y = quadruped(s, s.width(0.21, 0.24), s.length(0.3, 0.34), 0.21, s.height(0.14, 0.18), 0.085)
    s.ball(s.main, 0, y * 0.45, z + 0.1, 0.2, 0.19, 0.19)
    s.ball(s.main, 0, -y * 0.45, z + 0.09, 0.21, 0.2, 0.19)
    s.pebble(s.paint("face"), 0, y - 0.09, z + 0.1, 0.1, 0.13, 0.11)
    s.ball(s.main, 0, y - 0.05, z + 0.21, 0.11, 0.09, 0.07)
    s.head = (0, y - 0.06, z + 0.245, 0.09)
    s.pair(s.ball, s.paint("face"), 0.13, y - 0.08, z + 0.13, 0.065, 0.03, 0.04)
    eyes(s, 0.05, y - 0.205, z + 0.14, 0.026)


def rabbit(s: Sketch) -> None:
    w = s.width(0.2, 0.24)
    hz = s.height(0.5, 0.56)
    s.part(s.main, (0, 0.05, hz * 0.4 + 0.01), (w, w * 1.15, hz * 0.4), (0.7, 1.0), 0.15)
    s.ball(s.main, 0, -0.08, hz, 0.17, 0.16, 0.155)
    s.head = (0, -0.13, hz + 0.1, 0.1)
    ear = s.height(0.34, 0.42)
    for side in SIDES:
        s.ball(s.main, side * 0.08, -0.04, hz + 0.06 + ear / 2, 0.052, 0.04, ear / 2 + 0.03)
    for side in SIDES:
        s.ball(s.paint("inner ears"), side * 0.08, -0.07, hz + 0.08 + ear / 2, 0.028, 0.025, ear / 2 - 0.05)
    s.pair(s.pebble, s.main, 0.13, -0.06, 0.045, 0.08, 0.25, 0.045, SOFT)
    s.ball(s.paint("tail"), 0, 0.05 + w * 1.15, 0.17, 0.08)
    eyes(s, 0.07, -0.215, hz + 0.04, 0.028)
    s.ball(s.paint("nose"), 0, -0.24, hz - 0.03, 0.026)


def bear(s: Sketch) -> None:
    w, h = s.width(0.22, 0.26), s.height(0.4, 0.46)
    s.part(s.main, (0, 0, h / 2), (w, w * 0.85, h / 2 + 0.0), (0.6, 1.0), 0.15)
    hz = h + 0.13
    s.ball(s.main, 0, -0.02, hz, 0.2, 0.18, 0.18)
    s.head = (0, -0.03, hz + 0.125, 0.125)
    s.pair(s.ball, s.main, 0.15, -0.01, hz + 0.14, 0.075, 0.05, 0.075)
    for side in SIDES:
        s.rod(s.main, (side * w * 0.7, -0.02, h * 0.78), (side * (w + 0.1), -0.14, h * 0.4), 0.075, soft=0.5)
    for side in SIDES:
        s.rod(s.main, (side * w * 0.6, 0, 0.09), (side * w * 0.8, -0.36, 0.09), 0.09, soft=0.4)
    s.ball(s.paint("belly"), 0, -w * 0.64, h * 0.46, w * 0.6, 0.09, h * 0.3)
    s.ball(s.paint("muzzle"), 0, -0.18, hz - 0.05, 0.085, 0.065, 0.065)
    eyes(s, 0.075, -0.175, hz + 0.045, 0.027)
    s.ball(s.paint("nose"), 0, -0.24, hz - 0.03, 0.03)
    if s.has("bow tie", 0.35):
        s.pair(s.ball, s.paint("bow tie"), 0.065, -w * 0.72, h - 0.03, 0.075, 0.04, 0.05)


def penguin(s: Sketch) -> None:
    w, h = s.width(0.22, 0.26), s.height(0.72, 0.82)
    s.part(s.main, (0, 0, h / 2 + 0.02), (w, w * 0.9, h / 2), (0.7, 1.0), 0.2)
    s.ball(s.paint("belly"), 0, -w * 0.34, h * 0.42, w * 0.76, w * 0.62, h * 0.36)
    s.ball(s.main, 0, 0, h + 0.03, 0.165, 0.16, 0.15)
    s.head = (0, 0, h + 0.13, 0.125)
    s.rod(s.paint("beak"), (0, -0.12, h + 0.03), (0, -0.26, h + 0.01), 0.045, 0.9)
    eyes(s, 0.065, -0.14, h + 0.075, 0.028)
    for side in SIDES:
        s.rod(s.main, (side * w * 0.75, 0, h * 0.72), (side * (w + 0.1), 0, h * 0.3), 0.035, soft=0.5, ry=0.09)
    s.pair(s.pebble, s.paint("feet"), 0.115, -0.06, 0.035, 0.095, 0.21, 0.035, SOFT)


def duck(s: Sketch) -> None:
    w, l = s.width(0.26, 0.3), s.length(0.38, 0.44)
    s.part(s.main, (0, 0, 0.2), (w, l, 0.2), (0.7, 1.0))
    hz = s.height(0.52, 0.58)
    s.ball(s.main, 0, -l * 0.55, hz, 0.18, 0.18, 0.175)
    s.head = (0, -l * 0.55, hz + 0.115, 0.13)
    s.cyl(s.main, 0, -l * 0.52, 0.28, 0.12, hz - 0.35, 0.1)
    s.part(s.paint("beak"), (0, -l * 0.55 - 0.22, hz - 0.04), (0.09, 0.11, 0.035), (0.6, 0.8))
    eyes(s, 0.09, -l * 0.55 - 0.145, hz + 0.055, 0.03)
    s.pair(s.ball, s.paint("wings"), w - 0.03, 0.05, 0.25, 0.06, l * 0.56, 0.12)
    s.rod(s.main, (0, l * 0.7, 0.25), (0, l + 0.1, 0.38), 0.11, 0.85)


def owl(s: Sketch) -> None:
    w, h = s.width(0.27, 0.31), s.height(0.72, 0.82)
    s.part(s.main, (0, 0, h / 2 + 0.01), (w, w * 0.8, h / 2), (0.6, 1.0), 0.1)
    s.head = (0, 0, h * 0.975, w * 0.5)
    s.ball(s.paint("belly"), 0, -w * 0.45, h * 0.36, w * 0.72, w * 0.44, h * 0.27)
    for side in SIDES:
        s.disc(s.paint("face"), side * 0.1, -w * 0.7, h * 0.74, 0.105, 0.13)
    s.pair(s.ball, s.paint("eyes"), 0.1, -w * 0.7 - 0.065, h * 0.74, 0.055, 0.03, 0.055)
    s.rod(s.paint("beak"), (0, -w * 0.72, h * 0.66), (0, -w * 0.72 - 0.13, h * 0.6), 0.045, 0.9)
    s.pair(s.cone, s.main, w * 0.5, 0, h * 0.84, 0.085, 0.25)
    s.pair(s.ball, s.paint("wings"), w * 0.95, 0.02, h * 0.45, 0.065, w * 0.55, h * 0.3)
    s.pair(s.pebble, s.paint("beak"), 0.12, -0.1, 0.03, 0.08, 0.24, 0.03, SOFT)


def turtle(s: Sketch) -> None:
    w, l = s.width(0.34, 0.4), s.length(0.4, 0.46)
    s.part(s.main, (0, 0, 0.24), (w, l, 0.17), (0.7, 1.0), 0.35)
    for sx, sy in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        s.pebble(s.paint("skin"), sx * w * 0.62, sy * l * 0.62, 0.085, 0.1, 0.1, 0.085, SOFT)
    s.rod(s.paint("skin"), (0, -l * 0.6, 0.18), (0, -l - 0.1, 0.21), 0.075)
    s.ball(s.paint("skin"), 0, -l - 0.13, 0.24, 0.105, 0.13, 0.1)
    s.head = (0, -l - 0.13, 0.31, 0.085)
    eyes(s, 0.06, -l - 0.22, 0.275, 0.027)
    s.rod(s.paint("skin"), (0, l * 0.6, 0.17), (0, l + 0.13, 0.1), 0.055, 0.8)


def robot(s: Sketch) -> None:
    w, h = s.width(0.34, 0.4), s.height(0.34, 0.42)
    leg = s.u(0.2, 0.26)
    s.box(s.main, 0, 0, leg, w, 0.26, h, soft=0.2)
    s.box(s.main, 0, 0, leg + h + 0.03, w * 0.72, 0.22, 0.21, soft=0.2)
    s.head = (0, 0, leg + h + 0.225, 0.12)
    s.cyl(s.paint("arms"), 0, 0, leg + h - 0.02, 0.06, 0.07)
    for side in SIDES:
        s.box(s.paint("arms"), side * (w / 2 + 0.04), 0, leg + 0.06, 0.1, 0.13, h - 0.08, soft=SOFT)
    for side in SIDES:
        s.box(s.paint("legs"), side * w * 0.26, 0, 0.02, 0.12, 0.14, leg + 0.02)
    for side in SIDES:
        s.box(s.paint("legs"), side * w * 0.26, -0.03, 0, 0.15, 0.28, 0.07, soft=SOFT)
    s.pair(s.disc, s.paint("eyes"), w * 0.17, -0.11, leg + h + 0.16, 0.042, 0.05)
    s.box(s.paint("panel"), 0, -0.125, leg + h * 0.4, w * 0.55, 0.04, h * 0.36)
    if s.has("antenna", 0.6):
        s.cyl(s.paint("arms"), 0, 0, leg + h + 0.22, 0.02, 0.13)
        s.ball(s.paint("antenna"), 0, 0, leg + h + 0.36, 0.04)


ANIMALS = {
    "dog": Category(
        dog,
        "dog, puppy, hound",
        "brown tan white gray",
        roles={"ears": "brown chocolate black white", "collar": "red blue/yellow"},
        accents={"legs": "main", "snout": "main white beige", "nose": "black/pink", "eyes": EYES, "tail": "main"},
        details="collar",
        sizes="height length",
    ),
    "cat": Category(
        cat,
        "cat, kitty, kitten",
        "orange gray black white",
        roles={"ears": "main black pink", "tail": "main", "collar": "red blue/yellow"},
        accents={"legs": "main", "nose": "pink/black", "eyes": "green yellow/black"},
        details="collar",
        sizes="height length",
    ),
    "giraffe": Category(
        giraffe,
        "giraffe, tall giraffe toy",
        "yellow golden mustard",
        roles={"spots": "brown chestnut/white", "horns": "brown chocolate"},
        accents={"legs": "main", "eyes": EYES},
        sizes="height",
    ),
    "elephant": Category(
        elephant,
        "elephant, jumbo elephant",
        "gray",
        roles={"ears": "main main pink", "tusks": "white cream/yellow"},
        accents={"legs": "main", "eyes": "black/white"},
        sizes="width length",
    ),
    "horse": Category(
        horse,
        "horse, pony, stallion",
        "brown chestnut white black",
        roles={"mane": "black chocolate cream/white", "tail": "black chocolate cream/white"},
        accents={"legs": "main", "eyes": EYES},
        sizes="height length",
    ),
    "cow": Category(
        cow,
        "cow, dairy cow, bull",
        "white brown",
        roles={"spots": "black brown/white", "horns": "beige gray"},
        accents={"legs": "main", "snout": "pink/beige", "eyes": EYES},
        sizes="length",
    ),
    "pig": Category(
        pig,
        "pig, piglet, hog",
        "pink",
        roles={"snout": "hot_pink magenta/beige", "ears": "main hot_pink"},
        accents={"legs": "main", "eyes": EYES},
        sizes="length width",
    ),
    "sheep": Category(
        sheep,
        "sheep, lamb, woolly sheep",
        "white cream",
        roles={"face": "black charcoal/beige", "legs": "black charcoal/beige"},
        accents={"eyes": "white/yellow"},
        sizes="length",
    ),
    "rabbit": Category(
        rabbit,
        "rabbit, bunny, hare",
        "white gray brown",
        roles={"tail": "white/beige"},
        accents={"inner ears": "pink/cream", "eyes": EYES, "nose": "pink/black"},
        sizes="height",
    ),
    "teddy bear": Category(
        bear,
        "teddy bear, bear, teddy",
        "brown tan chestnut",
        roles={"belly": "beige cream/brown", "bow tie": "red blue/yellow"},
        accents={"muzzle": "beige cream/white", "eyes": EYES, "nose": "black/pink"},
        details="bow tie",
        sizes="height",
    ),
    "penguin": Category(
        penguin,
        "penguin, emperor penguin",
        "black navy charcoal",
        roles={"belly": "white cream/yellow", "beak": "orange/black", "feet": "orange/black"},
        accents={"eyes": "white/black"},
        sizes="height width",
    ),
    "duck": Category(
        duck,
        "duck, rubber duck, duckling",
        "yellow white",
        roles={"beak": "orange/red", "wings": "main white"},
        accents={"eyes": EYES},
        sizes="length",
    ),
    "owl": Category(
        owl,
        "owl, little owl",
        "brown gray white",
        roles={"wings": "chocolate gray/beige", "belly": "beige cream/tan", "beak": "orange/yellow"},
        accents={"face": "white/cream", "eyes": "black"},
        sizes="height width",
    ),
    "turtle": Category(
        turtle,
        "turtle, tortoise",
        "green olive brown",
        roles={"skin": "lime tan/mint"},
        accents={"eyes": EYES},
        sizes="length width",
    ),
    "robot": Category(
        robot,
        "robot, android, toy robot",
        "gray silver red blue",
        roles={"arms": "gray charcoal white", "legs": "gray charcoal white", "eyes": "yellow cyan/red"},
        accents={"panel": "black navy/white", "antenna": "red yellow"},
        details="antenna",
        sizes="height width",
        materials="metal plastic",
    ),
}
