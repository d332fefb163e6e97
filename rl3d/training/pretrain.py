"""Supervised training of the part-flow generator on the procedural corpus: what made the shipped
weights.

Rectified flow (Liu et al., 2023): predict e - x0 at x = (1 - s) x0 + s e, with logit-normal s
(Esser et al., 2024)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rewards.text import MiniLM, TextFeatures
from rl3d.configs import as_paths, at_least
from rl3d.corpus import sample, sample_for
from rl3d.devices import has_bfloat16
from rl3d.generators.load import RESULT
from rl3d.generators.part_flow import PartFlow, PartFlowNetwork, encode
from rl3d.training.supervised import Recipe, fit
from scenes.files import make_folder
from scenes.files.tensors import read_tensors, write_tensors
from scenes.parts import CENTRE, EXISTENCE, LOG_HALF_SIZE, MAX_PARTS, VECTOR_SIZE


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of ``rl3d pretrain part-flow``. The defaults made the shipped weights."""

    out: Path = Path("runs/pretrain")
    """Folder of the run. An interrupted run resumes from its newest checkpoint."""
    steps: int = 6000
    """Optimiser steps."""
    batch: int = 96
    """Assets in a step."""
    lr: float = 4e-3
    """Peak learning rate of Muon, and 0.375 of it for AdamW (cosine decay after a warm-up of 200
    steps)."""
    captions: int = 48000
    """Captions drawn from the corpus."""
    geometries: int = 3
    """Assets made for each caption."""
    drop_text: float = 0.1
    """Fraction of samples trained without text, for classifier-free guidance."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the result."""
    seed: int = 0
    """Seed of the corpus, the weights and the noise."""
    bfloat16: bool = field(default_factory=has_bfloat16)
    """Matrix products in bfloat16. Default: where the CPU has instructions for them."""
    width: int = 192
    """Width of the transformer."""
    depth: int = 6
    """Blocks of the transformer."""

    def __post_init__(self) -> None:
        as_paths(self, "out")
        at_least(self, steps=1, batch=1, captions=1, geometries=1, seed=0)


@dataclass(frozen=True)
class Dataset:
    """Network states of C captions x G geometries, with the captions' text features kept ragged in
    float16."""

    states: Tensor
    tokens: Tensor
    starts: Tensor
    pooled: Tensor

    @staticmethod
    def cached(path: Path, captions: int, geometries: int, seed: int, encoder: MiniLM) -> Dataset:
        """The dataset kept in ``path``, or a new one that is kept there: a resumed run starts at
        once."""
        made_from = {"captions": captions, "geometries": geometries, "seed": seed}
        if path.exists():
            tensors, header, _ = read_tensors(path)
            if header == made_from:
                return Dataset(**tensors)
        data = Dataset.build(captions, geometries, seed, encoder)
        write_tensors(path, {f.name: getattr(data, f.name) for f in fields(data)}, made_from)
        return data

    @staticmethod
    def build(captions: int, geometries: int, seed: int, encoder: MiniLM) -> Dataset:
        rng = np.random.default_rng(seed)
        vectors = np.zeros((captions, geometries, MAX_PARTS, VECTOR_SIZE), np.float32)
        vectors[..., 0] = -1
        texts = []
        for c in range(captions):
            item = sample(rng, "train")
            texts.append(item.caption)
            for g in range(geometries):
                rows = item.vectors if g == 0 else sample_for(item, rng).vectors
                vectors[c, g, : len(rows)] = rows
        tokens, pooled = [], []
        for start in range(0, captions, 512):
            piece = encoder.encode(texts[start : start + 512], batch_size=64)
            tokens += [t[m].half() for t, m in zip(piece.tokens, piece.mask, strict=True)]
            pooled.append(piece.pooled)
        starts = torch.tensor([0, *np.cumsum([len(t) for t in tokens])])
        return Dataset(encode(torch.from_numpy(vectors)), torch.cat(tokens), starts, torch.cat(pooled))

    def text(self, captions: Tensor) -> TextFeatures:
        rows = [self.tokens[self.starts[c] : self.starts[c + 1]].float() for c in captions.tolist()]
        length = max(len(r) for r in rows)
        tokens = torch.zeros(len(rows), length, rows[0].shape[-1])
        mask = torch.zeros(len(rows), length, dtype=torch.bool)
        for i, row in enumerate(rows):
            tokens[i, : len(row)], mask[i, : len(row)] = row, True
        return TextFeatures(tokens, mask, self.pooled[captions])


def flow_loss(
    network: PartFlowNetwork, x0: Tensor, text: TextFeatures, drop_text: float, rng: torch.Generator
) -> Tensor:
    """Mean weighted squared error of the velocity over a batch."""
    batch = len(x0)
    sigma = torch.sigmoid(torch.randn(batch, generator=rng))
    noise = torch.randn(x0.shape, generator=rng)
    keep = torch.rand(batch, generator=rng) >= drop_text
    at = sigma[:, None, None]
    velocity = network((1 - at) * x0 + at * noise, sigma, text, keep)
    # Place and size decide whether a part touches its neighbour. The shape of an absent part
    # decides nothing.
    weight = torch.ones(VECTOR_SIZE)
    weight[CENTRE] = weight[LOG_HALF_SIZE] = 2.0
    weights = torch.where(x0[..., :1] > 0, weight, 0.15 * weight)
    weights[..., EXISTENCE] = 2.0
    return (weights * (velocity - (noise - x0)) ** 2).sum() / weights.sum()


def pretrain(config: PretrainConfig) -> Iterator[dict[str, int | float]]:
    """Train; yields metrics. The result is the averaged weights, in
    ``out/generator.safetensors``."""
    make_folder(config.out)
    torch.manual_seed(config.seed)
    policy = PartFlow(width=config.width, depth=config.depth)
    data = Dataset.cached(config.out / "dataset.safetensors", config.captions, config.geometries, config.seed, MiniLM())

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        captions = torch.randint(config.captions, (config.batch,), generator=rng)
        geometry = torch.randint(config.geometries, (config.batch,), generator=rng)
        return flow_loss(
            policy.network, data.states[captions, geometry], data.text(captions), config.drop_text, rng
        ), {}

    recipe = Recipe(
        config.steps, config.lr, config.lr * 0.375, (0.9, 0.98), weight_decay=0.01, warmup=200, ema=config.ema
    )
    settings = json.loads(json.dumps(asdict(config), default=str))
    header = {"kind": "generator", "generator": policy.name, "config": policy.config}
    where = {"out": config.out, "result": RESULT, "header": header}
    yield from fit(policy.network, loss_of, recipe, settings=settings, bfloat16=config.bfloat16, **where)
