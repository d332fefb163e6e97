"""Training of a library's retriever: which assets help a generator, learned from what it makes.

Self-reflective contrastive learning (Lyu et al., RealRAG, 2025). Each prompt is made without
examples and with each of its nearest assets. The positive is the asset that raised the score most.
Hard negatives are near assets that bring nothing: they did not raise the score, or the generator
already makes their own caption well without help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rewards import Reward
from rewards.mix import check_needs, parse
from rewards.text import shared_encoder
from rl3d.configs import as_paths, at_least, check_seed
from rl3d.generators.base import Retrieves
from rl3d.generators.load import load_generator, sampling_options
from rl3d.prompts import corpus_prompts, read_prompts
from rl3d.retrieval.head import RetrieverHead, save_head
from rl3d.retrieval.library import FOLDER, RETRIEVER, Library, counted, search
from rl3d.scoring import score_assets
from rl3d.tables import Estimate, mean_and_error
from rl3d.training.train_preference import is_held_out
from scenes.asset import PartAsset
from scenes.files import check_folder

BATCH = 64
"""Assets that are generated and scored at once."""
TEMPERATURE = 0.05
LEAST = 8
"""Prompts with a positive that the fit needs, at least."""


@dataclass(frozen=True)
class RetrieverTraining:
    """Settings of ``rl3d train-retriever``."""

    library: Path
    """Folder of captioned assets of parts. The retriever is saved in it."""
    generator: str | None = None
    """Name of a generator that retrieves, or my_file:MyGenerator. Default: the checkpoint's."""
    checkpoint: Path | None = None
    """Weights file, or folder of a training run. Default: the generator's own weights."""
    prompts: Path | None = None
    """Text file with one prompt a line. None: captions of the library and of the corpus, by
    turns."""
    num_prompts: int = 128
    """Prompts, at most. A quarter of them, by a hash, is held out to measure the retriever."""
    candidates: int = 8
    """Nearest assets of a prompt that are tried."""
    samples: int = 2
    """Assets for each prompt and candidate."""
    rewards: str = "alignment=1,stability=0.5,connected=0.5"
    """Rewards whose weighted sum is the score."""
    steps: int = 300
    """Optimiser steps."""
    sampling: Any = None
    """The generator's sampling options. None: its defaults."""
    seed: int = 0
    """Seed of prompts, samples and weights."""
    device: str = "cpu"
    """Where the generator and the renderer run: cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        as_paths(self, "library", "checkpoint", "prompts")
        at_least(self, num_prompts=2, candidates=2, samples=1, steps=1)
        check_seed(self)


@dataclass(frozen=True)
class Trained:
    """Mean gain in score by the first example, over the held-out prompts."""

    prompts: int
    """Prompts with a positive that the retriever was fitted to."""
    nearest: Estimate
    """By text embedding alone."""
    retrieved: Estimate
    """By the trained retriever."""
    difference: Estimate
    best: Estimate
    """By the best of the candidates."""
    path: Path | None
    """The file, if the retriever was kept: if it gains more than a standard error on the held-out
    prompts. An earlier one stays otherwise."""


@dataclass(frozen=True)
class Trials:
    """What N prompts gain by their K nearest assets."""

    queries: Float[Tensor, "n d"]
    candidates: Int[Tensor, "n k"]
    """Numbers of assets of the library."""
    gains: Float[Tensor, "n k"]
    """Score with the asset minus score without examples, with the same seeds."""
    made_well: Bool[Tensor, "n k"]
    """Whether the asset's own caption scores above the median without examples."""

    def __getitem__(self, index: Tensor) -> Trials:
        return Trials(self.queries[index], self.candidates[index], self.gains[index], self.made_well[index])


