"""Captions and splits: the same seed gives the same corpus, and held-out combinations are never in
the training split."""

import os
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest

from rl3d.corpus import (
    BASE_COLORS,
    BASE_OF,
    CATALOGUE,
    CATEGORIES,
    COLORS,
    MIX,
    NOVEL,
    nearest_base,
    prompts,
    sample,
    sample_for,
    sample_spec,
    scene_captions,
)
from rl3d.corpus.scenes import is_scene_held_out
from rl3d.corpus.splits import is_held_out, is_pair_held_out
from rl3d.corpus.wording import plural
from scenes.parts import METALLIC, PATTERN, PATTERNS, ROUGHNESS, finish_of


def test_the_same_seed_gives_the_same_items(items):
    rng = np.random.default_rng(1)
    for item in items[:200]:
        again = sample(rng)
        assert again.caption == item.caption
        np.testing.assert_array_equal(again.vectors, item.vectors)


def test_a_caption_has_many_geometries():
    rng = np.random.default_rng(3)
    for _ in range(100):
        item = sample(rng)
        others = [sample_for(item, rng) for _ in range(4)]
        assert {other.caption for other in others} == {item.caption}
        assert {other.facts for other in others} == {item.facts}
        assert len({other.vectors.tobytes() for other in others}) == 4


def test_every_part_belongs_to_an_object_that_the_caption_names(items):
    for item in items:
        assert item.objects.shape == (len(item.vectors),) == (len(item.roles),)
        assert set(item.objects.tolist()) == set(range(len(item.nouns))), item.caption
        named = [thing.noun for thing in item.facts.things for _ in range(thing.count)]
        assert sorted(named) == sorted(item.nouns), item.caption
        for k in range(len(item.nouns)):
            assert any(role == "main" for role, k_ in zip(item.roles, item.objects, strict=True) if k_ == k)


def test_no_caption_is_in_both_splits():
    rng = np.random.default_rng(4)
    train = {sample_spec(rng, "train").caption for _ in range(8_000)}
    held_out = {sample_spec(rng, "heldout").caption for _ in range(2_000)}
    assert not train & held_out


def test_singles_keep_to_their_split():
    rng = np.random.default_rng(5)
    for split in ("train", "heldout"):
        for _ in range(1_000):
            spec = sample_spec(rng, split)
            if spec.kind != "single":
                continue
            color = spec.facts.things[0].color
            assert color or split == "train", "a held-out caption names its colour"
            assert not color or is_held_out(spec.category, color) == (split == "heldout"), spec.caption


def test_unnamed_main_colours_are_not_held_out():
    rng = np.random.default_rng(6)
    for name, kind in CATALOGUE.items():
        from rl3d.corpus.shapes import Appearance, Sketch

        for _ in range(10):
            assert not is_held_out(name, Sketch(rng, Appearance(name), kind).main_base)


def test_a_seventh_is_held_out():
    held_out = [is_held_out(category, color) for category in CATEGORIES for color in BASE_COLORS]
    assert np.mean(held_out) == pytest.approx(2 / 13)
    assert all(any(is_held_out(category, color) for color in BASE_COLORS) for category in CATEGORIES)


def test_the_mix_of_kinds(items):
    for kind, fraction in MIX.items():
        assert np.mean([item.kind == kind for item in items]) == pytest.approx(fraction, abs=0.05)


def test_there_are_many_categories():
    assert len(CATEGORIES) >= 48


def test_a_noun_belongs_to_one_category():
    nouns = [noun for kind in CATALOGUE.values() for noun in kind.names]
    assert len(nouns) == len(set(nouns))


def test_every_colour_option_is_a_colour():
    for name, kind in CATALOGUE.items():
        for options in (kind.natural, *kind.roles.values(), *kind.accents.values()):
            for option in options.replace("/", " ").split():
                assert option == "main" or option.replace("_", " ") in COLORS, f"{name}: {option}"


def test_colour_names_are_their_base_even_when_jittered():
    rng = np.random.default_rng(7)
    names = list(COLORS)
    for _ in range(50):
        jittered = np.array(list(COLORS.values())) + rng.uniform(-0.02, 0.02, (len(names), 3))
        assert nearest_base(jittered.clip(0, 1)) == [BASE_OF[name] for name in names]


def test_prompts_are_fixed_distinct_and_balanced():
    first, again = (
        prompts(2 * len(CATEGORIES), 0, kinds=("single",)),
        prompts(2 * len(CATEGORIES), 0, kinds=("single",)),
    )
    assert [item.caption for item in first] == [item.caption for item in again]
    assert len({item.caption for item in first}) == len(first)
    assert all([item.category for item in first].count(category) == 2 for category in CATEGORIES)
    assert all(is_held_out(item.category, item.facts.things[0].color or "") for item in first)


