"""Connectedness: whether the asset is one piece that stands on the ground, or for a prompt that
names several things which stand there, at most one piece for each.

Two pieces touch if the gap between them is at most a centimetre (``Pieces.gaps``)."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from rewards.composition.parser import shipped_lexicon
from rewards.composition.prompt import facts_of
from scenes.parts import TOUCH_TOLERANCE

TOLERANCES = (0.0, TOUCH_TOLERANCE / 2, TOUCH_TOLERANCE, 0.02, 0.04)
"""Gaps in metres at which pieces are tested for contact. With several gaps, a piece that comes
closer to its neighbour scores higher before it counts as touching, and highest if it really
touches. The policy therefore learns a margin."""


def things_standing(batch: Batch) -> Int[Tensor, "b"]:
    """How many things each prompt names that stand on the ground by themselves: 2 for "a cone next
    to a chair", 1 for "a lamp on a table", and for what cannot be read (``facts_of``)."""
    read = (facts_of(prompt, shipped_lexicon()) for prompt in batch.prompts)
    return torch.tensor([1 if facts is None else facts.standing for facts in read])


class Connected:
    """Fraction of the asset's mass in the heaviest touching clusters that rest on the ground, as
    many as the prompt names things which stand there (``things_standing``), in [0, 1].

    Pieces are the asset's parts, or the shells of its mesh. ``values`` is the mean of the fraction
    over ``TOLERANCES``: with one tolerance, a group of samples that all miss it would have nothing
    to learn from. ``verdict`` is strict: every piece belongs to these clusters at
    ``TOUCH_TOLERANCE``. ``per_part``: the fraction of the tolerances at which a part is in them. An
    empty asset scores 0. One with numbers that are not finite scores 0 and has failed."""

    name = "connected"
    version = "5"
    needs = Needs(mesh=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        pieces, usable, count = batch.pieces, batch.usable, things_standing(batch)
        found = (pieces.main(pieces.clusters(tolerance), count) for tolerance in TOLERANCES)
        fractions, attached = zip(*found, strict=True)
        whole = (attached[TOLERANCES.index(TOUCH_TOLERANCE)] == pieces.exists).all(-1)
        return Scores(
            values=torch.where(usable, torch.stack(fractions).mean(0), 0).clamp(0, 1).float().cpu(),
            failed=int(batch.broken.sum()),
            verdict=(usable & whole).cpu(),
            per_part=batch.per_part(torch.stack(attached).to(fractions[0]).mean(0)),
        )