def train_retriever(config: RetrieverTraining, on_progress: Callable[[float], None] = lambda fraction: None) -> Trained:
    """Try the nearest assets of every prompt, fit a head, and save it in the library if it gains.

    ``on_progress`` is called with the fraction of the trials that is done. ValueError with one line
    for a generator that does not retrieve, and if too few prompts gain by an example.
    """
    policy = load_generator(config.checkpoint, config.device, generator=config.generator)
    if not isinstance(policy, Retrieves):
        raise ValueError(f"generator {policy.name!r} does not retrieve: add --generator part-tokens")
    weighted = parse(config.rewards)
    check_needs([reward for reward, _ in weighted], policy.gives, policy.name)
    options = sampling_options(policy, config.sampling)
    check_folder(config.library / FOLDER)
    library = Library(config.library)
    prompts = _prompts(config, library)
    held_out = torch.tensor([is_held_out(prompt) for prompt in prompts])
    more = "add --num-prompts"
    if len(prompts) < config.num_prompts:
        more = f"write more prompts into {config.prompts}" if config.prompts else "give more prompts with --prompts"
    if int((~held_out).sum()) < LEAST or not held_out.any():
        raise ValueError(
            f"{len(prompts)} different prompts are too few: {int((~held_out).sum())} to fit and {int(held_out.sum())} "
            f"held out by their hash, where at least {LEAST} and 1 are needed: {more}"
        )

    def scores(jobs: Sequence[tuple[str, PartAsset | None]]) -> Float[Tensor, "j"]:
        """Mean score of each prompt with its example, if it has one."""
        each = [job for job in jobs for _ in range(config.samples)]
        seeds = [config.seed + i for _ in jobs for i in range(config.samples)]
        found = []
        for start in range(0, len(each), BATCH):
            part = slice(start, start + BATCH)
            texts = [prompt for prompt, _ in each[part]]
            examples = [[] if example is None else [example] for _, example in each[part]]
            with torch.no_grad():
                condition = policy.with_examples(policy.condition(texts), examples)
                asset = policy.decode(policy.sample(condition, seeds=seeds[part], options=options))
            found.append(_total(weighted, texts, asset))
            on_progress(min(1.0, (done[0] + start + BATCH) / total))
        done[0] += len(each)
        return torch.cat(found).view(-1, config.samples).mean(1)

    queries, candidates = _candidates(library, prompts, config.candidates)
    library.show_notes()
    tried = candidates.unique()
    done, total = [0], (len(prompts) * (1 + candidates.shape[1]) + len(tried)) * config.samples
    without = scores([(prompt, None) for prompt in prompts])
    assets = {i: library.example(i).asset for i in tried.tolist()}
    pairs = [(prompt, assets[i]) for prompt, row in zip(prompts, candidates.tolist()) for i in row]
    gains = scores(pairs).view(len(prompts), -1) - without.unsqueeze(1)
    alone = torch.zeros(len(library))
    alone[tried] = scores([(library.entries[i].caption, None) for i in tried.tolist()])
    trials = Trials(queries, candidates, gains, alone[candidates] > alone[tried].median())

    fitted = ~held_out & (gains.amax(1) > 0)
    if int(fitted.sum()) < LEAST:
        raise ValueError(
            f"an example raised the score of {int(fitted.sum())} of {int((~held_out).sum())} prompts: at least {LEAST} "
            f"are needed: {more}"
        )
    head = fit(trials[fitted], library.embeddings, config.steps, config.seed)
    plain, chosen = (first_gains(h, trials[held_out], library.embeddings) for h in (RetrieverHead(), head))
    measured = plain, chosen, chosen - plain, gains[held_out].amax(1)
    nearest, retrieved, difference, best = (mean_and_error(t) for t in measured)
    path = config.library / RETRIEVER if difference.mean > difference.error else None
    if path:
        save_head(path, head, generator=policy.name, rewards=config.rewards, prompts=int(fitted.sum()))
    return Trained(int(fitted.sum()), nearest, retrieved, difference, best, path)


def _prompts(config: RetrieverTraining, library: Library) -> list[str]:
    if config.prompts:
        return list(dict.fromkeys(read_prompts(config.prompts)))[: config.num_prompts]
    own = np.random.default_rng(config.seed).permutation(sorted(set(library.captions))).tolist()
    both = zip(own, corpus_prompts(min(len(own), config.num_prompts), config.seed))
    return list(dict.fromkeys(prompt for pair in both for prompt in pair))[: config.num_prompts]


def _candidates(library: Library, prompts: list[str], k: int) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n k"]]:
    """Embeddings of the prompts, and their nearest assets with other captions."""
    queries = shared_encoder().encode(prompts).pooled
    same = max(library.captions.count(prompt) for prompt in prompts)
    if same + k > len(library):
        raise ValueError(f"library {library.folder} has {counted(len(library), 'asset')}, too few for --candidates {k}")
    indices, _ = search(library.embeddings, queries, same + k)
    rows = [
        [i for i in row if library.entries[i].caption != prompt][:k] for prompt, row in zip(prompts, indices.tolist())
    ]
    return queries, torch.tensor(rows)


def _total(weighted: list[tuple[Reward, float]], prompts: list[str], asset: Any) -> Float[Tensor, "b"]:
    found = score_assets([reward for reward, _ in weighted], prompts, asset)
    return torch.stack([weight * found[reward.name].values.cpu() for reward, weight in weighted]).sum(0)


def fit(trials: Trials, embeddings: Float[Tensor, "m d"], steps: int, seed: int) -> RetrieverHead:
    """A head that brings prompts near to their positives, by ``contrastive_loss``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = RetrieverHead()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.1)
    for _ in range(steps):
        loss = contrastive_loss(head(trials.queries), trials, embeddings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.eval().requires_grad_(False)


def contrastive_loss(
    queries: Float[Tensor, "n d"], trials: Trials, embeddings: Float[Tensor, "m d"]
) -> Float[Tensor, ""]:
    """InfoNCE (van den Oord et al., 2018): the positive of a prompt against its hard negatives and
    the positives of the other prompts. Another asset that helped a prompt is left out, unless the
    generator makes it well without help."""
    best = trials.gains.argmax(1, keepdim=True)
    positive = trials.candidates.gather(1, best)  # (n, 1)
    helped = trials.gains > 0
    negative = (~helped | trials.made_well).scatter(1, best, False)
    own = torch.einsum("nd,nkd->nk", queries, embeddings[trials.candidates].float()) / TEMPERATURE
    others = queries @ embeddings[positive.squeeze(1)].float().T / TEMPERATURE
    known = (positive.T.unsqueeze(-1) == trials.candidates.unsqueeze(1)) & helped.unsqueeze(1)  # (n, n, k)
    logits = torch.cat(
        [own.gather(1, best), own.masked_fill(~negative, -1e4), others.masked_fill(known.any(-1), -1e4)], 1
    )
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


@torch.no_grad()
def first_gains(head: RetrieverHead, trials: Trials, embeddings: Float[Tensor, "m d"]) -> Float[Tensor, "n"]:
    """The gain by the candidate that a head puts first."""
    near = torch.einsum("nd,nkd->nk", head(trials.queries), embeddings[trials.candidates].float())
    return trials.gains.gather(1, near.argmax(1, keepdim=True)).squeeze(1)
