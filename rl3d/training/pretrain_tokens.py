"""Supervised training of the part-token generator on the procedural corpus.

Cross-entropy of every token, given those before it. Nearly half of the assets come with examples,
the assets of like captions, as a library would give them; some have an invented name, so that the
examples alone say what it looks like. With ``mask_attention`` and ``contrast`` it is self-guided
training (ST-AR; Yue et al., 2025).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from rewards.text import TextFeatures, shared_encoder
from rl3d.configs import as_paths, at_least, check_seed
from rl3d.corpus import CATEGORIES, Item, Spec, sample_for
from rl3d.corpus.lexicon import lexicon
from rl3d.corpus.wording import pick
from rl3d.devices import has_bfloat16
from rl3d.generators.load import RESULT, starting_policy
from rl3d.generators.packing import even_length, even_rows, rounded
from rl3d.generators.part_codes import (
    COLOR_TOKEN,
    END,
    FACES,
    MAX_ELEMENTS,
    OBJECT,
    SECOND,
    SURFACE,
    UNUSED,
    Labels,
    encode_assets,
    encode_parts,
)
from rl3d.generators.part_tokens import PartTokens, ended, padded
from rl3d.generators.part_tokens_network import A, PartTokensNetwork
from rl3d.training.corpus_data import Ahead, TextPool, draw_specs
from rl3d.training.invented import Invented, draw_invented, invent
from rl3d.training.process_group import ProcessGroup, check_processes, together
from rl3d.training.supervised import Recipe, fit, generator_of
from scenes.files import make_folder
from scenes.parts import AXIS_X, AXIS_Y, CENTRE, VECTOR_SIZE

CONTRAST_BLOCK, CONTRAST_TEMPERATURE = 2, 0.2
"""The block (of five, from 0) whose states are compared, and the temperature of InfoNCE."""
NEIGHBOURS = 12
"""Examples are drawn from this many captions that are most like that of an asset."""
_WEIGHTS = {OBJECT: 8.0, COLOR_TOKEN: 3.0, SURFACE: 3.0, SECOND: 3.0}
"""Tokens that decide whether an asset is what its caption says are few: most of the loss is the
noise of places, and would outweigh them. Others weigh 1."""
PIECE = 32
"""Assets that the network works on at once: tensors then stay in the cache, and assets of like
length need little padding."""
SCENES = 0.2
"""Fraction of assets that are scenes of several things, beside those of all kinds: they are the
hardest, and a sixth of the captions."""
UNLABELLED = 0.15
"""Fraction of assets that begin with parts from elsewhere: without objects, the first of them
without roles."""


@dataclass(frozen=True)
class PretrainTokensConfig:
    """Settings of ``rl3d pretrain part-tokens``."""

    out: Path = Path("runs/pretrain-tokens")
    """Folder of the run. An interrupted run resumes from its newest checkpoint."""
    checkpoint: Path | None = None
    """Weights to go on from: a file, or the folder of a run. Its width and depth are kept. Default:
    none, a training from the start."""
    steps: int = 8000
    """Optimiser steps."""
    batch: int = 64
    """Assets in a step."""
    lr: float = 3e-3
    """Peak learning rate of Muon, and 0.37 of it for AdamW (cosine decay after a warm-up of 100
    steps)."""
    captions: int = 80000
    """Captions drawn from the corpus."""
    invented: int = 16000
    """Captions of things with an invented name, which only examples explain."""
    drop_text: float = 0.08
    """Fraction of assets trained without text, for classifier-free guidance."""
    with_examples: float = 0.4
    """Fraction of assets of the corpus that come with examples."""
    mask_attention: float = 0.0
    """Probability with which an earlier part is hidden from attention."""
    contrast: float = 0.0
    """Weight of the contrastive loss: states of a part agree with those that averaged weights have
    of the same asset turned and under another caption, more than with those of other assets."""
    ema: float = 0.998
    """Decay of the averaged weights, which are the result."""
    seed: int = 0
    """Seed of the corpus and the weights."""
    processes: int = 1
    """Processes of one thread that share the training: as many as there are free cores. They divide
    batch. A run that is resumed keeps its number."""
    bfloat16: bool = field(default_factory=has_bfloat16)
    """Matrix products in bfloat16. Default: where that is faster."""
    width: int = 192
    """Width of the transformer."""
    depth: int = 5
    """Blocks of the transformer."""

    def __post_init__(self) -> None:
        as_paths(self, "out", "checkpoint")
        at_least(self, steps=1, processes=1, batch=1, captions=2, invented=0)
        check_processes(self.processes, self.batch)
        check_seed(self)
        fractions = "drop_text", "with_examples", "mask_attention"
        if not all(0 <= getattr(self, name) <= 1 for name in fractions) or self.contrast < 0:
            raise ValueError(f"{', '.join(fractions)} are from 0 to 1, contrast is at least 0, got {self}")
        if self.contrast and self.depth <= CONTRAST_BLOCK:
            raise ValueError(f"contrast compares states after block {CONTRAST_BLOCK}: give depth above it")
        if self.contrast and self.processes > 1:
            raise ValueError("contrast compares all assets of a batch: leave --processes at 1")


@dataclass(frozen=True)
class TokenBatch:
    """B assets as tokens, ended, with the numbers of their captions, their examples, and whether
    the text is seen."""

    captions: Tensor
    tokens: Tensor
    examples: Tensor
    keep_text: Tensor
    turned: Tensor | None = None
    """The same assets, turned about the vertical by quarter turns."""
    other_captions: Tensor | None = None
    """Captions that say the same of them, where the pool has one."""

    def pieces(self, size: int) -> Iterator[TokenBatch]:
        """The same assets, a few at a time, without the padding that they do not need."""
        for start in range(0, len(self.captions), size):
            captions, tokens, examples, keep_text = (
                t[start : start + size] for t in (self.captions, self.tokens, self.examples, self.keep_text)
            )
            longest = rounded(int((tokens[..., OBJECT] != END).sum(1).max()) + 1)
            most = rounded(int((examples[..., A] >= 0).sum(1).max())) if examples.shape[1] else 0
            yield TokenBatch(captions, tokens[:, :longest], examples[:, :most], keep_text)


Labelled = tuple[np.ndarray, Labels]
"""Parts (p, v) and what is known of them."""


@dataclass(frozen=True)
class _Drawn:
    caption: int
    asset: Labelled
    examples: list[np.ndarray]
    keep_text: bool
    turned: Labelled
    other_caption: int


class TokenBatches:
    """Makes a process's part of a batch: assets with examples last, longer ones later."""

    def __init__(self, config: PretrainTokensConfig, neighbours: np.ndarray, rank: int = 0) -> None:
        torch.set_num_threads(1)
        self.config, self.rank = config, rank
        self.specs: list[Spec] = draw_specs(self.config.captions, self.config.seed)
        self.invented: list[Invented] = draw_invented(self.config.invented, self.config.seed)
        self.neighbours = neighbours
        self.nouns = {noun: 1 + n for n, noun in enumerate(sorted(CATEGORIES))}
        words = lexicon()
        roles = {role for table in (words.roles, words.details) for noun in table for role in table[noun]}
        self.roles = {role: 1 + n for n, role in enumerate(sorted({*roles, "main"}))}
        self.scenes = [number for number, spec in enumerate(self.specs) if spec.kind == "scene"]
        self.alike: dict[str, list[int]] = {}
        for number, spec in enumerate(self.specs):
            self.alike.setdefault(repr(replace(spec, caption="")), []).append(number)

    def __call__(self, step: int) -> TokenBatch:
        config = self.config
        own = range(self.rank, config.batch, config.processes)
        drawn = [self._draw(np.random.default_rng([config.seed, step, i])) for i in own]
        drawn.sort(key=lambda one: (len(one.examples) > 0, len(one.asset[0])))
        tokens, near_tokens = _encoded([one.asset for one in drawn], [one.examples for one in drawn])
        captions, keep_text = ([getattr(one, name) for one in drawn] for name in ("caption", "keep_text"))
        batch = TokenBatch(torch.tensor(captions), tokens, near_tokens, torch.tensor(keep_text))
        if not config.contrast:
            return batch
        around = _encoded([one.turned for one in drawn], [[] for _ in drawn])[0]
        return replace(batch, turned=around, other_captions=torch.tensor([one.other_caption for one in drawn]))

    def _draw(self, rng: np.random.Generator) -> _Drawn:
        config, total = self.config, len(self.specs) + len(self.invented)
        caption, keep_text = int(rng.integers(total)), bool(rng.random() >= config.drop_text)
        if self.scenes and rng.random() < SCENES:
            caption = pick(rng, self.scenes)
        few, examples = 1 + int(rng.integers(3)), []
        if caption >= len(self.specs):
            thing = self.invented[caption - len(self.specs)]
            examples = [invent(thing, rng, example=True) for _ in range(few)]
            asset = _unnamed(invent(thing, rng))
        else:
            asset = self.labelled(sample_for(self.specs[caption], rng))
            if rng.random() < config.with_examples:
                chosen = rng.choice(self.neighbours[caption], min(few, self.neighbours.shape[1]), replace=False)
                examples = [sample_for(self.specs[i], rng).vectors for i in chosen]
        vectors, known = asset = _partly_known(asset, rng)
        turned = _turned(vectors, 1 + int(rng.integers(3))), known
        return _Drawn(caption, asset, examples, keep_text, turned, self._alike(caption, rng))

    def labelled(self, item: Item) -> Labelled:
        """The parts of an item, object after object, with what is known of them."""
        order = np.argsort(item.objects, kind="stable")
        nouns = np.array([self.nouns[noun] for noun in item.nouns])
        roles = np.array([self.roles.get(role, 0) for role in item.roles])
        return item.vectors[order], Labels(item.objects[order], nouns, roles[order])

    def _alike(self, caption: int, rng: np.random.Generator) -> int:
        if caption >= len(self.specs):
            return caption
        alike = self.alike[repr(replace(self.specs[caption], caption=""))]
        return alike[int(rng.integers(len(alike)))]


