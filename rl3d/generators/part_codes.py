"""Assets as tokens, 16 for each element: an object, or one of its parts.

An object comes before its parts. It says its noun and its box, on a grid of the world. Its parts
lie on a grid of their own, in which the object's largest extent is 1: a chair is the same chair
wherever it stands, and however small. A part says its role and its numbers on finite grids. Parts
from elsewhere are parts of one unknown object, whose frame is the world's.

Faces are coded, not centres and sizes: parts that touch then have equal tokens. A superquadric has
symmetries, so several vectors describe the same part. It is brought into one form first: its z axis
points up, and it is rolled by less than a quarter turn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scenes.colors import COLORS, oklab
from scenes.parts import (
    CENTRE,
    COLOR,
    DEFAULT_ROUGHNESS,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    MAX_PARTS,
    MAX_TAPER,
    METALLIC,
    MIN_HALF_SIZE,
    PATTERN,
    PATTERNS,
    ROTATION,
    ROUGHNESS,
    SECOND_COLOR,
    TAPER,
    VECTOR_SIZE,
    Parts,
)
from scenes.parts.materials import FINISHES
from scenes.parts.rows import bounds

EXPONENT_GRID = (0.1, 0.14, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5)
TILTS, HEADINGS, ROLLS = 32, 128, 32
"""Steps of a quarter turn, of a whole turn, and of a quarter turn."""
CELL = 0.005
"""Metres between two neighbouring places of a face."""
PLACES = 256
LOWEST = (-128, -128, -30)
"""Cell number of the first place along x, y and z. A face at 0 is always on the grid."""
TAPERS = 16
"""Steps from 0 to a taper of 1."""
NOUNS, ROLES = 128, 192
"""Most nouns of objects and roles of parts. The first of each is for what has no name."""
END, PART = 0, 1 + NOUNS
"""First token of what ends an asset, and of a part. Between them are the nouns of objects."""
UNUSED = -1
"""A token that says nothing: those that an element does not have, the box of an unknown object, and
roles of parts from elsewhere."""
MAX_OBJECTS = 12
MAX_ELEMENTS = MAX_OBJECTS + MAX_PARTS

ATTRIBUTES: dict[str, int] = {
    "object": 2 + NOUNS,
    "role": ROLES,
    "shape": len(EXPONENT_GRID) ** 2,
    "tilt": TILTS + 1,
    "heading": HEADINGS,
    "roll": ROLLS,
    "x low": PLACES, "x high": PLACES, "y low": PLACES, "y high": PLACES, "z low": PLACES, "z high": PLACES,
    "taper": 2 * TAPERS + 1,
    "color": len(COLORS),
    "surface": (1 + len(FINISHES)) * (1 + len(PATTERNS)),
    "second color": 1 + len(COLORS),
}  # fmt: skip
"""Name and vocabulary size of every token of an element, in the order in which they are drawn."""
OBJECT, ROLE, SHAPE, TILT, HEADING, ROLL, FACES, TAPER_TOKEN, COLOR_TOKEN, SURFACE, SECOND = *range(7), 12, 13, 14, 15
SIZES = tuple(ATTRIBUTES.values())
ORDERED = range(TILT, COLOR_TOKEN)
"""Tokens that are numbers, not names."""
USED = torch.zeros(3, len(SIZES), dtype=torch.bool)
"""The tokens of an end, of an object and of a part."""
USED[:, OBJECT] = USED[1, FACES : FACES + 6] = USED[2] = True

_PERMUTATIONS = torch.tensor(list(itertools.permutations(range(3))))
_FINISHES = ((0.0, DEFAULT_ROUGHNESS), *FINISHES.values())


@dataclass(frozen=True)
class Labels:
    """What is known of the p parts of an asset, in order; the parts of an object are together."""

    objects: Int[np.ndarray, "p"]
    """Number of each part's object, from 0 to o - 1."""
    nouns: Int[np.ndarray, "o"]
    """Number of each object's noun."""
    roles: Int[np.ndarray, "p"]
    """Number of each part's role, or ``UNUSED``."""
    unknown: frozenset[int] = frozenset()
    """Objects whose box is not said."""

    @staticmethod
    def none(count: int) -> Labels:
        """Of parts from elsewhere: one unknown object."""
        return Labels(np.zeros(count, int), np.zeros(1, int), np.full(count, UNUSED), frozenset({0}))


