"""Stacking and containment: an object that the prompt puts on, into or beside another one must
still be there after two seconds."""

from __future__ import annotations

import numpy as np
import torch

from rewards.base import Batch, Needs, Scores
from rewards.physics.simulate import Motion, Trial
from rewards.physics.simulated import Simulated
from rewards.relations import Box, Relation, parse, related
from scenes.asset import Convex, moved_parts
from scenes.colors import nearest_base
from scenes.parts import Parts

TRIAL = Trial(duration=2.0, samples=40, lean_deg=0.0, tilt_limit_deg=180.0, drift_limit=10.0)
"""Two seconds under plain gravity, to the end."""
MADE, KEPT = 0.3, 0.5
"""Scores if the relation holds before and after the trial. The rest of the value is for the
presence of both objects."""


class Stacking(Simulated):
    """Whether the relation of the prompt holds, and still holds after two simulated seconds: 0,
    0.2, 0.5, 0.7 or 1.

    0.2 for parts in both colours, ``MADE`` and ``KEPT`` for the relation before and after. Touching
    clusters are rigid, as in ``stability``. Colours in the prompt tell the two things apart ("a red
    ball on a blue cube"). A prompt without a relation between two different colours gives nothing
    to check: all its assets score 1, so the reward has no effect within their group. ``verdict``:
    the relation holds after the trial. Failures as in ``Simulated``."""

    name = "stacking"
    version = "1"
    needs = Needs(parts=True)
    instead = "alignment or stability"
    trial = TRIAL

    def bodies(self, batch: Batch) -> list[list[Convex]]:
        return [pieces if parse(prompt) else [] for prompt, pieces in zip(batch.prompts, batch.bodies, strict=True)]

    def judge(self, batch: Batch, index: int, motion: Motion) -> tuple[float, bool]:
        relation, one = parse(batch.prompts[index]), torch.tensor([index])
        assert relation is not None
        parts = batch.sound_parts[one]
        after = moved_parts(parts, batch.pieces.components[one], [motion.poses()])
        (there, made), (_, kept) = stated(relation, parts[0]), stated(relation, after[0])
        return there * (1 - MADE - KEPT) + made * MADE + kept * KEPT, kept

    def __call__(self, batch: Batch) -> Scores:
        scores = super().__call__(batch)
        unasked = torch.tensor([parse(prompt) is None for prompt in batch.prompts]) & batch.usable.cpu()
        values = torch.where(unasked, 1, scores.values)
        return Scores(values, scores.failed, unasked if scores.verdict is None else scores.verdict | unasked)


def stated(relation: Relation, parts: Parts) -> tuple[bool, bool]:
    """Whether both things are there in one asset (p,), and whether their largest parts stand as the
    relation says. Smaller parts may have the other's colour, like the hoops of a barrel."""
    shown = parts.present()
    names = np.array(nearest_base(shown.colors.double().cpu().numpy()))
    surface, volumes = (
        shown.surface_grid(3).flatten(1, 2).double().cpu().numpy(),
        shown.masses()[0].double().cpu().numpy(),
    )
    boxes: list[Box] = []
    for color in (relation.first, relation.second):
        if color not in names:
            return False, False
        largest = surface[np.where(names == color, volumes, -1).argmax()]
        boxes.append((largest.min(0), largest.max(0)))
    return True, related(relation.kind, *boxes)
