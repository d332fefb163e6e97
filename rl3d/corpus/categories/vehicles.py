"""Things that drive, swim and fly; all face -y."""

from __future__ import annotations

from rl3d.corpus.categories.category import Category
from rl3d.corpus.shapes import CORNERS, SIDES, SOFT, Number, Sketch
from scenes.parts import CENTRE_X, CENTRE_Z

TYRES = "black charcoal"


def wheels(s: Sketch, x: Number, ys: tuple[Number, ...], r: Number, t: Number) -> None:
    """Wheels standing on the ground, front to back, left before right."""
    for y in ys:
        for side in SIDES:
            s.wheel(s.paint("wheels"), side * x, y, r, r, t)


def lights(s: Sketch, x: Number, y: Number, z: Number, r: Number) -> None:
    s.pair(s.ball, s.paint("lights"), x, y, z, r, r * 0.8, r)


def car(s: Sketch) -> None:
    w, l, h = s.width(0.42, 0.48), s.length(0.95, 1.05), s.height(0.36, 0.42)
    s.box(s.main, 0, 0, 0.08, w, l, 0.17, soft=SOFT)
    s.box(s.paint("windows"), 0, 0.06, 0.22, w * 0.92, l * 0.52, h - 0.235, 0.3, soft=0.2)
    s.box(s.main, 0, 0.06, h - 0.04, w * 0.7, l * 0.38, 0.05, soft=0.2)
    wheels(s, w / 2 - 0.02, (-l * 0.3, l * 0.3), 0.1, 0.1)
    lights(s, w * 0.3, -l / 2 + 0.01, 0.175, 0.04)
    s.pair(s.box, s.paint("tail lights"), w * 0.3, l / 2 - 0.01, 0.155, 0.07, 0.04, 0.045)


def taxi(s: Sketch) -> None:
    car(s)
    top = s.rows[2][CENTRE_Z]
    s.box(s.paint("sign"), 0, 0.06, top, 0.15, 0.09, 0.09)
    s.pair(s.box, s.paint("stripes"), s.rows[0][CENTRE_X] + 0.225, 0, 0.13, 0.04, 0.5, 0.05)


def truck(s: Sketch) -> None:
    w, l, h = s.width(0.38, 0.44), s.length(0.98, 1.06), s.height(0.5, 0.58)
    s.box(s.paint("chassis"), 0, 0, 0.1, w - 0.12, l, 0.07)
    s.box(s.main, 0, l * 0.16, 0.14, w, l * 0.66, h - 0.14)
    s.box(s.paint("cab"), 0, -l * 0.34, 0.12, w - 0.03, l * 0.3, h * 0.66, soft=SOFT)
    s.box(s.paint("windows"), 0, -l * 0.42, h * 0.56, w - 0.02, l * 0.11, h * 0.2, soft=0.2)
    wheels(s, w / 2 - 0.04, (-l * 0.34, l * 0.16, l * 0.38), 0.095, 0.09)
    lights(s, w * 0.3, -l * 0.49, 0.2, 0.035)
    s.top = (0, l * 0.16, h, w * 0.4, l * 0.27)


def bus(s: Sketch) -> None:
    w, l, h = s.width(0.3, 0.36), s.length(0.98, 1.06), s.height(0.38, 0.44)
    s.box(s.main, 0, 0, 0.07, w, l, h - 0.07, soft=0.2)
    n = s.number("windows", 3, 4)
    step = l * 0.84 / n
    for k in range(n):
        s.box(s.paint("windows"), 0, l * 0.03 + (k - (n - 1) / 2) * step, h * 0.52, w + 0.03, step - 0.05, h * 0.28)
    s.box(s.paint("windows"), 0, -l / 2, h * 0.48, w * 0.82, 0.045, h * 0.34)
    wheels(s, w / 2 - 0.03, (-l * 0.3, l * 0.3), 0.085, 0.08)
    lights(s, w * 0.32, -l / 2, 0.15, 0.032)


