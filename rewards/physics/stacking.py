"""Stacking and containment: what a prompt puts on top of, into or beside another thing must still
be there after two seconds."""

from __future__ import annotations

import numpy as np
import torch

from rewards.base import Batch, Needs, Scores
from rewards.physics.simulate import Trial, moved, simulate
from rewards.relations import Box, Relation, parse, related
from scenes.colors import nearest_base
from scenes.parts import Parts

TRIAL = Trial(duration=2.0, samples=40, lean_deg=0.0, tilt_limit_deg=180.0, drift_limit=10.0)
"""Two seconds under plain gravity, to the end."""
MADE, KEPT = 0.3, 0.5
"""What it earns that the relation holds as the asset was made, and after the trial; the rest is for
the two things being there at all."""


class Stacking:
    """Does the relation that the prompt states hold, and still after two simulated seconds? One of
    0, 0.2, 0.5, 0.7 and 1.

    0.2 for parts in both colours, ``MADE`` and ``KEPT`` for the relation before and after. Touching
    clusters are rigid, as in ``stability``. The two things are told apart by their colours in the
    prompt ("a red ball on a blue cube"). A prompt without a relation, or without two different
    colours around it, says nothing that this reward could check: all its assets score 1, so that it
    takes no part in their group. ``verdict``: the relation holds after the trial. Assets without
    parts, with numbers that are not finite or that could not be simulated score 0, the latter two
    have failed."""

    name = "stacking"
    version = "1"
    needs = Needs(parts=True)
    instead = "alignment or stability"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        relations = [parse(prompt) for prompt in batch.prompts]
        values = torch.tensor([1.0 if relation is None else 0.0 for relation in relations])
        values[batch.broken.cpu() | ~batch.sound_parts.exists.any(-1).cpu()] = 0
        verdict, failed = values == 1, int(batch.broken.sum())
        asked = [b for b, relation in enumerate(relations) if relation is not None and not batch.broken[b]]
        if not asked:
            return Scores(values, failed, verdict)
        parts, labels = batch.sound_parts[asked], batch.components[asked]
        motions = simulate(parts, labels, TRIAL, workers=self.workers)
        after = moved(parts, labels, motions)
        for k, b in enumerate(asked):
            relation = relations[b]
            if relation is None or not parts.exists[k].any():
                continue
            if motions[k] is None:
                failed += 1
                continue
            there, made = stated(relation, parts[k])
            kept = stated(relation, after[k])[1]
            values[b] = there * (1 - MADE - KEPT) + made * MADE + kept * KEPT
            verdict[b] = kept
        return Scores(values, failed, verdict)


def stated(relation: Relation, parts: Parts) -> tuple[bool, bool]:
    """Whether both things are there in one asset (p,), and whether their largest parts stand to
    each other as the relation says: smaller ones may have the other's colour, as the hoops of a
    barrel."""
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
