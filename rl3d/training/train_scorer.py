"""Training of the image-text scorers on the corpus: the ``alignment`` reward, and the judge that
evaluation uses instead of it.

Positives are corpus assets with their caption (slightly jittered, so that small flaws stay
positive); negatives are every other caption of the batch, the caption with a colour, relation or
number changed, and broken copies of the asset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from renderers import render
from rewards.image.scorer import AZIMUTH_DEG, SIZE, VIEWS, Scorer, ScorerConfig
from rewards.text import MiniLM, TextFeatures
from rl3d.configs import as_paths, at_least, check_seed
from rl3d.corpus import CATALOGUE, CORRUPTIONS, MIX, NOVEL, Item, sample, sample_for
from rl3d.corpus.wrong import wrong_caption
from rl3d.devices import has_bfloat16
from rl3d.training.supervised import Recipe, fit
from scenes import cameras
from scenes.files import make_folder
from scenes.parts import VECTOR_SIZE, Parts

CATEGORY_NAMES = tuple(CATALOGUE)
NOVEL_SHARE = MIX["single"] * len(NOVEL) / len(CATALOGUE)
"""A scorer also knows the categories that no generator is trained on, each as well as any other."""


@dataclass(frozen=True)
class ScorerTraining:
    """Settings of ``rl3d pretrain alignment`` and ``rl3d pretrain judge``."""

    out: Path = Path("runs/scorer")
    """Folder of the run. An interrupted run resumes from its newest checkpoint."""
    steps: int = 1800
    """Optimiser steps."""
    batch: int = 32
    """Captions in a step. Each comes with a good and a broken asset."""
    captions: int = 6000
    """Captions drawn from the corpus. The judge has another seed, and so other captions."""
    lr: float = 3e-3
    """Peak learning rate of Muon, and a third of it for AdamW."""
    bfloat16: bool = field(default_factory=has_bfloat16)
    """Matrix products in bfloat16. Default: where that is faster."""
    seed: int = 0
    """Seed of corpus, weights, cameras and corruptions."""

    def __post_init__(self) -> None:
        as_paths(self, "out")
        at_least(self, steps=1, batch=2, captions=2)
        check_seed(self)


def render_assets(vectors: Tensor, rng: np.random.Generator, turn_deg: float = 0.0) -> tuple[Tensor, Tensor]:
    """Colours and alphas (b, views, size, size, .) of assets from the scorer's rig, shaken a
    little, and moved around them by ``turn_deg``."""
    azimuth = AZIMUTH_DEG + float(rng.uniform(-15, 15)) + turn_deg
    rig = cameras.orbit(VIEWS, size=SIZE, azimuth_deg=azimuth, elevation_deg=float(rng.uniform(14, 28)))
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        views = render(Parts.from_vectors(vectors).gaussians(int(rng.integers(1500, 3000))), rig)
    return views.rgb, views.alpha


def padded(rows: list[np.ndarray]) -> Tensor:
    """(b, p, 27): assets of any number of parts, filled up with absent ones."""
    out = np.zeros((len(rows), max(map(len, rows)), VECTOR_SIZE), np.float32)
    out[..., 0] = -1
    out[..., 10] = out[..., 14] = 1
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


def _same_claim(a: Item, b: Item) -> bool:
    """Whether b's caption may be true of a's asset. Such pairs are neither positive nor
    negative."""
    nouns = [{thing.noun for thing in item.facts.things} for item in (a, b)]
    return (
        a.kind == b.kind
        and nouns[1] <= nouns[0]
        and (a.kind != "single" or a.facts == b.facts or b.facts.things[0].color is None)
    )


def scorer_loss(
    scorer: Scorer, items: list[Item], texts: TextFeatures, names: TextFeatures, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Sigmoid loss of B good and B broken assets against the 2 B ``texts``, right captions then
    wrong ones, plus the cross-entropy of the good single objects over the ``names`` of all
    categories."""
    count = len(items)
    good, broken = [], []
    kinds = list(CORRUPTIONS)
    for item in items:
        rows = sample_for(item, rng).vectors
        rows_jittered = rows.copy()
        rows_jittered[:, 4:10] += rng.normal(0, 0.004, (len(rows), 6))
        good.append(rows_jittered)
        broken.append(CORRUPTIONS[kinds[rng.integers(len(kinds))]](rows, rng))
    rgb, alpha = render_assets(padded(good + broken), rng)
    images = scorer.embed_images(rgb, alpha).float()
    embedded = scorer.embed_text(texts.tokens, texts.mask).float()
    logits = scorer.logits(images, embedded)  # 2 B images x 2 B texts
    labels = -torch.ones_like(logits)
    labels[torch.arange(count), torch.arange(count)] = 1.0
    ignore = torch.tensor([[i != j and _same_claim(items[i], items[j]) for j in range(count)] for i in range(count)])
    weights = torch.ones_like(logits)
    weights[:count, :count][ignore] = 0
    # A broken asset is compared with its own caption only: the other pairs are easy and teach
    # nothing about faults.
    weights[count:] = 0
    own = torch.arange(count)
    weights[own, own] = 8.0
    weights[count + own, own] = 8.0
    weights[own, count + own] = 4.0
    losses = F.softplus(-labels * logits) * weights
    singles = [i for i, item in enumerate(items) if item.kind == "single"]
    among = scorer.logits(images[singles], scorer.embed_text(names.tokens, names.mask).float())
    categories = torch.tensor([CATEGORY_NAMES.index(items[i].category) for i in singles], dtype=torch.long)
    naming = F.cross_entropy(among, categories) if singles else logits.new_zeros(())
    with torch.no_grad():
        match, faulty, wrong = logits[own, own], logits[count + own, own], logits[own, count + own]
        metrics = {
            "category": (among.argmax(1) == categories).float().mean().item(),
            "top1": (logits[:count, :count].argmax(1) == own).float().mean().item(),
            "beats_broken": (match > faulty).float().mean().item(),
            "beats_wrong": (match > wrong).float().mean().item(),
        }
    return losses.sum() / count / 8 + naming, metrics


def train_scorer(config: ScorerTraining) -> Iterator[dict[str, int | float]]:
    """Train; yields metrics. The result is the averaged weights, in ``out/scorer.safetensors``."""
    make_folder(config.out)
    torch.manual_seed(config.seed)
    scorer = Scorer(ScorerConfig())
    rng = np.random.default_rng([config.seed, 5])
    encoder = MiniLM()
    items = [sample(rng, "novel" if rng.random() < NOVEL_SHARE else "train") for _ in range(config.captions)]
    wrong = [wrong_caption(item, rng) for item in items]
    for start in range(0, config.captions, 512):
        encoder.encode([i.caption for i in items[start : start + 512]] + wrong[start : start + 512], batch_size=64)
    category_names = encoder.encode([f"a {name}" for name in CATEGORY_NAMES])

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([config.seed, 6, step])
        chosen = rng.integers(config.captions, size=config.batch).tolist()
        with torch.autocast("cpu", enabled=False):
            text = encoder.encode([items[i].caption for i in chosen] + [wrong[i] for i in chosen])
        return scorer_loss(scorer, [items[i] for i in chosen], text, category_names, rng)

    recipe = Recipe(config.steps, config.lr, config.lr / 3, (0.9, 0.999), weight_decay=0.02, warmup=100, ema=0.995)
    yield from fit(scorer, loss_of, recipe, config, result="scorer.safetensors", header=scorer_header(scorer))


def scorer_header(scorer: Scorer) -> dict[str, Any]:
    """What a file of the scorer's weights says of it."""
    return {"kind": "scorer", "config": asdict(scorer.config)}
