"""Wrong captions are wrong, and never name a held-out combination."""

import numpy as np

from rl3d.corpus import BASE_COLORS, CATALOGUE, sample, sample_for
from rl3d.corpus.scene_captions import scene
from rl3d.corpus.scenes import is_scene_held_out
from rl3d.corpus.splits import is_held_out
from rl3d.corpus.wording import NUMBERS
from rl3d.corpus.wrong import names_held_out, wrong_caption
from scenes.colors import COLORS


def test_wrong_captions_differ_and_are_not_held_out():
    # Another noun in the caption's colour is a caption of its own: "a red lamp".
    renamed = {
        f"a {color} {noun}": (name, color)
        for name, kind in CATALOGUE.items()
        for noun in kind.names
        for color in COLORS
    }
    rng = np.random.default_rng(3)
    other_nouns = 0
    for _ in range(1000):
        item = sample(rng, "train")
        wrong = wrong_caption(item, rng)
        assert wrong != item.caption
        if item.kind in ("scene", "composition"):
            continue  # see test_wrong_captions_of_scenes_are_of_the_same_grammar
        category, color = renamed.get(wrong, (item.category, ""))
        if category != item.category:
            other_nouns += 1
            assert not is_held_out(category, color), wrong
        else:
            assert not names_held_out(item, wrong), (item.caption, wrong)
    assert other_nouns > 40


def test_held_out_captions_are_recognised():
    rng = np.random.default_rng(4)
    for _ in range(300):
        item = sample(rng, "heldout")
        if item.kind in ("composition", "scene"):
            assert is_scene_held_out(item.kind, item.facts), item.caption
        else:
            assert names_held_out(item, item.caption), item.caption


def test_wrong_captions_of_scenes_are_of_the_same_grammar():
    rng = np.random.default_rng(5)
    changed = {"left": 0, "count": 0, "colours": 0}
    for _ in range(1000):
        item = sample_for(scene(rng, "train"), rng)
        wrong = wrong_caption(item, rng)
        assert wrong != item.caption
        changed["left"] += item.spec.arrangement == "left" and "right" in wrong
        several = [thing for thing in item.facts.things if thing.count > 1]
        changed["count"] += any(NUMBERS[thing.count] not in wrong for thing in several)
        named = sorted(thing.color for thing in item.facts.things if thing.color)
        changed["colours"] += bool(named) and sorted(c for c in BASE_COLORS if c in wrong) != sorted(set(named))
    assert min(changed.values()) >= 8, changed
