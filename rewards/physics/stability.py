"""Stability: does the asset keep standing in a simulation with gravity that leans by 5 degrees,
once around?

The verdict looks at the tilt of the up axis and the drift of the centre of mass, not at the
rotation angle, which counts turning on the spot as falling."""

from __future__ import annotations

import numpy as np
import torch

from rewards.base import Batch, Needs, Scores
from rewards.physics.simulate import Motion, Trial, simulate

TILT_DEG, DRIFT = 10.0, 0.05
"""A body stands if it never tilts by more degrees nor drifts by more metres than these."""
SURVIVAL = 0.2
"""Share of the score that is earned by how long a body stands: among assets that all fall, the one
that falls later is better."""


class Stability:
    """Graded in [0, 1]: the mean over bodies, weighted by mass, of how little each tilted and
    drifted in the trial.

    ``verdict``: every body stayed within ``TILT_DEG`` and ``DRIFT``. An asset that could not be
    simulated scores 0 and has failed."""

    name = "stability"
    version = "1"
    needs = Needs(bodies=True)

    def __init__(self, trial: Trial | None = None, workers: int | None = None) -> None:
        self.trial = trial or Trial()
        self.workers = workers

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        parts = batch.need_parts()
        labels = torch.where(batch.broken.unsqueeze(-1), -1, batch.components)
        motions = simulate(batch.sound_parts, labels, self.trial, workers=self.workers)
        empty = ~parts.exists.any(-1) & ~batch.broken
        failed = sum(motion is None for motion in motions) - int(empty.sum())
        values = [self.grade(motion) if motion else 0.0 for motion in motions]
        verdict = [stands(motion) if motion else False for motion in motions]
        return Scores(torch.tensor(values), failed, torch.tensor(verdict))

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