def is_object(tokens: Int[Tensor, "*b 16"]) -> Bool[Tensor, "*b"]:
    """Which elements are objects."""
    return (tokens[..., OBJECT] > END) & (tokens[..., OBJECT] < PART)


def encode_assets(
    assets: Sequence[Float[np.ndarray, "_ v"]], labels: Sequence[Labels | None]
) -> list[Int[Tensor, "_ 16"]]:
    """Tokens of the elements of each asset, without its end."""
    rows, local = [], []
    for vectors, known in zip(assets, labels, strict=True):
        known = known or Labels.none(len(vectors))
        starts = np.flatnonzero(np.diff(known.objects, prepend=-1))
        heads = np.full((len(starts), len(SIZES)), UNUSED)
        heads[:, OBJECT] = 1 + known.nouns
        moved = vectors.astype(np.float64)
        for head, start, end in zip(heads, starts, [*starts[1:], len(vectors)], strict=True):
            if known.objects[start] in known.unknown:
                continue
            low, high = (corner / CELL for corner in bounds(moved[start:end]))
            head[FACES : FACES + 6 : 2] = low = (low.min(0).round().astype(int) - LOWEST).clip(0, PLACES - 2)
            head[FACES + 1 : FACES + 6 : 2] = (high.max(0).round().astype(int) - LOWEST).clip(low + 1, PLACES - 1)
            origin, scale = (t.numpy() for t in _frames(torch.from_numpy(head)))
            moved[start:end, CENTRE] = (moved[start:end, CENTRE] - origin) / scale
            moved[start:end, LOG_HALF_SIZE] -= np.log(scale)
        local.append(moved)
        rows.append((heads, starts, known.roles))
    coded = encode_parts(torch.from_numpy(np.concatenate(local))).split([len(v) for v in local])
    out = []
    for parts, (heads, starts, roles) in zip(coded, rows, strict=True):
        parts[:, ROLE] = torch.from_numpy(roles)
        out.append(torch.from_numpy(np.insert(parts.numpy(), starts, heads, axis=0)))
    return out


def decode_assets(tokens: Int[Tensor, "b e 16"]) -> tuple[Float[Tensor, "b e v"], Bool[Tensor, "b e"]]:
    """Vectors of all elements, and which of them are parts. Any tokens give an asset."""
    place = torch.arange(tokens.shape[1], device=tokens.device)
    head = torch.where(is_object(tokens), place, -1).cummax(1).values
    frames = tokens.gather(1, head.clamp_min(0).unsqueeze(-1).expand_as(tokens))
    origin, scale = _frames(torch.where((head >= 0).unsqueeze(-1), frames, UNUSED))
    vectors = decode_parts(tokens.clamp_min(0))
    vectors[..., CENTRE] = vectors[..., CENTRE] * scale + origin
    vectors[..., LOG_HALF_SIZE] = (vectors[..., LOG_HALF_SIZE] + scale.log()).clamp_min(math.log(MIN_HALF_SIZE))
    return vectors, tokens[..., OBJECT] == PART


def _frames(objects: Int[Tensor, "*b 16"]) -> tuple[Float[Tensor, "*b 3"], Float[Tensor, "*b 1"]]:
    """Where the origin of an object's grid lies, below the middle of its box, and the length of its
    unit: of an unknown object those of the world."""
    first = torch.tensor(LOWEST, device=objects.device)
    low, high = ((objects[..., FACES + i : FACES + 6 : 2] + first) * CELL for i in (0, 1))
    origin = torch.cat([(low + high)[..., :2] / 2, low[..., 2:]], -1)
    known = objects[..., FACES, None] >= 0
    scale = (high - low).amax(-1, keepdim=True).clamp_min(CELL)
    return torch.where(known, origin, 0.0), torch.where(known, scale, 1.0)


