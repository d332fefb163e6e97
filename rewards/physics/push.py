"""Push resistance: the largest sideways acceleration that the asset survives, as of a cart under
it, in its weakest direction."""

from __future__ import annotations

import numpy as np
import torch

from rewards.base import Batch, Needs, Scores
from rewards.physics.margin import weakest_direction
from rewards.physics.simulate import GRAVITY, Motion, Trial, simulate

LARGEST = 1.0
"""Acceleration in units of gravity that the ramp ends at: with the trial's friction of 1 everything
slides there."""
TILT_DEG, DRIFT = 0.35, 0.01
"""A body has given way once it has tilted by more degrees, or moved by more metres, than while it
merely leans into its contacts."""
ENOUGH = 0.2
"""Acceleration of the verdict, in units of gravity: a table that is bumped into, or a train that
brakes."""
RAMP = Trial(duration=2.5, samples=125, tilt_limit_deg=3.0, drift_limit=0.03)


class Push:
    """Acceleration over gravity up to which nothing gives way, in [0, ``LARGEST``]: the least over
    touching clusters.

    One simulation: gravity's sideways part grows evenly from 0, in the direction in which the
    static margin is least. A box twice as high as wide gets 0.5, within 0.1. ``verdict``: at least
    ``ENOUGH``. An asset that could not be simulated scores 0 and has failed."""

    name = "push"
    version = "1"
    needs = Needs(bodies=True)

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        parts = batch.sound_parts
        labels = torch.where(batch.broken.unsqueeze(-1), -1, batch.components)
        usable = parts.exists.any(-1) & ~batch.broken
        gravity = np.zeros((len(batch), RAMP.samples, 3))
        gravity[..., 2] = -GRAVITY
        if usable.any():
            towards = weakest_direction(parts[usable].double()).cpu().numpy()
            gravity[usable.cpu().numpy(), :, :2] = GRAVITY * ramp()[:, None] * towards[:, None]
        motions = simulate(parts, labels, RAMP, gravity=gravity, workers=self.workers)
        values = torch.tensor([float(acceleration(motion).min()) if motion else 0.0 for motion in motions])
        failed = sum(motion is None for motion in motions) - int((~parts.exists.any(-1) & ~batch.broken).sum())
        return Scores(values, failed, values >= ENOUGH)


def ramp() -> np.ndarray:
    """Sideways acceleration over gravity between the samples, (T,)."""
    return LARGEST * np.arange(RAMP.samples) / (RAMP.samples - 1)


def acceleration(motion: Motion) -> np.ndarray:
    """What each of the K bodies survived, in units of gravity, (K,)."""
    given_way = (motion.tilt_deg > TILT_DEG) | (motion.drift > DRIFT)
    last = np.where(given_way.any(0), given_way.argmax(0) - 1, len(given_way) - 1)
    return np.where(last < 0, 0.0, ramp()[last])
