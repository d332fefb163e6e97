"""Known faults, made on purpose. Rewards are tested on them and judges are trained on them. Each
function takes and returns (p, 27) rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rl3d.corpus.checks import surface_areas
from rl3d.corpus.shapes import bounds, rotation_matrices, row
from scenes.colors import nearest_base
from scenes.parts import (
    AXIS_X,
    AXIS_Y,
    CENTRE,
    CENTRE_Y,
    CENTRE_Z,
    COLOR,
    LOG_HALF_SIZE,
    LOG_HALF_X,
    LOG_HALF_Y,
    LOG_HALF_Z,
    MAX_PARTS,
    MIN_HALF_SIZE,
    PLAIN,
    ROTATION,
    SHAPE_SIZE,
)

Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def part_removed(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the larger parts is missing."""
    if len(vectors) < 2:
        return vectors.copy()
    return np.delete(vectors, _large(vectors, rng), 0)


def part_lifted(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the larger parts hovers above its place."""
    return _shifted(vectors, _large(vectors, rng), (0.0, 0.0, rng.uniform(0.1, 0.35)))


def part_shifted(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the larger parts is moved sideways."""
    angle = rng.uniform(0, 2 * np.pi)
    reach = rng.uniform(0.15, 0.4)
    return _shifted(vectors, _large(vectors, rng), (reach * np.cos(angle), reach * np.sin(angle), 0))


def part_rotated(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the larger parts is turned by 25 to 90 degrees about a horizontal axis."""
    out, k = vectors.copy(), _large(vectors, rng)
    angle = rng.uniform(0, 2 * np.pi)
    return _turned(out, [k], np.array([np.cos(angle), np.sin(angle), 0]), rng.uniform(25, 90), out[k, CENTRE].copy())


def floater_added(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A stray part in the air near the asset. It replaces a small part if there is no free slot."""
    out = _room(vectors)
    low, high = (corner(0) for corner in (bounds(out)[0].min, bounds(out)[1].max))
    side = rng.choice([-1, 1], 2)
    centre = (low + high) / 2
    centre[:2] += side * ((high - low)[:2] / 2 + rng.uniform(0.08, 0.2, 2))
    centre[2] = rng.uniform(0.3, 0.9) * high[2] + 0.1
    half = rng.uniform(0.03, 0.1, 3)
    paint = out[rng.integers(len(out)), COLOR] if rng.random() < 0.7 else rng.random(3)
    stray = row(
        tuple(paint.tolist()), tuple(centre.tolist()), tuple(half.tolist()), (rng.uniform(0.1, 1), rng.uniform(0.1, 1))
    )
    return np.concatenate([out, np.array([[*stray, *PLAIN]], dtype=out.dtype)])


def colors_swapped(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The main colour and another one are exchanged on all parts. An asset of one colour gets
    another colour."""
    out, names, areas = vectors.copy(), np.array(nearest_base(vectors[:, COLOR])), surface_areas(vectors)
    order = sorted(set(names), key=lambda name: -areas[names == name].sum())
    if len(order) < 2:
        out[:, COLOR] = (
            out[:, COLOR][:, [2, 0, 1]]
            if np.ptp(out[0, COLOR]) > 0.1
            else np.array([0.84, 0.12, 0.12], dtype=out.dtype)
        )
        return out
    first, second = names == order[0], names == order[1]
    one, other = out[first, COLOR].mean(0), out[second, COLOR].mean(0)
    out[first, COLOR], out[second, COLOR] = other, one
    return out


def leg_shortened(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part that stands on the ground loses one to two thirds of its height from below."""
    out, k = vectors.copy(), _standing(vectors, rng)
    cut = rng.uniform(0.35, 0.65) * np.exp(out[k, LOG_HALF_Z])
    out[k, LOG_HALF_Z] += np.log1p(-cut / np.exp(out[k, LOG_HALF_Z]))
    out[k, CENTRE_Z] += cut
    return out


def leg_removed(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part that stands on the ground is missing."""
    return np.delete(vectors, _standing(vectors, rng), 0) if len(vectors) > 1 else vectors.copy()


def bulged(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The largest parts are 1.4 to 2 times as wide and deep."""
    out, main = vectors.copy(), _main(vectors)
    out[main, LOG_HALF_X : LOG_HALF_Y + 1] += np.log(rng.uniform(1.4, 2.0))
    return out


def thickened(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thin parts are two or three times as thick."""
    out = vectors.copy()
    smallest = out[:, LOG_HALF_SIZE].argmin(1)
    half = np.exp(out[:, LOG_HALF_SIZE])
    thin = half.min(1) < 0.5 * half.max(1)
    if not thin.any():
        thin[half.min(1).argmin()] = True
    thin = np.flatnonzero(thin)
    out[thin, LOG_HALF_X + smallest[thin]] += np.log(rng.uniform(2, 3))
    return out


def flattened(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The largest parts lose half their height."""
    out, main = vectors.copy(), _main(vectors)
    out[main, LOG_HALF_Z] += np.log(rng.uniform(0.4, 0.6))
    return out


def details_removed(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All small parts are missing: eyes, handles, windows."""
    areas = surface_areas(vectors)
    keep = areas >= rng.uniform(0.06, 0.12) * areas.max()
    if keep.all():
        keep[areas.argmin()] = len(keep) == 1
    return vectors[keep].copy()


def leaning(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The whole asset is tilted by 12 to 30 degrees."""
    direction = rng.uniform(0, 2 * np.pi)
    return _leaning(vectors, direction, rng.uniform(12, 30))


def jitter(vectors: np.ndarray, rng: np.random.Generator, strength: float = 0.05) -> np.ndarray:
    """Gaussian noise on every centre (``strength`` metres), size (3 ``strength``, relative) and
    rotation."""
    out = vectors.copy()
    out[:, CENTRE] += rng.normal(0, strength, (len(out), 3))
    out[:, LOG_HALF_SIZE] += rng.normal(0, 3 * strength, (len(out), 3))
    out[:, ROTATION] += rng.normal(0, 2 * strength, (len(out), 6))
    return out


def jitter_weak(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return jitter(vectors, rng, 0.02)


def jitter_strong(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return jitter(vectors, rng, 0.12)


def parts_merged(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A large part and its neighbour become one block that encloses both."""
    if len(vectors) < 2:
        return vectors.copy()
    k = _large(vectors, rng)
    apart = np.linalg.norm(vectors[:, CENTRE] - vectors[k, CENTRE], axis=1)
    apart[k] = np.inf
    other = int(apart.argmin())
    low, high = bounds(vectors[[k, other]])
    low, high = low.min(0), high.max(0)
    block = row(
        tuple(vectors[k, COLOR].tolist()),
        tuple(((low + high) / 2).tolist()),
        tuple(((high - low) / 2).tolist()),
        (0.5, 0.5),
    )
    block += vectors[k, SHAPE_SIZE:].tolist()
    return np.concatenate([np.delete(vectors, [k, other], 0), np.array([block], dtype=vectors.dtype)])


def category_swapped(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A different asset, with its main parts in the main colour of this one."""
    from rl3d.corpus.sampling import sample

    areas = surface_areas(vectors)
    paint = vectors[areas.argmax(), COLOR]
    other = sample(rng).vectors.astype(vectors.dtype)
    names, areas = np.array(nearest_base(other[:, COLOR])), surface_areas(other)
    main = max(set(names), key=lambda name: areas[names == name].sum())
    other[names == main, COLOR] = paint
    return other


def part_raised(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the larger parts hovers above its place by 1/20 of the height of the asset."""
    low, high = bounds(vectors)
    return _shifted(vectors, _large(vectors, rng), (0.0, 0.0, 0.05 * float(high[:, 2].max() - low[:, 2].min())))


def leaning_slightly(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The whole asset is tilted by 5 degrees and stands on its new lowest point."""
    return _leaning(vectors, rng.uniform(0, 2 * np.pi), 5.0)


def part_sunk(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the larger parts is pushed two thirds of the way into its nearest neighbour."""
    if len(vectors) < 2:
        return vectors.copy()
    out, k = vectors.copy(), _large(vectors, rng)
    apart = np.linalg.norm(vectors[:, CENTRE] - vectors[k, CENTRE], axis=1)
    apart[k] = np.inf
    out[k, CENTRE] += 2 / 3 * (vectors[apart.argmin(), CENTRE] - vectors[k, CENTRE])
    return out


def part_thinned(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the larger parts is as thin as a part can be, 8 millimetres. From its broad side it
    looks the same."""
    out, k = vectors.copy(), _large(vectors, rng)
    out[k, LOG_HALF_X + out[k, LOG_HALF_SIZE].argmin()] = np.log(MIN_HALF_SIZE)
    return out


def faces_copied(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The front of the asset is repeated at its back, mirrored: a second head, or a face on the
    back of the head.

    It is not in ``CORRUPTIONS``, because it is a fault only of things that have a front, such as
    animals.
    """
    body = int(surface_areas(vectors).argmax())
    ahead = vectors[body, CENTRE_Y] - vectors[:, CENTRE_Y] > 0.2 * np.exp(vectors[body, LOG_HALF_Y])
    # Feet are at the back already.
    standing = vectors[:, CENTRE_Z] - np.exp(vectors[:, LOG_HALF_SIZE]).max(1) < 0.05
    copies = vectors[np.flatnonzero(ahead & ~standing)[: max(MAX_PARTS - len(vectors), 0)]].copy()
    copies[:, CENTRE_Y] = 2 * vectors[body, CENTRE_Y] - copies[:, CENTRE_Y]
    # Mirrored in y; a part is alike on both sides of its own y, so its axes stay a rotation.
    copies[:, ROTATION] *= np.array([1, -1, 1, -1, 1, -1], dtype=copies.dtype)
    return np.concatenate([vectors, copies])


CORRUPTIONS: dict[str, Corruption] = {
    fault.__name__: fault
    for fault in (
        part_removed, part_lifted, part_shifted, part_rotated, floater_added, colors_swapped, leg_shortened,
        leg_removed, bulged, thickened, flattened, details_removed, leaning, jitter_weak, jitter, jitter_strong,
        parts_merged, category_swapped,
    )
}  # fmt: skip
SUBTLE: dict[str, Corruption] = {
    fault.__name__: fault for fault in (part_raised, leaning_slightly, part_sunk, part_thinned)
}
"""Faults for tests of rewards only. They are hardly visible, so no judge of images is trained on
them."""


def _leaning(vectors: np.ndarray, direction: float, angle_deg: float) -> np.ndarray:
    axis = np.array([np.cos(direction), np.sin(direction), 0])
    out = _turned(vectors.copy(), range(len(vectors)), axis, angle_deg, np.zeros(3))
    out[:, CENTRE_Z] -= bounds(out)[0][:, 2].min()
    return out


def _large(vectors: np.ndarray, rng: np.random.Generator) -> int:
    """A part with at least a fifth of the area of the largest one."""
    areas = surface_areas(vectors)
    return int(rng.choice(np.flatnonzero(areas >= 0.2 * areas.max())))


def _main(vectors: np.ndarray) -> np.ndarray:
    areas = surface_areas(vectors)
    return np.flatnonzero(areas >= 0.4 * areas.max())


def _standing(vectors: np.ndarray, rng: np.random.Generator) -> int:
    """A part whose bottom is on the ground, or else the lowest part."""
    bottom = bounds(vectors)[0][:, 2]
    return int(rng.choice(np.flatnonzero(bottom <= max(0.01, bottom.min() + 1e-6))))


def _shifted(vectors: np.ndarray, k: int, offset: tuple[float, float, float]) -> np.ndarray:
    out = vectors.copy()
    out[k, CENTRE] += np.asarray(offset, dtype=out.dtype)
    return out


def _turned(out: np.ndarray, which, axis: np.ndarray, angle_deg: float, pivot: np.ndarray) -> np.ndarray:
    """Turn the chosen parts about an axis through the pivot, in place."""
    which = list(which)
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) * c + (1 - c) * np.outer(axis, axis) + s * cross
    turned = turn @ rotation_matrices(out[which])
    out[which, AXIS_X], out[which, AXIS_Y] = turned[..., 0], turned[..., 1]
    out[which, CENTRE] = (out[which, CENTRE] - pivot) @ turn.T + pivot
    return out


def _room(vectors: np.ndarray) -> np.ndarray:
    """A copy with a free slot."""
    if len(vectors) < MAX_PARTS:
        return vectors.copy()
    return np.delete(vectors, surface_areas(vectors).argmin(), 0)
