"""Tells from the parts of an asset which objects there are: which parts form one object, what it
is, and the role of each part in it.

A transformer over the set of parts (Vaswani et al., 2017) without any order. The geometry of each
pair of parts biases the attention, and pairs are what it classifies: two parts are of one object or
not. Parts are then joined by average linkage. It is trained on scenes of the procedural corpus
(``rl3d pretrain parser``), but sees only geometry and colours, so that anyone's parts can be read.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor, nn

from rewards.composition.prompt import Lexicon
from rewards.relations import Box
from scenes.colors import nearest_base
from scenes.files import FileError
from scenes.files.tensors import read_tensors
from scenes.parts import (
    AXIS_X,
    AXIS_Y,
    CENTRE,
    COLOR,
    EXPONENTS,
    LOG_HALF_SIZE,
    METALLIC,
    PATTERN,
    PATTERNS,
    ROUGHNESS,
    SECOND_COLOR,
    TAPER,
    finish_of,
)
from scenes.parts.rows import bounds, surface_areas

T = TypeVar("T", bound=Hashable)

SHIPPED = Path(__file__).parent / "weights" / "parser.safetensors"
JOINED = 0.5
"""Groups of parts are one object if the mean affinity of their pairs is at least this."""


@dataclass(frozen=True)
class ParserConfig:
    """Size of the network, and what it tells apart."""

    nouns: tuple[str, ...]
    roles: tuple[str, ...]
    width: int = 128
    depth: int = 4
    heads: int = 4
    pair_width: int = 32


@dataclass(frozen=True)
class FoundObject:
    """One object of an asset, as read from its parts."""

    noun: str
    parts: np.ndarray
    """(k,) int: the rows of its parts."""
    roles: tuple[str, ...]
    """(k,) role of each: "main", "legs", ..."""
    color: str
    """Base colour of its main parts: of most of their surface, as below."""
    colors: Mapping[str, str]
    """Base colour of each role's parts: {"main": "red", "legs": "white"}."""
    pattern: str | None
    """One of ``scenes.parts.PATTERNS``, of the main parts."""
    second: str | None
    """Base colour of the pattern's other colour."""
    finish: str | None
    """One of ``scenes.parts.FINISHES``, of the main parts."""
    box: Box
    """Low and high corner of each part, (k, 3) each, in metres."""
    area: float
    """Sum of the surfaces of its parts, in square metres."""
    likely: Mapping[str, float]
    """Probability of each noun."""


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "b p w"], bias: Float[Tensor, "b h p p"]) -> Float[Tensor, "b p w"]:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.norm2(x)), approximate="tanh"))


