"""Push resistance: the largest sideways acceleration that the asset survives, as of a cart under
it, in its weakest direction."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from rewards.base import Batch
from rewards.physics.margin import weakest_direction, weakest_directions
from rewards.physics.simulate import GRAVITY, Motion, Trial
from rewards.physics.simulated import UNEVEN, UNEVEN_DEG, Simulated
from scenes.asset import Convex

LARGEST = 1.0
"""Acceleration at the end of the ramp, in units of gravity: with the trial's friction of 1
everything slides there."""
TILT_DEG, DRIFT = 0.35, 0.01
"""A body has given way once it has tilted by more degrees, or moved by more metres, than while it
merely leans into its contacts."""
ENOUGH = 0.2
"""Acceleration for a good verdict, in units of gravity, as when a table is bumped or a train
brakes."""
RAMP = Trial(duration=2.5, samples=125, tilt_limit_deg=3.0, drift_limit=0.03)


class Push(Simulated):
    """Acceleration over gravity up to which nothing gives way, the least over touching clusters, in
    [0, ``LARGEST``].

    One simulation: gravity's sideways part grows evenly from 0, in the direction in which the
    static margin is least. A box twice as high as wide gets 0.5, within 0.1. For an asset without
    parts, the limit of the tilt is larger (``UNEVEN_DEG``), so its value is up to 0.12 higher.
    ``verdict``: at least ``ENOUGH``. Failures as in ``Simulated``."""

    name = "push"
    version = "1"
    trial = RAMP

    def gravity(self, batch: Batch, scenes: list[list[Convex]]) -> Float[np.ndarray, "b t 3"]:
        there = [k for k, pieces in enumerate(scenes) if pieces]
        if batch.need_asset().parts is None:
            towards = [weakest_direction(scenes[k]) for k in there]
        else:  # the parts' own solids, all assets at once
            towards = weakest_directions(batch.sound_parts[there].double()).cpu().numpy() if there else []
        gravity = np.zeros((len(scenes), RAMP.samples, 3))
        gravity[..., 2] = -GRAVITY
        for k, direction in zip(there, towards, strict=True):
            gravity[k, :, :2] = GRAVITY * ramp()[:, None] * direction
        return gravity

    def judge(self, batch: Batch, index: int, motion: Motion) -> tuple[float, bool]:
        exact = batch.need_asset().parts is not None
        limits = (TILT_DEG, DRIFT) if exact else (UNEVEN_DEG, UNEVEN)
        value = float(acceleration(motion, *limits).min())
        return value, value >= ENOUGH


def ramp() -> np.ndarray:
    """Sideways acceleration over gravity between the samples, (T,)."""
    return LARGEST * np.arange(RAMP.samples) / (RAMP.samples - 1)


def acceleration(motion: Motion, tilt_deg: float, drift: float) -> np.ndarray:
    """What each of the K bodies survived without exceeding a tilt and a drift, in units of gravity,
    (K,)."""
    given_way = (motion.tilt_deg > tilt_deg) | (motion.drift > drift)
    last = np.where(given_way.any(0), given_way.argmax(0) - 1, len(given_way) - 1)
    return np.where(last < 0, 0.0, ramp()[last])
