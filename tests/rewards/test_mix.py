"""Reading a mix of rewards, finding rewards, and what a user sees when something is wrong."""

import math
import sys
import types

import pytest
import torch

from rewards import KNOWN as BUILT_IN
from rewards import Needs, Reward, Scores, resolve
from rewards.mix import Constraints, Gates, check_needs, parse, score

KNOWN = f"(known: {', '.join(BUILT_IN)}, or package.module:attribute)"


class Half:
    name = "half"
    version = "1"
    needs = Needs(cameras=2, size=64)

    def __call__(self, batch):
        return Scores(torch.full((len(batch),), 0.5))


@pytest.fixture(autouse=True)
def user_module(monkeypatch):
    module = types.ModuleType("user_rewards")
    module.Half, module.half, module.number = Half, Half(), 3
    monkeypatch.setitem(sys.modules, "user_rewards", module)


def test_parse():
    mixed = parse("stability=2, connected=0.5,user_rewards:Half=0")
    assert [(reward.name, weight) for reward, weight in mixed] == [("stability", 2), ("connected", 0.5), ("half", 0)]
    assert [weight for _, weight in parse("connected")] == [1]
    assert all(isinstance(reward, Reward) for reward, _ in mixed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rewards given; write for example stability=1,alignment=1"),
        ("stability=1,", "a reward without a name in 'stability=1,'"),
        ("=1", "a reward without a name in '=1'"),
        ("stability=one", "weight of reward 'stability' must be a number, got 'one'"),
        ("stability=", "weight of reward 'stability' must be a number, got ''"),
        ("stability=-1", "weight of reward 'stability' must be a finite number that is not negative, got -1"),
        ("stability=nan", "weight of reward 'stability' must be a finite number that is not negative, got nan"),
        ("stability=1,stability=2", "reward 'stability' is given twice in 'stability=1,stability=2'"),
        ("stability=0,connected=0", "every weight in 'stability=0,connected=0' is 0; at least one reward must count"),
        ("stabillity=1", f"unknown reward 'stabillity', did you mean 'stability'? {KNOWN}"),
        ("zzz", f"unknown reward 'zzz' {KNOWN}"),
        ("no_such_module:reward=1", "reward 'no_such_module:reward': there is no module 'no_such_module'"),
        ("user_rewards:missing=1", "reward 'user_rewards:missing': module 'user_rewards' has no 'missing'"),
        (
            "user_rewards:number",
            "reward 'user_rewards:number' is no reward: it must be callable on a Batch and have name, version "
            "and needs",
        ),
    ],
)
def test_errors_are_one_line(text, message):
    with pytest.raises(ValueError) as error:
        parse(text)
    assert str(error.value) == message


def test_missing_dependency_is_named(monkeypatch, tmp_path):
    (tmp_path / "needs_extra.py").write_text("import an_extra_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ValueError, match="reward 'needs_extra:x' needs the package 'an_extra_that_is_missing', which is not installed"
    ):
        resolve("needs_extra:x")


def test_dotted_path_takes_instances_and_classes():
    assert resolve("user_rewards:half") is sys.modules["user_rewards"].half
    assert isinstance(resolve("user_rewards:Half"), Half)


def test_a_plain_function_is_a_reward(monkeypatch, tmp_path, batch, table):
    source = """
from rewards import Needs

def small(batch):
    parts = batch.need_parts()
    return 1 - (parts.half_sizes[..., 2] * parts.exists).amax(-1).clamp(0, 1)

small.needs = Needs(parts=True)

def named(batch):
    return [1.0 / len(prompt) for prompt in batch.prompts]
"""
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    reward = resolve("mine:small")
    assert (reward.name, reward.needs) == ("small", Needs(parts=True)) and len(reward.version) == 8
    assert resolve("mine:named").needs == Needs(cameras=4, size=64)
    values = score([reward], batch(table(height=0.5), table(height=0.9)))["small"].values
    assert values[0] > values[1]


def test_every_set_of_views_is_wanted_once():
    plain, normals = Half(), Half()
    normals.needs = Needs(cameras=2, size=64, normals=True)
    assert Needs.rigs([plain, *(reward for reward, _ in parse("stability,alignment"))]) == {
        (2, 64): False,
        (3, 64): False,
    }
    assert Needs.rigs([plain, normals, plain]) == {(2, 64): True}
    assert Needs.rigs([]) == {}
    with pytest.raises(ValueError, match="normals are seen in views"):
        Needs(normals=True)
    with pytest.raises(ValueError, match="both cameras and a size"):
        Needs(cameras=4)