class Parser(nn.Module):
    """Embeds parts, says which pairs are of one object, and names objects and roles."""

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.config = config
        w, d = config.width, config.pair_width
        self.part_in = nn.Linear(PART_FEATURES, w)
        self.pair_in = nn.Linear(PAIR_FEATURES, d)
        self.pair_bias = nn.Linear(d, config.depth * config.heads)
        self.blocks = nn.ModuleList(_Block(w, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(w)
        self.affinity_in, self.affinity_pair = nn.Linear(w, d), nn.Linear(d, d)
        self.affinity_out = nn.Linear(d, 1)
        self.role_out = nn.Linear(w, len(config.roles))
        self.noun_in, self.noun_out = nn.Linear(2 * w, w), nn.Linear(w, len(config.nouns))

    def forward(
        self, parts: Float[Tensor, "b p f"], pairs: Float[Tensor, "b p p g"], mask: Bool[Tensor, "b p"]
    ) -> tuple[Float[Tensor, "b p w"], Float[Tensor, "b p p"]]:
        """Embeddings of parts, and the logit of each pair to be of one object, symmetric."""
        pair = F.gelu(self.pair_in(pairs), approximate="tanh")
        bias = self.pair_bias(pair).permute(0, 3, 1, 2).unflatten(1, (self.config.depth, self.config.heads))
        bias = bias.masked_fill(~mask[:, None, None, None, :], -1e4)
        x = self.part_in(parts)
        for k, block in enumerate(self.blocks):
            x = block(x, bias[:, k])
        x = self.norm(x)
        a = self.affinity_in(x)
        both = (a.unsqueeze(1) - a.unsqueeze(2)).abs() + self.affinity_pair(pair)
        logits = self.affinity_out(F.gelu(both, approximate="tanh")).squeeze(-1)
        return x, (logits + logits.transpose(1, 2)) / 2

    def roles(self, x: Float[Tensor, "*b w"]) -> Float[Tensor, "*b r"]:
        """Logits of the role of each part."""
        return self.role_out(x)

    def nouns(self, x: Float[Tensor, "b p w"], member: Bool[Tensor, "b n p"]) -> Float[Tensor, "b n k"]:
        """Logits of the nouns of groups of parts."""
        weight = member.to(x.dtype)
        mean = weight @ x / weight.sum(-1, keepdim=True).clamp_min(1)
        # The largest of each channel among the members.
        most = x.unsqueeze(1).masked_fill(~member.unsqueeze(-1), -1e4).amax(2).clamp_min(-1e3)
        return self.noun_out(F.gelu(self.noun_in(torch.cat([mean, most], -1)), approximate="tanh"))


PART_FEATURES, PAIR_FEATURES = 38, 15


def features(vectors: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees of the parts (p, 27) of one asset: numbers of each part (p, f), and of
    each pair (p, p, g). They do not depend on the size and the place of the asset.

    ``box`` are the corners of the boxes of the parts (``bounds``)."""
    low, high = box
    bottom, top = low.min(0), high.max(0)
    scale = 1.0 / max(float((top - bottom).max()), 1e-6)
    origin = np.array([(bottom[0] + top[0]) / 2, (bottom[1] + top[1]) / 2, bottom[2]])
    low, high = (low - origin) * scale, (high - origin) * scale
    middle, extent = (low + high) / 2, (high - low).clip(1e-4)
    log_half = vectors[:, LOG_HALF_SIZE] + np.log(scale)
    axis = np.cross(vectors[:, AXIS_X], vectors[:, AXIS_Y])
    scores = vectors[:, PATTERN]
    patterned = scores.max(1, keepdims=True) > 0
    material = vectors[:, [METALLIC, ROUGHNESS]]
    parts = np.concatenate(
        [
            vectors[:, EXPONENTS],
            vectors[:, TAPER, None],
            vectors[:, TAPER, None] * axis,
            (vectors[:, CENTRE] - origin) * scale * 2,
            middle * 2,
            log_half + 2.5,
            np.log(extent) + 2,
            vectors[:, AXIS_X],
            vectors[:, AXIS_Y],
            axis,
            vectors[:, COLOR] * 2 - 1,
            material,
            np.where(patterned, scores >= scores.max(1, keepdims=True), 0.0),
            np.where(patterned, vectors[:, SECOND_COLOR] * 2 - 1, 0.0),
        ],
        1,
    )
    gap = np.maximum(low[:, None] - high[None], low[None] - high[:, None])
    size = np.minimum(extent[:, None], extent[None])
    pairs = np.concatenate(
        [
            np.clip(gap * 5, -1, 2),
            (gap > 0).any(-1, keepdims=True),
            np.clip(gap / size, -1, 2),
            (middle[:, None] - middle[None]) * 2,
            np.abs(log_half[:, None] - log_half[None]),
            np.abs(vectors[:, None, COLOR] - vectors[None, :, COLOR]).max(-1, keepdims=True) * 4,
            np.abs(vectors[:, None, EXPONENTS] - vectors[None, :, EXPONENTS]).max(-1, keepdims=True),
        ],
        -1,
    )
    return parts.astype(np.float32), pairs.astype(np.float32)


@dataclass(frozen=True)
class ObjectReader:
    """A trained parser with the names of what it finds."""

    network: Parser
    lexicon: Lexicon
    sha256: str = ""

    @torch.no_grad()
    def parse(self, vectors: np.ndarray) -> list[FoundObject]:
        """The objects of one asset from its existing parts (p, 27), the one with the first part
        first. None for no parts."""
        if not len(vectors):
            return []
        box = bounds(vectors)
        parts, pairs = (torch.from_numpy(t).unsqueeze(0) for t in features(vectors, box))
        x, affinity = self.network(parts, pairs, torch.ones(1, len(vectors), dtype=torch.bool))
        labels = joined(affinity[0].sigmoid().numpy())
        member = torch.from_numpy(labels[None] == np.arange(labels.max() + 1)[:, None])
        nouns = self.network.nouns(x, member.unsqueeze(0))[0].softmax(-1).numpy()
        roles, look = self.network.roles(x[0]).numpy(), _Look.of(vectors, box)
        found = []
        for k, scores in enumerate(nouns):
            noun, rows = self.network.config.nouns[int(scores.argmax())], np.flatnonzero(labels == k)
            allowed = self.allowed_roles(noun)
            best = allowed[roles[rows][:, allowed].argmax(1)]
            names = tuple(self.network.config.roles[r] for r in best)
            likely = dict(zip(self.network.config.nouns, scores.tolist(), strict=True))
            found.append(look.described(noun, rows, names, likely))
        return found

    def allowed_roles(self, noun: str) -> Int[np.ndarray, "r"]:
        """Numbers of the roles that parts of such an object have."""
        return _allowed(self.network.config.roles, ("main", *self.lexicon.roles[noun], *self.lexicon.details[noun]))


@dataclass(frozen=True)
class _Look:
    """What is seen of each part of one asset."""

    box: Box
    areas: np.ndarray
    colors: list[str]
    patterns: list[str | None]
    seconds: list[str]
    finishes: list[str | None]

    @staticmethod
    def of(vectors: np.ndarray, box: Box) -> _Look:
        scores = vectors[:, PATTERN]
        patterns = [
            PATTERNS[best] if most > 0 else None for best, most in zip(scores.argmax(1), scores.max(1), strict=True)
        ]
        finishes = [finish_of(*pair) for pair in vectors[:, [METALLIC, ROUGHNESS]].tolist()]
        bases = nearest_base(np.concatenate([vectors[:, COLOR], vectors[:, SECOND_COLOR]]))
        count = len(vectors)
        return _Look(box, surface_areas(vectors), bases[:count], patterns, bases[count:], finishes)

    def described(
        self, noun: str, rows: np.ndarray, roles: tuple[str, ...], likely: Mapping[str, float]
    ) -> FoundObject:
        of_role: dict[str, list[int]] = {}
        for k, role in zip(rows.tolist(), roles, strict=True):
            of_role.setdefault(role, []).append(k)
        main = of_role.get("main") or rows.tolist()
        pattern = self.most(self.patterns, main)
        patterned = [k for k in main if self.patterns[k] == pattern]
        return FoundObject(
            noun=noun,
            parts=rows,
            roles=roles,
            color=self.most(self.colors, main),
            colors={role: self.most(self.colors, own) for role, own in of_role.items()},
            pattern=pattern,
            second=self.most(self.seconds, patterned) if pattern else None,
            finish=self.most(self.finishes, main),
            box=(self.box[0][rows], self.box[1][rows]),
            area=float(self.areas[rows].sum()),
            likely=likely,
        )

    def most(self, values: list[T], rows: list[int]) -> T:
        """The value that most of the surface of some parts has."""
        sums: dict[T, float] = {}
        for k in rows:
            sums[values[k]] = sums.get(values[k], 0.0) + self.areas[k]
        return max(sums, key=lambda value: sums[value])


@cache
def _allowed(roles: tuple[str, ...], names: tuple[str, ...]) -> np.ndarray:
    return np.array([roles.index(name) for name in dict.fromkeys(names) if name in roles])


def joined(affinity: Float[np.ndarray, "p p"]) -> Int[np.ndarray, "p"]:
    """The group of each part, from 0 in the order of first parts, by average linkage."""
    if len(affinity) == 1:
        return np.zeros(1, dtype=np.int64)
    close = affinity >= JOINED
    np.fill_diagonal(close, True)
    first = close.argmax(1)
    if ((first[:, None] == first) == close).all():  # the groups are clear: the same by any linkage
        return np.unique(first, return_inverse=True)[1]
    apart = 1 - affinity.astype(np.float64)
    np.fill_diagonal(apart, 0)
    raw = fcluster(linkage(squareform(apart, checks=False), "average"), 1 - JOINED, "distance")
    _, first, labels = np.unique(raw, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[labels]


@cache
def shipped_lexicon() -> Lexicon:
    """The names that the shipped parser knows."""
    return load_parser().lexicon


def load_parser(path: Path = SHIPPED) -> ObjectReader:
    """A frozen parser from its safetensors file, whose header holds its sizes and its lexicon.
    FileError for anything else."""
    file = read_tensors(path, "a parser's weights")
    try:
        config: dict[str, Any] = dict(file.header["config"])
        names = {key: tuple(config.pop(key)) for key in ("nouns", "roles")}
        network = Parser(ParserConfig(**names, **config))
        network.load_state_dict({k: v.float() for k, v in file.tensors.items()})
        lexicon = Lexicon.from_header(file.header["lexicon"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise FileError(f"{path}: not a parser's weights ({type(error).__name__})") from error
    return ObjectReader(network.eval().requires_grad_(False), lexicon, file.sha256)
