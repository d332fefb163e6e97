"""Things that only examples explain: their captions name what the catalogue does not know.

A generator that is to follow retrieved examples must copy what it does not know, part by part. The
catalogue cannot teach that, because the generator soon knows all of it. Most of these things have a
design of their own, which cannot be guessed: a random assembly, or a thing of the catalogue with
its parts deformed, left out, exchanged and added. The others are things of the catalogue under
another noun: the rest of their captions means what it says. Most of the nouns are English, since
those of users are; the others mean nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import log

import numpy as np

from rl3d.corpus import CATALOGUE, Spec, captions, sample_for
from rl3d.corpus.shapes import moved, normalized
from scenes.colors import BASE_COLORS, COLORS
from scenes.parts import (
    CENTRE,
    COLOR,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    MAX_PARTS,
    MIN_HALF_SIZE,
    PLAIN,
    ROTATION,
    SHAPE_SIZE,
    TAPER,
    UPRIGHT,
    VECTOR_SIZE,
)

ONSETS = "b bl d dr f fl g gr k kl l m n p pr s sn t tr v z".split()
RHYMES = "ab ack aff ang ast eck eeb elm enk ib ift ing oob ogg omp orl ub unk".split()
ENDINGS = ["", "", *"er le o y ax et".split()]
NOUNS = (
    "accordion acorn airship alligator ambulance anchor anteater antelope anvil aquarium armadillo artichoke asteroid "
    "avocado badger bagpipe balloon banana banjo barbecue bassoon bathtub beaver beehive beetle bellows bicycle "
    "binoculars birdcage blender bongo boomerang bridge broccoli broom buffalo bulldozer butterfly cabin caravan "
    "cabbage calculator camel cannon canoe carriage carrot catapult cello centipede chainsaw chameleon chandelier "
    "cheetah chimney clarinet coffin combine compass cormorant corkscrew cradle crane cricket crocodile "
    "croissant crossbow dagger deer dinosaur dolphin dome donkey dragon dragonfly drill drone eagle easel eel "
    "excavator falcon fan faucet feather ferret ferry fireplace flamingo flute forklift fountain fox frog furnace "
    "gate gazelle gazebo gecko ghost glider goat goldfish gondola goose gorilla gramophone grapes grasshopper "
    "greenhouse hamster hammock harp harpsichord hedgehog helmet heron hippo hovercraft hyena iguana iron jaguar "
    "jellyfish jetty jukebox kangaroo kayak keyboard kiosk kite koala lawnmower leopard lighter lion lizard llama "
    "lobster loom mammoth mandolin meerkat microphone microscope microwave mole monkey monument moose mosque mosquito "
    "motorcycle mouse necklace obelisk octopus onion organ ostrich otter oven paddle pagoda panda parachute parrot "
    "peacock pear pelican piano pigeon pillar pineapple plough pretzel printer projector puffin puppet quad raccoon "
    "radiator radio raft rake rhino rickshaw rollerskate rooster saddle sandal satellite saw saxophone scarecrow "
    "scissors scooter scorpion seahorse seal shark shovel sieve silo skateboard skeleton skunk sloth snowboard "
    "spider spoon squid squirrel stapler starfish statue stove strawberry streetcar suitcase sundial swan swing "
    "sycamore syringe tambourine taper termite thermos thimble throne tiger toaster tomato tongs torch totem "
    "toucan trampoline tricycle tripod trolley trombone trumpet tuba tulip turbine turkey typewriter unicorn vacuum "
    "vase violin viaduct vulture waffle walrus wasp watermelon weasel whale whistle wolf woodpecker xylophone yacht "
    "yak zebra zeppelin"
).split()
"""English nouns that are neither in the catalogue nor among the categories that nothing is trained
on."""
_KNOWN = {part for name in (*COLORS, *(n for kind in CATALOGUE.values() for n in kind.names)) for part in name.split()}
"""Words that mean something: "black", "table"."""

_SHAPES = ((0.1, 0.1), (0.1, 1.0), (1.0, 1.0), (0.3, 0.3), (0.3, 1.0), (0.5, 0.5), (0.1, 0.5))
"""Exponents of the parts of an assembly: boxes, cylinders, ellipsoids and rounded ones."""
_MOST = 14
"""Parts of an assembly."""


@dataclass(frozen=True)
class Invented:
    """A caption with a noun that tells nothing, and what the thing looks like: a design, or the
    thing of a true caption."""

    caption: str
    color: str | None
    """Named colour of a design's main parts."""
    design: int = 0
    """Seed of the design."""
    disguised: Spec | None = None


