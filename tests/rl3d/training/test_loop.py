"""The loop: every objective learns on every policy that it can, resumes exactly, saves by itself,
and refuses what it cannot do before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rewards.base import Batch, Needs, Scores
from rl3d.algorithms.load import find_objective
from rl3d.generators.load import load_generator
from rl3d.training.loop import iterate
from rl3d.training.state import checkpoints
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors
from tests.rl3d.toys import Low, Red, TokenToy, redness
from tests.rl3d.training.conftest import make

PAIRS = [
    ("part-flow", "awm"), ("part-flow", "grpo"), ("part-flow", "nft"), ("splats", "awm"), ("splats", "grpo"),
    ("splats", "dgpo"), ("splats", "dro"), ("tokens", "grpo"), ("tokens", "ddpo"), ("tokens", "dpok"),
    ("tokens", "dpo"),
]  # fmt: skip


BOTH = "tests.rl3d.toys:Low=1,tests.rl3d.training.test_loop:Other=1"


class Other:
    """A reward with a verdict and without a gradient, that all samples fulfil."""

    name, version, needs = "other", "1", Needs()

    def __call__(self, batch: Batch) -> Scores:
        ones = torch.ones(len(batch.prompts))
        return Scores(ones, verdict=ones > 0)


def _weights(run) -> list[torch.Tensor]:
    return [p.detach().clone() for p in run.state.policy.network.parameters()]


@pytest.mark.parametrize(("policy", "objective"), [*PAIRS, ("splats", "nabla"), ("splats", "hybrid")])
def test_resuming_repeats_the_uninterrupted_run(
    start, tmp_path: Path, monkeypatch, policy: str, objective: str
) -> None:
    settings = {"num_minibatches": 2, "constraints": "low=0.6" if policy == "splats" else ""}
    if policy == "tokens":
        settings |= {"rewards": "tests.rl3d.toys:Red=1,structure=1", "gates": "structure=red>0.06"}
    whole = start(policy, objective, **settings)
    first = list(iterate(whole))
    out = tmp_path / "cut"
    cut = iterate(start(policy, objective, out=out, **settings))
    next(cut), next(cut)
    cut.close()  # at a checkpoint
    lost = (out / "metrics.jsonl").read_text() + json.dumps({"iteration": 3}) + "\n"
    (out / "metrics.jsonl").write_text(lost)  # made after the checkpoint: dropped on resuming

    def elsewhere(name: str):
        """Another start: everything that counts is in the checkpoint."""
        moved = make(name)
        with torch.no_grad():
            for p in moved.network.parameters():
                p.add_(0.01)
        return moved

    monkeypatch.setattr("tests.rl3d.training.conftest.make", elsewhere)
    again = start(policy, objective, out=out, resume=True, **settings)
    assert again.state.iteration == 2
    list(iterate(again))
    assert all(torch.equal(a, b) for a, b in zip(_weights(whole), _weights(again), strict=True))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    timed = ("seconds", "rollout_s", "reward_s", "update_s")
    assert [{k: v for k, v in m.items() if k not in timed} for m in first] == [
        {k: v for k, v in m.items() if k not in timed} for m in lines
    ]


def test_what_an_objective_remembers_of_a_run_is_no_fault_when_it_resumes(start) -> None:
    """The weights that draw lag behind: the self-check asks for unchanged ones."""
    cut = start("splats", "nft", iterations=3, save_every=1)
    next(iterate(cut))
    with torch.no_grad():
        for p in cut.state.memory.parameters():
            p.add_(0.1)
    cut.save()
    again = start("splats", "nft", iterations=3, resume=True)
    lag = [(a - b).abs().max() for a, b in zip(again.state.memory.parameters(), _weights(again), strict=True)]
    assert again.state.iteration == 1 and max(lag) > 0.05
    assert len(list(iterate(again))) == 2


def test_a_resumed_run_has_the_weights_that_are_asked_for_and_those_of_its_constraints(start) -> None:
    rewards = "tests.rl3d.toys:Red={},structure={}"
    first = start("tokens", "grpo", rewards=rewards.format(1, 1), constraints="structure=0.99", iterations=2)
    list(iterate(first))
    reached = first.scorer.weights["structure"]
    assert reached != 1
    again = start(
        "tokens", "grpo", rewards=rewards.format(3, 1), constraints="structure=0.99", iterations=4, resume=True
    )
    assert again.scorer.weights == {"red": 3, "structure": reached}
    alone = start("tokens", "grpo", rewards="tests.rl3d.toys:Red=2", iterations=4, resume=True)
    assert alone.scorer.weights == {"red": 2} and len(list(iterate(alone))) == 2


@pytest.mark.parametrize(
    ("policy", "objective", "own"),
    [("splats", "draft", {}), ("splats", "nabla", {}), ("splats", "hybrid", {}), ("tokens", "grpo", {"coarse": "red"})],
)
def test_a_run_goes_on_where_a_constraint_is_met(start, policy: str, objective: str, own: dict[str, str]) -> None:
    """Its reward then weighs nothing, and there is no other."""
    name = {"splats": "low", "tokens": "red"}[policy]
    run = start(policy, objective, constraints=f"{name}=0.001", settings=own, iterations=2)
    run.scorer.constraints.weights[name] = 0.0
    metrics = list(iterate(run))
    assert [m[f"{name}_weight"] for m in metrics] == [0, 0] and all(m["grad_norm"] < 1e-6 for m in metrics)


@pytest.mark.parametrize("objective", ["ddpo", "dpok", "reinforce", "grpo"])
def test_prompts_come_back_where_samples_differ_whatever_the_baseline(start, tmp_path: Path, objective: str) -> None:
    prompts = _many(tmp_path / "many.txt", 3, 3)
    settings = {"prompts_per_iteration": 6, "iterations": 1, "prompts": prompts}
    run = start("tokens", objective, rewards="tests.rl3d.training.test_loop:Solved", **settings)
    next(iterate(run))
    priority = dict(zip(run.state.prompts.prompts, run.state.prompts.priority.tolist(), strict=True))
    assert all(priority[f"easy {i}"] < 1e-3 < 0.3 < priority[f"hard {i}"] for i in range(3))


def _many(path: Path, easy: int, hard: int) -> Path:
    path.write_text("".join(f"easy {i}\n" for i in range(easy)) + "".join(f"hard {i}\n" for i in range(hard)))
    return path


class Solved:
    """Red, of prompts that are hard; the others are solved."""

    name, version, needs, instead = "solved", "1", Needs(parts=True), "red"

    def __call__(self, batch: Batch) -> Scores:
        hard = torch.tensor([prompt.startswith("hard") for prompt in batch.prompts])
        return Scores(torch.where(hard, Red()(batch).values, 1.0))


class Blue:
    """Fraction of the four places that hold a blue cube."""

    name, version, needs, instead = "blue", "1", Needs(parts=True), "vivid"

    def __call__(self, batch: Batch) -> Scores:
        parts = batch.need_parts()
        return Scores(((parts.colors[..., 2] > 0.5) & parts.exists).float().mean(-1))


@pytest.mark.parametrize(("policy", "objective"), PAIRS[4::2])
def test_redrawing_keeps_the_size_of_the_batch_and_resumes_exactly(
    start, tmp_path: Path, monkeypatch, policy: str, objective: str
) -> None:
    prompts = _many(tmp_path / "many.txt", 4, 4)
    settings = {"redraw": 2, "num_minibatches": 2, "prompts": prompts, "iterations": 2}
    sizes, loss = [], find_objective(objective).loss

    def counting(self, policy, minibatch):
        sizes.append(len(minibatch.rollout.condition) // minibatch.group_size)
        return loss(self, policy, minibatch)

    monkeypatch.setattr(find_objective(objective), "loss", counting)
    whole = start(policy, objective, **settings)
    sizes.clear()  # of the self-check
    first = list(iterate(whole))
    assert sizes == [1, 1, 1, 1] and all(0 <= metrics["redrawn"] <= 1 for metrics in first)
    cut = iterate(start(policy, objective, out=tmp_path / "cut", **settings))
    next(cut)
    cut.close()
    again = start(policy, objective, out=tmp_path / "cut", resume=True, **settings)
    assert again.state.iteration == 1
    assert [metrics["redrawn"] for metrics in iterate(again)] == [first[1]["redrawn"]]
    assert all(torch.equal(a, b) for a, b in zip(_weights(whole), _weights(again), strict=True))


def test_a_reward_waits_until_another_has_been_reached(start) -> None:
    """Blue counts once half of a tower is red. Until then its weight is 0, then 1 to the end."""
    rewards = "tests.rl3d.toys:Red=1,tests.rl3d.training.test_loop:Blue=1"
    settings = {"rewards": rewards, "gates": "blue=red>0.5", "settings": {"lr": 0.3, "clip": 0.2, "kl_weight": 0.0}}
    metrics = list(iterate(start("tokens", "grpo", iterations=40, warmup=1, save_every=40, **settings)))
    weights, mean, expected = [m["blue_weight"] for m in metrics], 0.0, []
    for red in (m["red"] for m in metrics):
        mean = mean if mean > 0.5 else 0.8 * mean + 0.2 * red
        expected.append(float(mean > 0.5))
    assert weights == expected and 5 < weights.index(1.0) < 35
    assert metrics[weights.index(1.0)]["blue"] < metrics[0]["blue"] + 0.1


def test_redrawing_learns_sooner_where_most_prompts_are_solved(start, tmp_path: Path) -> None:
    """A solved prompt teaches nothing. Three of four prompts are solved."""
    prompts, taught, reached = _many(tmp_path / "many.txt", 90, 30), [], []
    for redraw in (0, 3):
        settings = {"redraw": redraw, "prompts": prompts, "rewards": "tests.rl3d.training.test_loop:Solved"}
        settings |= {
            "iterations": 12,
            "prompts_per_iteration": 1,
            "warmup": 1,
            "settings": {"lr": 0.2, "clip": 0.2, "kl_weight": 0.0},
        }
        run = start("tokens", "grpo", out=tmp_path / str(redraw), **settings)
        taught.append(sum(metrics["grad_norm"] > 1e-6 for metrics in iterate(run)))
        reached.append(float(run.state.policy.expected(redness).detach()))
    assert taught[1] > taught[0] and reached[1] > reached[0] + 0.02


@pytest.mark.parametrize(
    ("policy", "objective", "settings"),
    [
        ("tokens", "reinforce", {}),
        ("tokens", "ddpo", {"clip": 0.2}),
        ("tokens", "dpok", {"clip": 0.2}),
        ("tokens", "grpo", {"clip": 0.2}),
        ("tokens", "dgpo", {"clip": 0.2, "beta": 0.1}),
        ("tokens", "dpo", {"beta": 0.02}),
        ("tokens", "dro", {"bound": 10.0}),
        ("splats", "grpo", {"clip": 0.2}),
        ("splats", "awm", {"clip": 0.2}),
        ("splats", "nft", {}),
        ("splats", "dgpo", {"clip": 0.2}),
        ("splats", "grpo", {"clip": 0.2, "window": 2, "recentred": True}),
        ("splats", "draft", {}),
        ("splats", "nabla", {"beta": 1e4}),
        ("splats", "hybrid", {}),
    ],
)
def test_every_objective_reaches_the_optimum(start, policy: str, objective: str, settings: dict[str, float]) -> None:
    """The reward of tokens and of splats is at most 1. Expectations are exact for tokens."""
    lr = {"tokens": 0.3, "splats": 0.02}[policy]
    own = {"lr": lr, "kl_weight": 0.0, "timesteps_per_iteration": 0 if policy == "tokens" else 2}
    own = {k: v for k, v in own.items() if hasattr(find_objective(objective), k)} | settings
    if objective in ("dgpo", "dpo", "dro") and policy == "tokens":
        own["timesteps_per_iteration"] = 1  # tokens have no noise levels
    run = start(policy, objective, iterations=60, group_size=16, warmup=1, save_every=60, settings=own)
    values = [metrics[run.scorer.rewards[0].name] for metrics in iterate(run)]
    reached = sum(values[-5:]) / 5
    if isinstance(run.state.policy, TokenToy):
        exact = float(run.state.policy.expected(redness).detach())
        assert exact > 0.95 and reached == pytest.approx(exact, abs=0.1)
    else:
        assert values[0] < 0.7 and reached > 0.95


@pytest.mark.parametrize(("policy", "objective"), PAIRS)
def test_accumulated_gradients_are_those_of_the_whole_minibatch(start, tmp_path, policy: str, objective: str) -> None:
    whole, pieces = (
        start(policy, objective, iterations=1, micro_batch=size, out=tmp_path / str(size)) for size in (0, 5)
    )
    first, second = next(iterate(whole)), next(iterate(pieces))
    for name in ("loss", "kl", "grad_norm"):
        assert first[name] == pytest.approx(second[name], rel=1e-3, abs=1e-5)
    for a, b in zip(whole.state.policy.network.parameters(), pieces.state.policy.network.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=2e-4 * float(a.grad.abs().max()) + 1e-7)


@pytest.mark.parametrize(("policy", "objective"), PAIRS)
def test_several_minibatches_compare_with_the_policy_that_sampled(start, policy: str, objective: str) -> None:
    run = start(
        policy,
        objective,
        iterations=2,
        num_minibatches=2,
        warmup=1,
        settings={"lr": 0.02, "kl_weight": 0.1},
    )
    before = _weights(run)
    metrics = next(iterate(run))
    assert metrics["ratio_deviation"] > 0 and metrics["approx_kl"] > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, _weights(run), strict=True))


def test_one_minibatch_has_ratio_1(start) -> None:
    metrics = next(iterate(start()))
    assert metrics["ratio_deviation"] == metrics["clip_fraction"] == metrics["approx_kl"] == 0
    assert metrics["kl"] == 0 and metrics["grad_norm"] > 0


def test_the_loop_saves_by_itself(start) -> None:
    run = start(iterations=3, save_every=100)
    for _ in iterate(run):
        pass
    (state,) = checkpoints(run.config.out / "checkpoints")
    assert state.stem == "state_000003"
    loaded = load_generator(run.config.weights)
    for a, b in zip(loaded.network.parameters(), run.state.ema.parameters(), strict=True):
        assert torch.equal(a, b.half().float())
    assert (run.config.out / "report.html").exists()


def test_a_run_is_saved_when_its_caller_stops(start) -> None:
    run = start(iterations=50, save_every=100)
    for metrics in iterate(run):
        if metrics["iteration"] == 3:
            break
    (state,) = checkpoints(run.config.out / "checkpoints")
    assert state.stem == "state_000003"


def test_a_run_is_saved_when_it_is_interrupted_between_two_iterations(start) -> None:
    run = start(iterations=50, save_every=100)
    for _ in iterate(run):
        run.interrupted = True
    (state,) = checkpoints(run.config.out / "checkpoints")
    assert state.stem == "state_000001"


def test_an_error_in_an_iteration_saves_nothing_half_done(start, monkeypatch) -> None:
    run = start(iterations=50, save_every=100)
    loop = iterate(run)
    next(loop)

    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(run.state.optimizer, "step", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        next(loop)
    assert checkpoints(run.config.out / "checkpoints") == []


def test_a_run_killed_before_its_first_checkpoint_begins_again(start) -> None:
    run = start(iterations=3, save_every=100)
    next(iterate(run))  # the process is killed here: nothing was saved
    for path in (run.config.out / "checkpoints").glob("*"):
        path.unlink()
    again = start(iterations=3, save_every=100, resume=True)
    assert again.state.iteration == 0
    assert len(list(iterate(again))) == 3
    lines = (again.config.out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3]


def test_a_gradient_that_is_not_finite_is_skipped_and_ends_the_run_the_fifth_time(start, monkeypatch) -> None:
    run = start("tokens", "grpo", iterations=20, save_every=2, guard="off")
    loop = iterate(run)
    next(loop), next(loop)
    objective = run.config.objective
    whole = type(objective).loss
    left = [4]

    def broken(self, policy, minibatch):
        loss, metrics = whole(self, policy, minibatch)
        left[0] -= 1
        return (loss, metrics) if left[0] == -1 else (loss * torch.nan, {"loss": loss * torch.nan})

    monkeypatch.setattr(type(objective), "loss", broken)
    before = _weights(run)
    for _ in range(4):
        metrics = next(loop)
        assert metrics["skipped_updates"] == 1 and "loss" not in metrics and "grad_norm" not in metrics
        assert all(torch.equal(a, b) for a, b in zip(before, _weights(run), strict=True))
    metrics = next(loop)
    assert "skipped_updates" not in metrics and metrics["grad_norm"] > 0
    for _ in range(4):
        next(loop)
    with pytest.raises(ValueError, match="iteration 12 the gradient is not finite for the 5th update in a row;") as e:
        next(loop)
    assert "\n" not in str(e.value)
    assert [p.stem for p in checkpoints(run.config.out / "checkpoints")] == ["state_000010"]
    assert start("tokens", "grpo", iterations=20, resume=True, guard="off").state.iteration == 10


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_reference_policy_follows(start, decay: float) -> None:
    run = start("tokens", "grpo", iterations=3, reference_decay=decay)
    loop = iterate(run)
    expected = _weights(run)
    for _ in range(3):
        next(loop)
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, _weights(run), strict=True)]
    with run.state.policy.reference():
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(expected, _weights(run), strict=True))
    assert run.guard is None or run.guard.start is not None


def test_sequences_that_end_early_are_learnt_from_in_pieces(start, tmp_path: Path, monkeypatch) -> None:
    """Most steps are taken by nobody: what counts is the rest, whatever the size of a piece."""

    def short(name: str):
        policy = make(name)
        with torch.no_grad():
            policy.network.weight[:, 4] += 4  # the token that ends a sequence
        return policy

    monkeypatch.setattr("tests.rl3d.training.conftest.make", short)
    figures = []
    for size in (0, 1):
        settings = {"timesteps_per_iteration": 1, "kl_weight": 0.1}
        run = start("tokens", "grpo", out=tmp_path / str(size), iterations=1, micro_batch=size, settings=settings)
        metrics = next(iterate(run))
        assert all(torch.tensor(v).isfinite() for v in metrics.values())
        figures.append(metrics)
    for name in ("loss", "grad_norm", "entropy", "ratio_deviation"):
        assert figures[0][name] == pytest.approx(figures[1][name], rel=1e-4, abs=1e-7)


def test_states_that_are_no_parts_get_the_advantage_of_their_sample(start, monkeypatch) -> None:
    """A latent flow that decodes to parts: its 32 units are not the asset's 4 parts."""
    from scenes.asset import PartAsset
    from tests.rl3d.toys import SplatFlow, tower

    class Latent(SplatFlow):
        gives = frozenset({"parts"})

        def decode(self, rollout):
            tokens = (rollout.states[-1][:, :4, 0] > 0).long().T
            return PartAsset(tower(tokens, torch.ones_like(tokens, dtype=torch.bool)))

    monkeypatch.setattr("tests.rl3d.training.conftest.make", lambda name: Latent())
    metrics = next(iterate(start("tokens", "awm")))
    assert metrics["grad_norm"] > 0


