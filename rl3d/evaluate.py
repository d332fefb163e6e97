"""``rl3d evaluate``: one checkpoint, or two side by side, on held-out prompts with fixed seeds."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from renderers import render
from rewards.image.alignment import load_scorer
from rewards.image.scorer import AZIMUTH_DEG, SIZE, VIEWS
from rewards.mix import parse
from rewards.physics.simulate import settle
from rl3d.cli.options import parse as parse_options
from rl3d.configs import as_paths, at_least
from rl3d.corpus import CATEGORIES, Facts, Spec, check_colors, check_count, check_relation, prompts
from rl3d.generators.load import PRETRAINED, WEIGHTS, load_generator
from rl3d.generators.part_flow import DEFAULT_SAMPLING, PartFlow
from rl3d.generators.sde import Sampling
from rl3d.measures import diversity, shape_of
from rl3d.pictures import Picture, previews, render_sheet, save_image
from rl3d.prompts import read_prompts
from rl3d.scoring import score_assets
from scenes import cameras
from scenes.files import atomic_write, make_folder
from scenes.parts import Parts

JUDGE = WEIGHTS / "judge.safetensors"
"""The evaluation's own scorer: trained from another seed on other captions and assets than the
``alignment`` reward."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of ``rl3d evaluate``."""

    checkpoint: Path = PRETRAINED
    """Weights, or the folder of a training run."""
    against: Path | None = None
    """A second checkpoint, evaluated on the same prompts and seeds."""
    out: Path = Path("runs/evaluation")
    """Folder for table.json, table.md and sheet.png."""
    prompts: Path | None = None
    """Text file with one prompt a line; left out, the held-out split of the corpus."""
    num_prompts: int = 256
    """Held-out prompts drawn from the corpus."""
    samples: int = 4
    """Assets made for each prompt."""
    rewards: str = "stability=1,connected=1,structure=1,alignment=1"
    """Rewards to measure."""
    pictures: int = 24
    """Prompts on the contact sheet; of two checkpoints, those first whose verdict differs and that
    look most different."""
    seed: int = 12345
    """Seed of prompts and samples."""
    sampling: Sampling = field(default_factory=lambda: DEFAULT_SAMPLING)
    """How the flow is integrated."""
    device: str = "cpu"
    """Where the generator and the renderer run: cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        as_paths(self, "checkpoint", "against", "out", "prompts")
        at_least(self, num_prompts=1, samples=1, pictures=1, seed=0)


@dataclass(frozen=True)
class Measured:
    """Per-asset figures (prompt-major, ``samples`` assets a prompt) and the assets themselves."""

    values: dict[str, Tensor]
    parts: Parts


@torch.no_grad()
def measure(generator: PartFlow, items: list[Spec], config: EvaluateConfig) -> Measured:
    """Generate and score ``config.samples`` assets of every item."""
    texts = [item.caption for item in items for _ in range(config.samples)]
    seeds = [config.seed * 1000 + i for i in range(len(texts))]
    vectors = []
    values: dict[str, list[Tensor]] = defaultdict(list)
    rewards = [r for r, _ in parse(config.rewards)]
    rig = cameras.orbit(VIEWS, size=SIZE, azimuth_deg=AZIMUTH_DEG, elevation_deg=25.0)
    judge = load_scorer(JUDGE).to(generator.device)
    for start in range(0, len(texts), 64):
        chunk, some = texts[start : start + 64], seeds[start : start + 64]
        parts = generator.generate(chunk, seeds=some, sampling=config.sampling)
        vectors.append(parts.vectors().cpu())
        text = generator.condition(chunk).text
        for name, score in score_assets(rewards, chunk, text, parts, azimuth_deg=AZIMUTH_DEG).items():
            values[name].append(score.values)
            if score.verdict is not None:
                values[f"{name}_share"].append(score.verdict.float())
        # The judge looks from a height that no reward uses.
        views = render(parts.gaussians(4096), rig.to(generator.device))
        images = judge.embed_images(views.rgb, views.alpha)
        logits = judge.match(images, judge.embed_text(text.tokens, text.mask))
        values["judge"].append(torch.sigmoid(logits / 2).cpu())
        values["judge_logit"].append(logits.cpu())
        values["category"].append(
            _category_right(judge, generator, images, [items[(start + i) // config.samples] for i in range(len(chunk))])
        )
    done = {name: torch.cat(v) for name, v in values.items()}
    parts = Parts.from_vectors(torch.cat(vectors))
    if {"stability_share", "connected_share"} <= done.keys():
        done["stable_and_connected"] = done["stability_share"] * done["connected_share"]
    checked: dict[str, list[float]] = defaultdict(list)
    for i in range(len(texts)):
        item, asset = items[i // config.samples], parts[i].present()
        for name, value in facts_right(item, asset).items():
            checked[name].append(value)
        for name in ("colors", "relation", "count"):
            if len(checked[name]) <= i:
                checked[name].append(math.nan)
    done |= {name: torch.tensor(v) for name, v in checked.items()}
    done |= shape_of(parts)
    if config.samples > 1:
        done["diversity"] = diversity(parts, config.samples).repeat_interleave(config.samples)
    return Measured(done, parts)


def facts_right(item: Spec, asset: Parts) -> dict[str, float]:
    """What the caption says, measured on the parts: share of named colours, and whether relation
    and count are right."""
    out: dict[str, float] = {}
    right, total = check_colors(item.facts, asset)
    if total:
        out["colors"] = right / total
    if item.kind == "relation":
        out["relation"] = float(check_relation(item.facts, asset))
    if item.kind == "count":
        out["count"] = float(check_count(item.facts, asset))
    return out


def _category_right(judge, generator: PartFlow, images: Tensor, items: list[Spec]) -> Tensor:
    """1 where the judge's best of all category names is the item's; NaN for prompts that are not
    single objects."""
    text = generator.condition([f"a {name}" for name in CATEGORIES]).text
    best = judge.logits(images, judge.embed_text(text.tokens, text.mask)).argmax(1).tolist()
    return torch.tensor(
        [
            float(CATEGORIES[b] == item.category) if item.kind == "single" else math.nan
            for b, item in zip(best, items, strict=True)
        ]
    )


def per_prompt(values: Tensor, samples: int) -> Tensor:
    """Mean over the samples of each prompt; NaN where the figure does not apply to the prompt."""
    return values.view(-1, samples).nanmean(1)


def mean_and_error(per_prompt: Tensor) -> tuple[float, float, int]:
    """Mean, its standard error and the number of prompts that count."""
    kept = per_prompt[~per_prompt.isnan()]
    error = kept.std().item() / math.sqrt(len(kept)) if len(kept) > 1 else 0.0
    return (kept.mean().item() if len(kept) else math.nan), error, len(kept)


Table = dict[str, dict[str, tuple[float, float, int]]]


def evaluate(config: EvaluateConfig | None = None) -> Table:
    """Measure; writes the table and the sheet into ``config.out`` and returns {column: {figure:
    (mean, standard error, prompts)}}.

    One checkpoint gives the column "before"; two give "before", "after" and "difference", the last
    paired prompt by prompt."""
    config = config or EvaluateConfig()
    if config.prompts:
        items = [Spec(prompt, "prompt", "", Facts()) for prompt in read_prompts(config.prompts)]
    else:
        items = [item.spec for item in prompts(config.num_prompts, config.seed)]
    paths = [config.checkpoint] + ([config.against] if config.against else [])
    generators = [load_generator(path, config.device) for path in paths]
    make_folder(config.out)
    results = [measure(generator, items, config) for generator in generators]
    columns = {
        name: {k: per_prompt(v, config.samples) for k, v in r.values.items()}
        for name, r in zip(("before", "after"), results)
    }
    if len(results) == 2:
        columns["difference"] = {k: columns["after"][k] - v for k, v in columns["before"].items()}
    table = {name: {k: mean_and_error(v) for k, v in column.items()} for name, column in columns.items()}
    table = {name: {k: v for k, v in column.items() if v[2]} for name, column in table.items()}
    with atomic_write(config.out / "table.json") as temporary:
        temporary.write_text(json.dumps({"weights": [g.source for g in generators], "table": table}, indent=2) + "\n")
    with atomic_write(config.out / "table.md") as temporary:
        temporary.write_text(markdown(table) + "\n")
    save_image(config.out / "sheet.png", sheet(items, results, config))
    return table


def markdown(table: Table) -> str:
    """The table as Markdown: a row a figure, a column a checkpoint; mean and standard error over
    prompts."""
    lines = ["| figure | " + " | ".join(table) + " | prompts |", "|---|" + "---|" * (len(table) + 1)]
    for name, (_, _, count) in table["before"].items():
        cells = [
            f"{c[name][0]:{'+' if column == 'difference' else ''}.3f} ± {c[name][1]:.3f}" for column, c in table.items()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {count} |")
    return "\n".join(lines)


def sheet(items: list[Spec], results: list[Measured], config: EvaluateConfig, size: int = 176) -> Image.Image:
    """Contact sheet of one sample a prompt, evenly chosen; with two checkpoints, the pairs one
    above the other, those first whose verdict differs (in either direction), of these the ones that
    look most different, and every asset as the stability trial leaves it: what falls, lies."""
    limit, samples = config.pictures, config.samples
    good = [r.values.get("stable_and_connected", torch.ones(len(items) * samples)).view(-1, samples) for r in results]
    differs = good[0] != good[-1]
    # Of each prompt the first sample whose verdict differs, else the first.
    shown = (torch.arange(len(items)) * samples + differs.int().argmax(1)).tolist()
    changed = [i for i, d in zip(shown, differs.any(1).tolist(), strict=True) if d]
    same = [i for i, d in zip(shown, differs.any(1).tolist(), strict=True) if not d]
    room = max(0, limit - len(changed)) if len(results) == 2 else limit

    def drawn(chosen: list[int]) -> list[list[Image.Image]]:
        """The pictures of each, by checkpoint."""
        images: list[list[Image.Image]] = [[] for _ in results]
        for which, result in enumerate(results):
            for start in range(0, len(chosen), 8):
                parts = result.parts[torch.tensor(chosen[start : start + 8])]
                images[which] += previews((settle(parts) if len(results) == 2 else parts).gaussians(8192), size)
        return [list(pair) for pair in zip(*images, strict=True)]

    def difference(pair: list[Image.Image]) -> float:
        first, second = (np.asarray(image, np.float32) for image in (pair[0], pair[-1]))
        return float(np.abs(first - second).mean())

    chosen = same[:: max(1, -(-len(same) // max(1, room)))][:room]
    pairs = sorted(zip(changed, drawn(changed), strict=True), key=lambda pair: -difference(pair[1]))[:limit]
    pairs += list(zip(chosen, drawn(chosen), strict=True))
    rows, labels = [], []
    for start in range(0, len(pairs), 8):
        for which in range(len(results)):
            last = which == len(results) - 1
            rows.append(
                [
                    Picture(images[which], items[i // samples].caption if last else "")
                    for i, images in pairs[start : start + 8]
                ]
            )
            labels.append(("before", "after")[which] if len(results) == 2 else "")
    if len(results) == 1:
        return render_sheet(rows, size=size)
    better, worse = int((good[1] > good[0]).sum()), int((good[1] < good[0]).sum())
    title = (
        f"After the shake test: of {len(items) * samples} "
        "assets for "
        "held-out "
        "prompts, "
        f"{better} "
        "stand in "
        "one piece only after training, "
        f"{worse} only before"
    )
    return render_sheet(rows, labels=labels, title=title, size=size)


@dataclass(frozen=True)
class _Arguments:
    config: Annotated[EvaluateConfig, tyro.conf.arg(name="")] = field(default_factory=EvaluateConfig)


def run(arguments: list[str]) -> None:
    config = parse_options(_Arguments, "evaluate", __doc__, arguments).config
    print(markdown(evaluate(config)))
    print(f"\nsheet: {config.out / 'sheet.png'}")
