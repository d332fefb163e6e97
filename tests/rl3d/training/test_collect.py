"""From scores to advantages: gates, constraints, per-part rewards; and means over minibatches."""

from __future__ import annotations

import pytest
import torch

from rewards.base import Batch, Needs, Scores
from rewards.mix import Constraints, Gates
from rl3d.algorithms.base import Draw
from rl3d.training.collect import Means, Scorer, summarize
from tests.rl3d.toys import tower


class PerPart:
    """Scores that a test sets: values, verdicts and per-part scores."""

    version, needs = "1", Needs(parts=True)

    def __init__(self, name: str, scores: Scores) -> None:
        self.name, self.scores = name, scores

    def __call__(self, batch: Batch) -> Scores:
        return self.scores


def _asset():
    from scenes.asset import PartAsset

    tokens = torch.tensor([[0, 1, 2, 3], [1, 1, 1, 4]])
    return PartAsset(tower(tokens, torch.ones_like(tokens, dtype=torch.bool)))


def _scorer(rewards, weights, gates="", constraints="") -> Scorer:
    return Scorer(rewards, Gates(gates, weights), Constraints(constraints, weights))


def test_a_gate_zeroes_values_and_per_part_rewards() -> None:
    """A sample behind a shut gate must earn nothing from the gated reward, nor may its parts."""
    per_part = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, torch.nan]])
    gated = PerPart("looks", Scores(torch.tensor([0.9, 0.1, 0.5, 0.2]), per_part=per_part))
    verdict = torch.tensor([False, True, True, True])
    gate = PerPart("stands", Scores(torch.tensor([0.1, 1.0, 1.0, 1.0]), verdict=verdict))
    weights = {"looks": 1.0, "stands": 0.0}
    draw, asset = Draw(["a tower"], 4, 0, 0), _asset()
    shut = _scorer([gated, gate], weights, "looks=stands")(draw, asset)
    opened = _scorer([gated, gate], weights)(draw, asset)
    assert opened.advantages.argmax() == 0 and shut.advantages.argmin() == 0
    assert opened.unit_advantages[0, 0] > opened.unit_advantages[0, 1]
    # Both parts of the shut sample are worth 0, the least that any part can be worth.
    closed = torch.where(per_part.isnan(), torch.nan, per_part * verdict.unsqueeze(1))
    zeroed = PerPart("looks", Scores(gated.scores.values * verdict, per_part=closed))
    alone = _scorer([zeroed, gate], weights)(draw, asset)
    assert torch.equal(shut.unit_advantages, alone.unit_advantages)
    assert shut.scores["looks"].values[0] == 0.9, "metrics show what was measured"


def test_an_absent_part_has_the_advantage_of_its_sample() -> None:
    per_part = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.7]])
    reward = PerPart("looks", Scores(torch.tensor([0.9, 0.1, 0.5, 0.2]), per_part=per_part))
    judged = _scorer([reward], {"looks": 1.0})(Draw(["a tower"], 4, 0, 0), _asset())
    assert judged.unit_advantages.shape == (4, 2)
    assert judged.unit_advantages[3, 1] == pytest.approx(float(judged.advantages[3]))  # its second cube is not there
    assert judged.unit_advantages[0, 1] != pytest.approx(float(judged.advantages[0]))


def test_met_constraints_give_no_advantage() -> None:
    reward = PerPart("looks", Scores(torch.tensor([0.9, 0.8, 0.9, 0.8])))
    scorer = _scorer([reward], {"looks": 0.01}, constraints="looks=0.5")
    judged = scorer(Draw(["a tower"], 4, 0, 0), _asset())
    assert scorer.constraints.weights["looks"] == 0
    assert not judged.advantages.any() and judged.unit_advantages.shape == (4, 1)


def test_a_reward_that_waits_weighs_nothing_and_its_constraint_stands_still() -> None:
    looks = PerPart("looks", Scores(torch.tensor([0.9, 0.1, 0.2, 0.2]), per_part=torch.rand(4, 2)))
    stands = PerPart("stands", Scores(torch.tensor([0.0, 0.0, 1.0, 1.0])))
    scorer = _scorer([looks, stands], {"looks": 1.0, "stands": 1.0}, "looks=stands>0.3", "looks=0.9")
    draw, asset = Draw(["a tower"], 4, 0, 0), _asset()
    alone = _scorer([stands], {"stands": 1.0})(draw, asset)
    for _ in range(4):  # the running mean of stands is at most 0.5 * (1 - 0.8 ** 4) = 0.295
        judged = scorer(draw, asset)
        assert scorer.weights == {"looks": 0.0, "stands": 1.0} and scorer.constraints.weights["looks"] == 1.0
        assert torch.equal(judged.advantages, alone.advantages) and judged.rewards.tolist() == [0, 0, 1, 1]
    judged = scorer(draw, asset)
    assert scorer.weights["looks"] == scorer.constraints.weights["looks"] > 1.0
    assert judged.advantages[0] > judged.advantages[1] and judged.unit_advantages.shape == (4, 2)


def test_summary() -> None:
    scores = {"a": Scores(torch.tensor([0.2, 0.6]), failed=1, verdict=torch.tensor([False, True]))}
    assert summarize(scores) == pytest.approx({"a": 0.4, "a_success_rate": 0.5, "a_failed": 1})


def test_means_are_weighted_by_samples() -> None:
    means = Means()
    means.add({"loss": torch.tensor(1.0), "kl": torch.tensor(2.0)}, 3)
    means.add({"loss": torch.tensor(5.0)}, 1)
    assert means.means() == {"loss": 2.0, "kl": 2.0}
