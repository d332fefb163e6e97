"""Draws corpus items: first a caption, then geometry for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl3d.corpus import captions, scene_captions
from rl3d.corpus.categories import CATALOGUE, CATEGORIES, NOVEL
from rl3d.corpus.items import Item, Spec
from rl3d.corpus.relations import draw_count, draw_relation
from rl3d.corpus.scenes import draw_scene
from rl3d.corpus.shapes import Sketch, normalized

MIX = {"single": 0.5, "relation": 0.08, "count": 0.06, "composition": 0.16, "scene": 0.2}
"""Probability of each kind of caption."""
SPLITS = ("train", "heldout", "novel")
"""For training; combinations that it never has; single objects of categories that it never has."""
_CAPTIONS = {
    "single": captions.single,
    "relation": captions.relation,
    "count": captions.count,
    "composition": scene_captions.composition,
    "scene": scene_captions.scene,
}


def sample(rng: np.random.Generator, split: str = "train") -> Item:
    """A captioned asset of one of ``SPLITS``."""
    return sample_for(sample_spec(rng, split), rng)


def sample_spec(rng: np.random.Generator, split: str = "train") -> Spec:
    """A caption without its geometry."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: one of {', '.join(SPLITS)}")
    if split == "novel":
        return captions.single(rng, split)
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
    elif spec.kind in ("composition", "scene"):
        drawing = draw_scene(spec, rng)
    else:
        sketch = Sketch(rng, spec.appearances[0], CATALOGUE[spec.category])
        CATALOGUE[spec.category].draw(sketch)
        drawing = sketch.drawing()
    vectors = normalized(drawing.vectors).astype(np.float32)
    labels = drawing.objects, drawing.nouns, drawing.roles
    return Item(spec.caption, vectors, spec.kind, spec.category, spec.facts, spec, *labels)


def prompts(count: int, seed: int, split: str = "heldout", kinds: Sequence[str] = tuple(MIX)) -> list[Item]:
    """A fixed list of distinct prompts for evaluation. Kinds are in the proportions of the corpus,
    single objects balanced over the categories. The split "novel" has only single objects."""
    unknown = [kind for kind in kinds if kind not in MIX]
    if unknown or not kinds:
        raise ValueError(f"unknown kinds {unknown}: some of {', '.join(MIX)}")
    kinds, categories = (("single",), NOVEL) if split == "novel" else (kinds, CATEGORIES)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(categories))
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
            category = categories[order[singles % len(order)]]
            spec = captions.single(rng, split, category) if kind == "single" else _CAPTIONS[kind](rng, split)
            if spec.caption not in seen:
                break
        singles += kind == "single"
        seen.add(spec.caption)
        items.append(sample_for(spec, rng))
    return items