def train(s: Sketch) -> None:
    w, l, h = s.width(0.28, 0.34), s.length(0.94, 1.04), s.height(0.5, 0.56)
    s.box(s.paint("chassis"), 0, 0, 0.09, w - 0.06, l, 0.08)
    s.rod(s.main, (0, 0.1, 0.29), (0, -l * 0.46, 0.29), w * 0.5)
    s.box(s.main, 0, l * 0.27, 0.14, w, l * 0.36, h - 0.17)
    s.box(s.paint("roof"), 0, l * 0.27, h - 0.05, w + 0.05, l * 0.4, 0.05)
    s.cyl(s.paint("chimney"), 0, -l * 0.34, 0.29 + w * 0.38, 0.05, h - 0.22 - w * 0.38, -0.35)
    s.ball(s.paint("trim"), 0, -l * 0.08, 0.29 + w * 0.5, 0.055)
    s.pair(s.box, s.paint("windows"), w / 2, l * 0.27, h * 0.6, 0.04, l * 0.2, h * 0.22)
    wheels(s, w / 2 - 0.01, (-l * 0.36, -l * 0.12, l * 0.29), 0.085, 0.06)
    s.disc(s.paint("trim"), 0, -l * 0.46, 0.3, 0.05, 0.06)


def tractor(s: Sketch) -> None:
    w, l, h = s.width(0.34, 0.4), s.length(0.82, 0.92), s.height(0.62, 0.7)
    s.box(s.main, 0, -l * 0.2, 0.16, w * 0.8, l * 0.62, 0.24, soft=0.2)
    s.box(s.main, 0, l * 0.22, 0.16, w, l * 0.4, 0.2, soft=0.2)
    s.box(s.paint("windows"), 0, l * 0.2, 0.33, w * 0.86, l * 0.34, h - 0.37, 0.12)
    s.box(s.main, 0, l * 0.2, h - 0.06, w + 0.04, l * 0.42, 0.06)
    s.pair(s.wheel, s.paint("wheels"), w / 2 + 0.03, l * 0.26, 0.19, 0.19, 0.11)
    s.pair(s.wheel, s.paint("wheels"), w / 2 - 0.02, -l * 0.34, 0.11, 0.11, 0.09)
    s.cyl(s.paint("exhaust"), 0.06, -l * 0.28, 0.36, 0.025, 0.22)
    lights(s, w * 0.24, -l * 0.51, 0.3, 0.035)


def rocket(s: Sketch) -> None:
    r, h = s.width(0.145, 0.175), s.height(0.54, 0.62)
    s.cyl(s.main, 0, 0, 0.1, r, h)
    s.cone(s.paint("nose"), 0, 0, 0.07 + h, r * 1.02, 0.26)
    s.cyl(s.paint("engine"), 0, 0, 0, r * 0.75, 0.14, 0.3)
    reach = r + s.u(0.12, 0.16)
    for side in SIDES:
        s.box(s.paint("fins"), side * (r * 0.75 + reach) / 2, 0, 0, reach - r * 0.75, 0.045, 0.26, 0.35)
    for side in SIDES:
        s.box(s.paint("fins"), 0, side * (r * 0.75 + reach) / 2, 0, 0.045, reach - r * 0.75, 0.26, 0.35)
    n = s.number("windows", 1, 2)
    for k in range(n):
        s.disc(s.paint("windows"), 0, -r + 0.005, 0.1 + h * (0.7 - 0.28 * k), 0.062, 0.05)
    if s.has("stripe", 0.4):
        s.cyl(s.paint("stripe"), 0, 0, 0.04 + h, r * 1.06, 0.06)


