"""Altered assets keep their caption and no longer show it."""

import numpy as np
import pytest

from rl3d.corpus import sample_for
from rl3d.corpus.altered import ALTERATIONS
from rl3d.corpus.scene_captions import scene
from scenes.parts import MAX_PARTS


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(11)
    return [sample_for(scene(rng, "train"), rng) for _ in range(200)]


@pytest.mark.parametrize("name", ALTERATIONS)
def test_alterations_keep_the_caption_and_label_what_is_there(scenes, name):
    rng, altered = np.random.default_rng(0), 0
    for item in scenes:
        other = ALTERATIONS[name](item, rng)
        if other is None:
            continue
        altered += 1
        assert (other.caption, other.facts, other.spec) == (item.caption, item.facts, item.spec)
        assert len(other.vectors) == len(other.objects) == len(other.roles) <= MAX_PARTS
        assert set(other.objects.tolist()) == set(range(len(other.nouns)))
        assert other.vectors.shape != item.vectors.shape or not np.allclose(other.vectors, item.vectors, atol=1e-3)
        number = {"missing": -1, "doubled": 1, "exchanged": 0, "turned": 0}.get(name)
        change = len(other.nouns) - len(item.nouns)
        assert change == number if number is not None else abs(change) == 1, item.caption
    assert altered >= 40


def test_turned_scenes_are_turned():
    rng = np.random.default_rng(1)
    seen = 0
    while seen < 20:
        item = sample_for(scene(rng, "train"), rng)
        if item.spec.arrangement not in ("left", "right"):
            continue
        seen += 1
        other = ALTERATIONS["turned"](item, rng)
        assert other is not None
        before, after = (
            np.sign(i.vectors[i.objects == 0, 4].mean() - i.vectors[i.objects == len(i.nouns) - 1, 4].mean())
            for i in (item, other)
        )
        assert before == -after, item.caption
