"""The guard: what it measures, what raises an alarm and what does not, and what the trainer then
does."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch

from rewards.mix import parse
from rl3d.measures import shape_of
from rl3d.training.guard import Guard, Reading
from rl3d.training.loop import iterate
from scenes.asset import PartAsset
from scenes.parts import Parts

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
    guard = Guard(parse("stability=1"), "connected", seed=0, kl_limit=0.5)
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
def test_planted_changes_raise_alarms(guard, changes, kl, message):
    (alarm,) = guard.alarms(reading(**changes), kl)
    assert re.search(message, alarm), alarm


def test_shape_measures_are_those_of_a_known_asset():
    vectors = torch.zeros(1, 3, 19)
    vectors[..., 0], vectors[..., 10], vectors[..., 14] = 1, 1, 1
    vectors[..., 1:3] = 0.1
    vectors[0, 2, 0] = -1  # absent: counts nowhere
    vectors[0, 0, 6], vectors[0, 0, 7:10] = 0.2, torch.tensor([0.1, 0.3, 0.2]).log()
    vectors[0, 1, 6], vectors[0, 1, 7:10] = 0.5, torch.tensor([0.05, 0.05, 0.1]).log()
    vectors[0, 0, 16:19], vectors[0, 1, 16:19] = torch.tensor([0.8, 0.4, 0.4]), torch.tensor([0.2, 0.2, 0.2])
    parts = Parts.from_vectors(vectors)
    large, small = parts.masses()[0][0, :2].tolist()
    shape = {name: values.item() for name, values in shape_of(PartAsset(parts)).items()}
    assert shape["number of parts"] == 2
    assert shape["volume"] == pytest.approx(large + small)
    assert shape["height"] == pytest.approx(0.6, abs=1e-3)
    assert shape["thickness"] == pytest.approx((0.2 * large + 0.1 * small) / (large + small), rel=1e-4)
    assert shape["saturation"] == pytest.approx(0.5 * large / (large + small), rel=1e-4)
    assert all(math.isfinite(v) for v in shape.values())


def watched(start, policy: str = "part-flow", **changes):
    return start(policy, **{"guard": "warn", "guard_every": 2, "iterations": 6, "held_out": "connected"} | changes)


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch) -> None:
    monkeypatch.setattr("rl3d.training.guard.PROMPTS", 4)


@pytest.mark.parametrize("policy", ["part-flow", "tokens", "splats"])
def test_a_reading_repeats_itself_and_is_written(start, policy):
    objective = "grpo" if policy == "tokens" else "awm"
    held_out = "alignment" if policy == "splats" else "connected"
    run = start(policy, objective, guard="warn", guard_every=2, iterations=4, held_out=held_out)
    assert run.guard is not None
    with run.state.policy.reference():
        again = run.guard.read(run.state.policy)
    first = run.guard.start
    assert first is not None and all(torch.equal(again.rewards[n], v) for n, v in first.rewards.items())
    assert all(torch.equal(again.shapes[n], v) for n, v in first.shapes.items())
    list(iterate(run))
    lines = [json.loads(line) for line in (run.config.out / "guard.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [2, 4]
    own = "spread" if policy == "splats" else "thickness"
    assert {run.scorer.rewards[0].name, held_out, "diversity", own, "height", "alarms"} <= lines[0].keys()


def test_a_resumed_run_compares_with_the_same_start(start):
    run = watched(start, iterations=2)
    list(iterate(run))
    again = watched(start, iterations=4, resume=True)
    assert again.state.iteration == 2 and run.guard.start is not None
    assert all(torch.equal(again.guard.start.rewards[n], v) for n, v in run.guard.start.rewards.items())


@pytest.mark.parametrize(("guard", "iterations"), [("stop", 2), ("rollback", 6)])
def test_what_an_alarm_does(start, monkeypatch, guard, iterations):
    monkeypatch.setattr(Guard, "alarms", lambda self, now, kl: ["something is wrong"])
    run = watched(start, guard=guard, iterations=20)
    begin = [p.clone() for p in run.state.policy.network.parameters()]
    done = [metrics["iteration"] for metrics in iterate(run)]
    assert done[-1] == iterations and run.state.stopped and run.alarms == ["something is wrong"]
    now = run.state.policy.network.parameters()
    assert all(torch.equal(a, b) for a, b in zip(begin, now, strict=True)) == (guard == "rollback")
    if guard == "rollback":
        again = watched(start, guard=guard, iterations=20, resume=True)
        assert again.state.rollbacks == run.state.rollbacks == 3


def test_a_rollback_halves_the_learning_rate(start, monkeypatch):
    alarms = iter([["something is wrong"], [], []])
    monkeypatch.setattr(Guard, "alarms", lambda self, now, kl: next(alarms))
    run = watched(start, guard="rollback", iterations=6, warmup=1)
    rates = []
    for _ in iterate(run):
        rates.append(run.state.optimizer.param_groups[0]["lr"] / (0.02 + 0.98 * (1 - (len(rates)) / 6)))
    assert rates[2] == pytest.approx(rates[1] / 2) and run.state.rollbacks == 1 and not run.state.stopped


def test_a_reward_cannot_be_trained_and_held_out(start):
    with pytest.raises(ValueError, match="'redness' cannot be both trained and held out"):
        watched(start, held_out="tests.rl3d.training.conftest:Redness")


@pytest.mark.parametrize("resumed", [False, True])
def test_a_rollback_returns_to_the_last_good_reading_also_after_a_resume(start, tmp_path, monkeypatch, resumed):
    """Good at 2, bad at 4: the weights of 2 come back, with the constraint's weight of then."""
    answers = {2: [], 4: ["something is wrong"]}
    monkeypatch.setattr(Guard, "alarms", lambda self, now, kl: answers[run.state.iteration])
    settings = {"guard": "rollback", "iterations": 4, "save_every": 1, "constraints": "redness=0.9"}
    run = watched(start, **settings)
    for metrics in iterate(run):
        if metrics["iteration"] == 2:
            good = [p.clone() for p in run.state.policy.network.parameters()]
            weight = run.state.constraints.weights["redness"]
        if metrics["iteration"] == 3 and resumed:
            break
    if resumed:
        run = watched(start, **settings, resume=True)
        list(iterate(run))
    assert run.state.rollbacks == 1 and run.state.constraints.weights["redness"] == weight
    assert all(torch.equal(a, b) for a, b in zip(good, run.state.policy.network.parameters(), strict=True))


def test_a_reading_that_is_not_finite_is_an_alarm(guard):
    broken = reading()
    broken.rewards["connected"][3] = math.nan
    assert guard.alarms(broken, kl=0.01) == ["connected is not finite"]
    assert guard.alarms(reading(), kl=math.nan) == ["the KL is not finite"]


def test_the_guard_uses_no_prompt_of_the_training(start):
    from rl3d.prompts import corpus_prompts
    from rl3d.training import guard as module

    pool = corpus_prompts(8, 1_000_000)
    fresh = Guard(parse("connected=1"), "", seed=0, kl_limit=0.5, avoid=pool[:3])
    assert len(set(fresh.prompts)) == module.PROMPTS and not set(fresh.prompts) & set(pool[:3])


def test_a_run_that_the_guard_stopped_stays_stopped(start, monkeypatch):
    monkeypatch.setattr(Guard, "alarms", lambda self, now, kl: ["something is wrong"])
    list(iterate(watched(start, guard="stop", iterations=8)))
    again = watched(start, guard="stop", iterations=8, resume=True)
    assert again.state.stopped and list(iterate(again)) == []
