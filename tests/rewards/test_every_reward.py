"""Every geometry and physics reward: the score does not depend on other assets, and broken assets
are reported."""

import math
import re
from dataclasses import replace

import pytest
import torch

from renderers.assets import SplatAsset
from rewards import KNOWN, Batch, resolve
from rewards.mix import check_needs, score
from rl3d.scoring import render_views
from scenes.asset import Asset, PartAsset
from scenes.gaussians import Gaussians
from scenes.parts import Parts
from tests.rewards.conftest import make_batch, make_part, make_table

NAMES = [
    name
    for name, path in KNOWN.items()
    if path.startswith(("rewards.geometry", "rewards.physics", "rewards.composition"))
]
WITH_WORKERS = ("stability", "push", "structure", "stacking")
PROMPT = "a red box on top of a blue box"


@pytest.fixture
def mixed(batch, table, part) -> Batch:
    """A table, one with a leg too short, a heap of odd parts, two boxes on each other, a loose
    ball."""
    generator = torch.Generator().manual_seed(3)
    heap = []
    for _ in range(7):
        u = torch.rand(6, generator=generator)
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
        exponents = (0.1 + 0.9 * float(u[0]), 1.0 if u[1] > 0.5 else 0.1)
        heap.append(
            part((0.05 + 0.15 * u[:3]).tolist(), (0.5 * u[3:] - 0.2).tolist(), exponents, float(u[5]) - 0.5, turn)
        )
    red, blue = torch.tensor([0.84, 0.12, 0.12]), torch.tensor([0.13, 0.32, 0.84])
    stack = [part((0.2, 0.2, 0.2), (0, 0, 0.59)), part((0.2, 0.2, 0.2), (0, 0, 0.2))]
    stack[0][16:], stack[1][16:] = red, blue
    loose = [*table("abcd"), part((0.1, 0.1, 0.1), (0.2, 0.1, 0.9), (1.0, 1.0))]
    assets = batch(table(), table("abc", lift=0.03), heap, stack, loose)
    return Batch([PROMPT] * 5, assets.asset)


def of(batch: Batch, order: list[int]) -> Batch:
    return Batch([batch.prompts[i] for i in order], batch.need_asset()[order])


@pytest.mark.parametrize("name", NAMES)
def test_scores_do_not_depend_on_other_assets(mixed, name):
    reward = resolve(name)
    whole = reward(mixed)
    assert whole.values.shape == (5,) and bool(((whole.values >= 0) & (whole.values <= 1)).all()) and whole.failed == 0
    for order in ([4, 2, 0, 3, 1], [2], [3, 3, 1]):
        some = reward(of(mixed, order))
        assert torch.equal(some.values, whole.values[order])
        if whole.verdict is not None:
            assert torch.equal(some.verdict, whole.verdict[order])
        if whole.per_part is not None:
            assert torch.equal(some.per_part, whole.per_part[order])


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_workers_do_not_matter(mixed, name):
    kind = type(resolve(name))
    assert torch.equal(kind(workers=1)(mixed).values, kind(workers=3)(mixed).values)


@pytest.mark.parametrize("name", NAMES)
def test_empty_and_damaged_assets_score_zero(batch, table, name):
    broken, flat = [[v.clone() for v in table()] for _ in range(2)]
    broken[2][5], flat[1][7] = math.nan, math.nan
    scores = resolve(name)(Batch([PROMPT] * 4, batch(table(), broken, [], flat).asset))
    assert scores.values[1:].tolist() == [0, 0, 0]
    assert scores.failed == 2  # an asset without parts has nothing to score, and is no failure
    assert scores.verdict is None or scores.verdict[1:].tolist() == [False] * 3
    assert scores.per_part is None or scores.per_part[1:].eq(0).all()
    alone = resolve(name)(Batch([PROMPT], batch(table()).asset))
    assert scores.values[0] == alone.values[0]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_in_absent_slots_does_not_matter(mixed, name):
    clean = mixed.need_parts().vectors()
    garbage = clean.clone()
    garbage[~mixed.need_parts().exists] = math.nan
    garbage[..., 0] = clean[..., 0]
    scores, expected = (resolve(name)(Batch(mixed.prompts, PartAsset(Parts.from_vectors(v)))) for v in (garbage, clean))
    assert scores.failed == 0 and torch.equal(scores.values, expected.values)