def test_score_by_name(batch, table):
    scores = score([reward for reward, _ in parse("connected,user_rewards:half")], batch(table(), table()))
    assert list(scores) == ["connected", "half"]
    assert scores["half"].values.tolist() == [0.5, 0.5]
    assert scores["connected"].values.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, float("nan")], "reward 'half' gave a value that is NaN or outside"),
        ([0.5, 1.5], "reward 'half' gave a value that is NaN or outside"),
        ([0.5], r"reward 'half' gave \(1,\) values for 2 assets"),
    ],
)
def test_score_refuses_bad_values(batch, table, values, message):
    class Bad(Half):
        def __call__(self, batch):
            return Scores(torch.tensor(values))

    with pytest.raises(ValueError, match=message):
        score([Bad()], batch(table(), table()))
    with pytest.raises(ValueError, match="two rewards are called 'half'"):
        score([Half(), Half()], batch(table()))


def test_missing_inputs_are_named(batch, table):
    from rewards.base import Batch

    with pytest.raises(ValueError, match="looks at the asset, and the batch has none"):
        resolve("stability")(Batch(["a chair"]))
    with pytest.raises(ValueError, match="looks at parts, and the batch has none"):
        resolve("margin")(Batch(["a chair"]))
    with pytest.raises(ValueError, match="looks at 2 views of 64 pixels a side, and the batch has none"):
        batch(table()).need_views(Needs(cameras=2, size=64))
    with pytest.raises(ValueError, match="2 prompts for an asset of 1 scenes"):
        Batch(["one", "two"], batch(table()).asset)


ONE = {"alignment": 1.0, "stability": 1.0}


def test_gates_shut_what_depends_on_them(batch, table):
    scores = {
        "alignment": Scores(torch.tensor([0.9, 0.8])),
        "stability": Scores(torch.tensor([0.5, 0.9]), verdict=torch.tensor([False, True])),
    }
    shut = Gates("alignment=stability", ONE).apply(scores)
    assert shut["alignment"].values.tolist() == pytest.approx([0, 0.8])
    assert shut["stability"] is scores["stability"]
    assert Gates("", ONE).apply(scores)["alignment"].values.tolist() == pytest.approx([0.9, 0.8])
    with pytest.raises(ValueError, match="'alignment' gives no verdict, so it cannot be a gate"):
        Gates("stability=alignment", ONE).apply(scores)


def test_a_shut_gate_gives_no_advantage():
    """Values and all finer scores are 0 where a gate is shut; what is absent stays absent."""
    nan = math.nan
    finer = {
        "per_part": torch.tensor([[1.0, 0.5, nan], [1.0, 0.5, nan]]),
        "per_view": torch.tensor([[0.3, 0.7], [0.3, 0.7]]),
        "per_frame": torch.tensor([[0.1], [0.2]]),
    }
    scores = {
        "contact": Scores(torch.tensor([0.9, 0.8]), failed=1, verdict=torch.tensor([True, True]), **finer),
        "stability": Scores(torch.tensor([0.5, 0.9]), verdict=torch.tensor([False, True])),
        "connected": Scores(torch.tensor([0.5, 0.9]), verdict=torch.tensor([True, True])),
    }
    shut = Gates("contact=stability+connected", dict.fromkeys(scores, 1.0)).apply(scores)["contact"]
    torch.testing.assert_close(shut.values, torch.tensor([0.0, 0.8]))
    torch.testing.assert_close(shut.per_part, torch.tensor([[0, 0, nan], [1, 0.5, nan]]), equal_nan=True)
    torch.testing.assert_close(shut.per_view, torch.tensor([[0, 0], [0.3, 0.7]]))
    torch.testing.assert_close(shut.per_frame, torch.tensor([[0], [0.2]]))
    assert shut.verdict is scores["contact"].verdict and shut.failed == 1
    torch.testing.assert_close(scores["contact"].per_view, torch.tensor([[0.3, 0.7], [0.3, 0.7]]))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            {"verdict": torch.tensor([1.0, 0.0])},
            r"reward 'half' gave a verdict torch.float32 \(2,\): expected bool \(2,\)",
        ),
        ({"per_part": torch.ones(2, 3)}, r"reward 'half' gave per_part of shape \(2, 3\): expected \(2, 8\)"),
        ({"per_view": torch.ones(2, 3)}, r"reward 'half' gave per_view of shape \(2, 3\): expected \(2, 2\)"),
        ({"per_frame": torch.ones(1, 3)}, r"reward 'half' gave per_frame of shape \(1, 3\): expected \(2, any\)"),
        ({"per_frame": torch.full((2, 3), 1.5)}, r"reward 'half' gave per_frame outside \[0, 1\]"),
        ({"per_part": torch.full((2, 8), -0.1)}, r"reward 'half' gave per_part outside \[0, 1\]"),
    ],
)
def test_score_refuses_bad_finer_scores(batch, table, result, message):
    class Bad(Half):
        def __call__(self, batch):
            scores = Scores(torch.ones(len(batch)))
            vars(scores).update(result)  # past the checks of shapes that only tests have
            return scores

    with pytest.raises(ValueError, match=message):
        score([Bad()], batch(table(), table()))


