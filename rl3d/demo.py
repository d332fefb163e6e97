"""``rl3d demo``: what ``make demo`` runs. Fine-tune the shipped generator for a few minutes, then
show before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rl3d.cli.evaluate import EvaluateConfig, evaluate, markdown
from rl3d.cli.generate import GenerateConfig, generate
from rl3d.cli.options import parse as parse_options
from rl3d.cli.train import progress
from rl3d.configs import as_paths, at_least
from rl3d.generators.load import PRETRAINED
from rl3d.training.trainer import TrainConfig


@dataclass(frozen=True)
class DemoConfig:
    """Settings of ``rl3d demo``."""

    out: Path = Path("runs/demo")
    """Folder of the demo; a demo that was cut off goes on."""
    iterations: int = 60
    """Iterations of reinforcement learning."""
    prompts: int = 96
    """Held-out prompts that are measured before and after."""
    prompt: str = "a red armchair with white legs"
    """What is generated at the end."""

    def __post_init__(self) -> None:
        as_paths(self, "out")
        at_least(self, iterations=1, prompts=2)


def demo(config: DemoConfig) -> None:
    print("1. Reinforcement learning: the pretrained generator learns to make things that stand and hold together.")
    training = TrainConfig(out=config.out / "train", iterations=config.iterations, save_every=20)
    progress(training, resume=any((training.out / "checkpoints").glob("state_*.safetensors")))
    print("\n2. Held-out prompts, the same seeds before and after:")
    evaluation = EvaluateConfig(
        checkpoint=PRETRAINED,
        against=training.out,
        out=config.out / "evaluation",
        num_prompts=config.prompts,
        samples=8,
    )
    table = evaluate(evaluation)
    print(markdown(table))
    print(f"\n3. A prompt: {config.prompt}")
    for checkpoint, name in ((PRETRAINED, "before"), (training.out, "after")):
        generate(config.prompt, GenerateConfig(out=config.out / "armchair" / name, checkpoint=checkpoint))
    print("\nLook at:")
    for what, path in (
        ("before and after, same seeds", evaluation.out / "sheet.png"),
        ("the training as it went", training.out / "samples"),
        ("the asset (scene.ply, mesh.glb, preview.png, turntable.mp4)", config.out / "armchair" / "after"),
    ):
        print(f"  {path}  ({what})")


def run(arguments: list[str]) -> None:
    demo(parse_options(DemoConfig, "demo", __doc__, arguments))
