"""Prompts are read into facts: all captions of the corpus, what a user may type, and nothing that
is not understood."""

import time
from pathlib import Path

import numpy as np
import pytest

from rewards.composition.facts import Facts, Relation, Thing
from rewards.composition.prompt import MAX_WORDS, Lexicon, facts_of
from rl3d.corpus import sample_spec
from rl3d.corpus.lexicon import lexicon

LEXICON = lexicon()
BENCHMARK = Path(__file__).parents[3] / "rl3d" / "corpus" / "benchmark.txt"


@pytest.mark.parametrize("split", ["train", "heldout", "novel"])
def test_the_facts_of_corpus_captions_are_read(split):
    rng = np.random.default_rng(5)
    specs = [sample_spec(rng, split) for _ in range(1500)]
    wrong = []
    for spec in specs:
        facts = facts_of(spec.caption, LEXICON)
        if facts is None or facts.ordered() != spec.facts.ordered():
            wrong.append(spec.caption)
    assert len(wrong) <= 0.01 * len(specs), wrong


def test_the_benchmark_prompts_are_read():
    prompts = BENCHMARK.read_text().splitlines()
    assert len(prompts) == len(set(prompts)) >= 60
    facts = [facts_of(prompt, LEXICON) for prompt in prompts]
    assert [prompt for prompt, found in zip(prompts, facts, strict=True) if found is None] == []
    # Each names two things at least, each with a colour or a finish somewhere.
    for found in facts:
        assert found is not None and sum(thing.count for thing in found.things) >= 2


@pytest.mark.parametrize(
    ("prompt", "things", "relations"),
    [
        (
            "Three red chairs around a grey table.",
            [Thing("chair", "red", count=3), Thing("table", "gray")],
            [("around", 0, (1,))],
        ),
        ("a teddy bear in a purple hat", [Thing("teddy bear"), Thing("hat", "purple")], [("wearing", 0, (1,))]),
        ("a cat in a bucket", [Thing("cat"), Thing("bucket")], [("inside", 0, (1,))]),
        (
            "a cat and a dog on a bench",
            [Thing("cat"), Thing("dog"), Thing("bench")],
            [("on", 0, (2,)), ("on", 1, (2,))],
        ),
        (
            "a white cat between two black dogs",
            [Thing("cat", "white"), Thing("dog", "black", count=2)],
            [("between", 0, (1,))],
        ),
        ("2 red cubes, 3 blue balls", [Thing("cube", "red", count=2), Thing("sphere", "blue", count=3)], []),
        ("a table with three apples on it", [Thing("table"), Thing("apple", count=3)], [("on", 1, (0,))]),
        ("a tree with red apples", [Thing("tree", None, (("apples", "red"),))], []),
        (
            "a red chair with white legs and a blue cube",
            [Thing("chair", "red", (("legs", "white"),)), Thing("cube", "blue")],
            [],
        ),
        ("a striped red and white ball", [Thing("sphere", "red", (("stripes", "white"),), 1, "stripes")], []),
        ("a shiny metal teapot", [Thing("teapot", finish="metallic")], []),
        ("a traffic cone with green stripes", [Thing("traffic cone", None, (("stripes", "green"),))], []),
        ("a fluffy cat with whiskers", [Thing("cat")], []),
        ("a mug painted sky blue", [Thing("mug", "blue")], []),
        (
            "a table with a mug with a candle with white legs",
            [Thing("table", None, (("legs", "white"),)), Thing("mug"), Thing("candle")],
            [],
        ),
        ("a light-blue cube", [Thing("cube", "blue")], []),
        ("a dark-red chair with snow-white legs", [Thing("chair", "red", (("legs", "white"),))], []),
        ("a cream-coloured mug", [Thing("mug", "beige")], []),
        ("a red-and-white striped ball", [Thing("sphere", "red", (("stripes", "white"),), 1, "stripes")], []),
        ("a red tom-tom next to a teddy-bear", [Thing("drum", "red"), Thing("teddy bear")], [("next", 0, (1,))]),
        ("a three-legged table", [Thing("table")], []),
    ],
)  # fmt: skip
def test_facts_of_a_prompt(prompt, things, relations):
    assert facts_of(prompt, LEXICON) == Facts(tuple(things), tuple(Relation(*relation) for relation in relations))


@pytest.mark.parametrize(
    "prompt",
    [
        "a red dinosaur on a table",
        "seven cubes",
        "a table with seven cubes",
        "a red 3d model of a chair",
        "chairs around a table",
        "some apples in a bowl",
        "a cat without a hat",
        "a cat with pink whiskers",
        "a table with a mug with pink whiskers",
        "a red and white ball",
        "a red-and-white ball",
        "a blue-green mug",
        "a white-legged table",
        "a non-white cube",
        "a chess board",
        "a cup holder",
        "on a table",
        "a cat between a dog",
        "with",
        "!",
        "",
    ],
)
def test_what_is_not_understood_gives_nothing(prompt):
    assert facts_of(prompt, LEXICON) is None


def test_time_grows_slowly_with_nested_things():
    start = time.process_time()
    assert facts_of("a cube " + "with a cube " * 18 + "with purple zorgs", LEXICON) is None
    assert time.process_time() - start < 1


@pytest.mark.parametrize("count", [400, 20_000])
@pytest.mark.parametrize("words", ["with a cube ", "and a cube ", "with white ", "big ", "a-", ", "])
def test_a_prompt_of_any_length_has_an_answer(words, count):
    assert facts_of("a cube " + words * count, LEXICON) is None


def test_nested_things_are_read_up_to_the_longest_prompt():
    facts = facts_of("cube " + "with cube " * ((MAX_WORDS - 1) // 2), LEXICON)
    assert facts is not None and len(facts.things) == 1 + (MAX_WORDS - 1) // 2


def test_a_lexicon_comes_back_from_its_header():
    assert facts_of("two mugs", Lexicon.from_header(LEXICON.header())) == Facts((Thing("mug", count=2),))
    with pytest.raises(KeyError):
        Lexicon.from_header({"nouns": {}})