def test_what_an_asset_lacks_is_refused_in_one_line():
    rewards = [reward for reward, _ in parse("stability,connected,silhouette")]
    check_needs(rewards, frozenset())
    check_needs([resolve("structure")], frozenset({"parts"}))
    with pytest.raises(ValueError) as error:
        check_needs([*rewards, resolve("structure")], frozenset({"motion"}), "shap-e")
    expected = "reward 'structure' needs parts, which shap-e lacks: use stability, push or connected instead"
    assert str(error.value) == expected
    moving = Half()
    moving.needs = Needs(frames=True)
    with pytest.raises(ValueError) as error:
        check_needs([moving], frozenset({"parts"}))
    expected = "reward 'half' needs motion, which the asset lacks: use a reward of views, bodies or meshes instead"
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alignment", "gates 'alignment' cannot be read: write for example alignment=stability+connected"),
        ("alignment=stabil", "gates name 'stabil', which is none of the rewards (alignment, stability)"),
        ("colour=stability", "gates name 'colour', which is none of the rewards (alignment, stability)"),
        ("stability=stability", "reward 'stability' cannot be its own gate"),
        ("alignment=stability,alignment=stability", "gates name 'alignment' twice"),
        ("alignment=stability>1", "gate 'stability>1' must have a mean in [0, 1) behind the >, got '1'"),
        ("alignment=stability>high", "gate 'stability>high' must have a mean in [0, 1) behind the >, got 'high'"),
        (
            "alignment=stability_rate>0.5",
            "gates name 'stability_rate', which is none of the rewards (alignment, stability)",
        ),
        ("alignment=alignment>0.5", "reward 'alignment' cannot be its own gate"),
        (
            "alignment=stability>0.5,stability=alignment>0.5",
            "gates 'alignment=stability>0.5,stability=alignment>0.5' leave no reward at the start: "
            "one of weight above 0 must not wait",
        ),
    ],
)
def test_wrong_gates_are_refused(text, message):
    with pytest.raises(ValueError) as error:
        Gates(text, ONE)
    assert str(error.value) == message


def test_a_gate_of_the_run_opens_once_the_running_mean_has_passed_and_stays_open():
    gates = Gates("alignment=stability>0.5+stability_success_rate>0.6", ONE)
    for value in (1.0, 1.0, 1.0):  # the running mean is 1 - 0.8 ** 3 = 0.488
        assert gates.shut("alignment") and not gates.shut("stability")
        gates.update({"stability": torch.tensor([value]), "stability_success_rate": torch.ones(2)})
    assert gates.running["alignment"]["stability"] == pytest.approx(0.488)
    gates.update({"stability": torch.ones(1), "stability_success_rate": torch.ones(2)})
    assert gates.shut("alignment")  # 0.5904 of verdicts
    gates.update({"stability": torch.ones(1), "stability_success_rate": torch.ones(2)})
    assert not gates.shut("alignment")
    gates.update({"stability": torch.zeros(1), "stability_success_rate": torch.zeros(2)})
    assert not gates.shut("alignment")


def test_a_success_rate_without_verdicts_is_refused():
    scores = {name: Scores(torch.ones(2)) for name in ONE}
    assert Gates("alignment=stability>0.5", ONE).apply(scores) == scores
    with pytest.raises(ValueError, match="reward 'stability' gives no verdict, so it cannot be a gate"):
        Gates("alignment=stability_success_rate>0.5", ONE).apply(scores)


def test_a_constraint_finds_the_weight_that_meets_it():
    constraints = Constraints("alignment=0.6", {"alignment": 0.0, "stability": 1.0})
    for _ in range(200):  # a policy whose alignment answers to the weight
        constraints.update({"alignment": torch.tensor([0.4 + 0.1 * constraints.weights["alignment"]])})
    assert constraints.weights["alignment"] == pytest.approx(2.0, abs=0.05)
    assert constraints.weights["stability"] == 1.0
    constraints.update({"alignment": torch.tensor([1.0] * 3)})
    assert constraints.weights["alignment"] < 2.0
    for _ in range(50):
        constraints.update({"alignment": torch.tensor([1.0])})
    assert constraints.weights["alignment"] == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alignment=much", "constraint on 'alignment' must be a mean in (0, 1], got 'much'"),
        ("alignment=1.5", "constraint on 'alignment' must be a mean in (0, 1], got '1.5'"),
        ("colour=0.5", "constraints name 'colour', which is none of the rewards (alignment)"),
        ("=0.5", "constraints '=0.5' cannot be read: write for example alignment=0.55"),
    ],
)
def test_wrong_constraints_are_refused(text, message):
    with pytest.raises(ValueError) as error:
        Constraints(text, {"alignment": 1.0})
    assert str(error.value) == message
