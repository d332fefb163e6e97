"""Small runs on policies that a test can train in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rl3d.algorithms.load import find_objective
from rl3d.algorithms.steps import StepObjective
from rl3d.generators.base import Generator
from rl3d.generators.part_flow import PartFlow
from rl3d.generators.sde import Sampling
from rl3d.training.config import TrainConfig
from rl3d.training.loop import Run, begin
from tests.rl3d.toys import SplatFlow, TokenToy

POLICIES = {"part-flow": "parts", "tokens": "parts", "splats": "splats"}


def small_part_flow() -> PartFlow:
    torch.manual_seed(0)
    policy = PartFlow(width=32, depth=2, heads=2, slots=4)
    with torch.no_grad():  # the output layer starts at zero, so it gets random weights
        for p in policy.network.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return policy


def make(name: str) -> Generator:
    return {"part-flow": small_part_flow, "tokens": TokenToy, "splats": SplatFlow}[name]()


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("# comment\na red cube\n\na blue ball\n")
    return path


@pytest.fixture
def start(tmp_path: Path, prompts: Path):
    """Begin a small run: ``start("tokens", "grpo", iterations=4)``."""

    def begin_run(
        policy: str = "part-flow",
        objective: str = "awm",
        *,
        resume: bool = False,
        settings: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Run:
        own = find_objective(objective)
        usual = {"lr": 3e-3, "timesteps_per_iteration": 2}
        known: dict[str, Any] = {k: v for k, v in usual.items() if hasattr(own, k)} | (settings or {})
        reward = {"part-flow": "redness", "tokens": "tests.rl3d.toys:Red", "splats": "tests.rl3d.toys:Low"}
        rewards = {"part-flow": "tests.rl3d.training.conftest:Redness"}.get(policy, reward[policy])
        config: dict[str, Any] = {
            "out": tmp_path / "run", "rewards": rewards, "prompts": prompts, "iterations": 4,
            "prompts_per_iteration": 2, "group_size": 6, "save_every": 2, "guard": "off", "bfloat16": False,
            "objective": own(**known),
        }  # fmt: skip
        if policy != "tokens" and issubclass(own, StepObjective):
            config["sampling"] = Sampling(steps=4, noise=0.7, sde_type="cps")
        return begin(TrainConfig(**{**config, **changes}), resume=resume, policy=make(policy))

    return begin_run


class Redness:
    """How red the first part is: a reward whose optimum is known."""

    from rewards.base import Needs

    name, version, needs = "redness", "1", Needs(parts=True)

    def __call__(self, batch):
        from rewards.base import Scores

        colors = batch.need_parts().colors[:, 0]
        return Scores((0.5 + (colors[:, 0] - colors[:, 1:].mean(-1)) / 2).clamp(0, 1))
