"""Things that only examples explain: their captions name what the catalogue does not know.

A generator that is to follow retrieved examples must copy what it does not know, part by part. The
catalogue cannot teach that, because the generator soon knows all of it. Most of these things are
random assemblies, whose parts cannot be guessed. The others are things of the catalogue under
another noun: the rest of their captions means what it says. Half of the nouns are English, half
mean nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import log

import numpy as np

from rl3d.corpus import CATALOGUE, Spec, captions, sample_for
from rl3d.corpus.shapes import normalized
from scenes.colors import BASE_COLORS, COLORS
from scenes.parts import (
    CENTRE,
    COLOR,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
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
    """A caption with a noun that tells nothing, and what the thing looks like: a random assembly,
    or the thing of a true caption."""

    caption: str
    color: str | None
    """Named colour of an assembly's main parts."""
    design: int = 0
    """Seed of an assembly."""
    disguised: Spec | None = None


def draw_invented(count: int, seed: int) -> list[Invented]:
    """Captions with invented names, the same in every process."""
    rng = np.random.default_rng([seed, 7])
    pick = lambda options: options[int(rng.integers(len(options)))]  # noqa: E731
    out = []
    while len(out) < count:
        word = pick(NOUNS) if rng.random() < 0.5 else pick(ONSETS) + pick(RHYMES) + pick(ENDINGS)
        if word in _KNOWN:
            continue
        if rng.random() < 0.35:
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
    vectors, groups = _assembly(np.random.default_rng([thing.design, 8]))
    # Two of a kind differ in proportions, and now and then in a colour.
    stretch = rng.normal(0, 0.1, 3)
    vectors[:, CENTRE] *= np.exp(stretch)
    vectors[:, LOG_HALF_SIZE] += stretch + rng.normal(0, 0.03, (len(vectors), 1))
    for group in range(groups.max() + 1):
        named = color if group == 0 else None
        if named or rng.random() < 0.2:
            vectors[groups == group, COLOR] = COLORS[named or str(rng.choice(BASE_COLORS))]
    return normalized(vectors).astype(np.float32)


def _assembly(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Parts (p, v) that each touch an earlier one, some of them in pairs left and right, and the
    group of each part, which has one colour."""
    count = 2 + int(rng.integers(_MOST - 1))
    rows: list[np.ndarray] = []
    groups: list[int] = []
    colors = [COLORS[str(rng.choice(BASE_COLORS))] for _ in range(4)]
    while len(rows) < count:
        part = np.zeros(VECTOR_SIZE)
        part[EXISTENCE], part[EXPONENTS], part[ROTATION] = 1, _SHAPES[rng.integers(len(_SHAPES))], UPRIGHT
        part[SHAPE_SIZE:] = PLAIN
        half = np.exp(rng.uniform(log(0.03), log(0.3), 3))
        if part[EXPONENTS][1] == 1:
            half[1] = half[0]
        if rng.random() < 0.25:
            part[TAPER] = rng.choice([-0.5, 0.3, 0.5, 0.8])
        group = int(rng.integers(4)) if rows else 0
        if rows:
            host = rows[int(rng.integers(len(rows)))]
            reach = np.exp(host[LOG_HALF_SIZE])
            axis, side = int(rng.integers(3)), int(rng.choice([-1, 1]))
            offset = rng.uniform(-0.8, 0.8, 3) * reach * (rng.random(3) < 0.5)
            offset[axis] = side * (reach[axis] + 0.9 * half[axis])
            part[CENTRE] = host[CENTRE] + offset
        if rng.random() < 0.2:
            angle, around = rng.uniform(0.2, 1.4), int(rng.integers(3))
            turn = np.eye(3)
            i, j = [k for k in range(3) if k != around]
            turn[[i, j, i, j], [i, j, j, i]] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
            part[ROTATION] = turn[:, :2].T.ravel()
        part[LOG_HALF_SIZE], part[COLOR] = np.log(half.clip(MIN_HALF_SIZE)), colors[group]
        rows.append(part)
        groups.append(group)
        if abs(part[CENTRE][0]) > half[0] and len(rows) < count and rng.random() < 0.6:
            twin = part.copy()
            twin[CENTRE.start] *= -1
            # The mirror image of a rotation about y or z turns the other way.
            mirror = np.diag([-1.0, 1, 1])
            columns = twin[ROTATION].reshape(2, 3)
            turn = mirror @ np.stack([*columns, np.cross(*columns)], 1) @ mirror
            twin[ROTATION] = turn[:, :2].T.ravel()
            rows.append(twin)
            groups.append(group)
    return np.stack(rows), np.array(groups)
