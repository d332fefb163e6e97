"""``composition``: which of the facts that a prompt states hold on what is found among the parts:
the objects with their number, colours and materials, and how they stand to each other.

A counterpart in 3D to GenEval (Ghosh et al., 2023), which asks an object detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rewards.base import Batch, Needs, Scores
from rewards.composition.facts import Facts, Thing
from rewards.composition.parser import SHIPPED, FoundObject, load_parser
from rewards.composition.prompt import facts_of
from rewards.relations import arranged

SPECK = 0.01
"""Objects with less than this fraction of the surface of the largest one are not counted, and no
part of them is right."""
MISSED = 0.5
"""Most credit of a number of objects that is not exact."""


@dataclass(frozen=True)
class Judgement:
    """How far each fact holds on one asset."""

    facts: tuple[tuple[str, float], ...]
    """The fact in words, and its credit: 1 if it holds, less if it nearly does, 0 if not."""
    per_part: np.ndarray
    """(p,) credit of the facts that each part takes part in."""

    @property
    def value(self) -> float:
        """Mean credit."""
        return sum(credit for _, credit in self.facts) / len(self.facts)

    @property
    def right(self) -> bool:
        """Whether all facts hold."""
        return all(credit == 1 for _, credit in self.facts)


def judged(facts: Facts, found: Sequence[FoundObject], count: int) -> Judgement:
    """How far the facts hold on the objects found among ``count`` parts."""
    largest = max((one.area for one in found), default=0.0)
    seen = [k for k, one in enumerate(found) if one.area >= SPECK * largest]
    owners, extra = _assigned(facts, found, seen)
    claims: list[tuple[str, float]] = []
    shares: list[list[float]] = [[] for _ in found]
    """Credits of the facts that concern each object."""
    part_shares = np.ones(count)

    for thing, own in zip(facts.things, owners, strict=True):
        credit = _count_credit(thing, own, [found[k] for k in extra])
        claims.append((f"{thing.count} {thing.noun}", credit))
        for k in own:
            shares[k].append(credit)
        for words, role, wanted in _looks(thing):
            right = [_look_of(found[k], thing, role) == wanted for k in own]
            claims.append((words, sum(right) / len(own) if own else 0.0))
            for k, holds in zip(own, right, strict=True):
                shares[k].append(float(holds))
                if not holds and role not in ("pattern", "finish"):
                    named = "main" if role in ("color", thing.pattern) else role
                    rows = found[k].parts[[name == named for name in found[k].roles]]
                    part_shares[rows] *= 0.5
    for relation in facts.relations:
        subjects, objects = owners[relation.subject], [k for thing in relation.objects for k in owners[thing]]
        credit = arranged(relation.kind, [found[k].box for k in subjects], [found[k].box for k in objects])
        names = [facts.things[k].noun for k in (relation.subject, *relation.objects)]
        claims.append((f"{names[0]} {relation.kind} {' and '.join(names[1:])}", credit))
        for k in (*subjects, *objects):
            shares[k].append(credit)
    claims.append(("nothing else", MISSED ** len(extra)))
    of_object = np.zeros(count)
    for one, credits in zip(found, shares, strict=True):
        of_object[one.parts] = sum(credits) / len(credits) if credits else 0.0
    return Judgement(tuple(claims), of_object * part_shares)


def _assigned(facts: Facts, found: Sequence[FoundObject], seen: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """The objects of each thing, and those of none. Of two things with one noun, an object is of
    the one in its colour."""
    owners: list[list[int]] = [[] for _ in facts.things]
    nouns = [thing.noun for thing in facts.things]
    named = {k: _named(found[k].noun, nouns) for k in seen}
    for noun in dict.fromkeys(nouns):
        things = [t for t, other in enumerate(nouns) if other == noun]
        own, rest = [k for k in seen if named[k] == noun], []
        for k in own if len(things) > 1 else ():
            colored = (
                t for t in things if facts.things[t].color == found[k].color and _room(facts.things[t], owners[t])
            )
            if (t := next(colored, None)) is None:
                rest.append(k)
            else:
                owners[t].append(k)
        for k in rest if len(things) > 1 else own:
            owners[next((t for t in things if _room(facts.things[t], owners[t])), things[0])].append(k)
    return owners, [k for k in seen if named[k] is None]


def _named(noun: str, nouns: Sequence[str]) -> str | None:
    """Which of the nouns of a prompt an object answers to: its own, or a more general one, as a
    table lamp is a lamp."""
    return noun if noun in nouns else next((other for other in nouns if noun.endswith(f" {other}")), None)


def _room(thing: Thing, own: Sequence[int]) -> bool:
    return len(own) < thing.count


def _count_credit(thing: Thing, own: Sequence[int], extra: Sequence[FoundObject]) -> float:
    """1 for the exact number. A wrong number earns up to ``MISSED``, and a thing that is missing
    what some other object looks like it."""
    if len(own) == thing.count:
        return 1.0
    if not own:
        return MISSED / 2 * max((one.likely.get(thing.noun, 0.0) for one in extra), default=0.0)
    return MISSED * min(len(own), thing.count) / max(len(own), thing.count)


def _looks(thing: Thing) -> list[tuple[str, str, str]]:
    """What is stated of the look of a thing: in words, what, and the value."""
    stated = [(f"{thing.color} {thing.noun}", "color", thing.color)]
    stated += [(f"{thing.noun} with {color} {role}", role, color) for role, color in thing.parts]
    stated += [(f"{thing.noun} with {thing.pattern}", "pattern", thing.pattern)]
    stated += [(f"{thing.finish} {thing.noun}", "finish", thing.finish)]
    return [(words, what, value) for words, what, value in stated if value is not None]


def _look_of(one: FoundObject, thing: Thing, what: str) -> str | None:
    if what == "color":
        return one.color
    if what == "pattern":
        return one.pattern
    if what == "finish":
        return one.finish
    if what == thing.pattern:  # "a ball with white stripes"
        return one.second if one.pattern == thing.pattern else None
    return one.colors.get(what)


class Composition:
    """Mean credit of the facts that the prompt states, by what a parser finds among the parts, in
    [0, 1].

    Facts are: each thing in its exact number; its colour, the colours of named parts, its pattern
    and its finish; each relation (``rewards.relations``); and that there is nothing else. All weigh
    the same. ``verdict``: all facts hold. ``per_part``: the mean credit of the facts that concern a
    part's object, halved for parts in a wrong colour; 0 for objects that nothing asked for.

    A prompt that cannot be read (``facts_of``) gives nothing to check: all its assets score 1, so
    the reward has no effect within their group. An asset without parts scores 0. One with numbers
    that are not finite scores 0 and has failed."""

    name = "composition"
    version = "1"
    needs = Needs(parts=True)
    instead = "alignment"

    def __init__(self, weights: Path = SHIPPED) -> None:
        self.reader = load_parser(weights)

    def judge(self, facts: Facts, vectors: np.ndarray) -> Judgement:
        """The facts on one asset, from its existing parts (p, 27)."""
        return judged(facts, self.reader.parse(vectors), len(vectors))

    def __call__(self, batch: Batch) -> Scores:
        parts = batch.sound_parts
        vectors, exists = parts.vectors().double().cpu().numpy(), parts.exists.cpu().numpy()
        usable = exists.any(1) & ~batch.broken.cpu().numpy()
        values, verdict = np.zeros(len(batch)), np.zeros(len(batch), dtype=bool)
        per_part = exists * usable[:, None].astype(np.float64)
        for b, prompt in enumerate(batch.prompts):
            facts = facts_of(prompt, self.reader.lexicon)
            if facts is None:
                values[b], verdict[b] = 1.0, True
            elif usable[b]:
                found = self.judge(facts, vectors[b, exists[b]])
                values[b], verdict[b] = found.value, found.right
                per_part[b, exists[b]] = found.per_part
        return Scores(
            values=torch.from_numpy(values * usable).float(),
            failed=int(batch.broken.sum()),
            verdict=torch.from_numpy(verdict & usable),
            per_part=torch.from_numpy(per_part).float(),
        )