def _turned(vectors: np.ndarray, quarters: int) -> np.ndarray:
    """An asset turned about the z axis."""
    out = vectors.copy()
    for start in (CENTRE.start, AXIS_X.start, AXIS_Y.start):
        for _ in range(quarters):
            out[:, start], out[:, start + 1] = -out[:, start + 1], out[:, start].copy()
    return out


def _unnamed(vectors: np.ndarray) -> Labelled:
    zeros = np.zeros(len(vectors), int)
    return vectors, Labels(zeros, zeros[:1], zeros)


def _partly_known(asset: Labelled, rng: np.random.Generator) -> Labelled:
    """The asset, or now and then its first objects as one unknown object, some of whose first parts
    have no role: what generation goes on from where parts are given."""
    vectors, known = asset
    if rng.random() >= UNLABELLED:
        return asset
    merged = 1 + int(rng.integers(len(known.nouns)))
    roles = known.roles.copy()
    roles[: 1 + int(rng.integers((known.objects < merged).sum()))] = UNUSED
    objects = (known.objects - merged + 1).clip(0)
    return vectors, Labels(objects, np.concatenate([[0], known.nouns[merged:]]), roles, frozenset({0}))


def _encoded(assets: list[Labelled], examples: list[list[np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Tokens of the assets, each with its end, and of the parts of their examples."""
    coded = encode_assets([vectors for vectors, _ in assets], [known for _, known in assets])
    near_parts = [e for near in examples for e in near] or [np.zeros((1, VECTOR_SIZE), np.float32)]
    tokens = iter(encode_parts(torch.from_numpy(np.concatenate(near_parts))).split([len(v) for v in near_parts]))
    rows = []
    for near in examples:
        numbered = [F.pad(next(tokens), (0, 1), value=n) for n in range(len(near))]
        rows.append(torch.cat(numbered) if numbered else None)
    return padded([ended(own) for own in coded], A, END), padded(rows, A + 1, UNUSED)


def token_loss(
    network: PartTokensNetwork,
    batch: TokenBatch,
    text_of: Callable[[Tensor], TextFeatures],
    hidden_keys: Tensor | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "n w"]]:
    """Mean weighted cross-entropy of the tokens of a batch, in nats, and the states of its parts
    after the block whose states are compared. ``text_of`` gives the text of captions."""
    tables, block = network.tables(), min(CONTRAST_BLOCK, network.config.depth - 1)
    sums, count, states = [], 0, []
    for number, piece in enumerate(batch.pieces(PIECE)):
        tokens, counted = _counted(piece.tokens, network.config.slots)
        text, seen_parts = even_length(text_of(piece.captions)), even_rows(counted)
        memory = network.memory(text, piece.examples, piece.keep_text, tables=tables)
        hidden = None
        if hidden_keys is not None:
            hidden = hidden_keys[PIECE * number :][: len(tokens), : tokens.shape[1], : tokens.shape[1]]
        seen = network.states(tokens, seen_parts, memory, hidden)
        logits = network.logits(seen[-1], tokens, seen_parts, memory)
        wanted = tokens.masked_fill(~counted.unsqueeze(-1), UNUSED)[seen_parts]
        unknown = (wanted[:, OBJECT] != END) & (wanted[:, FACES] == UNUSED)
        wanted = wanted.masked_fill(unknown[:, None], UNUSED)
        sums += [
            _WEIGHTS.get(k, 1.0) * F.cross_entropy(z.float(), wanted[:, k], ignore_index=UNUSED, reduction="sum")
            for k, z in enumerate(logits)
        ]
        count += int((wanted != UNUSED).sum())
        states.append(seen[block][counted[seen_parts]])
    return torch.stack(sums).sum() / count, torch.cat(states)


def contrastive_loss(
    states: Float[Tensor, "n w"], teacher: Float[Tensor, "n w"], asset: Int[Tensor, "n"], rng: torch.Generator
) -> Float[Tensor, ""]:
    """InfoNCE of one part an asset: its state against the teacher's of the same part, and of
    another part of the asset, among those of all assets of the batch."""
    first = torch.searchsorted(asset, torch.arange(int(asset[-1]) + 1))
    count = torch.bincount(asset)
    one, other = ((first + (torch.rand(len(first), generator=rng) * count).long()) for _ in range(2))
    z, t = F.normalize(states.float(), dim=-1), F.normalize(teacher.float(), dim=-1)
    labels = torch.arange(len(first))
    losses = [F.cross_entropy(z[one] @ t[rows].T / CONTRAST_TEMPERATURE, labels) for rows in (one, other)]
    return (losses[0] + losses[1]) / 2


def _counted(tokens: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Tokens that fit, and the elements that are counted, with the end."""
    tokens = tokens[:, :slots]
    exists = (tokens[..., OBJECT] != END).long().cumprod(1)
    return tokens, torch.arange(tokens.shape[1]) <= exists.sum(1, keepdim=True)


def pretrain_tokens(config: PretrainTokensConfig) -> Iterator[dict[str, int | float]]:
    """Train; yields metrics. The result is the averaged weights, in
    ``out/generator.safetensors``."""
    starting_policy(PartTokens, config.checkpoint)  # weights that cannot be read leave nothing behind
    make_folder(config.out)
    yield from together(_train, config, config.processes)


def _train(config: PretrainTokensConfig, group: ProcessGroup) -> Iterator[dict[str, int | float]]:
    torch.manual_seed(config.seed)
    policy = starting_policy(PartTokens, config.checkpoint, width=config.width, depth=config.depth)
    captions = [spec.caption for spec in draw_specs(config.captions, config.seed)]
    invented = [thing.caption for thing in draw_invented(config.invented, config.seed)]
    with group.main_first():
        pool = TextPool.cached(config.out / "captions.safetensors", [*captions, *invented], shared_encoder)
    known = TextPool(pool.tokens, pool.starts, pool.pooled[: len(captions)])
    recipe = Recipe(
        config.steps, config.lr, config.lr * 0.37, (0.9, 0.98), weight_decay=0.01, warmup=100, ema=config.ema
    )
    header = {"kind": "generator", "generator": policy.name, "config": policy.config, "start": policy.source}
    teacher = copy.deepcopy(policy.network).requires_grad_(False) if config.contrast else None
    with Ahead(TokenBatches, config, known.neighbours(NEIGHBOURS).numpy(), group.rank) as batches:

        def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
            batch = batches(step)
            loss, states = token_loss(policy.network, batch, pool.text, _hidden(batch, step, config, group.rank))
            if teacher is None or batch.turned is None or batch.other_captions is None:
                return loss, {}
            tokens, counted = _counted(batch.turned, teacher.config.slots)
            seen_parts = even_rows(counted)
            with torch.no_grad():
                memory = teacher.memory(even_length(pool.text(batch.other_captions)), None)
                seen = teacher.states(tokens, seen_parts, memory, blocks=CONTRAST_BLOCK + 1)[-1][counted[seen_parts]]
            asset = counted.nonzero()[:, 0]
            contrast = contrastive_loss(states, seen, asset, generator_of(config.seed, step))
            return loss + config.contrast * contrast, {"tokens": loss.item(), "contrast": contrast.item()}

        yield from fit(
            policy.network, loss_of, recipe, config, result=RESULT, header=header, teacher=teacher, group=group
        )


def _hidden(batch: TokenBatch, step: int, config: PretrainTokensConfig, rank: int) -> Tensor | None:
    """Which earlier parts are hidden from attention. A part always sees the last one."""
    if not config.mask_attention:
        return None
    b, p = len(batch.tokens), min(batch.tokens.shape[1], MAX_ELEMENTS)
    drawn = torch.rand(b, p, p, generator=generator_of(config.seed, step, rank, 1))
    return (drawn < config.mask_attention) & ~torch.eye(p, dtype=torch.bool)
