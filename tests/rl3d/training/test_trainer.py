"""The loop: it learns a reward that can be computed by hand, resumes exactly, and refuses what it
cannot do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rewards.base import Batch, Needs, Scores
from rl3d.checkpoints import load_tensors, save_tensors
from rl3d.generators.part_flow import PartFlow, PartFlowConfig, PartFlowNetwork
from rl3d.generators.sde import Sampling
from rl3d.prompts import read_prompts
from rl3d.training.trainer import TrainConfig, Trainer
from scenes.files import FileError


class Redness:
    """How red the first part is: a reward whose optimum is known."""

    name = "redness"
    version = "1"
    needs = Needs(parts=True)

    def __call__(self, batch: Batch) -> Scores:
        colors = batch.need_parts().colors[:, 0]
        return Scores((0.5 + (colors[:, 0] - colors[:, 1:].mean(-1)) / 2).clamp(0, 1))


redness = f"{__name__}:Redness"


def _policy() -> PartFlow:
    torch.manual_seed(0)
    network = PartFlowNetwork(PartFlowConfig(width=32, depth=2, heads=2))
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return PartFlow(network)


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("# comment\na red cube\n\na blue ball\n")
    return TrainConfig(
        out=tmp_path / "run", rewards=redness, prompts=prompts, iterations=4, prompts_per_iteration=2, group=6,
        sampling=Sampling(steps=4, noise=0.7, sde_type="cps"), steps_per_update=2, updates=1, lr=3e-3, save_every=2, guard="off",
    )  # fmt: skip


@pytest.mark.parametrize("objective", ["grpo", "awm"])
def test_self_check_holds_at_the_start(config: TrainConfig, objective: str) -> None:
    assert Trainer(replace(config, objective=objective), policy=_policy()).ratio_error < 1e-4


@pytest.mark.parametrize("objective", ["grpo", "awm"])
def test_the_reward_rises(config: TrainConfig, objective: str) -> None:
    trainer = Trainer(
        replace(config, objective=objective, iterations=50, kl=0.0, clip=0.2, warmup=1, lr=6e-3), policy=_policy()
    )
    values = [metrics["redness"] for metrics in trainer]
    assert sum(values[-5:]) / 5 > sum(values[:5]) / 5 + 0.1


@pytest.mark.parametrize("objective", ["grpo", "awm"])
def test_resuming_repeats_the_uninterrupted_run(config: TrainConfig, tmp_path: Path, objective: str) -> None:
    config = replace(config, objective=objective)
    whole = Trainer(config, policy=_policy())
    list(whole)
    cut = replace(config, out=tmp_path / "cut")
    first = Trainer(cut, policy=_policy())
    first.step()
    first.step()
    first.save()
    first.step()  # made after the checkpoint: forgotten on resuming
    second = Trainer(cut, resume=True, policy=_policy())
    assert second.iteration == 2
    list(second)
    for a, b in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)
    iterations = [json.loads(line)["iteration"] for line in (cut.out / "metrics.jsonl").read_text().splitlines()]
    assert iterations == [1, 2, 3, 4]


def test_the_self_check_finds_a_network_that_does_not_repeat_itself(config: TrainConfig) -> None:
    class Restless(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 0.3 * torch.randn_like(x)

    for objective in ("awm", "grpo"):
        policy = _policy()
        policy.network.out = torch.nn.Sequential(policy.network.out, Restless())  # type: ignore[assignment]
        with pytest.raises(RuntimeError, match="self-check failed"):
            Trainer(replace(config, objective=objective), policy=policy)


def test_an_existing_run_is_not_overwritten(config: TrainConfig) -> None:
    trainer = Trainer(config, policy=_policy())
    trainer.step()
    trainer.save()
    with pytest.raises(FileError, match="holds a run already: add --resume"):
        Trainer(config, policy=_policy())


def test_a_damaged_run_is_not_resumed(config: TrainConfig) -> None:
    trainer = Trainer(config, policy=_policy())
    trainer.step()
    path = trainer.save()
    whole, metrics = path.read_bytes(), (config.out / "metrics.jsonl").read_text()
    for line in ("{\n", '{"kl": 1}\n', "3\n"):
        (config.out / "metrics.jsonl").write_text(line + metrics)
        with pytest.raises(FileError, match="is not one round's numbers"):
            Trainer(config, resume=True, policy=_policy())
    tensors, header = load_tensors(path)
    optimizer = next(name for name, value in tensors.items() if name.startswith("optimizer.") and value.dim())
    for change, message in (
        ({"prompts.promise": None}, "not the state of a training run"),
        ({optimizer: torch.zeros(1)}, "the optimiser's .* does not fit"),
        ({"optimizer.x": torch.zeros(1)}, "the optimiser's x does not fit"),
    ):
        save_tensors(path, {name: value for name, value in {**tensors, **change}.items() if value is not None}, header)
        with pytest.raises(FileError, match=message):
            Trainer(config, resume=True, policy=_policy())
    path.write_bytes(whole)
    (config.out / "metrics.jsonl").write_text(metrics)
    assert Trainer(config, resume=True, policy=_policy()).iteration == 1


def test_resume_without_a_checkpoint_is_refused(config: TrainConfig) -> None:
    with pytest.raises(FileError, match="no checkpoint to resume from"):
        Trainer(config, resume=True, policy=_policy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": 1}, "group must be at least 2"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"sampling": Sampling(steps=4)}, "noise must be above 0"),
        ({"steps_per_update": 3, "updates": 2}, "must be a multiple of updates"),
    ],
)
def test_bad_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**change)


def test_prompt_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read prompts"):
        read_prompts(tmp_path / "none.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text("\n# nothing\n")
    with pytest.raises(FileError, match="holds no prompt"):
        read_prompts(empty)