def test_an_existing_run_is_not_overwritten(start) -> None:
    list(iterate(start(iterations=1)))
    with pytest.raises(FileError, match="holds a run already: add --resume"):
        start(iterations=1)


def test_a_damaged_run_is_not_resumed(start) -> None:
    run = start(iterations=1)
    list(iterate(run))
    (path,) = checkpoints(run.config.out / "checkpoints")
    whole, metrics = path.read_bytes(), (run.config.out / "metrics.jsonl").read_text()
    for line in ("{\n", '{"kl": 1}\n', "3\n"):
        (run.config.out / "metrics.jsonl").write_text(line + metrics)
        with pytest.raises(FileError, match="is not one iteration's numbers"):
            start(iterations=2, resume=True)
    tensors, header, _ = read_tensors(path)
    optimizer = next(name for name, value in tensors.items() if name.startswith("optimizer.") and value.dim())
    for change, message in (
        ({"prompts.priority": None}, "not the state of a training run"),
        ({"prompts.priority": torch.ones(3)}, "the run had 3 prompts, now there are 2"),
        ({optimizer: torch.zeros(1)}, "the optimiser's .* does not fit"),
        ({"optimizer.x": torch.zeros(1)}, "the optimiser's x does not fit"),
    ):
        write_tensors(path, {n: value for n, value in {**tensors, **change}.items() if value is not None}, header)
        with pytest.raises(FileError, match=message):
            start(iterations=2, resume=True)
    path.write_bytes(whole)
    (run.config.out / "metrics.jsonl").write_text(metrics)
    assert start(iterations=2, resume=True).state.iteration == 1


