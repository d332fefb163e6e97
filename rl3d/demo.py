"""The demo: fine-tune the shipped generator for a few minutes, then measure and show before and
after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rl3d.configs import as_paths, at_least
from rl3d.evaluate import EvaluateConfig, evaluate
from rl3d.generate import GenerateConfig, generate
from rl3d.generators.load import PRETRAINED
from rl3d.tables import markdown
from rl3d.training.config import TrainConfig
from rl3d.training.state import checkpoints

Train = Callable[[TrainConfig, bool], Path]
"""Runs a training, or with True resumes it; returns the weights."""


@dataclass(frozen=True)
class DemoConfig:
    """Settings of ``rl3d demo``."""

    out: Path = Path("runs/demo")
    """Folder of the demo. An interrupted demo is resumed."""
    iterations: int = 60
    """Iterations of reinforcement learning."""
    prompts: int = 96
    """Held-out prompts for the comparison of before and after."""
    prompt: str = "a red armchair with white legs"
    """Prompt of the asset at the end."""

    def __post_init__(self) -> None:
        as_paths(self, "out")
        at_least(self, iterations=1, prompts=2)


def demo(config: DemoConfig, train: Train, say: Callable[[str], None] = print) -> None:
    """Train, evaluate and generate, and report each step with ``say``."""
    say("1. Reinforcement learning: the pretrained generator learns to make things that stand and hold together.")
    training = TrainConfig(out=config.out / "train", iterations=config.iterations, save_every=20)
    train(training, bool(checkpoints(training.out / "checkpoints")))
    say("\n2. Held-out prompts, the same seeds before and after:")
    evaluation = EvaluateConfig(
        checkpoint=PRETRAINED,
        against=training.out,
        out=config.out / "evaluation",
        num_prompts=config.prompts,
        samples=8,
    )
    say(markdown(evaluate(evaluation)))
    say(f"\n3. A prompt: {config.prompt}")
    for checkpoint, name in ((PRETRAINED, "before"), (training.out, "after")):
        generate(config.prompt, GenerateConfig(out=config.out / "armchair" / name, checkpoint=checkpoint))
    say("\nLook at:")
    for what, path in (
        ("before and after, same seeds", evaluation.out / "sheet.png"),
        ("contact sheets during training", training.out / "samples"),
        ("the asset (scene.ply, mesh.glb, preview.png, turntable.mp4)", config.out / "armchair" / "after"),
    ):
        say(f"  {path}  ({what})")
