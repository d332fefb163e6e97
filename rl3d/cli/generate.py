"""``rl3d generate PROMPT --out DIR``: a prompt becomes an asset's folder, or several."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from renderers import kernels
from rewards.mix import parse
from rl3d.assets import Asset, load_generator
from rl3d.cli.options import parse as parse_options
from rl3d.generators.part_flow import DEFAULT_SAMPLING, PartFlow
from rl3d.generators.sde import Sampling
from rl3d.training.checkpoints import TUNED, as_paths, at_least
from rl3d.training.rollouts import score_assets
from scenes.asset import PartAsset
from scenes.files import make_folder


@dataclass(frozen=True)
class GenerateConfig:
    """Settings of ``rl3d generate``."""

    out: Path | None = None
    """Folder to write to; left out, assets/ and the prompt's words."""
    num: int = 1
    """Assets to make; with more than one, each gets a numbered folder inside ``out``."""
    best_of: int = 1
    """Candidates made for each asset, of which the one with the best rewards is kept."""
    seed: int = 0
    """Seed of the first candidate; the others count up from it."""
    checkpoint: Path = TUNED
    """Weights, or the folder of a training run."""
    rewards: str = "stability=1,connected=1,alignment=1"
    """Rewards that are written on the card and that choose among candidates."""
    sampling: Sampling = field(default_factory=lambda: DEFAULT_SAMPLING)
    """How the flow is integrated."""
    device: str = "cpu"
    """Where the generator and the renderer run: cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        as_paths(self, "out", "checkpoint")
        at_least(self, num=1, best_of=1, seed=0)


def generate(
    prompt: str,
    config: GenerateConfig | None = None,
    *,
    generator: PartFlow | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[Asset]:
    """Make ``config.num`` assets; they are written to disk only if ``config.out`` is set.
    ``on_progress`` hears the share that is done."""
    config = config or GenerateConfig()
    if not prompt.strip():
        raise ValueError(
            'the prompt is empty: write what the asset should be, for example "a red armchair with white legs"'
        )
    weighted = parse(config.rewards)
    on_progress(0.0)
    generator = generator or load_generator(config.checkpoint, config.device)
    kernels.thread_count()  # refuses a wrong number of threads before a folder is made
    if config.out is not None:
        make_folder(config.out)
    count = config.num * config.best_of
    seeds = [config.seed + i for i in range(count)]
    prompts = [prompt] * count
    on_progress(0.2)
    parts = generator.generate(prompts, seeds=seeds, sampling=config.sampling)
    on_progress(0.6)
    scores = score_assets([r for r, _ in weighted], prompts, PartAsset(parts))
    on_progress(0.8)
    parts = parts.to("cpu")
    total = torch.stack([w * scores[r.name].values for r, w in weighted]).sum(0).view(config.num, config.best_of)
    assets = []
    for i, best in enumerate(total.argmax(1).tolist()):
        index = i * config.best_of + best
        rewards: dict[str, dict[str, Any]] = {}
        for reward, _ in weighted:
            score = scores[reward.name]
            rewards[reward.name] = {"value": round(score.values[index].item(), 4), "version": reward.version}
            if score.verdict is not None:
                rewards[reward.name]["verdict"] = bool(score.verdict[index])
        assets.append(
            Asset(
                prompt,
                parts[index],
                seeds[index],
                config.sampling,
                generator.source,
                rewards,
                config.seed,
                count,
                config.device,
            )
        )
    if config.out is not None:
        for asset, folder in zip(assets, folders(config.out, config.num), strict=True):
            asset.save(folder)
    on_progress(1.0)
    return assets


def folders(out: Path, count: int) -> list[Path]:
    """Where ``count`` assets go."""
    return [out] if count == 1 else [out / f"{i:02d}" for i in range(count)]


def run(arguments: list[str]) -> None:
    prompt, config = parse_options(_Arguments, "generate", __doc__, arguments).split()
    assets = generate(prompt, config)
    for asset, folder in zip(assets, folders(config.out or Path(), config.num), strict=True):
        scores = ", ".join(f"{name} {r['value']:.2f}" for name, r in asset.rewards.items())
        print(f"{folder}: seed {asset.seed}, {scores}")


@dataclass(frozen=True)
class _Arguments:
    prompt: tyro.conf.Positional[str]
    """What the asset should be."""
    config: Annotated[GenerateConfig, tyro.conf.arg(name="")] = field(default_factory=GenerateConfig)

    def split(self) -> tuple[str, GenerateConfig]:
        from dataclasses import replace

        words = re.sub(r"[^a-z0-9]+", "-", self.prompt.lower()).strip("-")[:60] or "asset"
        return self.prompt, replace(self.config, out=self.config.out or Path("assets") / words)
