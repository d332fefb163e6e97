"""``composition`` tells right assets from wrong ones, fact by fact and part by part."""

import numpy as np
import pytest
import torch

from rewards import Batch, Scores, resolve
from rewards.composition.facts import Facts, Relation, Thing
from rewards.composition.parser import FoundObject
from rewards.composition.reward import Composition, judged
from rl3d.corpus import Item, sample, sample_for
from rl3d.corpus.altered import ALTERATIONS
from rl3d.corpus.scene_captions import worded
from rl3d.corpus.shapes import Appearance
from scenes.asset import PartAsset
from scenes.parts import COLOR, Parts

REWARD = Composition()


def assets(*vectors: np.ndarray) -> PartAsset:
    return PartAsset(Parts.stack([Parts.from_vectors(torch.from_numpy(v.astype(np.float32))) for v in vectors]))


def verdicts(scores: Scores) -> list[bool]:
    assert scores.verdict is not None
    return scores.verdict.tolist()


def drawn(seed: int, arrangement: str, *things: Appearance, counts: tuple[int, ...] = ()) -> Item:
    rng = np.random.default_rng(seed)
    return sample_for(worded(rng, "scene", things, counts or (1,) * len(things), arrangement), rng)


@pytest.mark.parametrize("name", list(ALTERATIONS))
def test_altered_assets_earn_less(name):
    rng = np.random.default_rng(3)
    higher, passed = [], []
    while len(higher) < 60:
        item = sample(rng, ("train", "heldout")[len(higher) % 2])
        other = ALTERATIONS[name](item, rng)
        if other is None:
            continue
        scores = REWARD(Batch([item.caption] * 2, assets(item.vectors, other.vectors)))
        higher.append(float(scores.values[0] > scores.values[1]))
        passed.append(verdicts(scores))
    assert np.mean(higher) >= 0.93
    right, wrong = np.mean(passed, 0)
    assert right >= 0.93 and wrong <= 0.05


def test_a_part_earns_what_its_object_earns():
    item = drawn(0, "next", Appearance("chair", "red", {"legs": "white"}), Appearance("cube", "blue"))
    legs = np.array([role == "legs" for role in item.roles])
    cube = item.objects == 1
    painted = item.vectors.copy()
    painted[legs, COLOR] = 0.15, 0.60, 0.20  # green legs
    prompts = ["a red chair with white legs next to a blue cube"] * 2 + ["a blue cube", "a red chair with white legs"]
    scores = REWARD(Batch(prompts, assets(item.vectors, painted, item.vectors, item.vectors)))
    assert scores.values[0] == 1 and verdicts(scores) == [True, False, False, False]
    assert scores.per_part is not None
    right, wrong, only_cube, only_chair = scores.per_part[:, : len(item.vectors)]
    assert right.eq(1).all()
    others = ~legs & ~cube
    assert wrong[legs].max() < wrong[others].min() < 1 and wrong[cube].eq(1).all()
    assert only_cube[cube].eq(1).all() and only_cube[~cube].eq(0).all()
    assert only_chair[cube].eq(0).all() and only_chair[~cube].eq(1).all()


def test_a_prompt_that_cannot_be_read_gives_nothing_to_check():
    item = drawn(1, "on", Appearance("cat", "black"), Appearance("table", "white"))
    scores = REWARD(Batch(["a red dinosaur", "a black cat on a white table"], assets(item.vectors, item.vectors)))
    assert scores.values.tolist() == [1, 1] and verdicts(scores) == [True, True]


def a(noun: str, color: str = "red", at: float = 0.0, part: int = 0, area: float = 1.0) -> FoundObject:
    box = np.array([[at, 0.0, 0.0]]), np.array([[at + 1.0, 1.0, 1.0]])
    return FoundObject(
        noun, np.array([part]), ("main",), color, {"main": color}, None, None, None, box, area, {noun: 0.9, "mug": 0.1}
    )


def test_credits_of_numbers():
    def credit(*found: FoundObject) -> float:
        return dict(judged(Facts((Thing("cube", count=3),)), found, 9).facts)["3 cube"]

    cubes = [a("cube", at=2.0 * k, part=k) for k in range(5)]
    values = [credit(*cubes[:k]) for k in range(6)]
    assert values[3] == 1 and 0 == values[0] < values[1] < values[2] <= 0.5 and values[5] < values[4] <= 0.5
    # What looks a little like a mug is better than nothing, and worse than one of two mugs.
    facts = Facts((Thing("mug", count=2),))
    doubtful, one = (dict(judged(facts, [a(noun)], 1).facts)["2 mug"] for noun in ("cube", "mug"))
    assert 0 < doubtful < one < 0.5


def test_of_two_things_with_one_noun_each_gets_the_objects_in_its_colour():
    facts = Facts((Thing("cube", "red"), Thing("cube", "blue")), (Relation("left", 0, (1,)),))
    red, blue = a("cube", "red", 0.0, 0), a("cube", "blue", 1.0, 1)
    assert judged(facts, [blue, red], 2).right
    exchanged = judged(facts, [a("cube", "blue", 0.0, 0), a("cube", "red", 1.0, 1)], 2)
    assert dict(exchanged.facts)["cube left cube"] == 0 and not exchanged.right
    assert dict(judged(facts, [red, a("cube", "green", 1.0, 1)], 2).facts)["blue cube"] == 0


def test_a_table_lamp_is_a_lamp_and_a_lamp_is_no_table_lamp():
    lamp, table_lamp = a("lamp", part=0), a("table lamp", part=1)
    assert judged(Facts((Thing("lamp"),)), [table_lamp], 2).right
    assert not judged(Facts((Thing("table lamp"),)), [lamp], 2).right
    assert judged(Facts((Thing("table lamp"), Thing("lamp"))), [lamp, table_lamp], 2).right
    assert not judged(Facts((Thing("lamp"),)), [lamp, table_lamp], 2).right


def test_specks_and_what_nothing_asked_for():
    facts = Facts((Thing("cube", "red"),))
    speck = judged(facts, [a("cube"), a("cone", part=1, area=0.005)], 2)
    assert speck.right and speck.per_part.tolist() == [1, 0]
    extra = judged(facts, [a("cube"), a("cone", part=1), a("cone", part=2)], 3)
    assert dict(extra.facts)["nothing else"] == 0.25 and extra.per_part.tolist() == [1, 0, 0]
    assert judged(facts, [], 0).value == pytest.approx(1 / 3)


def test_it_is_found_by_its_name():
    reward = resolve("composition")
    assert reward.name == "composition" and reward.needs.parts and not reward.needs.cameras