def draw_invented(count: int, seed: int) -> list[Invented]:
    """Captions with invented names, the same in every process."""
    rng = np.random.default_rng([seed, 7])
    pick = lambda options: options[int(rng.integers(len(options)))]  # noqa: E731
    out = []
    while len(out) < count:
        word = pick(NOUNS) if rng.random() < 0.75 else pick(ONSETS) + pick(RHYMES) + pick(ENDINGS)
        if word in _KNOWN:
            continue
        if rng.random() < 0.3:
            spec = captions.single(rng, "train")
            if caption := _renamed(spec, word):
                out.append(Invented(caption, None, disguised=spec))
            continue
        color = pick(BASE_COLORS) if rng.random() < 0.6 else None
        words = f"{color} {word}" if color else word
        caption = f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
        out.append(Invented(caption, color, int(rng.integers(2**31))))
    return out


def _renamed(spec: Spec, word: str) -> str | None:
    """The caption of a single object with another noun; None if its noun is not found."""
    names = sorted(CATALOGUE[spec.category].names, key=len, reverse=True)
    found = re.search(rf"\b(an? )?({'|'.join(map(re.escape, names))})\b", spec.caption)
    if not found:
        return None
    article = found.group(1) and ("an " if word[0] in "aeiou" else "a ")
    return spec.caption[: found.start()] + (article or "") + word + spec.caption[found.end() :]


def invent(thing: Invented, rng: np.random.Generator, example: bool = False) -> np.ndarray:
    """The parts of one such thing, (p, v). An example may have another colour than its caption
    says, or be another thing of its category."""
    if thing.disguised is not None:
        spec = captions.single(rng, "train", thing.disguised.category) if example else thing.disguised
        return sample_for(spec, rng).vectors
    color = str(rng.choice(BASE_COLORS)) if example and thing.color and rng.random() < 0.7 else thing.color
    own = np.random.default_rng([thing.design, 8])
    vectors, groups, leaves = _assembly(own) if own.random() < 0.4 else _deformed(own)
    half = np.exp(vectors[:, LOG_HALF_SIZE])
    main = np.bincount(groups, (half * np.roll(half, 1, 1)).sum(1)).argmax()  # the largest surface
    # Half of the kinds have the same proportions every time, so that exact copies pay. Two of
    # another kind differ in them, and now and then in a small part. Each part keeps to its
    # neighbours: what is copied from examples must hold together.
    loose = own.choice([0.0, 0.0, 0.0, 0.03, 0.06, 0.12])
    vectors = _stretched(vectors, rng.normal(0, 2 * loose, 3))
    vectors[:, LOG_HALF_SIZE] += rng.normal(0, 0.15 * loose, (len(vectors), 1))
    for group in range(groups.max() + 1):
        named = color if group == main else None
        if named or rng.random() < 0.2:
            vectors[groups == group, COLOR] = COLORS[named or str(rng.choice(BASE_COLORS))]
    return normalized(vectors[~leaves | (rng.random(len(vectors)) >= 2 * loose)]).astype(np.float32)


