"""Reading a mix of rewards, finding rewards, and what a user sees when something is wrong."""

import sys
import types

import pytest
import torch

from rewards import KNOWN as BUILT_IN
from rewards import Needs, Reward, Scores, resolve
from rewards.mix import Constraints, gated, parse, parse_gates, score

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
            "reward 'user_rewards:number' is no reward: it "
            "must be "
            "callable on a "
            "Batch and "
            "have name, "
            "version "
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
    source = "def small(batch):\n    parts = batch.need_parts()\n    return 1 - (parts.half_sizes[..., 2] * parts.exists).amax(-1).clamp(0, 1)\n"
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    reward = resolve("mine:small")
    assert (reward.name, reward.needs) == ("small", Needs(parts=True, cameras=4, size=64, text=True)) and len(
        reward.version
    ) == 8
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

    with pytest.raises(ValueError, match="looks at parts, and the batch has none"):
        resolve("stability")(Batch(["a chair"]))
    with pytest.raises(ValueError, match="looks at 2 views of 64 pixels a side, and the batch has none"):
        batch(table()).need_views(Needs(cameras=2, size=64))
    with pytest.raises(ValueError, match="parts must be"):
        Batch(["one", "two"], batch(table()).parts)


def test_gates_shut_what_depends_on_them(batch, table):
    scores = {
        "alignment": Scores(torch.tensor([0.9, 0.8])),
        "stability": Scores(torch.tensor([0.5, 0.9]), verdict=torch.tensor([False, True])),
    }
    assert gated(scores, parse_gates("alignment=stability", scores))["alignment"].tolist() == pytest.approx([0, 0.8])
    assert gated(scores, {})["alignment"].tolist() == pytest.approx([0.9, 0.8])
    with pytest.raises(ValueError, match="'alignment' gives no verdict, so it cannot be a gate"):
        gated(scores, parse_gates("stability=alignment", scores))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alignment", "gates 'alignment' cannot be read: write for example alignment=stability+connected"),
        ("alignment=stabil", "gates name 'stabil', which is none of the rewards (alignment, stability)"),
        ("colour=stability", "gates name 'colour', which is none of the rewards (alignment, stability)"),
        ("stability=stability", "reward 'stability' cannot be its own gate"),
        ("alignment=stability,alignment=stability", "gates name 'alignment' twice"),
    ],
)
def test_wrong_gates(text, message):
    with pytest.raises(ValueError) as error:
        parse_gates(text, ["alignment", "stability"])
    assert str(error.value) == message


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
def test_wrong_constraints(text, message):
    with pytest.raises(ValueError) as error:
        Constraints(text, {"alignment": 1.0})
    assert str(error.value) == message