def boat(s: Sketch) -> None:
    w, l, h = s.width(0.36, 0.44), s.length(0.8, 0.92), s.height(0.72, 0.84)
    s.part(s.main, (0, 0, 0.13), (w / 2, l / 2, 0.13), (0.14, 0.75), -0.3)
    s.part(s.paint("deck"), (0, 0, 0.22), (w * 0.42, l * 0.43, 0.04), (0.14, 0.75))
    s.cyl(s.paint("mast"), 0, -0.03, 0.16, 0.024, h - 0.14)
    s.box(s.paint("sail"), 0, 0.15, 0.3, 0.035, 0.34, h - 0.38, 0.85)
    s.box(s.paint("sail"), 0, -0.16, 0.3, 0.035, 0.26, h - 0.5, 0.85)
    s.box(s.paint("mast"), 0, 0, 0.28, 0.04, 0.66, 0.04)
    if s.has("flag", 0.4):
        s.box(s.paint("flag"), 0, 0.04, h - 0.06, 0.02, 0.15, 0.07)


def ship(s: Sketch) -> None:
    w, l = s.width(0.3, 0.36), s.length(0.96, 1.06)
    s.part(s.main, (0, 0, 0.12), (w / 2, l / 2, 0.12), (0.14, 0.7), -0.25)
    s.box(s.paint("cabin"), 0, 0.08, 0.22, w * 0.62, l * 0.46, 0.12)
    s.box(s.paint("cabin"), 0, 0.0, 0.32, w * 0.5, l * 0.24, 0.11)
    n = s.number("funnels", 1, 3)
    for k in range(n):
        s.cyl(s.paint("funnels"), 0, 0.22 - 0.12 * k, 0.31, 0.05, s.height(0.2, 0.26))
    s.box(s.paint("windows"), 0, 0.0, 0.36, w * 0.5 + 0.03, l * 0.2, 0.045)
    s.box(s.paint("windows"), 0, 0.08, 0.265, w * 0.62 + 0.03, l * 0.4, 0.04)


def airplane(s: Sketch) -> None:
    l, span = s.length(0.94, 1.04), s.width(0.9, 1.05)
    z = 0.23
    s.rod(s.main, (0, -l * 0.36, z), (0, l * 0.5, z), 0.125, 0.4, soft=SOFT)
    s.ball(s.main, 0, -l * 0.36, z, 0.119, 0.16, 0.119)
    s.box(s.paint("wings"), 0, -0.06, z - 0.095, span, 0.18, 0.035)
    s.box(s.paint("wings"), 0, l * 0.44, z + 0.0, span * 0.36, 0.12, 0.03)
    s.box(s.paint("tail"), 0, l * 0.44, z + 0.02, 0.035, 0.14, 0.2, 0.3)
    s.ball(s.paint("windows"), 0, -l * 0.26, z + 0.095, 0.06, 0.12, 0.055)
    s.pair(s.wheel, s.paint("wheels"), 0.2, 0.02, 0.08, 0.08, 0.05)
    s.wheel(s.paint("wheels"), 0, -l * 0.36, 0.075, 0.075, 0.05)
    if s.has("propeller", 0.4):
        s.box(s.paint("propeller"), 0, -l * 0.36 - 0.14, z - 0.15, 0.05, 0.035, 0.3)
    else:
        for side in SIDES:
            s.rod(s.paint("tail"), (side * 0.3, 0.04, z - 0.12), (side * 0.3, -0.19, z - 0.12), 0.05)