def encode_parts(vectors: Float[Tensor, "n v"]) -> Int[Tensor, "n 16"]:
    """Tokens of n existing parts in the frame of the world, without roles. What lies outside a grid
    is moved to its border."""
    parts = Parts.from_vectors(vectors.double())
    rotation, half, taper = parts.rotations, parts.half_sizes, parts.taper
    # The z axis up, or in the front half if it is level: a half turn about x only changes the sign
    # of the taper.
    tilt, heading = _direction(rotation)
    flipped = (rotation[:, 2, 2] < -1e-9) & (tilt < TILTS) | (tilt == TILTS) & (heading >= HEADINGS // 2)
    turn = torch.where(flipped[:, None], torch.tensor([1.0, -1.0, -1.0]).double(), torch.ones(3).double())
    rotation, taper = rotation * turn[:, None], torch.where(flipped, -taper, taper)
    tilt, heading = _direction(rotation)
    rest = _toward(tilt, heading).transpose(-1, -2) @ rotation
    steps = (torch.atan2(rest[:, 1, 0], rest[:, 0, 0]) / (math.pi / 2) * ROLLS).round().long()
    # A quarter turn about z exchanges the two half sizes. A round part has no roll.
    round_ = ((parts.exponents[:, 1] - 1).abs() < 0.02) & ((half[:, 0] / half[:, 1] - 1).abs() < 0.02)
    steps = torch.where(round_, 0, steps)
    exchanged = (steps // ROLLS) % 2 == 1
    half = torch.where(exchanged[:, None], half[:, [1, 0, 2]], half)
    roll = steps % ROLLS
    world = _world_axes(tilt, heading, roll)
    # Half size along each world axis: that of the local axis which lies nearest to it.
    extent = torch.zeros_like(half).scatter(1, world, half)
    first = torch.tensor(LOWEST)
    low = ((parts.centres - extent) / CELL).round().long() - first
    high = torch.maximum(((parts.centres + extent) / CELL).round().long() - first, low + 1)
    grid = torch.tensor(EXPONENT_GRID).double()
    north, east = ((parts.exponents[:, i, None] - grid).abs().argmin(-1) for i in (0, 1))
    scores = parts.patterns
    pattern = torch.where(scores.amax(-1) > 0, 1 + scores.argmax(-1), 0)
    finishes = torch.tensor(_FINISHES).double()
    finish = ((torch.stack([parts.metallic, parts.roughness], -1)[:, None] - finishes) ** 2).sum(-1).argmin(-1)
    out = torch.empty(len(vectors), len(SIZES), dtype=torch.long)
    out[:, OBJECT], out[:, ROLE] = PART, UNUSED
    out[:, SHAPE] = north * len(EXPONENT_GRID) + east
    out[:, TILT], out[:, HEADING], out[:, ROLL] = tilt, heading, roll
    out[:, FACES : FACES + 6 : 2], out[:, FACES + 1 : FACES + 6 : 2] = (
        low.clamp(0, PLACES - 2),
        high.clamp(1, PLACES - 1),
    )
    out[:, TAPER_TOKEN] = (taper * TAPERS).round().long().clamp(-TAPERS, TAPERS) + TAPERS
    out[:, COLOR_TOKEN] = _nearest_color(parts.colors)
    out[:, SURFACE] = finish * (1 + len(PATTERNS)) + pattern
    out[:, SECOND] = torch.where(pattern > 0, 1 + _nearest_color(parts.second_colors), 0)
    return out


def decode_parts(tokens: Int[Tensor, "*b 16"]) -> Float[Tensor, "*b v"]:
    """Vectors of parts in the frame of the world. Any tokens give a part; whether it exists is for
    the caller to say."""
    t = tokens.long()
    tilt, heading, roll = t[..., TILT], t[..., HEADING], t[..., ROLL]
    first = torch.tensor(LOWEST, device=t.device)
    low, high = (t[..., FACES + i : FACES + 6 : 2] + first for i in (0, 1))
    centre, extent = (low + high) * (CELL / 2), ((high - low) * (CELL / 2)).clamp_min(MIN_HALF_SIZE)
    world = _world_axes(tilt, heading, roll)
    rotation = _rotation(tilt, heading, roll)
    shape = t[..., SHAPE]
    grid = torch.tensor(EXPONENT_GRID, device=t.device)
    palette = _palette().to(t.device)
    finish, pattern = t[..., SURFACE] // (1 + len(PATTERNS)), t[..., SURFACE] % (1 + len(PATTERNS))
    out = torch.zeros(*t.shape[:-1], VECTOR_SIZE, device=t.device)
    out[..., EXISTENCE] = 1
    out[..., EXPONENTS] = torch.stack([grid[shape // len(grid)], grid[shape % len(grid)]], -1)
    out[..., TAPER] = ((t[..., TAPER_TOKEN] - TAPERS) / TAPERS).clamp(-MAX_TAPER, MAX_TAPER)
    out[..., CENTRE] = centre
    out[..., LOG_HALF_SIZE] = extent.gather(-1, world).log()
    out[..., ROTATION] = torch.cat([rotation[..., 0], rotation[..., 1]], -1).float()
    out[..., COLOR] = palette[t[..., COLOR_TOKEN]]
    out[..., METALLIC], out[..., ROUGHNESS] = torch.tensor(_FINISHES, device=t.device)[finish].unbind(-1)
    numbers = torch.arange(1, 1 + len(PATTERNS), device=t.device)
    out[..., PATTERN] = torch.where(pattern[..., None] == numbers, 1.0, -1.0)
    out[..., SECOND_COLOR] = palette[(t[..., SECOND] - 1).clamp_min(0)] * (pattern > 0)[..., None]
    return out


def _direction(rotation: Float[Tensor, "n 3 3"]) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"]]:
    """Tilt and heading of the z axis, or of its opposite if that points up."""
    axis = rotation[..., 2]
    up = axis[..., 2].abs().clamp(max=1)
    tilt = (torch.acos(up) / (math.pi / 2) * TILTS).round().long()
    sign = torch.where((axis[..., 2] < -1e-9) & (tilt < TILTS), -1.0, 1.0).double()
    heading = (torch.atan2(sign * axis[..., 1], sign * axis[..., 0]) / (2 * math.pi) * HEADINGS).round().long()
    return tilt, torch.where(tilt == 0, 0, heading % HEADINGS)


def _toward(tilt: Int[Tensor, "*b"], heading: Int[Tensor, "*b"]) -> Float[Tensor, "*b 3 3"]:
    """The shortest rotation from the z axis to a direction."""
    a, h = tilt.double() * (math.pi / 2 / TILTS), heading.double() * (2 * math.pi / HEADINGS)
    x, y, z = a.sin() * h.cos(), a.sin() * h.sin(), a.cos()
    k = 1 / (1 + z)
    rows = [1 - k * x * x, -k * x * y, x, -k * x * y, 1 - k * y * y, y, -x, -y, z]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _rotation(tilt: Int[Tensor, "*b"], heading: Int[Tensor, "*b"], roll: Int[Tensor, "*b"]) -> Float[Tensor, "*b 3 3"]:
    c, s = ((roll.double() * (math.pi / 2 / ROLLS)).cos(), (roll.double() * (math.pi / 2 / ROLLS)).sin())
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    about_z = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
    return _toward(tilt, heading) @ about_z


def _world_axes(tilt: Int[Tensor, "*b"], heading: Int[Tensor, "*b"], roll: Int[Tensor, "*b"]) -> Int[Tensor, "*b 3"]:
    """The world axis that each local axis stands for: the assignment with the largest sum of
    absolute cosines. It follows from the tokens alone, so decoding finds the same."""
    cosines = _rotation(tilt, heading, roll).abs()
    permutations = _PERMUTATIONS.to(tilt.device)
    sums = torch.stack([cosines[..., p, torch.arange(3)].sum(-1) for p in permutations.tolist()], -1)
    best = (sums + 1e-6 * torch.arange(len(permutations), 0, -1, device=tilt.device)).argmax(-1)
    return permutations[best]


@cache
def _palette() -> Float[Tensor, "c 3"]:
    return torch.tensor(list(COLORS.values()))


def _nearest_color(rgb: Float[Tensor, "n 3"]) -> Int[Tensor, "n"]:
    table = torch.from_numpy(oklab(np.array(list(COLORS.values()))))
    return ((torch.from_numpy(oklab(rgb.numpy()))[:, None] - table) ** 2).sum(-1).argmin(-1)
