"""One checkpoint, or two side by side, measured on held-out prompts with fixed seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from renderers import render
from rewards import Reward
from rewards.image.alignment import load_scorer
from rewards.image.scorer import AZIMUTH_DEG, SIZE, VIEWS
from rewards.mix import check_needs, parse
from rewards.text import shared_encoder
from rl3d.comparison import comparison
from rl3d.configs import as_paths, at_least, check_seed, excludes
from rl3d.corpus import CATALOGUE, MIX, Facts, Spec, check_facts, prompts
from rl3d.forgetting import Tuning, not_tuned_on, tuned_on
from rl3d.generators.adapters import parse_adapters
from rl3d.generators.base import Generator
from rl3d.generators.load import BUILT_IN, WEIGHTS, generator_name, load_generator, sampling_options
from rl3d.measures import diversity, shape_of
from rl3d.pictures import save_image
from rl3d.prompts import caption_kinds, read_prompts
from rl3d.retrieval import RetrievalConfig, use_library
from rl3d.scoring import score_assets
from rl3d.tables import Table, compare, write_table
from scenes import cameras
from scenes.asset import Asset
from scenes.files import check_folder, make_folder

JUDGE = WEIGHTS / "judge.safetensors"
"""The evaluation's own scorer. Another seed, other captions and other assets than the scorer of the
``alignment`` reward."""
JUDGE_ELEVATION_DEG = 25.0
"""No reward looks from this height."""
BATCH = 64
"""Assets that are generated and scored at once, at most."""
_REWARDS = "stability=1,connected=1,structure=1,alignment=1,composition=1"


@dataclass(frozen=True)
class EvaluateConfig(RetrievalConfig):
    """Settings of ``rl3d evaluate``."""

    checkpoint: Path | None = None
    """Weights file, or folder of a training run. Default: the weights that training starts from."""
    generator: str | None = None
    """Name of the generator, or my_file:MyGenerator. Default: that of the checkpoint, else that of
    --against, else the embedded one."""
    against: Path | None = None
    """A second checkpoint, evaluated on the same prompts and seeds."""
    adapter: str = ""
    """Adapters, FILE=WEIGHT,...: each an adapter.safetensors, or the folder of a run with
    --adapter-rank. The weights with them are the second checkpoint."""
    forgetting: str | None = None
    """What --checkpoint was tuned from: weights file, folder of a run, or name of a generator. The
    table then has only the kinds of prompts and the rewards that it was not tuned on, before and
    after. With --adapter: what the adapters were not tuned on."""
    out: Path = Path("runs/evaluation")
    """Folder for table.json, table.md and sheet.png."""
    prompts: Path | None = None
    """Text file with one prompt per line, all of which are used. Default: the held-out split of the
    corpus."""
    num_prompts: int = 256
    """Held-out prompts drawn from the corpus. With --forgetting, equally many of each kind."""
    kinds: str = ""
    """Kinds of those prompts: some of single, relation, count, composition, scene. Empty: all."""
    split: Literal["heldout", "novel"] = "heldout"
    """novel: single objects of five categories that no generator was trained on."""
    samples: int = 4
    """Assets for each prompt."""
    rewards: str | None = None
    """Rewards to measure. Default: stability, connected, alignment, and structure and composition
    of parts."""
    pictures: int = 24
    """Prompts on the contact sheet. With two checkpoints, prompts whose verdicts differ come
    first."""
    seed: int = 12345
    """Seed of prompts and samples."""
    sampling: Any = None
    """The generator's sampling options. None: its defaults."""
    device: str = "cpu"
    """Where the generator and the renderer run: cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        super().__post_init__()
        as_paths(self, "checkpoint", "against", "out", "prompts")
        at_least(self, num_prompts=1, samples=1, pictures=1)
        check_seed(self)
        parse_adapters(self.adapter)
        excludes(self, "prompts", "num_prompts", "kinds", "split")
        excludes(self, "forgetting", "against", "prompts", "split")
        if self.adapter and self.against is not None:
            raise ValueError("--adapter excludes --against: leave one of them out")
        if self.forgetting is not None and self.checkpoint is None and not self.adapter:
            raise ValueError("--forgetting needs --checkpoint or --adapter: the tuned weights")
        if self.split == "novel" and set(caption_kinds(self.kinds)) - {"single"}:
            raise ValueError("--split novel has captions of the kind single only: leave --kinds out")
        caption_kinds(self.kinds)


@dataclass(frozen=True)
class Measured:
    """Figures of the assets, prompt by prompt with ``samples`` assets each, and the assets."""

    values: dict[str, Tensor]
    asset: Asset


def evaluate(config: EvaluateConfig | None = None) -> Table:
    """Measure one checkpoint or two; write table.json, table.md and sheet.png into ``config.out``.

    Returns {column: {figure: (mean, standard error, prompts)}}. One checkpoint gives the column
    "before"; two give "before", "after" and "difference", the last paired prompt by prompt. With
    ``config.forgetting`` the figures are those of ``not_tuned_on``.
    ValueError with one line, before anything is written, for a reward that the assets cannot have.
    """
    config = config or EvaluateConfig()
    check_folder(config.out)
    tuning = _tuning(config) if config.forgetting is not None else None
    generators = _generators(config)
    rewards = _rewards(config, generators)
    items = _items(config) if tuning is None else _other_items(config, tuning, rewards)
    options = [sampling_options(generator, config.sampling) for generator in generators]
    for generator in generators:
        use_library(generator, config)
    make_folder(config.out)
    settings = {"samples": config.samples, "seed": config.seed}
    results = [measure(g, items, rewards, options=o, **settings) for g, o in zip(generators, options, strict=True)]
    figures = [result.values for result in results]
    if tuning is not None:
        kinds = [item.kind for item in items for _ in range(config.samples)]
        figures = [not_tuned_on(values, kinds, [reward.name for reward in rewards], tuning) for values in figures]
    table = compare(figures[0], figures[1] if len(figures) == 2 else None, config.samples)
    write_table(config.out, table, [{"name": g.name, **g.source} for g in generators])
    captions = [item.caption for item in items]
    verdicts = [result.values.get("stable_and_connected") for result in results]
    sheet = comparison(captions, [r.asset for r in results], verdicts, config.samples, config.pictures)
    save_image(config.out / "sheet.png", sheet)
    return table


def _generators(config: EvaluateConfig) -> list[Generator]:
    """The one that is measured, or the two that are compared."""
    named, against, device = config.generator, config.against, config.device
    if named is None and config.checkpoint is None and against is not None:
        named = generator_name(against)

    def own(adapter: str) -> Generator:
        return load_generator(config.checkpoint, device, generator=named, pretrained=True, adapter=adapter)

    if config.forgetting is not None:
        return [_parent(config.forgetting, device), own(config.adapter)]
    if config.adapter:
        return [own(""), own(config.adapter)]
    return [own("")] if against is None else [own(""), load_generator(against, device)]


def _parent(name: str, device: str) -> Generator:
    if name in BUILT_IN or (":" in name and not Path(name).exists()):
        return load_generator(None, device, generator=name, pretrained=True)
    return load_generator(Path(name), device)


def _tuning(config: EvaluateConfig) -> Tuning:
    """What the adapters were tuned on, or without any the checkpoint."""
    files = [path for path, _ in parse_adapters(config.adapter)]
    if not files:
        assert config.checkpoint is not None
        files = [config.checkpoint]
    tuning = reduce(or_, map(tuned_on, files))
    # Runs name a user's reward by its path, the table by its own name.
    text = config.rewards or _REWARDS
    named = zip((reward.name for reward, _ in parse(text)), text.split(","), strict=True)
    same = {name for name, entry in named if entry.partition("=")[0].strip() in tuning.rewards}
    return tuning | Tuning(rewards=frozenset(same))


def _items(config: EvaluateConfig) -> list[Spec]:
    if config.prompts:
        return [Spec(prompt, "prompt", "", Facts(())) for prompt in read_prompts(config.prompts)]
    kinds = caption_kinds(config.kinds) or tuple(MIX)
    return [item.spec for item in prompts(config.num_prompts, config.seed, config.split, kinds)]


def _other_items(config: EvaluateConfig, tuning: Tuning, rewards: list[Reward]) -> list[Spec]:
    """Equally many prompts of each kind on which some reward was not optimised. ValueError with one
    line if there is none."""
    names = [reward.name for reward in rewards]
    kinds = [kind for kind in caption_kinds(config.kinds) or MIX if tuning.other_rewards(kind, names)]
    if not kinds:
        raise ValueError("nothing to measure: these kinds and rewards were all tuned on; name others with --rewards")
    each = math.ceil(config.num_prompts / len(kinds))
    return [item.spec for kind in kinds for item in prompts(each, config.seed, kinds=(kind,))]


def _rewards(config: EvaluateConfig, generators: list[Generator]) -> list[Reward]:
    """The rewards to measure. The default ones are those that all the assets can have."""
    rewards = [reward for reward, _ in parse(_REWARDS if config.rewards is None else config.rewards)]
    if config.rewards is None:
        gives = frozenset.intersection(*(generator.gives for generator in generators))
        rewards = [reward for reward in rewards if "parts" in gives or not reward.needs.parts]
    for generator in generators:
        check_needs(rewards, generator.gives, generator.name)
    return rewards


@torch.no_grad()
def measure(
    generator: Generator, items: list[Spec], rewards: list[Reward], *, samples: int, seed: int, options: Any = None
) -> Measured:
    """Generate and score ``samples`` assets of every item. ``options`` None: the defaults.

    Beside the rewards, their success rates and plain measures of shape, there are: the judge's
    probability and logit that an asset fits its prompt, whether the judge names the right category
    (of single objects), the diversity among the samples of a prompt, and of assets with parts
    whether ``FACTS`` are those of the caption. NaN where a figure does not apply.
    """
    specs = [item for item in items for _ in range(samples)]
    seeds = [seed * 1000 + i for i in range(len(specs))]
    judge = _judge(generator.device)
    values: dict[str, list[Tensor]] = defaultdict(list)
    assets = []
    whole = samples * max(1, BATCH // samples)  # the samples of a prompt stay together
    for start in range(0, len(specs), whole):
        some = specs[start : start + whole]
        texts = [item.caption for item in some]
        asset = generator.generate(texts, seeds=seeds[start : start + whole], options=options, batch_size=BATCH)
        for name, score in score_assets(rewards, texts, asset, azimuth_deg=AZIMUTH_DEG).items():
            values[name].append(score.values)
            if score.verdict is not None:
                values[f"{name}_success_rate"].append(score.verdict.float())
        asset = asset.to("cpu")
        figures = {**judge(some, asset), **shape_of(asset)}
        if asset.parts is not None:
            figures |= _facts(some, asset)
        if samples > 1:
            figures["diversity"] = diversity(asset, samples).repeat_interleave(samples)
        for name, figure in figures.items():
            values[name].append(figure)
        assets.append(asset)
    done = {name: torch.cat(v) for name, v in values.items()}
    if {"stability_success_rate", "connected_success_rate"} <= done.keys():
        done["stable_and_connected"] = done["stability_success_rate"] * done["connected_success_rate"]
    return Measured(done, assets[0] if len(assets) == 1 else type(assets[0]).concatenate(assets))


class Judge:
    """The evaluation's own scorer, looking from a height that no reward uses."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.scorer = load_scorer(JUDGE).to(device)
        self.rig = cameras.orbit(VIEWS, size=SIZE, azimuth_deg=AZIMUTH_DEG, elevation_deg=JUDGE_ELEVATION_DEG)
        names = shared_encoder().encode([f"a {name}" for name in CATALOGUE]).to(device)
        self.categories = self.scorer.embed_text(names.tokens, names.mask)

    def __call__(self, items: list[Spec], asset: Asset) -> dict[str, Tensor]:
        """For each asset the match with its caption, and whether its category is found."""
        images = self._images(asset)
        logits = self._match(images, [item.caption for item in items])
        names, found = tuple(CATALOGUE), self.scorer.logits(images, self.categories).argmax(1).tolist()
        category = [
            float(names[best] == item.category) if item.kind == "single" else math.nan
            for best, item in zip(found, items, strict=True)
        ]
        return {"judge": torch.sigmoid(logits / 2), "judge_logit": logits, "category": torch.tensor(category)}

    @torch.no_grad()
    def logits(self, captions: list[str], asset: Asset) -> Float[Tensor, "b"]:
        """The match of each asset with its caption, on the CPU."""
        return self._match(self._images(asset), captions)

    def _images(self, asset: Asset) -> Tensor:
        views = render(asset.to(self.device).gaussians(4096), self.rig.to(self.device))
        return self.scorer.embed_images(views.rgb, views.alpha)

    def _match(self, images: Tensor, captions: list[str]) -> Tensor:
        text = shared_encoder().encode(captions).to(self.device)
        return self.scorer.match(images, self.scorer.embed_text(text.tokens, text.mask)).cpu()


@cache
def _judge(device: torch.device) -> Judge:
    return Judge(device)


FACTS = ("colors", "relation", "count", "pattern", "finish")
"""What ``check_facts`` finds."""


def _facts(items: list[Spec], asset: Asset) -> dict[str, Tensor]:
    """What the captions state, checked on the parts; NaN where a caption does not state it."""
    assert asset.parts is not None
    found = [check_facts(item, asset.parts[i].present()) for i, item in enumerate(items)]
    return {name: torch.tensor([f.get(name, math.nan) for f in found]) for name in FACTS}
