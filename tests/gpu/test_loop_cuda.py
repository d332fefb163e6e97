"""The loop on CUDA: the same trajectories as on the CPU, and iterations that train."""

from pathlib import Path

import pytest
import torch

from renderers import backends
from rl3d.algorithms.awm import AWM
from rl3d.algorithms.grpo import GRPO
from rl3d.algorithms.load import usual_objective
from rl3d.generate import GenerateConfig, generate
from rl3d.generators.load import load_generator
from rl3d.generators.part_tokens import PartTokens
from rl3d.generators.sde import Sampling
from rl3d.training.config import TrainConfig
from rl3d.training.loop import begin, iterate
from scenes.files.ply import read_ply

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(backends()["gsplat"].state != "available", reason=backends()["gsplat"].state),
]


def test_rollouts_are_those_of_the_cpu():
    options, prompts = Sampling(steps=8, noise=0.7, sde_type="cps"), ["a red armchair", "two green cubes"]
    ends = []
    for device in ("cpu", "cuda"):
        policy = load_generator(device=device, generator="part-flow", pretrained=True)
        ends.append(policy.sample(policy.condition(prompts), seeds=[1, 2], options=options).states[-1].cpu())
    assert (ends[0] - ends[1]).abs().max() < 0.02  # matrix products on tensor cores round differently


@pytest.mark.parametrize(
    ("generator", "objective"),
    [("part-flow", AWM()), ("part-flow", GRPO()), ("part-tokens", usual_objective(PartTokens))],
)
def test_iterations_train(tmp_path: Path, generator, objective):
    config = TrainConfig(
        out=tmp_path / "run", generator=generator, objective=objective, iterations=2, prompts_per_iteration=2,
        group_size=4, warmup=1, num_minibatches=2, guard="off", device="cuda",
    )  # fmt: skip
    run = begin(config)
    network = run.state.policy.network
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for metrics in iterate(run):
        assert all(torch.tensor(value).isfinite() for value in metrics.values()), metrics
        assert 0 < metrics["stability"] <= 1 and 0 < metrics["alignment"] < 1
        assert metrics["grad_norm"] > 0 and metrics["ratio_deviation"] > 0
    moved = {}
    for name, p in network.named_parameters():
        assert p.is_cuda and bool(p.isfinite().all()), name
        moved[name] = float((p - before[name]).abs().max())
        # Adam moves a weight by about the learning rate a step: 4 steps, none without a gradient.
        assert moved[name] < 8 * config.objective.lr, name
    unused = {name for name, distance in moved.items() if not distance}
    assert not unused or (generator == "part-tokens" and len(unused) < 0.2 * len(moved))  # there are no examples
    again = load_generator(config.weights)
    for ema, saved in zip(run.state.ema.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(ema.cpu().half().float(), saved)


def test_generate_writes_an_asset(tmp_path: Path):
    generate("a red armchair", GenerateConfig(out=tmp_path / "chair", device="cuda"))
    scene = read_ply(tmp_path / "chair" / "scene.ply")
    assert scene.count == 16384 and bool(scene.means.isfinite().all()) and float(scene.means.abs().max()) < 2
    assert (tmp_path / "chair" / "card.json").exists()
