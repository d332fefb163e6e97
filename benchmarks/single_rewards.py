"""What training on one reward does to everything else: ``python -m benchmarks.single_rewards
[--rewards stability,margin]``.

Every reward, or mix of them (``stability+connected``), trains the shipped generator for the same
number of iterations with the same seed. Then held-out prompts are sampled with the same seeds
before and after. A row shows the paired differences with their standard errors over prompts, and
shapes relative to their mean at the start. A reward that is gamed rises while the judge, diversity
or shapes get worse. An interrupted benchmark is resumed."""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import Tensor

from rewards.mix import parse
from rl3d.corpus import prompts
from rl3d.evaluate import measure
from rl3d.generators.load import BUILT_IN, load_generator
from rl3d.tables import mean_and_error, per_prompt
from rl3d.train import train
from rl3d.training.config import TrainConfig

REWARDS = "stability,connected,alignment,structure,margin,push,contact,printable,symmetry,penetration,one_face"
ABSOLUTE = ("stable_and_connected", "judge", "category", "colors")
RELATIVE = ("diversity", "number of parts", "thickness", "volume", "height", "saturation")
"""Figures that are shown relative to their mean at the start."""
SAMPLES, SEED = 2, 54321
GENERATOR = "part-flow"


def trained(mix: str, out: Path, iterations: int, seed: int) -> Path:
    """The folder of a run on one reward, or on several of weight 1 with + between them."""
    folder = out / mix.replace("+", "_")
    weights = ",".join(name if "=" in name else f"{name}=1" for name in mix.split("+"))
    config = TrainConfig(
        out=folder,
        generator=GENERATOR,
        rewards=weights,
        iterations=iterations,
        guard="off",
        seed=seed,
        save_every=10,
    )
    train(config, resume=True)
    return folder


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rewards", default=REWARDS)
    arguments.add_argument("--iterations", type=int, default=60)
    arguments.add_argument("--prompts", type=int, default=128)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path, default=Path("runs/single"))
    options = arguments.parse_args()
    trained_on = [name.split("=")[0] for name in options.rewards.replace("+", ",").split(",")]
    measured = ",".join(dict.fromkeys(["stability", "connected", "alignment", *REWARDS.split(","), *trained_on]))
    rewards = [reward for reward, _ in parse(measured)]
    names = [reward.name for reward in rewards]
    items = [item.spec for item in prompts(options.prompts, SEED)]

    def figures_of(checkpoint: Path) -> dict[str, Tensor]:
        values = measure(load_generator(checkpoint), items, rewards, samples=SAMPLES, seed=SEED).values
        return {name: per_prompt(value, SAMPLES) for name, value in values.items()}

    before = figures_of(BUILT_IN[GENERATOR].pretrained)
    print(
        f"{options.iterations} iterations each, seed {options.seed}; "
        f"{options.prompts} held-out prompts, {SAMPLES} samples each"
    )
    start_of = {name: mean_and_error(before[name]).mean for name in (*names, *ABSOLUTE, *RELATIVE)}
    print("at the start: " + ", ".join(f"{name} {start:.3f}" for name, start in start_of.items()), flush=True)
    for mix in options.rewards.split(","):
        after = figures_of(trained(mix, options.out, options.iterations, options.seed))
        print(f"\ntrained on {mix}")
        for figures, relative in (((*names, *ABSOLUTE), False), (RELATIVE, True)):
            cells = []
            for figure in figures:
                mean, error, _ = mean_and_error(after[figure] - before[figure])
                start = start_of[figure]
                text = (
                    f"{100 * mean / start:+.1f} ± {100 * error / start:.1f} %"
                    if relative
                    else f"{mean:+.4f} ± {error:.4f}"
                )
                cells.append(f"{figure} {text}{' *' if abs(mean) > 3 * error else ''}")
            print("  " + ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