class Restless(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.3 * torch.randn_like(x)


@pytest.mark.parametrize("objective", ["awm", "grpo"])
def test_the_self_check_finds_a_network_that_does_not_repeat_itself(start, monkeypatch, objective: str) -> None:
    def restless(name: str):
        policy = make(name)
        policy.network.out = torch.nn.Sequential(policy.network.out, Restless())  # type: ignore[union-attr]
        return policy

    monkeypatch.setattr("tests.rl3d.training.conftest.make", restless)
    with pytest.raises(ValueError, match=f"self-check failed.*objective '{objective}' and generator 'part-flow'"):
        start(objective=objective)


@pytest.mark.parametrize(
    ("policy", "objective", "changes", "message"),
    [
        ("tokens", "awm", {}, r"objective 'awm' needs a generator with matching, which 'tests.rl3d.toys:TokenToy'"),
        ("splats", "awm", {"rewards": "structure=1"}, r"reward 'structure' needs parts, which .*SplatFlow lacks: use "),
        (
            "splats",
            "awm",
            {"held_out": "contact", "guard": "warn"},
            r"reward 'contact' needs parts, which .*lacks: use ",
        ),
        ("part-flow", "awm", {"ewc": 1.0, "adapter_rank": 2}, "--ewc does not hold an adapter, .*: use --replay"),
        ("splats", "hybrid", {"micro_batch": 5}, "hybrid needs all samples of an update at once: leave --micro-batch"),
        *(
            (
                "splats",
                objective,
                {"rewards": BOTH, "gates": "low=other"},
                "--gates shuts low by verdicts, .*low=other>",
            )
            for objective in ("draft", "nabla", "hybrid")
        ),
        ("tokens", "grpo", {"redraw": 1}, r"--redraw 1 needs 4 prompts an iteration, and there are 2: lower --redraw"),
        ("splats", "awm", {"rewards": "tests.rl3d.toys:Low", "gates": "low=low"}, "cannot be its own gate"),
        (
            "part-flow",
            "awm",
            {"rewards": "connected=1", "held_out": "connected", "guard": "warn"},
            "both trained and held out",
        ),
        ("part-flow", "awm", {"rewards": "one_face=1,worst_view=1", "gates": "one_face=worst_view"}, "no verdict"),
        (
            "part-flow",
            "awm",
            {"rewards": "one_face=1,worst_view=1", "gates": "one_face=worst_view_success_rate>0.5"},
            "no verdict",
        ),
    ],
)
def test_impossible_runs_are_refused_before_anything_is_written(
    start, tmp_path: Path, policy, objective, changes, message
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        start(policy, objective, **changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_grpo_needs_noise(start, tmp_path: Path) -> None:
    from rl3d.generators.sde import Sampling

    with pytest.raises(ValueError, match="grpo needs rollouts with noise"):
        start(objective="grpo", sampling=Sampling(steps=4))
    assert not (tmp_path / "run").exists()


def test_bad_settings_are_refused() -> None:
    from rl3d.training.config import TrainConfig

    for change, message in (
        ({"group_size": 1}, "--group-size must be at least 2"),
        ({"iterations": 0}, "--iterations must be at least 1"),
        ({"num_minibatches": 0}, "--num-minibatches must be at least 1"),
        ({"redraw": -1}, "--redraw must be at least 0"),
        ({"micro_batch": -1}, "--micro-batch must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            TrainConfig(**change)


def test_two_shards_of_the_prompts_are_the_whole_draw(start) -> None:
    """What one process would sample is what two sample together: seeds are global."""
    from rl3d.algorithms.base import Draw
    from rl3d.training.processes import Processes

    policy = make("splats")
    policy.keep_reference()
    run = start("splats")
    draw = Draw(["a red cube", "a blue ball", "a cat"], 4, 5, 0)
    parts = [Processes(rank, 2).shard(draw) for rank in (0, 1)]
    assert [p.prompts for p in parts] == [["a red cube"], ["a blue ball", "a cat"]]

    whole = run.config.objective.collect(policy, draw, run.scorer)
    pieces = [run.config.objective.collect(policy, part, run.scorer) for part in parts]
    assert torch.allclose(policy.final(whole.rollout), torch.cat([policy.final(p.rollout) for p in pieces]), atol=1e-5)
    assert torch.equal(whole.tensors["noise"], torch.cat([p.tensors["noise"] for p in pieces]))


class Constant(Low):
    """Every sample is worth the same."""

    def __call__(self, batch: Batch) -> Scores:
        return Scores(torch.full((len(batch),), 0.5))


def test_rewards_that_never_differ_end_the_run_in_one_line(start) -> None:
    same = "tests.rl3d.training.test_loop:Constant"
    run = start("splats", "awm", rewards=same, iterations=20, save_every=4)
    with pytest.raises(ValueError, match="in 10 iterations all samples of a prompt scored the same") as error:
        list(iterate(run))
    assert "\n" not in str(error.value) and run.state.iteration == 9
    assert [path.stem for path in checkpoints(run.config.out / "checkpoints")] == ["state_000008"]
