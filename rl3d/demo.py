"""The demo: fine-tune the shipped generator for a few minutes, then measure and show before and
after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rl3d.configs import as_paths, at_least
from rl3d.evaluate import EvaluateConfig, evaluate
from rl3d.generate import GenerateConfig, generate
from rl3d.generators.load import BUILT_IN
from rl3d.tables import markdown
from rl3d.training.config import TrainConfig
from rl3d.training.state import checkpoints

GENERATOR = "part-flow"
"""It has most to learn in so few minutes: its compositions often fall apart."""
START = BUILT_IN[GENERATOR].pretrained
Train = Callable[[TrainConfig, bool], Path]
"""Runs a training, or with True resumes it; returns the weights."""


@dataclass(frozen=True)
class DemoConfig:
    """Settings of ``rl3d demo``."""

    out: Path = Path("runs/demo")
    """Folder of the demo. An interrupted demo is resumed."""
    iterations: int = 60
    """Iterations of reinforcement learning."""
    prompts: int = 64
    """Held-out prompts of each comparison."""
    prompt: str = "an orange android on top of a brown round table"
    """Prompt of the asset at the end."""

    def __post_init__(self) -> None:
        as_paths(self, "out")
        at_least(self, iterations=1, prompts=2)


def demo(config: DemoConfig, train: Train, say: Callable[[str], None] = print) -> None:
    """Train, evaluate and generate, and report each step with ``say``."""
    say("1. Reinforcement learning: the generator learns to put one thing on top of another so that it stands.")
    training = TrainConfig(
        out=config.out / "train",
        generator=GENERATOR,
        kinds="composition",
        iterations=config.iterations,
        prompts_per_iteration=8,
        save_every=20,
    )
    train(training, bool(checkpoints(training.out / "checkpoints")))
    comparisons = {
        "one thing on top of another": EvaluateConfig(kinds="composition", samples=8, out=config.out / "compositions"),
        "prompts of all kinds": EvaluateConfig(samples=4, out=config.out / "all"),
    }
    for number, (what, evaluation) in enumerate(comparisons.items(), 2):
        say(f"\n{number}. Held-out prompts, the same seeds before and after: {what}.")
        weights = {"checkpoint": START, "against": training.out}
        say(markdown(evaluate(replace(evaluation, **weights, num_prompts=config.prompts))))
    say(f"\n4. A prompt: {config.prompt}")
    for checkpoint, name in ((START, "before"), (training.out, "after")):
        generate(config.prompt, GenerateConfig(out=config.out / "asset" / name, checkpoint=checkpoint))
    say("\nLook at:")
    for what, path in (
        ("before and after, same seeds", config.out / "compositions" / "sheet.png"),
        ("contact sheets during training", training.out / "samples"),
        ("the asset (scene.ply, mesh.glb, preview.png, turntable.mp4)", config.out / "asset" / "after"),
    ):
        say(f"  {path}  ({what})")
