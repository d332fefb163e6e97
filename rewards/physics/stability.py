"""Stability: whether the asset keeps standing in a simulation while gravity leans by 5 degrees and
turns once around.

Grade and verdict use the tilt of the up axis and the drift of the centre of mass. The rotation
angle would count turning on the spot as falling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rewards.base import Batch
from rewards.physics.simulate import Motion, Trial
from rewards.physics.simulated import UNEVEN, UNEVEN_DEG, Simulated

TILT_DEG, DRIFT = 10.0, 0.05
"""A body stands if it never tilts by more degrees nor drifts by more metres."""
SURVIVAL = 0.2
"""Weight of the time for which a body stands. It ranks assets that all fall."""


class Stability(Simulated):
    """1 minus how far the asset's bodies tilted and drifted in the trial, averaged with weights by
    mass, in [0, 1].

    ``verdict``: every body stayed within ``TILT_DEG`` and ``DRIFT``. Assets without parts are
    allowed ``UNEVEN_DEG`` and ``UNEVEN`` more. Failures as in ``Simulated``."""

    name = "stability"
    version = "1"

    def __init__(self, trial: Trial | None = None, workers: int | None = None) -> None:
        super().__init__(workers)
        self.trial = trial or Trial()

    def judge(self, batch: Batch, index: int, motion: Motion) -> tuple[float, bool]:
        if batch.need_asset().parts is None:
            tilt_deg, drift = (motion.tilt_deg - UNEVEN_DEG).clip(0), (motion.drift - UNEVEN).clip(0)
            motion = replace(motion, tilt_deg=tilt_deg, drift=drift)
        return self.grade(motion), stands(motion)

    def grade(self, motion: Motion) -> float:
        """Each body earns 1 when it did not move, falling in a straight line to 0 at the trial's
        limits of tilt and of drift."""
        upright = np.clip(1 - motion.tilt_deg / self.trial.tilt_limit_deg, 0, 1)
        in_place = np.clip(1 - motion.drift / self.trial.drift_limit, 0, 1)
        stood = upright * in_place
        earned = (1 - SURVIVAL) * stood[-1] + SURVIVAL * stood.mean(0)
        return float(np.average(earned, weights=motion.masses))


def stands(motion: Motion) -> bool:
    return bool((motion.tilt_deg[-1] < TILT_DEG).all() and (motion.drift[-1] < DRIFT).all())
