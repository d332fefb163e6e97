"""Training of ``one_face``: the alignment scorer, tuned to tell things with one front from their
copies with a second one at the back.

Positives are assets of the corpus under their caption, whole or with any other fault; negatives are
those that have a front, with ``faces_copied``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rewards.image.alignment import SHIPPED, load_scorer
from rewards.image.scorer import Scorer
from rewards.text import MiniLM, TextFeatures
from rl3d.corpus import CORRUPTIONS, FACED, SUBTLE, Item, captions, sample, sample_for
from rl3d.corpus.corruptions import faces_copied
from rl3d.training.supervised import Recipe, fit
from rl3d.training.train_scorer import ScorerTraining, padded, render_assets, scorer_header
from scenes.files import make_folder


@dataclass(frozen=True)
class FacesTraining(ScorerTraining):
    """Settings of ``rl3d pretrain faces``."""

    out: Path = Path("runs/faces")
    """Folder of the run. An interrupted run resumes from its newest checkpoint."""
    steps: int = 600
    """Optimiser steps."""
    batch: int = 32
    """Things with a front a step, each with a second one beside it, and as many assets of any kind,
    half of them with another fault."""
    captions: int = 4000
    """Captions drawn from the corpus, half of them of things with a front."""
    lr: float = 1e-3
    """Peak learning rate of Muon, and a third of it for AdamW."""


def faces_loss(
    scorer: Scorer, faced: list[Item], others: list[Item], texts: TextFeatures, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Logistic loss of B ``faced`` assets and their B copies with a second face, and of ``others``;
    ``texts`` are the captions of both."""
    faults = {**CORRUPTIONS, **SUBTLE}
    # These change what has a face, or how much of one.
    names, harmless = list(faults), [name for name in faults if name not in ("category_swapped", "details_removed")]
    whole, two_faced, any_kind = [], [], []
    for item in faced:
        rows = sample_for(item, rng).vectors
        rows[:, 4:10] += rng.normal(0, 0.004, (len(rows), 6))
        if rng.random() < 0.4:
            rows = faults[harmless[rng.integers(len(harmless))]](rows, rng)
        whole.append(rows)
        two_faced.append(faces_copied(rows, rng))
    for k, item in enumerate(others):
        rows = sample_for(item, rng).vectors
        any_kind.append(faults[names[rng.integers(len(names))]](rows, rng) if k % 2 else rows)
    # Every other time from a random direction, because the direction of the face must not matter.
    turn_deg = float(rng.choice([0.0, rng.uniform(0, 360)]))
    rgb, alpha = render_assets(padded(whole + two_faced + any_kind), rng, turn_deg)
    count = len(faced)
    embedded = scorer.embed_text(texts.tokens, texts.mask).float()
    own = torch.cat([embedded[:count], embedded[:count], embedded[count:]])
    logits = scorer.match(scorer.embed_images(rgb, alpha).float(), own)
    copied = torch.tensor([len(b) > len(a) for a, b in zip(whole, two_faced, strict=True)])
    labels = torch.ones(len(logits))
    labels[count : 2 * count] = torch.where(copied, -1.0, 1.0)
    with torch.no_grad():
        pairs = (logits[:count] > logits[count : 2 * count])[copied].float().mean().item()
        metrics = {"beats_two_faced": pairs, "others": (logits[2 * count :] > 0).float().mean().item()}
    return F.softplus(-labels * logits).mean(), metrics


def train_faces(config: FacesTraining) -> Iterator[dict[str, int | float]]:
    """Train; yields metrics. The result is the averaged weights, in ``out/faces.safetensors``."""
    make_folder(config.out)
    scorer = load_scorer(SHIPPED).requires_grad_(True)
    with torch.no_grad():
        scorer.bias.zero_()  # one caption against none, not among many
    rng = np.random.default_rng([config.seed, 11])
    encoder = MiniLM()
    half = config.captions // 2
    faced = [sample_for(captions.single(rng, "train", FACED[i % len(FACED)]), rng) for i in range(half)]
    others = [sample(rng, "train") for _ in range(half)]
    for start in range(0, half, 512):
        encoder.encode(
            [item.caption for item in faced[start : start + 512] + others[start : start + 512]], batch_size=64
        )

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([config.seed, 12, step])
        some, more = ([pool[i] for i in rng.integers(half, size=config.batch)] for pool in (faced, others))
        with torch.autocast("cpu", enabled=False):
            text = encoder.encode([item.caption for item in some + more])
        return faces_loss(scorer, some, more, text, rng)

    recipe = Recipe(config.steps, config.lr, config.lr / 3, (0.9, 0.999), weight_decay=0.02, warmup=50, ema=0.99)
    yield from fit(scorer, loss_of, recipe, config, result="faces.safetensors", header=scorer_header(scorer))