@pytest.mark.parametrize("name", NAMES)
def test_only_empty_assets(batch, name):
    scores = resolve(name)(Batch([PROMPT], batch([]).asset))
    assert scores.values.tolist() == [0] and scores.failed == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_an_asset_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match=r"this reward looks at (parts|the asset), and the batch has none"):
        resolve(name)(Batch([PROMPT]))


def test_too_many_parts_are_refused():
    vectors = torch.zeros(1, 1_000_000, 19)
    with pytest.raises(ValueError, match="an asset of 1,000,000 parts: rewards look at 256 at most"):
        Batch(["a heap"], PartAsset(Parts.from_vectors(vectors)))


SHOWN = [*NAMES, *(name for name, path in KNOWN.items() if path.startswith("rewards.views"))]
SHOWN += ["alignment", "one_face"]
"""Every reward that needs no weights from elsewhere and no server."""


@pytest.fixture(scope="module")
def splats() -> Asset:
    """A table, the same with a floater, and nothing that can be scored: empty, and not finite."""
    parts = make_batch(make_table(), [*make_table(), make_part((0.1, 0.1, 0.1), (0.2, 0.1, 0.95), (1.0, 1.0))]).asset
    table, loose = (parts.gaussians(8192)[k] for k in range(2))
    means = table.means.clone()
    means[7, 1] = math.nan
    return SplatAsset.of([table, loose, Gaussians.concatenate([]), replace(table, means=means)])


@pytest.mark.parametrize("name", SHOWN)
def test_raw_splats_are_scored_or_refused_in_one_line(splats, name):
    reward = resolve(name)
    if reward.needs.parts:
        with pytest.raises(ValueError) as error:
            check_needs([reward], frozenset(), "raw splats")
        said = f"reward {name!r} needs parts, which raw splats lacks: use {reward.instead} instead"
        assert str(error.value) == said
        check_needs([resolve(other) for other in re.findall(r"\w+", reward.instead) if other != "or"], frozenset())
        with pytest.raises(ValueError, match="this reward looks at parts, and the batch has none"):
            reward(Batch([PROMPT] * 4, splats))
        return
    check_needs([reward], frozenset())
    shown = splats[:3] if reward.needs.cameras else splats  # the renderer refuses what is not finite
    whole = score([reward], Batch([PROMPT] * len(shown), shown, render_views(shown, [reward])))[name]
    assert whole.per_part is None
    if not reward.needs.cameras:
        assert whole.failed == 2 and whole.values[2:].tolist() == [0, 0] and whole.verdict[2:].tolist() == [False] * 2
        assert whole.values[0] > whole.values[1] and whole.values[0] > 0.5
        assert whole.verdict[:2].tolist() == [True, False]
    for order in ([1, 0], [0]):
        chosen = splats[order]
        some = reward(Batch([PROMPT] * len(order), chosen, render_views(chosen, [reward])))
        assert torch.equal(some.values, whole.values[order])


def test_parts_and_views_score_a_part_asset(mixed):
    """Each reward on an asset of parts, checked by ``score``: shapes and ranges of all finer
    scores."""
    rewards = [resolve(name) for name in SHOWN]
    check_needs(rewards, frozenset({"parts"}))
    batch = replace(mixed, shots=render_views(mixed.need_asset(), rewards))
    scores = score(rewards, batch)
    assert list(scores) == SHOWN and all(s.failed == 0 for s in scores.values())
