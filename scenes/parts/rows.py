"""Boxes and areas of parts as plain rows of numbers (``scenes.parts.layout``), in numpy: for one
asset at a time, where tensors would cost more than the arithmetic."""

from __future__ import annotations

import numpy as np

from scenes.parts.layout import (
    AXIS_X,
    AXIS_Y,
    CENTRE,
    EAST,
    EXPONENTS,
    LOG_HALF_SIZE,
    MAX_EXPONENT,
    MIN_EXPONENT,
    NORTH,
    TAPER,
)


def bounds(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of the bounding box of every part, (p, 3) each. Exact for parts
    that are not turned."""
    centre, half = vectors[:, CENTRE], np.exp(vectors[:, LOG_HALF_SIZE])
    low, high = centre - half, centre + half
    turned = np.flatnonzero((vectors[:, AXIS_X][:, 0] < 0.9999) | (vectors[:, AXIS_Y][:, 1] < 0.9999))
    if len(turned):
        v, half = vectors[turned], half[turned]
        axes = rotation_matrices(v)  # (k, world axis, local axis)
        # Support of a cross-section in direction d: the dual norm of the superellipse, q = 2 / (2 -
        # e).
        q = (2 / (2 - v[:, EAST]))[:, None]
        lateral = ((np.abs(axes[:, :, 0]) * half[:, :1]) ** q + (np.abs(axes[:, :, 1]) * half[:, 1:2]) ** q) ** (1 / q)
        e = v[:, NORTH, None]
        z, radius = _COS_SIGN * _COS**e, _SIN**e
        taper = v[:, TAPER, None]
        radius = radius * (1 - np.maximum(taper, 0) * (1 + z) / 2 + np.minimum(taper, 0) * (1 - z) / 2)
        along = axes[:, :, 2, None] * (half[:, 2:] * z)[:, None]
        across = lateral[:, :, None] * radius[:, None]
        low[turned], high[turned] = v[:, CENTRE] + (along - across).min(-1), v[:, CENTRE] + (along + across).max(-1)
    return low, high


def rotation_matrices(vectors: np.ndarray) -> np.ndarray:
    """Part-to-world rotations (p, 3, 3) from the 6 numbers of every row."""
    x, y = vectors[:, AXIS_X], vectors[:, AXIS_Y]
    x = x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-6)
    y = y - (x * y).sum(-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True).clip(1e-6)
    return np.stack([x, y, np.cross(x, y)], -1)


def surface_areas(vectors: np.ndarray) -> np.ndarray:
    """Estimated surface area of every part in square metres, within 10 % for the five solids."""
    a, b, c = np.exp(vectors[:, LOG_HALF_SIZE]).T
    north, east = vectors[:, EXPONENTS].clip(MIN_EXPONENT, MAX_EXPONENT).T
    return (
        8
        * (a * b + b * c + c * a)
        * (1 - 0.215 * east)
        * (1 - 0.33 * north)
        * (1 - 0.4 * np.abs(vectors[:, TAPER]).clip(0, 1))
    )


_ANGLES = np.linspace(0, np.pi, 17)
_COS, _COS_SIGN, _SIN = np.abs(np.cos(_ANGLES)).clip(1e-9), np.sign(np.cos(_ANGLES)), np.sin(_ANGLES).clip(1e-9)
