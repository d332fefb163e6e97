"""Corruptions give valid assets, depend only on the seed, and break an asset as their name says."""

import numpy as np
import pytest
import torch

from rl3d.corpus import CORRUPTIONS, SUBTLE
from scenes.parts import CENTRE, LOG_HALF_X, LOG_HALF_Y, LOG_HALF_Z, MAX_PARTS, VECTOR_SIZE, Parts


@pytest.mark.parametrize("name", [*CORRUPTIONS, *SUBTLE])
def test_corruptions_are_valid_seeded_and_change_the_asset(items, name):
    fault = (CORRUPTIONS | SUBTLE)[name]
    changed = []
    for k, item in enumerate(items[:80]):
        before = item.vectors.copy()
        broken, again = fault(item.vectors, np.random.default_rng(k)), fault(item.vectors, np.random.default_rng(k))
        np.testing.assert_array_equal(broken, again)
        np.testing.assert_array_equal(item.vectors, before, err_msg="the given asset is left alone")
        assert broken.dtype == item.vectors.dtype and broken.ndim == 2 and broken.shape[1] == VECTOR_SIZE
        assert 1 <= len(broken) <= MAX_PARTS and np.isfinite(broken).all()
        changed.append(broken.shape != before.shape or not np.allclose(broken, before, atol=1e-3))
    # An asset of a single part has nothing to take away.
    assert np.mean(changed) >= 0.9


@pytest.mark.parametrize("name", ["part_lifted", "floater_added", "part_shifted"])
def test_pieces_come_apart(items, name):
    rng = np.random.default_rng(0)
    several = [item.vectors for item in items if 4 <= len(item.vectors) < MAX_PARTS][:100]
    batch = Parts.stack([Parts.from_vectors(torch.from_numpy(CORRUPTIONS[name](vectors, rng))) for vectors in several])
    apart = np.array([len(set(labels) - {-1}) > 1 for labels in batch.components().tolist()])
    assert apart.mean() >= {"floater_added": 0.9, "part_lifted": 0.3, "part_shifted": 0.15}[name]


def test_bulged_and_flattened_change_the_proportions(items):
    rng = np.random.default_rng(0)
    for item in items[:50]:
        wide, flat = CORRUPTIONS["bulged"](item.vectors, rng), CORRUPTIONS["flattened"](item.vectors, rng)
        assert np.log(1.39) < (wide - item.vectors)[:, LOG_HALF_X : LOG_HALF_Y + 1].max() < np.log(2.01)
        assert np.log(0.39) < (flat - item.vectors)[:, LOG_HALF_Z].min() < np.log(0.61)


def test_a_leaning_asset_keeps_its_shape_and_touches_the_ground(items):
    rng = np.random.default_rng(0)
    for item in items[:50]:
        tilted = CORRUPTIONS["leaning"](item.vectors, rng)
        between = lambda v: np.linalg.norm(v[:, None, CENTRE] - v[None, :, CENTRE], axis=-1)  # noqa: E731
        np.testing.assert_allclose(between(tilted), between(item.vectors), atol=1e-4)
        bottom = Parts.from_vectors(torch.from_numpy(tilted)).bottoms().min()
        assert abs(float(bottom)) < 0.01
