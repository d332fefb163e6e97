"""Wrong captions are wrong, and never name a held-out combination."""

import numpy as np

from rl3d.corpus import CATALOGUE, sample
from rl3d.corpus.splits import is_held_out
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
        category, color = renamed.get(wrong, (item.category, ""))
        if category != item.category:
            other_nouns += 1
            assert not is_held_out(category, color), wrong
        else:
            assert not names_held_out(item, wrong), (item.caption, wrong)
    assert other_nouns > 60


def test_held_out_captions_are_recognised():
    rng = np.random.default_rng(4)
    for _ in range(300):
        item = sample(rng, "heldout")
        if item.kind != "composition":
            assert names_held_out(item, item.caption), item.caption