def test_prompts_of_all_kinds_keep_the_mix():
    kinds = [item.kind for item in prompts(100, 1)]
    assert {kind: kinds.count(kind) for kind in MIX} == {kind: round(100 * fraction) for kind, fraction in MIX.items()}


def test_novel_categories_are_in_no_other_split():
    rng = np.random.default_rng(8)
    nouns = {
        noun
        for item in (sample_spec(rng, s) for s in ("train", "heldout") for _ in range(3000))
        for noun in named(item)
    }
    assert nouns <= set(CATEGORIES) and not nouns & set(NOVEL)
    items = prompts(20, 0, split="novel")
    assert [item.category for item in items].count(NOVEL[0]) == 4 and {item.category for item in items} == set(NOVEL)
    assert sample(rng, "novel").category in NOVEL


def named(spec):
    return [thing.noun for thing in spec.facts.things]


def test_scenes_keep_to_their_split():
    rng = np.random.default_rng(9)
    triples = {split: set() for split in ("train", "heldout")}
    for split, found in triples.items():
        for _ in range(1500):
            spec = scene_captions.scene(rng, split)
            assert is_scene_held_out("scene", spec.facts) == (split == "heldout"), spec.caption
            if split == "train" or spec.arrangement == "list":
                found |= {tuple(sorted(three)) for three in combinations(named(spec), 3)}
    assert not any(is_pair_held_out("triple", *three) for three in triples["train"])


def test_about_a_seventh_of_scenes_combinations_is_held_out():
    kinds = ("on", "left", "next", "around", "between", "inside")
    pairs = [is_pair_held_out("scene", kind, category) for kind in kinds for category in CATEGORIES]
    counts = [is_pair_held_out("several", category, count) for count in (2, 3, 4) for category in CATEGORIES]
    triples = [is_pair_held_out("triple", *three) for three in combinations(sorted(CATEGORIES)[:30], 3)]
    for some in (pairs, counts, triples):
        assert np.mean(some) == pytest.approx(1 / 7, abs=0.04)


def test_every_arrangement_of_scenes_is_common(items):
    arrangements = [item.spec.arrangement for item in items if item.kind == "scene"]
    for what in ("around", "between", "inside", "stack", "row", "list", "on next"):
        assert arrangements.count(what) >= 0.03 * len(arrangements), what


def test_materials_are_named_and_drawn(items):
    singles = [item for item in items if item.kind == "single"]
    dressed = [item for item in singles if item.facts.things[0].pattern or item.facts.things[0].finish]
    assert 0.08 <= len(dressed) / len(singles) <= 0.2
    for item in dressed:
        thing = item.facts.things[0]
        main = item.vectors[[role == "main" for role in item.roles]]
        assert len(main)
        if thing.pattern:
            assert (main[:, PATTERN.start + PATTERNS.index(thing.pattern)] > 0).all(), item.caption
        if thing.finish:
            assert [finish_of(*m) for m in main[:, [METALLIC, ROUGHNESS]].tolist()] == [thing.finish] * len(main)


@pytest.mark.parametrize(
    ("noun", "several"),
    [
        ("box", "boxes"),
        ("puppy", "puppies"),
        ("sheep", "sheep"),
        ("woolly sheep", "woolly sheep"),
        ("snowman", "snowmen"),
        ("chest of drawers", "chests of drawers"),
        ("bench", "benches"),
        ("toy robot", "toy robots"),
    ],
)
def test_plurals(noun, several):
    assert plural(noun) == several


@pytest.mark.parametrize(
    "call", [lambda: sample(np.random.default_rng(0), "test"), lambda: prompts(3, 0, kinds=("double",))]
)
def test_unknown_names_are_refused(call):
    with pytest.raises(ValueError, match="unknown"):
        call()


@pytest.mark.parametrize(
    ("words", "article"),
    [
        ("armchair", "an"),
        ("orange cat", "an"),
        ("hourglass", "an"),
        ("house", "a"),
        ("u-boat", "a"),
        ("umbrella", "an"),
        ("one eye", "a"),
    ],
)
def test_captions_have_the_right_article(words, article):
    from rl3d.corpus.wording import article as article_for

    assert article_for(words) == article


def test_a_seed_means_the_same_in_every_process():
    # Strings hash differently in every process: an order that hangs on it would change the corpus
    # from run to run.
    script = """
import hashlib, numpy as np
from rl3d.corpus import prompts, sample
digest, rng = hashlib.sha256(), np.random.default_rng(0)
for item in [*(sample(rng, "train") for _ in range(600)), *prompts(200, 12345)]:
    digest.update(item.caption.encode() + item.vectors.tobytes())
print(digest.hexdigest())
"""
    seen = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        seen.add(run.stdout)
    assert len(seen) == 1
