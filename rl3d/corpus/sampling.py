"""Draws corpus items: first a caption, then geometry for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl3d.corpus import captions
from rl3d.corpus.categories import CATALOGUE, CATEGORIES
from rl3d.corpus.compositions import draw_composition
from rl3d.corpus.items import Item, Spec
from rl3d.corpus.relations import draw_count, draw_relation
from rl3d.corpus.shapes import Sketch, normalized

MIX = {"single": 0.72, "relation": 0.13, "count": 0.08, "composition": 0.07}
"""Probability of each kind of caption."""
SPLITS = ("train", "heldout")
_CAPTIONS = {
    "single": captions.single,
    "relation": captions.relation,
    "count": captions.count,
    "composition": captions.composition,
}


def sample(rng: np.random.Generator, split: str = "train") -> Item:
    """A captioned asset. The held-out split has only combinations that the split "train" never
    has."""
    return sample_for(sample_spec(rng, split), rng)


def sample_spec(rng: np.random.Generator, split: str = "train") -> Spec:
    """A caption without its geometry."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: one of {', '.join(SPLITS)}")
    point = rng.random()
    for kind, fraction in MIX.items():
        point -= fraction
        if point < 0:
            return _CAPTIONS[kind](rng, split)
    return captions.single(rng, split)


def sample_for(spec: Spec | Item, rng: np.random.Generator) -> Item:
    """A new geometry for the same caption."""
    if isinstance(spec, Item):
        spec = spec.spec
    if spec.kind == "relation":
        drawing = draw_relation(spec, rng)
    elif spec.kind == "count":
        drawing = draw_count(spec, rng)
    elif spec.kind == "composition":
        drawing = draw_composition(spec, rng)
    else:
        sketch = Sketch(rng, spec.appearances[0], CATALOGUE[spec.category])
        CATALOGUE[spec.category].draw(sketch)
        drawing = sketch.drawing()
    vectors = normalized(drawing.vectors).astype(np.float32)
    labels = drawing.objects, drawing.nouns, drawing.roles
    return Item(spec.caption, vectors, spec.kind, spec.category, spec.facts, spec, *labels)


def prompts(
    count: int, seed: int, split: str = "heldout", kinds: Sequence[str] = ("single", "relation", "count", "composition")
) -> list[Item]:
    """A fixed list of distinct prompts for evaluation. Kinds are in the proportions of the corpus,
    single objects balanced over the categories."""
    unknown = [kind for kind in kinds if kind not in MIX]
    if unknown or not kinds:
        raise ValueError(f"unknown kinds {unknown}: some of {', '.join(MIX)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(CATEGORIES))
    total = sum(MIX[kind] for kind in kinds)
    owed = dict.fromkeys(kinds, 0.0)
    items: list[Item] = []
    seen: set[str] = set()
    singles = 0
    for _ in range(count):
        for kind in kinds:
            owed[kind] += MIX[kind] / total
        kind = max(owed, key=lambda k: owed[k])
        owed[kind] -= 1
        for _attempt in range(100):
            category = CATEGORIES[order[singles % len(order)]]
            spec = captions.single(rng, split, category) if kind == "single" else _CAPTIONS[kind](rng, split)
            if spec.caption not in seen:
                break
        singles += kind == "single"
        seen.add(spec.caption)
        items.append(sample_for(spec, rng))
    return items
