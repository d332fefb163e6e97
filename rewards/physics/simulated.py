"""The base of the rewards by simulation: one trial an asset, graded by how its bodies moved."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from rewards.base import Batch, Needs, Scores
from rewards.physics.simulate import Motion, Trial, simulate
from scenes.asset import Convex

UNEVEN_DEG, UNEVEN = 2.5, 0.03
"""Degrees and metres by which an asset without parts may tilt and drift at no cost. A surface made
from splats is uneven by millimetres: it rocks by a degree before all of its feet bear."""


class Simulated:
    """Simulates the bodies of every asset on its own and grades each motion.

    An empty asset scores 0. One that is not finite, or that the simulator refuses, scores 0 and has
    failed. The number of ``workers`` (default: one thread a core) changes no score."""

    name: str
    version: str
    needs: ClassVar[Needs] = Needs(bodies=True)
    trial: Trial = Trial()

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def bodies(self, batch: Batch) -> list[list[Convex]]:
        """What to simulate of each asset; an asset without pieces is passed over."""
        return batch.bodies

    def gravity(self, batch: Batch, scenes: list[list[Convex]]) -> Float[np.ndarray, "b t 3"] | None:
        """Gravity of each asset (m/s²) between the trial's samples; None: the trial's own."""
        return None

    def judge(self, batch: Batch, index: int, motion: Motion) -> tuple[float, bool]:
        """Value and verdict of one asset."""
        raise NotImplementedError

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        scenes = self.bodies(batch)
        motions = simulate(scenes, self.trial, gravity=self.gravity(batch, scenes), workers=self.workers)
        values, verdict = torch.zeros(len(batch)), torch.zeros(len(batch), dtype=torch.bool)
        failed = int(batch.broken.sum())
        for k, (pieces, motion) in enumerate(zip(scenes, motions, strict=True)):
            if motion is not None:
                values[k], verdict[k] = self.judge(batch, k, motion)
            elif pieces:
                failed += 1
        return Scores(values, failed, verdict)
