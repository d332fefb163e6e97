"""Prompt to assets: sample candidates, score them, keep the best, save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from renderers import kernels
from rewards import Reward
from rewards.mix import check_needs, parse
from rl3d.assets import GeneratedAsset, check_apart
from rl3d.configs import as_paths, at_least, check_seed
from rl3d.generators.adapters import parse_adapters
from rl3d.generators.base import Completes, Generator
from rl3d.generators.load import load_generator, sampling_options
from rl3d.retrieval import Example, RetrievalConfig, use_library
from rl3d.scoring import score_assets
from scenes.asset import Asset
from scenes.files import FileError, check_folder, make_folder
from scenes.files.assets import read_asset


@dataclass(frozen=True)
class GenerateConfig(RetrievalConfig):
    """Settings of ``rl3d generate``."""

    out: Path | None = None
    """Folder to write to. Default: assets/ and the words of the prompt."""
    num: int = 1
    """Number of assets. With more than one, each gets a numbered folder inside --out."""
    best_of: int = 1
    """Candidates for each asset. The one with the best rewards is kept."""
    seed: int = 0
    """Seed of the first candidate. The others use the seeds that follow."""
    checkpoint: Path | None = None
    """Weights file, or folder of a training run. Default: the generator's own weights."""
    generator: str | None = None
    """Name of a generator, or my_file:MyGenerator. Default: the checkpoint's, or the
    embedded one."""
    adapter: str = ""
    """Adapters to merge into the weights, FILE=WEIGHT,...: each an adapter.safetensors, or the
    folder of a run with --adapter-rank. A file alone has the weight 1."""
    rewards: str = "stability=1,connected=1,alignment=1"
    """Rewards on the card. Their weighted sum chooses among candidates."""
    complete: Path | None = None
    """An asset of parts that every new one begins with: a .glb as generate writes it, its folder,
    or a .safetensors file. Needs a generator that completes, such as part-tokens."""
    keep: int | None = None
    """How many parts of --complete are kept, the first ones. Default: all."""
    sampling: Any = None
    """The generator's sampling options. None: its defaults."""
    device: str = "cpu"
    """Where the generator and the renderer run: cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        super().__post_init__()
        as_paths(self, "out", "checkpoint", "complete")
        at_least(self, num=1, best_of=1)
        check_seed(self)
        parse_adapters(self.adapter)
        if self.keep is not None:
            at_least(self, keep=1)
            if self.complete is None:
                raise ValueError("--keep needs --complete, the asset whose parts are kept")


def generate(
    prompt: str,
    config: GenerateConfig | None = None,
    *,
    generator: Generator | None = None,
    on_progress: Callable[[float], None] = lambda fraction: None,
    on_partial: Callable[[Asset], None] | None = None,
) -> list[GeneratedAsset]:
    """Make ``config.num`` assets. They are saved only if ``config.out`` is set.

    ``generator`` is used instead of the one that ``config`` names. ``on_progress`` is called with
    the fraction of the work that is done, and ``on_partial`` as ``Generator.generate`` does it.
    ValueError with one line, before anything is written, for an empty prompt, for a reward that the
    generator's assets cannot have, and for a library or a given asset that it cannot use.
    """
    config = config or GenerateConfig()
    if not prompt.strip():
        raise ValueError(
            'the prompt is empty: write what the asset should be, for example "a red armchair with white legs"'
        )
    weighted = parse(config.rewards)
    rewards = [reward for reward, _ in weighted]
    if config.out is not None:
        check_folder(config.out)
    if config.complete is not None:
        check_apart(config.out, config.complete)
    on_progress(0.0)
    if generator is None:
        named, adapter = config.generator, config.adapter
        generator = load_generator(config.checkpoint, config.device, generator=named, adapter=adapter)
    check_needs(rewards, generator.gives, generator.name)
    options = sampling_options(generator, config.sampling)
    before = generator.find_examples, generator.given
    try:
        return _generate(prompt, config, generator, weighted, options, on_progress, on_partial)
    finally:
        generator.find_examples, generator.given = before


def _generate(
    prompt: str,
    config: GenerateConfig,
    generator: Generator,
    weighted: list[tuple[Reward, float]],
    options: Any,
    on_progress: Callable[[float], None],
    on_partial: Callable[[Asset], None] | None,
) -> list[GeneratedAsset]:
    rewards = [reward for reward, _ in weighted]
    retriever = use_library(generator, config)
    examples = retriever.examples([prompt])[0] if retriever else []
    given = read_given(config.complete, config.keep) if config.complete else None
    complete_from(generator, given)
    kernels.thread_count()  # refuses a wrong number of threads before a folder is made
    if config.out is not None:
        make_folder(config.out)
    count = config.num * config.best_of
    seeds = [config.seed + i for i in range(count)]
    prompts = [prompt] * count
    on_progress(0.2)
    asset = generator.generate(prompts, seeds=seeds, options=options, on_partial=on_partial)
    on_progress(0.6)
    scores = score_assets(rewards, prompts, asset)
    on_progress(0.8)
    asset = asset.to("cpu").detach()
    total = torch.stack([w * scores[r.name].values for r, w in weighted]).sum(0).view(config.num, config.best_of)
    made = []
    for i, best in enumerate(total.argmax(1).tolist()):
        index = i * config.best_of + best
        card: dict[str, dict[str, Any]] = {}
        for reward in rewards:
            score = scores[reward.name]
            card[reward.name] = {"value": round(score.values[index].item(), 4), "version": reward.version}
            if score.verdict is not None:
                card[reward.name]["verdict"] = bool(score.verdict[index])
        made.append(
            GeneratedAsset(
                prompt=prompt,
                asset=asset[index : index + 1],
                seed=seeds[index],
                generator=generator.name,
                options=options,
                source=generator.source,
                rewards=card,
                first_seed=config.seed,
                candidates=count,
                device=config.device,
                examples=examples,
                given=given,
            )
        )
    if config.out is not None:
        for one, folder in zip(made, folders(config.out, config.num), strict=True):
            one.save(folder)
    on_progress(1.0)
    return made


def read_given(path: Path, keep: int | None = None) -> Example:
    """The parts of a file that new assets begin with: all, or the first ``keep``. FileError with
    one line for a file without parts or with fewer."""
    vectors, caption = read_asset(path)
    if keep is not None and keep > len(vectors):
        raise FileError(f"cannot keep {keep} parts of {path}: it has {len(vectors)}; lower --keep")
    return Example(path.name, caption, vectors[:keep])


def complete_from(generator: Generator, given: Example | None) -> None:
    """Let the assets of a generator begin with the parts of ``given``, if there are any. ValueError
    with one line for a generator that does not complete, and for more parts than it takes."""
    if given is None:
        return
    if not isinstance(generator, Completes):
        raise ValueError(
            f"--complete needs a generator that goes on from given parts, which {generator.name!r} does not: add "
            "--generator part-tokens"
        )
    generator.with_given(generator.condition(["a"]), [given.asset])
    generator.given = given.asset


def folders(out: Path, count: int) -> list[Path]:
    """The folder of each of ``count`` assets."""
    return [out] if count == 1 else [out / f"{i:02d}" for i in range(count)]
