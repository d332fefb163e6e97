"""Parts as tokens, 16 a part: two that say what the part belongs to, and its numbers on finite
grids.

The first two are labels: the object and whether the part begins it, and the role of the part in it.
A generator that says first what it draws next keeps to its prompt. Parts from elsewhere have no
labels; their first two tokens are ``UNKNOWN``.

Faces are coded, not centres and sizes: parts that touch then have equal tokens. A superquadric has
symmetries, so several vectors describe the same part. It is brought into one form first: its z axis
points up, and it is rolled by less than a quarter turn.
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scenes.colors import COLORS, oklab
from scenes.parts import (
    CENTRE,
    COLOR,
    DEFAULT_ROUGHNESS,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
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
END = 0
"""Value of the first token that ends the asset. Other tokens of that part mean nothing."""
UNKNOWN = -1
"""Label of parts that come without labels."""
NOUNS, ROLES = 128, 192
"""Most nouns of objects and roles of parts. The first of each is for what has no name."""

ATTRIBUTES: dict[str, int] = {
    "object": 1 + 2 * NOUNS,
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
"""Name and vocabulary size of every token of a part, in the order in which they are drawn."""
OBJECT, ROLE, SHAPE, TILT, HEADING, ROLL, FACES, TAPER_TOKEN, COLOR_TOKEN, SURFACE, SECOND = *range(7), 12, 13, 14, 15
SIZES = tuple(ATTRIBUTES.values())
ORDERED = range(TILT, COLOR_TOKEN)
"""Tokens that are numbers, not names."""

_PERMUTATIONS = torch.tensor(list(itertools.permutations(range(3))))
_FINISHES = ((0.0, DEFAULT_ROUGHNESS), *FINISHES.values())


def labels(
    objects: Int[np.ndarray, "n"], nouns: Int[np.ndarray, "n"], roles: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "n 2"]:
    """The first two tokens of n parts in order, from the number of each part's object, the number
    of that object's noun and the number of the part's role. The parts of an object are together."""
    begins = np.diff(objects, prepend=-1) != 0
    return np.stack([1 + 2 * nouns + begins, roles], 1)


def encode_parts(vectors: Float[Tensor, "n v"]) -> Int[Tensor, "n 16"]:
    """Tokens of n existing parts, without labels. What lies outside a grid is moved to its
    border."""
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
    out[:, OBJECT] = out[:, ROLE] = UNKNOWN
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
    """Vectors of parts. Any tokens give a part; whether it exists is for the caller to say."""
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
