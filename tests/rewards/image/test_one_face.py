"""``one_face``: a second face at the back costs, whichever way the first looks; other faults and
other things cost little."""

import numpy as np
import pytest
import torch

from rewards import Batch, resolve
from rl3d.corpus import CORRUPTIONS, FACED, SUBTLE, captions, sample, sample_for
from rl3d.corpus.corruptions import faces_copied
from rl3d.scoring import render_views
from scenes.asset import PartAsset
from scenes.parts import Parts

FAULTS = {**CORRUPTIONS, **SUBTLE}
COSTLY = ("bulged", "part_shifted", "jitter", "jitter_strong", "category_swapped")


def scored(items, change=lambda vectors: vectors, azimuth_deg: float = 30.0) -> torch.Tensor:
    reward = resolve("one_face")
    asset = PartAsset(Parts.stack([Parts.from_vectors(torch.from_numpy(change(item.vectors))) for item in items]))
    prompts = [item.caption for item in items]
    return reward(Batch(prompts, asset, render_views(asset, [reward], azimuth_deg=azimuth_deg))).values


@pytest.fixture(scope="module")
def faced():
    rng = np.random.default_rng(6)
    return [sample_for(captions.single(rng, "heldout", FACED[i % len(FACED)]), rng) for i in range(45)]


@pytest.mark.parametrize("azimuth_deg", [30.0, 120.0, 210.0, 300.0])
def test_a_second_face_costs(faced, azimuth_deg):
    rng = np.random.default_rng(7)
    one, two = (scored(faced, change, azimuth_deg) for change in (lambda v: v, lambda v: faces_copied(v, rng)))
    assert (one > two).double().mean() >= 0.95
    assert (one > 0.5).double().mean() >= 0.85 and (two < 0.5).double().mean() >= 0.75


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in COSTLY])
def test_other_faults_cost_little(faced, name):
    rng = np.random.default_rng(8)
    assert (scored(faced, lambda vectors: FAULTS[name](vectors, rng)) > 0.5).double().mean() >= 0.75


def test_other_things_have_no_face_to_double():
    rng = np.random.default_rng(9)
    assert (scored([sample(rng, "heldout") for _ in range(60)]) > 0.5).double().mean() >= 0.95
