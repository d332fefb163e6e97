"""Supervised training of the part-flow generator on the procedural corpus.

Rectified flow (Liu et al., 2023): predict e - x0 at x = (1 - s) x0 + s e, with logit-normal s
(Esser et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rewards.text import TextFeatures, shared_encoder
from rl3d.configs import as_paths, at_least, check_seed
from rl3d.corpus import sample_for
from rl3d.devices import has_bfloat16
from rl3d.generators.load import RESULT, starting_policy
from rl3d.generators.part_flow import PartFlow, PartFlowNetwork, encode
from rl3d.training.corpus_data import Ahead, TextPool, draw_specs
from rl3d.training.process_group import ProcessGroup, check_processes, together
from rl3d.training.supervised import Recipe, fit, generator_of
from scenes.files import make_folder
from scenes.parts import CENTRE, EXISTENCE, LOG_HALF_SIZE, MAX_PARTS, VECTOR_SIZE


@dataclass(frozen=True)
class PretrainFlowConfig:
    """Settings of ``rl3d pretrain part-flow``."""

    out: Path = Path("runs/pretrain-flow")
    """Folder of the run. An interrupted run resumes from its newest checkpoint."""
    checkpoint: Path | None = None
    """Weights to go on from: a file, or the folder of a run. Its width and depth are kept. Default:
    none, a training from the start."""
    steps: int = 6000
    """Optimiser steps."""
    batch: int = 96
    """Assets in a step."""
    lr: float = 4e-3
    """Peak learning rate of Muon, and 0.375 of it for AdamW (cosine decay after a warm-up of 200
    steps)."""
    captions: int = 80000
    """Captions drawn from the corpus. Geometry is drawn anew in every step."""
    drop_text: float = 0.1
    """Fraction of samples trained without text, for classifier-free guidance."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the result."""
    seed: int = 0
    """Seed of the corpus, the weights and the noise."""
    processes: int = 1
    """Processes of one thread that share the training: as many as there are free cores. They divide
    batch. A run that is resumed keeps its number."""
    bfloat16: bool = field(default_factory=has_bfloat16)
    """Matrix products in bfloat16. Default: where that is faster."""
    width: int = 192
    """Width of the transformer."""
    depth: int = 6
    """Blocks of the transformer."""

    def __post_init__(self) -> None:
        as_paths(self, "out", "checkpoint")
        at_least(self, steps=1, processes=1, batch=1, captions=1)
        check_processes(self.processes, self.batch)
        check_seed(self)


class FlowBatches:
    """Makes the network states of a process's part of a step's assets."""

    def __init__(self, config: PretrainFlowConfig, rank: int = 0) -> None:
        torch.set_num_threads(1)
        self.specs, self.config, self.rank = draw_specs(config.captions, config.seed), config, rank

    def __call__(self, step: int) -> tuple[Int[Tensor, "b"], Float[Tensor, "b p v"]]:
        """Numbers of the captions, and a new asset for each."""
        config = self.config
        rngs = [np.random.default_rng([config.seed, step, i]) for i in range(self.rank, config.batch, config.processes)]
        captions = np.array([rng.integers(len(self.specs)) for rng in rngs])
        vectors = np.zeros((len(rngs), MAX_PARTS, VECTOR_SIZE), np.float32)
        vectors[..., EXISTENCE] = -1
        for row, caption, rng in zip(vectors, captions, rngs, strict=True):
            drawn = sample_for(self.specs[caption], rng).vectors
            row[: len(drawn)] = drawn
        return torch.from_numpy(captions), encode(torch.from_numpy(vectors))


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


def pretrain_flow(config: PretrainFlowConfig) -> Iterator[dict[str, int | float]]:
    """Train; yields metrics. The result is the averaged weights, in
    ``out/generator.safetensors``."""
    starting_policy(PartFlow, config.checkpoint)  # weights that cannot be read leave nothing behind
    make_folder(config.out)
    yield from together(_train, config, config.processes)


def _train(config: PretrainFlowConfig, group: ProcessGroup) -> Iterator[dict[str, int | float]]:
    torch.manual_seed(config.seed)
    policy = starting_policy(PartFlow, config.checkpoint, width=config.width, depth=config.depth)
    captions = [spec.caption for spec in draw_specs(config.captions, config.seed)]
    with group.main_first():
        pool = TextPool.cached(config.out / "captions.safetensors", captions, shared_encoder)
    recipe = Recipe(
        config.steps, config.lr, config.lr * 0.375, (0.9, 0.98), weight_decay=0.01, warmup=200, ema=config.ema
    )
    header = {"kind": "generator", "generator": policy.name, "config": policy.config, "start": policy.source}
    with Ahead(FlowBatches, config, group.rank) as batches:

        def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
            rng = generator_of(config.seed, step, group.rank)
            numbers, states = batches(step)
            return flow_loss(policy.network, states, pool.text(numbers), config.drop_text, rng), {}

        yield from fit(policy.network, loss_of, recipe, config, result=RESULT, header=header, group=group)
