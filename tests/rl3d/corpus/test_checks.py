"""The checks pass on the corpus, and fail on assets that contradict their captions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rl3d.corpus import CORRUPTIONS, Facts, Relation, Thing, check_colors, check_count, check_relation
from rl3d.corpus.captions import count, relation
from rl3d.corpus.checks import check_facts, check_material, solid_shape, surface_areas, visible_areas
from rl3d.corpus.relations import RELATIONS
from rl3d.corpus.sampling import sample_for
from scenes.parts import FINISHES, PATTERNS, PLAIN, VECTOR_SIZE, Parts


def parts_of(vectors: np.ndarray) -> Parts:
    return Parts.from_vectors(torch.from_numpy(np.asarray(vectors, dtype=np.float32)))


def test_the_corpus_passes_its_own_checks(items, assets):
    # The visible area takes 4 ms an asset: the first half is enough.
    colors = [np.equal(*check_colors(item.facts, parts)) for item, parts in zip(items[:500], assets[:500], strict=True)]
    assert np.mean(colors) >= 0.99
    for item, parts in zip(items, assets, strict=True):
        assert item.kind != "relation" or check_relation(item.facts, parts), item.caption
        assert item.kind != "count" or check_count(item.facts, parts), item.caption


def test_swapped_colours_fail(items):
    rng = np.random.default_rng(0)
    named = [item for item in items if item.kind == "single" and item.facts.things[0].color][:150]
    failed = [
        np.not_equal(*check_colors(item.facts, parts_of(CORRUPTIONS["colors_swapped"](item.vectors, rng))))
        for item in named
    ]
    assert np.mean(failed) >= 0.95


def test_a_colour_that_is_not_there_fails(items, assets):
    for item, parts in zip(items, assets, strict=True):
        if item.kind == "relation":
            absent = next(c for c in ("red", "green", "blue") if c not in [thing.color for thing in item.facts.things])
            right, total = check_colors(Facts((*item.facts.things, Thing("cube", absent))), parts)
            assert total - right == 1 and total >= 3


@pytest.mark.parametrize("what", RELATIONS)
def test_a_relation_holds_and_its_opposite_does_not(what):
    rng = np.random.default_rng(1)
    opposite = {
        "on": "under",
        "under": "on",
        "left": "right",
        "right": "left",
        "front": "behind",
        "behind": "front",
        "next": "on",
    }[what]
    seen = 0
    while seen < 12:
        spec = relation(rng, "train")
        if spec.arrangement != what:
            continue
        seen += 1
        parts = parts_of(sample_for(spec, rng).vectors)
        assert check_relation(spec.facts, parts), spec.caption
        one, other = spec.facts.things
        assert not check_relation(replace(spec.facts, relations=(Relation(opposite, 0, (1,)),)), parts), spec.caption
        if what == "next" and one.noun == other.noun:
            continue  # a red cube next to a blue one is a blue cube next to a red one
        swapped = replace(spec.facts, things=(replace(one, color=other.color), replace(other, color=one.color)))
        assert not check_relation(swapped, parts), spec.caption


def test_counts_are_exact():
    rng = np.random.default_rng(2)
    for _ in range(100):
        spec = count(rng, "train")
        parts = parts_of(sample_for(spec, rng).vectors)
        (thing,) = spec.facts.things
        assert check_count(spec.facts, parts), spec.caption
        for wrong in (thing.count - 1, thing.count + 1):
            assert not check_count(Facts((replace(thing, count=wrong),)), parts), spec.caption
        assert not check_count(Facts((replace(thing, color="none"),)), parts), spec.caption


def test_an_empty_asset_passes_no_check():
    nothing = Parts.stack([parts_of(np.zeros((0, VECTOR_SIZE)))])[0]
    table = Thing("table", "red", parts=(("legs", "blue"),))
    assert check_colors(Facts((table,)), nothing) == (0, 2)
    assert not check_relation(Facts((Thing("cube", "red"), Thing("cone", "blue")), (Relation("on", 0, (1,)),)), nothing)
    assert not check_count(Facts((Thing("cube", "red"),)), nothing)


def test_patterns_and_finishes_are_those_of_the_caption(items, assets):
    seen = 0
    for item, parts in zip(items, assets, strict=True):
        for k, thing in enumerate(item.facts.things):
            for what, others in (("pattern", PATTERNS), ("finish", FINISHES)):
                if getattr(thing, what) is None:
                    continue
                seen += 1
                assert check_facts(item.spec, parts)[what] == 1, item.caption
                for other in others:
                    things = list(item.facts.things)
                    things[k] = replace(thing, **{what: other})
                    right = check_material(Facts(tuple(things)), parts, what)
                    sure = len(things) == 1 and thing.color
                    assert right == (other == getattr(thing, what)) or not sure, (item.caption, other)
    assert seen > 50


def test_areas_of_known_solids():
    def one(north, east, taper=0.0):
        return np.array(
            [[1.0, north, east, taper, 0, 0, 0.5, *np.log([0.5, 0.5, 0.5]), 1, 0, 0, 0, 1, 0, 1, 0, 0, *PLAIN]]
        )

    for vector, shape, area in (
        (one(0.1, 0.1), "cube", 6.0),
        (one(1, 1), "sphere", np.pi),
        (one(0.1, 1), "cylinder", 1.5 * np.pi),
        (one(0.1, 1, 0.97), "cone", np.pi * 0.25 + np.pi * 0.5 * np.hypot(0.5, 1)),
    ):
        assert solid_shape(vector[0]) == shape
        assert surface_areas(vector)[0] == pytest.approx(area, rel=0.2)


def test_a_part_inside_another_is_not_visible():
    outer = [1.0, 0.1, 0.1, 0, 0, 0, 0.5, *np.log([0.5, 0.5, 0.5]), 1, 0, 0, 0, 1, 0, 1, 0, 0, *PLAIN]
    inner = [1.0, 0.1, 0.1, 0, 0, 0, 0.5, *np.log([0.3, 0.3, 0.3]), 1, 0, 0, 0, 1, 0, 0, 0, 1, *PLAIN]
    seen = visible_areas(parts_of(np.array([outer, inner])))
    assert seen[1] == 0
    assert seen[0] == pytest.approx(5, rel=0.15)  # five faces: the ground hides the sixth
