"""The loop on CUDA: the same trajectories as on the CPU, and an iteration that trains."""

from pathlib import Path

import pytest
import torch

from renderers import backends
from rl3d.generate import GenerateConfig, generate
from rl3d.generators.load import PRETRAINED, load_part_flow
from rl3d.generators.sde import Sampling
from rl3d.training.trainer import TrainConfig, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(backends()["gsplat"].state != "available", reason=backends()["gsplat"].state),
]


def test_rollouts_are_those_of_the_cpu():
    sampling, prompts = Sampling(steps=8, noise=0.7, sde_type="cps"), ["a red armchair", "two green cubes"]
    ends = []
    for device in ("cpu", "cuda"):
        policy = load_part_flow(PRETRAINED, device=device)
        ends.append(policy.rollout(policy.condition(prompts), seeds=[1, 2], sampling=sampling).states[-1].cpu())
    assert (ends[0] - ends[1]).abs().max() < 0.02  # matrix products on tensor cores round differently


def test_one_iteration_trains(tmp_path: Path):
    trainer = Trainer(TrainConfig(out=tmp_path / "run", iterations=1, prompts_per_iteration=2, group=4, device="cuda"))
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    metrics = trainer.step()
    assert 0 <= metrics["stability"] <= 1 and 0 <= metrics["alignment"] <= 1
    assert any(not torch.equal(before[name], p) for name, p in trainer.network.named_parameters())
    trainer.save()


def test_generate_writes_an_asset(tmp_path: Path):
    generate("a red armchair", GenerateConfig(out=tmp_path / "chair", device="cuda"))
    assert (tmp_path / "chair" / "card.json").exists()
