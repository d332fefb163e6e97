"""Training of the parser of the ``composition`` reward: which parts of an asset form one object,
what it is, and the role of each part.

It learns from the labels of corpus items, from altered ones, and from gatherings of any objects in
any number, so that it reads what no caption of the corpus says. Parts are shuffled, shaken and
dropped, because generated assets are not drawn as cleanly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rewards.composition.parser import PAIR_FEATURES, PART_FEATURES, Parser, ParserConfig, features, joined
from rl3d.configs import as_paths, at_least, check_seed
from rl3d.corpus import BASE_COLORS, CATALOGUE, sample, sample_for
from rl3d.corpus.altered import ALTERATIONS
from rl3d.corpus.lexicon import lexicon
from rl3d.corpus.placing import Body, beside, on_top
from rl3d.corpus.scene_captions import scene
from rl3d.corpus.shapes import Appearance, Drawing, Sketch, together
from rl3d.corpus.wording import dressed, pick
from rl3d.devices import has_bfloat16
from rl3d.training.supervised import Recipe, fit
from scenes.files import make_folder
from scenes.parts import (
    AXIS_X,
    AXIS_Y,
    CENTRE,
    COLOR,
    EXPONENTS,
    LOG_HALF_SIZE,
    MAX_PARTS,
    MAX_TAPER,
    METALLIC,
    MIN_EXPONENT,
    ROUGHNESS,
    SECOND_COLOR,
    TAPER,
)
from scenes.parts.rows import bounds

MOST_OBJECTS = 12


@dataclass(frozen=True)
class ParserTraining:
    """Settings of ``rl3d pretrain parser``."""

    out: Path = Path("runs/parser")
    """Folder of the run. An interrupted run resumes from its newest checkpoint."""
    steps: int = 5000
    """Optimiser steps."""
    batch: int = 48
    """Assets in a step, all drawn afresh."""
    lr: float = 3e-3
    """Peak learning rate of Muon, and a third of it for AdamW."""
    bfloat16: bool = field(default_factory=has_bfloat16)
    """Matrix products in bfloat16. Default: where that is faster."""
    seed: int = 0
    """Seed of corpus, weights and changes of the parts."""

    def __post_init__(self) -> None:
        as_paths(self, "out")
        at_least(self, steps=1, batch=1)
        check_seed(self)


def gathering(rng: np.random.Generator) -> Drawing:
    """One to three kinds of any objects of the catalogue, up to six of each, beside each other or
    on top of each other."""
    nouns = tuple(CATALOGUE)
    placed: list[Body] = []
    for _ in range(1 + int(rng.random() * 3)):
        noun = pick(rng, nouns)
        color = pick(rng, BASE_COLORS) if rng.random() < 0.6 else None
        appearance = Appearance(noun, color, **dressed(rng, noun, color, 0.15))
        sketch = Sketch(rng, appearance, CATALOGUE[noun], plain=rng.random() < 0.6)
        CATALOGUE[noun].draw(sketch)
        drawing = sketch.drawing()
        body = Body(drawing, *bounds(drawing.vectors), top=sketch.top)
        low, high = body.box
        body = body.standing(rng.uniform(0.5, 1.1) / float((high - low).max())).turned(int(rng.random() * 6))
        count = 1 if rng.random() < 0.6 else 1 + int(rng.random() * 6)
        for _ in range(count):
            total = sum(len(other.low) for other in placed) + len(body.low)
            if len(placed) >= MOST_OBJECTS or total > MAX_PARTS:
                break
            if not placed:
                placed.append(body)
                continue
            anchor = placed[int(rng.random() * len(placed))]
            if anchor.top is not None and rng.random() < 0.3:
                placed += on_top(body, anchor, rng)
                continue
            axis, side = int(rng.random() * 2), 1 if rng.random() < 0.5 else -1
            moved = body.standing().moved(shift=(*((anchor.box[0] + anchor.box[1]) / 2)[:2], 0))
            moved = beside(moved, anchor, axis, side)
            slide = rng.uniform(0, 0.1) * side if rng.random() < 0.4 else 0.0  # some stand apart
            across = rng.uniform(-0.15, 0.15)
            moved = moved.moved(shift=(slide, across, 0) if axis == 0 else (across, slide, 0))
            if all(
                (np.maximum(moved.box[0], o.box[0]) + 0.06 > np.minimum(moved.box[1], o.box[1])).any() for o in placed
            ):
                placed.append(moved)
    return together([body.drawing for body in placed])


def example(rng: np.random.Generator) -> Drawing:
    """Parts with labels: an item of the corpus, an altered one, or a gathering."""
    if rng.random() < 0.35:
        return gathering(rng)
    item = sample(rng) if rng.random() < 0.65 else sample_for(scene(rng, "train"), rng)
    if rng.random() < 0.25:
        item = pick(rng, tuple(ALTERATIONS.values()))(item, rng) or item
    return Drawing(item.vectors.astype(np.float64), item.objects, item.nouns, item.roles)


def shaken(drawing: Drawing, rng: np.random.Generator) -> Drawing:
    """The parts in any order, shaken, some of them left out, double or out of place, and written
    in another way that means the same."""
    again = np.arange(len(drawing.vectors))
    if rng.random() < 0.15 and len(again) < MAX_PARTS:
        again = np.concatenate([again, rng.integers(len(again), size=1 + int(rng.random() * 3))])[:MAX_PARTS]
    v = drawing.vectors[again].copy()
    v[len(drawing.vectors) :, CENTRE] += rng.normal(0, 0.02, (len(v) - len(drawing.vectors), 3))
    if rng.random() < 0.2:
        v[:, CENTRE] += rng.normal(0, 0.04, (len(v), 3)) * (rng.random((len(v), 1)) < 0.15)
    if rng.random() < 0.75:
        size = rng.random()
        v[:, CENTRE] += rng.normal(0, 0.015 * size, (len(v), 3))
        v[:, LOG_HALF_SIZE] += rng.normal(0, 0.08 * size, (len(v), 3))
        v[:, EXPONENTS] = (v[:, EXPONENTS] + rng.normal(0, 0.06 * size, (len(v), 2))).clip(MIN_EXPONENT, 1.3)
        v[:, TAPER] = (v[:, TAPER] + rng.normal(0, 0.05 * size, len(v))).clip(-MAX_TAPER, MAX_TAPER)
        v[:, COLOR] = (v[:, COLOR] + rng.normal(0, 0.03 * size, (len(v), 3))).clip(0, 1)
        v[:, SECOND_COLOR] = (v[:, SECOND_COLOR] + rng.normal(0, 0.03 * size, (len(v), 3))).clip(0, 1)
        v[:, [METALLIC, ROUGHNESS]] = (v[:, [METALLIC, ROUGHNESS]] + rng.normal(0, 0.05 * size, (len(v), 2))).clip(0, 1)
        for axis in (AXIS_X, AXIS_Y):
            v[:, axis] += rng.normal(0, 0.03 * size, (len(v), 3))
            v[:, axis] /= np.linalg.norm(v[:, axis], axis=-1, keepdims=True)
    if rng.random() < 0.25:  # half a turn about an axis of its own; the taper changes sides
        k = rng.random(len(v)) < 0.5
        v[k, AXIS_Y], v[k, TAPER] = -v[k, AXIS_Y], -v[k, TAPER]
    if rng.random() < 0.15:  # seen from anywhere
        angle = rng.uniform(0, 2 * np.pi)
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        for columns in (CENTRE, AXIS_X, AXIS_Y):
            v[:, columns] = v[:, columns] @ turn
    order = rng.permutation(len(v))
    if rng.random() < 0.3 and len(v) > 2:
        kept = rng.random(len(v)) > rng.uniform(0, 0.2)
        order = order[kept[order]] if kept.sum() > 1 else order
    roles = tuple(drawing.roles[k] for k in again[order])
    return Drawing(v[order], drawing.objects[again[order]], drawing.nouns, roles)


@dataclass(frozen=True)
class Labelled:
    """B assets of up to P parts and N objects, padded: what the parser sees, and what it should
    say."""

    parts: Tensor
    pairs: Tensor
    mask: Tensor
    objects: Tensor
    """(b, p) int: -1 where there is no part."""
    roles: Tensor
    nouns: Tensor
    """(b, n) int: -1 where there is no object."""


def labelled(drawings: list[Drawing], config: ParserConfig) -> Labelled:
    count, most = len(drawings), max(len(d.vectors) for d in drawings)
    width = max(len(d.nouns) for d in drawings)
    out = Labelled(
        torch.zeros(count, most, PART_FEATURES),
        torch.zeros(count, most, most, PAIR_FEATURES),
        torch.zeros(count, most, dtype=torch.bool),
        torch.full((count, most), -1),
        torch.full((count, most), -1),
        torch.full((count, width), -1),
    )
    role_of, noun_of = ({name: k for k, name in enumerate(names)} for names in (config.roles, config.nouns))
    for b, drawing in enumerate(drawings):
        n = len(drawing.vectors)
        parts, pairs = features(drawing.vectors, bounds(drawing.vectors))
        out.parts[b, :n], out.pairs[b, :n, :n], out.mask[b, :n] = torch.from_numpy(parts), torch.from_numpy(pairs), True
        out.objects[b, :n] = torch.from_numpy(drawing.objects)
        out.roles[b, :n] = torch.tensor([role_of[role] for role in drawing.roles])
        for k in set(drawing.objects.tolist()):
            out.nouns[b, k] = noun_of[drawing.nouns[k]]
    return out


def parser_loss(parser: Parser, data: Labelled) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropies of pairs, nouns and roles."""
    x, affinity = parser(data.parts, data.pairs, data.mask)
    x, affinity = x.float(), affinity.float()
    same = data.objects.unsqueeze(1) == data.objects.unsqueeze(2)
    valid = data.mask.unsqueeze(1) & data.mask.unsqueeze(2) & ~torch.eye(data.mask.shape[1], dtype=torch.bool)
    pairs = F.binary_cross_entropy_with_logits(affinity, same.float(), reduction="none") * valid
    pair_loss = (pairs.sum((1, 2)) / valid.sum((1, 2)).clamp_min(1)).mean()
    member = data.objects.unsqueeze(1) == torch.arange(data.nouns.shape[1]).view(1, -1, 1)
    nouns = parser.nouns(x, member).float()
    noun_loss = F.cross_entropy(nouns.flatten(0, 1), data.nouns.flatten(), ignore_index=-1)
    roles = parser.roles(x).float()
    role_loss = F.cross_entropy(roles.flatten(0, 1), data.roles.flatten(), ignore_index=-1)
    with torch.no_grad():
        known = data.nouns >= 0
        named = (nouns.argmax(-1) == data.nouns) | ~known
        together = []
        for b in range(0, len(x), 4):
            n = int(data.mask[b].sum())
            labels = torch.from_numpy(joined(affinity[b, :n, :n].sigmoid().numpy()))
            right = torch.equal(labels.unsqueeze(0) == labels.unsqueeze(1), same[b, :n, :n])
            together.append(right and bool(named[b].all()))
        metrics = {
            "pairs": pair_loss.item(),
            "noun": named[known].float().mean().item(),
            "role": (roles.argmax(-1) == data.roles)[data.mask].float().mean().item(),
            "objects": float(np.mean(together)),
        }
    return 4 * pair_loss + noun_loss + role_loss, metrics


def parser_config() -> ParserConfig:
    """The nouns and roles of the corpus."""
    roles = [role for kind in CATALOGUE.values() for role in (*kind.roles, *kind.accents)]
    return ParserConfig(tuple(CATALOGUE), ("main", *sorted({*roles})))


def train_parser(config: ParserTraining) -> Iterator[dict[str, int | float]]:
    """Train; yields metrics. The result is the averaged weights, in ``out/parser.safetensors``."""
    make_folder(config.out)
    torch.manual_seed(config.seed)
    parser = Parser(parser_config())

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([config.seed, 21, step])
        drawings = [shaken(example(rng), rng) for _ in range(config.batch)]
        return parser_loss(parser, labelled(drawings, parser.config))

    recipe = Recipe(config.steps, config.lr, config.lr / 3, (0.9, 0.99), weight_decay=0.02, warmup=100, ema=0.995)
    header = {"kind": "parser", "config": asdict(parser.config), "lexicon": lexicon().header()}
    yield from fit(parser, loss_of, recipe, config, result="parser.safetensors", header=header)