def _deformed(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of one or two things of the catalogue (p, v), changed so that the catalogue does not
    tell what they are like; the group of each, which has one colour; and which of them carry
    nothing, so that they may be missing."""
    drawn = [sample_for(captions.single(rng, "train"), rng).vectors.astype(np.float64)]
    if rng.random() < 0.35:
        top = drawn[0][:, CENTRE.stop - 1].max()
        drawn.append(moved(sample_for(captions.single(rng, "train"), rng).vectors, 0.6, (0, 0, top / 0.6)))
    vectors = np.concatenate(drawn)[: MAX_PARTS - 4]
    vectors[:, SHAPE_SIZE:] = PLAIN
    # What stands on the ground stays as it is. The others may be thicker, or of another shape.
    above = vectors[:, CENTRE.stop - 1] - np.exp(vectors[:, LOG_HALF_SIZE]).max(1) > 0.02
    sizes, like = np.unique(vectors[:, LOG_HALF_SIZE].round(2), axis=0, return_inverse=True)
    like = like.ravel()  # the legs of a table change alike
    grown = np.abs(rng.normal(0, 0.2, (len(sizes), 3))) * (rng.random((len(sizes), 1)) < 0.5)
    shapes = np.array(_SHAPES)[rng.integers(len(_SHAPES), size=len(sizes))]
    few = above & (rng.random(len(sizes)) < rng.choice([0.0, 0.3]))[like]
    vectors[few, EXPONENTS] = shapes[like][few]
    vectors[above, LOG_HALF_SIZE] += (grown[like] + 0.1 * few[:, None])[above]
    vectors = _stretched(vectors, rng.normal(0, 0.3, 3))
    if rng.random() < 0.4:  # seen from another side
        for start in (CENTRE.start, ROTATION.start, ROTATION.start + 3):
            vectors[:, start], vectors[:, start + 1] = -vectors[:, start + 1], vectors[:, start].copy()
    rows = list(vectors)
    for _ in range(int(rng.choice([0, 1, 1, 2, 4]))):
        rows.append(_attached(rng, list(vectors), 0.15))
    leaves = np.arange(len(rows)) >= len(vectors)
    vectors = np.stack(rows)
    return vectors, np.unique((4 * vectors[:, COLOR]).round(), axis=0, return_inverse=True)[1].ravel(), leaves


def _assembly(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As of ``_deformed``: parts on a foot that carries them, each in an earlier one, some of them
    in pairs left and right."""
    count = 2 + int(rng.integers(_MOST - 1))
    foot = _part(rng, 0.1, 0.3)
    foot[EXPONENTS] = _SHAPES[int(rng.integers(2))]
    foot[CENTRE] = 0.0, 0.0, np.exp(foot[LOG_HALF_SIZE])[2]
    colors = [COLORS[str(rng.choice(BASE_COLORS))] for _ in range(4)]
    foot[COLOR] = colors[0]
    rows, groups, leaves = [foot], [0], [False]
    while len(rows) < count:
        leaf = len(rows) > 2 and rng.random() < 0.3
        part = _attached(rng, [row for row, kept in zip(rows, leaves) if not kept], 0.3)
        group = int(rng.integers(4))
        part[COLOR] = colors[group]
        pair = abs(part[CENTRE][0]) > np.exp(part[LOG_HALF_SIZE][0]) and len(rows) < count and rng.random() < 0.75
        for made in (part, _mirrored(part)) if pair else (part,):
            rows.append(made)
            groups.append(group)
            leaves.append(leaf)
    vectors = np.stack(rows)
    mass = np.exp(vectors[:, LOG_HALF_SIZE].sum(1))
    lean = np.abs(mass @ vectors[:, CENTRE]) / mass.sum()
    vectors[0, LOG_HALF_SIZE][:2] = np.maximum(vectors[0, LOG_HALF_SIZE][:2], np.log(2 * lean[:2] + 0.05))
    return vectors, np.array(groups), np.array(leaves)


def _stretched(vectors: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Wider, deeper and higher by the exponentials of ``stretch``. Turned parts keep about their
    shape."""
    out = vectors.copy()
    out[:, CENTRE] *= np.exp(stretch)
    columns = out[:, ROTATION].reshape(-1, 2, 3)
    axes = np.stack([columns[:, 0], columns[:, 1], np.cross(columns[:, 0], columns[:, 1])], 1)
    out[:, LOG_HALF_SIZE] += np.log((np.abs(axes) ** 2 @ np.exp(2 * stretch)) ** 0.5)
    return out


def _attached(rng: np.random.Generator, rows: list[np.ndarray], largest: float) -> np.ndarray:
    """A random part that reaches into one of the others, and not below them."""
    part, host = _part(rng, 0.03, largest), rows[int(rng.integers(len(rows)))]
    if rng.random() < 0.2:
        angle, around = rng.uniform(0.2, 1.4), int(rng.integers(3))
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != around]
        turn[[i, j, i, j], [i, j, j, i]] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
        part[ROTATION] = turn[:, :2].T.ravel()
    half, reach = np.exp(part[LOG_HALF_SIZE]), np.exp(host[LOG_HALF_SIZE])
    axis, side = int(rng.integers(3)), int(rng.choice([-1, 1]))
    if axis == 2 and host[CENTRE][2] - reach[2] < 2 * half.max():
        side = 1
    beside = rng.uniform(-0.5, 0.5, 3) * (rng.random(3) < 0.5)
    beside[axis] = 0
    offset = beside * reach
    # The surface of a round host falls off to the side.
    offset[axis] = side * (reach[axis] * (1 - (beside**2).sum()) ** 0.5 + 0.2 * half.min())
    x, y = host[ROTATION].reshape(2, 3)
    part[CENTRE] = host[CENTRE] + offset @ np.stack([x, y, np.cross(x, y)])
    part[CENTRE.stop - 1] = max(part[CENTRE.stop - 1], half.max() + 0.02)
    return part


def _part(rng: np.random.Generator, least: float, most: float) -> np.ndarray:
    part = np.zeros(VECTOR_SIZE)
    part[EXISTENCE], part[EXPONENTS], part[ROTATION] = 1, _SHAPES[rng.integers(len(_SHAPES))], UPRIGHT
    part[SHAPE_SIZE:] = PLAIN
    half = np.exp(rng.uniform(log(least), log(most), 3))
    if part[EXPONENTS][1] == 1:
        half[1] = half[0]
    if rng.random() < 0.25:
        part[TAPER] = rng.choice([-0.5, 0.3, 0.5, 0.8])
    part[LOG_HALF_SIZE], part[COLOR] = np.log(half.clip(MIN_HALF_SIZE)), COLORS[str(rng.choice(BASE_COLORS))]
    return part


def _mirrored(part: np.ndarray) -> np.ndarray:
    """The same part on the other side of x = 0."""
    twin = part.copy()
    twin[CENTRE.start] *= -1
    mirror = np.diag([-1.0, 1, 1])
    columns = twin[ROTATION].reshape(2, 3)
    turn = mirror @ np.stack([*columns, np.cross(*columns)], 1) @ mirror
    twin[ROTATION] = turn[:, :2].T.ravel()
    return twin
