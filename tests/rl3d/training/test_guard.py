"""The guard: what it measures, what makes it cry out and what does not, and what the trainer does
then."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
import torch

from rewards.mix import parse
from rl3d.measures import shape_of
from rl3d.training.guard import Guard, Reading
from rl3d.training.trainer import TrainConfig, Trainer
from scenes.parts import Parts
from tests.rl3d.training.test_trainer import _policy, config, redness

__all__ = ["config"]
SHAPES = ("number of parts", "thickness", "volume", "height", "saturation", "brightness")


def reading(count: int = 96, seed: int = 0, **changes: float) -> Reading:
    """A reading in which some figures are shifted, each sample by a little more or less."""
    rng = torch.Generator().manual_seed(seed)

    def values(name: str, base: float) -> torch.Tensor:
        shift = changes.get(name.replace(" ", "_"), 0.0)
        spread = 0.1 * torch.randn(count, generator=rng) + 0.02 * torch.randn(
            count, generator=torch.Generator().manual_seed(99)
        )
        return base + spread + shift * (1 + 0.3 * torch.randn(count, generator=rng))

    rewards = {name: values(name, 0.6) for name in ("stability", "connected")}
    shapes = {name: values(name, 1.0) for name in SHAPES}
    return Reading(rewards, shapes, values("diversity", 1.0)[: count // 2])


@pytest.fixture
def guard() -> Guard:
    trained, held_out = parse("stability=1"), [reward for reward, _ in parse("connected")]
    guard = Guard(trained, held_out, ["a red cube"], kl_limit=0.5)
    guard.start = reading()
    return guard


def test_no_alarm_where_all_is_well(guard):
    assert guard.alarms(reading(), kl=0.01) == []
    assert guard.alarms(reading(stability=0.2, connected=0.1, thickness=0.05), kl=0.01) == []
    # Both fall: training fails, but it is not gamed.
    assert guard.alarms(reading(stability=-0.1, connected=-0.1), kl=0.01) == []


@pytest.mark.parametrize(
    ("changes", "kl", "message"),
    [
        (
            {"stability": 0.2, "connected": -0.1},
            0.01,
            r"^connected, which is not optimised, fell by 0\.1\d\d ± 0\.\d+ while the trained",
        ),
        ({"stability": 0.2, "thickness": 0.3}, 0.01, r"^thickness rose by (2|3)\d %$"),
        ({"number_of_parts": -0.4}, 0.01, r"^number of parts fell by (3|4)\d %$"),
        ({"diversity": -0.4}, 0.01, r"^diversity is (5|6)\d % of what it was$"),
        ({}, 0.7, r"^the KL to the start, 0\.7, is above 0\.5$"),
    ],
)
def test_alarms(guard, changes, kl, message):
    (alarm,) = guard.alarms(reading(**changes), kl)
    assert re.search(message, alarm), alarm


def test_what_a_shape_measures():
    vectors = torch.zeros(1, 3, 19)
    vectors[..., 0], vectors[..., 10], vectors[..., 14] = 1, 1, 1
    vectors[..., 1:3] = 0.1
    vectors[0, 2, 0] = -1  # absent: counts nowhere
    vectors[0, 0, 6], vectors[0, 0, 7:10] = 0.2, torch.tensor([0.1, 0.3, 0.2]).log()
    vectors[0, 1, 6], vectors[0, 1, 7:10] = 0.5, torch.tensor([0.05, 0.05, 0.1]).log()
    vectors[0, 0, 16:19], vectors[0, 1, 16:19] = torch.tensor([0.8, 0.4, 0.4]), torch.tensor([0.2, 0.2, 0.2])
    parts = Parts.from_vectors(vectors)
    large, small = parts.masses()[0][0, :2].tolist()
    shape = {name: values.item() for name, values in shape_of(parts).items()}
    assert shape["number of parts"] == 2
    assert shape["volume"] == pytest.approx(large + small)
    assert shape["height"] == pytest.approx(0.6, abs=1e-3)
    assert shape["thickness"] == pytest.approx((0.2 * large + 0.1 * small) / (large + small), rel=1e-4)
    assert shape["saturation"] == pytest.approx(0.5 * large / (large + small), rel=1e-4)
    assert all(math.isfinite(v) for v in shape.values())


def watched(config: TrainConfig, tmp_path, **changes) -> Trainer:
    settings = {
        "guard": "warn",
        "guard_every": 2,
        "held_out": "connected",
        "iterations": 6,
        "objective": "awm",
    } | changes
    return Trainer(replace(config, out=tmp_path / "watched", **settings), policy=_policy())


def test_a_reading_repeats_itself_and_resumes(config, tmp_path, monkeypatch):
    monkeypatch.setattr("rl3d.training.trainer.GUARDED", 4)
    trainer = watched(config, tmp_path)
    again = trainer.guard.read(trainer.reference)
    assert all((again.rewards[n] == v).all() for n, v in trainer.guard.start.rewards.items())
    for _ in trainer:
        pass
    lines = [json.loads(line) for line in (trainer.config.out / "guard.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [2, 4, 6]
    assert {"redness", "connected", "diversity", "thickness", "alarms"} <= lines[0].keys()


@pytest.mark.parametrize(("guard", "rounds"), [("stop", 2), ("rollback", 6)])
def test_what_an_alarm_does(config, tmp_path, monkeypatch, guard, rounds):
    monkeypatch.setattr("rl3d.training.trainer.GUARDED", 2)
    monkeypatch.setattr(Guard, "alarms", lambda self, now, kl: ["something is wrong"])
    trainer = watched(config, tmp_path, guard=guard, iterations=20)
    start = [p.clone() for p in trainer.network.parameters()]
    done = [metrics["iteration"] for metrics in trainer]
    assert done[-1] == rounds and trainer.stopped and trainer.alarms == ["something is wrong"]
    same = all(torch.equal(a, b) for a, b in zip(start, trainer.network.parameters(), strict=True))
    assert same == (guard == "rollback")
    if guard == "rollback":
        trainer.save()
        assert Trainer(trainer.config, resume=True, policy=_policy()).rollbacks == trainer.rollbacks == 3


def test_a_reward_cannot_be_trained_and_held_out(config, tmp_path):
    with pytest.raises(ValueError, match="'redness' cannot be both trained and held out"):
        watched(config, tmp_path, held_out=redness)