def helicopter(s: Sketch) -> None:
    l, span = s.length(0.46, 0.54), s.width(0.85, 1.0)
    s.ball(s.main, 0, -0.1, 0.27, 0.19, l / 2, 0.19)
    s.rod(s.main, (0, 0, 0.31), (0, 0.5, 0.33), 0.08, 0.55)
    s.box(s.paint("tail"), 0, 0.47, 0.28, 0.04, 0.1, 0.17)
    s.ball(s.paint("windows"), 0, -0.225, 0.29, 0.165, l * 0.3, 0.13)
    s.cyl(s.paint("rotor"), 0, -0.08, 0.42, 0.035, 0.11)
    s.box(s.paint("rotor"), 0, -0.08, 0.5, span, 0.06, 0.03)
    s.box(s.paint("rotor"), 0, -0.08, 0.5, 0.06, span, 0.03)
    for side in SIDES:
        s.box(s.paint("skids"), side * 0.18, -0.08, 0, 0.045, 0.55, 0.045)
    for sx, sy in CORNERS:
        s.rod(s.paint("skids"), (sx * 0.18, -0.08 + sy * 0.12, 0.03), (sx * 0.08, -0.08 + sy * 0.1, 0.2), 0.02)


def submarine(s: Sketch) -> None:
    l = s.length(0.92, 1.02)
    s.box(s.paint("stand"), 0, 0, 0, 0.3, l * 0.5, 0.07)
    s.part(s.main, (0, 0, 0.22), (0.17, l / 2, 0.17), (0.9, 0.9))
    s.part(s.main, (0, -0.06, 0.42), (0.07, 0.14, 0.08), (0.2, 0.8))
    s.cyl(s.paint("periscope"), 0, -0.06, 0.47, 0.02, 0.16)
    s.box(s.paint("periscope"), 0, -0.085, 0.6, 0.04, 0.09, 0.04)
    n = s.number("portholes", 2, 3)
    for k in range(n):
        y = (k - (n - 1) / 2) * 0.19
        s.wheel(s.paint("portholes"), 0, y, 0.25, 0.045, 0.33)
    s.box(s.paint("fins"), 0, l * 0.44, 0.2, 0.32, 0.09, 0.035)
    s.box(s.paint("fins"), 0, l * 0.44, 0.06, 0.035, 0.09, 0.32)


def tank(s: Sketch) -> None:
    w, l = s.width(0.48, 0.56), s.length(0.78, 0.88)
    s.box(s.main, 0, 0, 0.1, w, l * 0.92, 0.16, 0.1)
    for side in SIDES:
        s.box(s.paint("tracks"), side * (w / 2 - 0.01), 0, 0, 0.13, l, 0.19, soft=0.4)
    s.cyl(s.main, 0, 0.05, 0.24, w * 0.36, 0.15, 0.2)
    s.rod(s.main, (0, -0.05, 0.32), (0, -l * 0.68, 0.34), 0.035)
    s.cyl(s.paint("hatch"), 0.05, 0.08, 0.37, 0.07, 0.045)


def wagon(s: Sketch) -> None:
    w, l, h = s.width(0.46, 0.54), s.length(0.76, 0.88), s.height(0.16, 0.22)
    s.box(s.main, 0, 0, 0.1, w, l, 0.06)
    for side in SIDES:
        s.box(s.main, side * (w / 2 - 0.02), 0, 0.11, 0.045, l, h)
    for side in SIDES:
        s.box(s.main, 0, side * (l / 2 - 0.02), 0.11, w, 0.045, h)
    s.cavity = (0, 0, h + 0.11, w / 2 - 0.05, l / 2 - 0.05, h - 0.04)
    wheels(s, w / 2, (-l * 0.32, l * 0.32), 0.1, 0.07)
    s.rod(s.paint("handle"), (0, -l / 2 + 0.02, 0.14), (0, -l / 2 - 0.22, 0.42), 0.025)
    s.rod(s.paint("handle"), (-0.09, -l / 2 - 0.22, 0.41), (0.09, -l / 2 - 0.22, 0.41), 0.025)


VEHICLES = {
    "car": Category(
        car,
        "car, automobile, sedan",
        "red blue green silver",
        roles={"wheels": TYRES, "windows": "sky_blue cyan/charcoal"},
        accents={"lights": "yellow/white", "tail lights": "red/white"},
        sizes="length width height",
        materials="metal plastic",
    ),
    "taxi": Category(
        taxi,
        "taxi, cab, taxicab",
        "yellow",
        roles={"wheels": TYRES, "sign": "white black"},
        accents={
            "windows": "sky_blue/charcoal",
            "lights": "white/yellow",
            "tail lights": "red/white",
            "stripes": "black/white",
        },
        sizes="length",
    ),
    "truck": Category(
        truck,
        "truck, lorry, delivery truck",
        "white red blue gray",
        roles={"cab": "main white red blue", "wheels": TYRES},
        accents={"chassis": "charcoal gray", "windows": "sky_blue/charcoal", "lights": "yellow/white"},
        sizes="length height",
    ),
    "bus": Category(
        bus,
        "bus, city bus, coach",
        "red yellow blue green",
        roles={"wheels": TYRES, "windows": "sky_blue cyan/charcoal"},
        accents={"lights": "yellow/white"},
        counts={},
        sizes="length height",
    ),
    "train": Category(
        train,
        "train, locomotive, steam train, railway engine",
        "blue red green black",
        roles={"wheels": "red black charcoal", "roof": "black gray red", "chimney": "black charcoal/golden"},
        accents={"chassis": "charcoal black", "trim": "golden/white", "windows": "sky_blue/yellow"},
        sizes="length",
    ),
    "tractor": Category(
        tractor,
        "tractor, farm tractor",
        "green red blue",
        roles={"wheels": TYRES},
        accents={"windows": "sky_blue/charcoal", "exhaust": "gray black", "lights": "yellow/white"},
        sizes="height",
    ),
    "rocket": Category(
        rocket,
        "rocket, spaceship, spacecraft, rocket ship",
        "white silver red",
        roles={
            "nose": "red blue orange",
            "fins": "red blue orange",
            "windows": "cyan/yellow",
            "stripe": "red black blue",
        },
        accents={"engine": "charcoal gray"},
        details="stripe",
        sizes="height width",
    ),
    "boat": Category(
        boat,
        "boat, sailboat, sailing boat, dinghy",
        "blue red brown white",
        roles={"sail": "white red cream/yellow", "mast": "brown tan"},
        accents={"deck": "tan brown", "flag": "red yellow"},
        details="flag",
        sizes="height",
        materials="wooden",
    ),
    "ship": Category(
        ship,
        "ship, steamship, ocean liner, steamer",
        "navy red black",
        roles={"funnels": "red black yellow", "cabin": "white beige"},
        accents={"windows": "cyan navy"},
        counts={"funnels": (1, 3)},
        sizes="length",
    ),
    "airplane": Category(
        airplane,
        "airplane, plane, jet plane, aircraft",
        "white silver blue red",
        roles={"wings": "main main gray", "tail": "main red blue"},
        accents={"windows": "cyan navy", "wheels": TYRES, "propeller": "brown yellow black"},
        details="propeller",
        sizes="length width",
    ),
    "helicopter": Category(
        helicopter,
        "helicopter, chopper",
        "red yellow blue green",
        roles={"rotor": "gray black", "skids": "gray black"},
        accents={"windows": "sky_blue/charcoal", "tail": "main white red"},
        sizes="width",
    ),
    "submarine": Category(
        submarine,
        "submarine, u-boat, sub",
        "yellow gray navy",
        roles={"portholes": "cyan white/yellow", "fins": "main red gray"},
        accents={"stand": "brown charcoal", "periscope": "gray black"},
        counts={"portholes": (2, 3)},
        sizes="length",
    ),
    "tank": Category(
        tank,
        "tank, army tank, battle tank",
        "green olive gray tan",
        roles={"tracks": "charcoal black"},
        accents={"hatch": "charcoal brown red"},
        sizes="length width",
        materials="metal",
    ),
    "wagon": Category(
        wagon,
        "wagon, toy wagon, handcart",
        "red green brown",
        roles={"wheels": "black gray yellow", "handle": "black gray brown"},
        sizes="length width",
        materials="wooden metal",
    ),
}
