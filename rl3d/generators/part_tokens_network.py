"""The network of part tokens: a causal transformer over objects and their parts, and a cascade over
the 16 tokens of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rewards.text import TextFeatures
from rewards.text.minilm import DIM as TEXT_DIM
from rl3d.generators.packing import Packing
from rl3d.generators.part_codes import (
    END,
    FACES,
    MAX_ELEMENTS,
    OBJECT,
    ORDERED,
    PART,
    SHAPE,
    SIZES,
    UNUSED,
    USED,
    is_object,
)
from rl3d.generators.part_tokens_words import NAMED, Words, noun_of, nouns_so_far
from rl3d.generators.token_sampling import TokenSampling, guided, nucleus

A = len(SIZES)
STARTS = tuple(sum(SIZES[:k]) for k in range(A))
"""Where the values of an attribute begin in the table of all values."""
VALUES = sum(SIZES)
TEXT_PLACES = 48
"""Words of a text that the network tells apart by their place; those after them share the last."""
NEVER = -1e4
"""Logit of a value that cannot be."""


@dataclass(frozen=True)
class PartTokensConfig:
    """Size of the network."""

    width: int = 192
    depth: int = 5
    heads: int = 3
    hidden: int = 356
    """Width inside a block's MLP."""
    slots: int = MAX_ELEMENTS
    """Most objects and parts of an asset."""
    examples: int = 3
    """Most retrieved assets that the network can tell apart."""

    def __post_init__(self) -> None:
        sizes = self.width, self.depth, self.heads, self.hidden, self.slots, self.examples
        if min(sizes) < 1 or max(sizes) > 4096 or self.width % self.heads:
            raise ValueError(f"a network's sizes are 1 to 4096, and its heads divide its width, got {self}")


@dataclass(frozen=True)
class Tables:
    """What the network sees of every value of every attribute, and last a row of zeros for tokens
    that say nothing. There are fewer values than tokens: tables are mapped, then looked up."""

    part_in: Float[Tensor, "v w"]
    before: Float[Tensor, "v2 w"]
    """Of the element before, and of its object."""
    so_far: Float[Tensor, "v w"]
    beside: Float[Tensor, "v3 w"]
    """Of the last element (for an object: the last object), of the one before it, and of the last
    one's opposite faces."""
    pointed_at: Float[Tensor, "v w"]


@dataclass(frozen=True)
class Memory:
    """What cross-attention looks at: (B, L) tokens, T of the text first, then the E parts of the
    examples. The cascade looks at the text again once it knows the labels of a part, and sees the
    tokens of the example's parts that its state points at."""

    tokens: Float[Tensor, "b l w"]
    mask: Bool[Tensor, "b l"]
    keys: Float[Tensor, "b e w"]
    parts: Float[Tensor, "b e a"]
    """16 tokens of a part, mapped to the cascade's width: a = 16 w."""
    text_keys: Float[Tensor, "b h t d"]
    text_values: Float[Tensor, "b h t d"]
    word_keys: Float[Tensor, "b k t u"]
    """For each named token; of the text's t1 words, and before them of none."""
    said: Float[Tensor, "b t1 v"]
    """Probability of each value of the named tokens, side by side, if a word is what names it."""
    tables: Tables

    def rows(self, kept: Bool[Tensor, "b"]) -> Memory:
        return replace(self, **{f.name: getattr(self, f.name)[kept] for f in fields(self) if f.name != "tables"})


def attention(
    q: Float[Tensor, "b h q d"], k: Float[Tensor, "b h k d"], v: Float[Tensor, "b h k d"], mask: Bool[Tensor, "..."]
) -> Float[Tensor, "b q w"]:
    """Written out: for a few dozen tokens on a CPU the fused kernel's backward is slower."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return (scores.masked_fill(~mask, -1e4).softmax(-1) @ v).transpose(1, 2).flatten(2)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_q = nn.Linear(width, width)
        self.cross_kv = nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, hidden)
        self.mlp_out = nn.Linear(hidden, width)
        for last in (self.self_out, self.cross_out, self.mlp_out):
            nn.init.normal_(last.weight, std=0.02)
            nn.init.zeros_(last.bias)

    def split(self, t: Tensor) -> Tensor:
        return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def cross(self, x: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return attention(self.split(x), k, v, mask)

    def mlp(self, x: Tensor) -> Tensor:
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh"))


class PartTokensNetwork(nn.Module):
    """Logits of every token of every part, given the parts before, the text and the examples."""

    starts: Tensor

    def __init__(self, config: PartTokensConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.values = nn.Parameter(_first_values(w))
        """An embedding of every value of every attribute. The network sees linear maps of it."""
        self.part_in, self.so_far, self.last, self.last_but_one = (nn.Linear(w, w, bias=False) for _ in range(4))
        self.pointed_at, self.pointer, self.key = (nn.Linear(w, w, bias=False) for _ in range(3))
        self.object_in, self.opposite = (nn.Linear(w, w, bias=False) for _ in range(2))
        self.text_query, self.text_key, self.text_value, self.text_out = (nn.Linear(w, w, bias=False) for _ in range(4))
        self.slots = nn.Parameter(torch.randn(config.slots, w) * 0.02)
        self.start = nn.Parameter(torch.randn(w) * 0.02)
        self.text_in = nn.Linear(TEXT_DIM, w)
        self.text_place = nn.Parameter(torch.randn(TEXT_PLACES, w) * 0.02)
        self.null_token = nn.Parameter(torch.randn(w) * 0.02)
        self.words = Words(w)
        self.example_in = nn.Linear(w, w)
        self.example_number = nn.Parameter(torch.randn(config.examples, w) * 0.02)
        self.example_place = nn.Parameter(torch.randn(config.slots, w) * 0.02)
        self.blocks = nn.ModuleList(_Block(w, config.heads, config.hidden) for _ in range(config.depth))
        self.attribute = nn.Parameter(torch.randn(A, w) * 0.02)
        self.first_weight, self.second_weight = (nn.Parameter(torch.randn(A, w, w) * w**-0.5) for _ in range(2))
        self.first_bias, self.second_bias = (nn.Parameter(torch.zeros(A, 1, w)) for _ in range(2))
        self.out_weight = nn.Parameter(torch.randn(VALUES, w) * 0.02)
        self.out_bias = nn.Parameter(torch.zeros(VALUES))
        self.register_buffer("starts", torch.tensor(STARTS), persistent=False)

    def tables(self) -> Tables:
        maps = self.part_in, self.object_in, self.so_far, self.pointed_at, self.last, self.last_but_one, self.opposite
        values = F.pad(self.values, (0, 0, 0, 1))
        part_in, object_in, so_far, pointed_at, *beside = (m(values).float() for m in maps)
        return Tables(part_in, torch.cat([part_in, object_in]), so_far, torch.cat(beside), pointed_at)

    def memory(
        self,
        text: TextFeatures,
        examples: Tensor | None,
        keep_text: Tensor | None = None,
        *,
        tables: Tables | None = None,
    ) -> Memory:
        """``keep_text`` (b,), where false, hides the text of an entry."""
        tables = tables or self.tables()
        batch, width, device = len(text.tokens), self.config.width, text.tokens.device
        seen = text.mask if keep_text is None else text.mask & keep_text[:, None]
        place = torch.arange(text.tokens.shape[1], device=device).clamp_max(TEXT_PLACES - 1)
        meaning = self.text_in(text.tokens)
        tokens = [self.null_token.expand(batch, 1, -1), meaning + self.text_place[place]]
        words = torch.cat(tokens, 1)
        text_keys, text_values = (self._heads(f(words)) for f in (self.text_key, self.text_value))
        word_keys, said = self.words(words, meaning, text.mask)
        masks = [torch.ones_like(text.mask[:, :1]), seen]
        keys, looks = (torch.zeros(batch, 0, wide, device=device) for wide in (width, A * width))
        if examples is not None and examples.shape[1]:
            number, there = examples[..., A], examples[..., A] >= 0
            place = _places(number).clamp_max(self.config.slots - 1)
            packing = Packing(there, even=True)
            rows, number, place = (t.flatten(0, 1)[packing.rows] for t in (examples[..., :A], number, place))
            parts = self.example_in(F.embedding_bag(self._rows(rows), tables.part_in, mode="sum"))
            parts = parts + self.example_number[number] + self.example_place[place]
            tokens.append(packing.pad(parts))
            masks.append(there)
            keys = packing.pad(self.key(F.layer_norm(parts, parts.shape[-1:])))
            looks = packing.pad(F.embedding(self._rows(rows), tables.pointed_at).flatten(1))
        seen_by_all = torch.cat(tokens, 1), torch.cat(masks, 1)
        return Memory(*seen_by_all, keys, looks, text_keys, text_values, word_keys, said, tables)

    def point(self, h: Float[Tensor, "b p w"], memory: Memory) -> Float[Tensor, "b p a"]:
        """What the parts that the states point at add to the cascade's input: 0 where a state
        points at none, as all do without examples."""
        scores = self.pointer(h) @ memory.keys.transpose(-1, -2) * h.shape[-1] ** -0.5
        there = memory.mask[:, None, memory.mask.shape[1] - memory.keys.shape[1] :]
        none = torch.zeros_like(scores[..., :1])
        weights = torch.cat([none, scores.masked_fill(~there, -1e4)], -1).softmax(-1)[..., 1:]
        return weights.to(memory.parts.dtype) @ memory.parts

    def reread(self, x: Float[Tensor, "b p w"], memory: Memory) -> Float[Tensor, "b p w"]:
        """What the text says of the parts whose states and labels are summed in ``x``."""
        q = self._heads(self.text_query(F.layer_norm(x, x.shape[-1:])))
        seen = memory.mask[:, None, None, : memory.text_keys.shape[2]]
        return self.text_out(attention(q, memory.text_keys, memory.text_values, seen))

    def _heads(self, t: Float[Tensor, "b l w"]) -> Float[Tensor, "b h l d"]:
        return t.unflatten(-1, (self.config.heads, -1)).transpose(1, 2)

    @property
    def layers(self) -> list[_Block]:
        return list(self.blocks)  # type: ignore[arg-type]

    def forward(
        self,
        tokens: Int[Tensor, "b p 16"],
        counted: Bool[Tensor, "b p"],
        memory: Memory,
        hidden_keys: Bool[Tensor, "b p p"] | None = None,
    ) -> list[Float[Tensor, "n v"]]:
        """Logits of each attribute for the n counted parts, in order; the counted parts of an
        asset come first. ``hidden_keys`` hides earlier parts from attention."""
        return self.logits(self.states(tokens, counted, memory, hidden_keys)[-1], tokens, counted, memory)

    def logits(
        self, h: Float[Tensor, "n w"], tokens: Int[Tensor, "b p 16"], counted: Bool[Tensor, "b p"], memory: Memory
    ) -> list[Float[Tensor, "n v"]]:
        """Logits of each attribute from the last states of the n counted parts."""
        packing = Packing(counted)
        pointed = packing.pack(self.point(packing.pad(F.layer_norm(h, h.shape[-1:])), memory))
        own, last, last_but_one, within, before_within = self.inputs(tokens, counted)
        so_far = F.embedding(self._rows(own), memory.tables.so_far).cumsum(1)
        read = packing.pack(self.reread(packing.pad(h + so_far[:, SHAPE - 1]), memory))
        so_far = torch.cat([torch.zeros_like(so_far[:, :1]), so_far[:, :-1]], 1)
        x = h[:, None] + self.attribute + so_far + pointed.unflatten(1, (A, -1))
        x = x + self._beside(beside(own, last, within), beside(own, last_but_one, before_within), memory.tables)
        y = self.cascade(torch.cat([x[:, :SHAPE], x[:, SHAPE:] + read[:, None]], 1))
        weights, biases = self.out_weight.split(SIZES), self.out_bias.split(SIZES)
        logits = [F.linear(own_y, w, b) for own_y, w, b in zip(y, weights, biases, strict=True)]
        objects, latest = nouns_so_far(tokens, is_object(tokens)), packing.pad(noun_of(within))
        for k in NAMED:
            features = packing.pad(y[k])
            said = self.words.read(k, features, memory.word_keys, memory.said, memory.mask, objects, latest)
            logits[k] = self.words.named(k, logits[k], *(packing.pack(t) for t in said))
        logits[OBJECT] = grammatical(logits[OBJECT], last[:, OBJECT])
        return logits

    def states(
        self,
        tokens: Int[Tensor, "b p 16"],
        counted: Bool[Tensor, "b p"],
        memory: Memory,
        hidden_keys: Bool[Tensor, "b p p"] | None = None,
        *,
        blocks: int | None = None,
    ) -> list[Float[Tensor, "n w"]]:
        """The states of the counted parts after every block, or after the first few. Rows of all
        assets are packed; only attention pads them."""
        p = counted.shape[1]
        parts, seen_memory = Packing(counted), Packing(memory.mask, even=True)
        place = parts.rows % p
        _, last, _, within, _ = self.inputs(tokens, counted)
        x = self._before(last, within, memory.tables) + self.start * (place == 0).unsqueeze(-1)
        x = x + F.embedding(place, self.slots)
        causal = torch.ones(p, p, dtype=torch.bool, device=x.device).tril()
        seen = causal if hidden_keys is None else causal & ~hidden_keys[:, None]
        text, text_seen = seen_memory.pack(memory.tokens), memory.mask[:, None, None]
        out = []
        for block in self.layers[:blocks]:
            q, k, v = (block.split(t) for t in parts.pad(block.qkv(block.norm(x))).chunk(3, -1))
            x = x + block.self_out(parts.pack(attention(q, k, v, seen)))
            k, v = (block.split(t) for t in seen_memory.pad(block.cross_kv(text)).chunk(2, -1))
            q = parts.pad(block.cross_q(block.cross_norm(x)))
            x = block.mlp(x + block.cross_out(parts.pack(block.cross(q, k, v, text_seen))))
            out.append(x)
        return out

    def inputs(self, tokens: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Tokens of the counted elements, of the two before each, and of the last two objects
        before it; -1 for none."""
        shifted = F.pad(tokens, (0, 0, 2, 0), value=UNUSED)
        last, last_but_one = shifted[:, 1:-1], shifted[:, :-2]
        place = torch.arange(tokens.shape[1], device=tokens.device)
        head = torch.where(is_object(last), place, -1).cummax(1).values
        head_before = torch.where(head > 0, head.gather(1, (head - 1).clamp_min(0)), -1)
        within, before_within = (
            torch.where((at >= 0)[..., None], last.gather(1, at.clamp_min(0)[..., None].expand_as(last)), UNUSED)
            for at in (head, head_before)
        )
        return tokens[counted], last[counted], last_but_one[counted], within[counted], before_within[counted]

    def cascade(self, x: Float[Tensor, "n 16 w"]) -> Float[Tensor, "16 n w"]:
        """Features of all attributes of n parts, each from its own input."""
        y = x.transpose(0, 1)  # (16, n, w)
        y = y + F.gelu(
            torch.baddbmm(self.first_bias, F.layer_norm(y, y.shape[-1:]), self.first_weight), approximate="tanh"
        )
        return F.gelu(
            torch.baddbmm(self.second_bias, F.layer_norm(y, y.shape[-1:]), self.second_weight), approximate="tanh"
        )

    def _rows(self, tokens: Int[Tensor, "n 16"], table: int = 0) -> Int[Tensor, "n 16"]:
        """Where tokens lie in the first or a later one of tables that are stacked."""
        return torch.where(tokens >= 0, tokens + self.starts, VALUES) + table * (VALUES + 1)

    def _before(self, last: Tensor, within: Tensor, tables: Tables) -> Float[Tensor, "n w"]:
        return F.embedding_bag(torch.cat([self._rows(last), self._rows(within, 1)], 1), tables.before, mode="sum")

    def _beside(self, last: Tensor, last_but_one: Tensor, tables: Tables) -> Float[Tensor, "n 16 w"]:
        """What each token sees of the same token before, and of the opposite face."""
        rows = self._rows(last), self._rows(last_but_one, 1), self._rows(opposite_faces(last), 2)
        bags = torch.stack(rows, -1).flatten(0, 1)
        return F.embedding_bag(bags, tables.beside, mode="sum").unflatten(0, last.shape)

    @torch.no_grad()
    def draw(
        self, memory: Memory, given: Tensor, uniforms: Float[Tensor, "b p 16"], options: TokenSampling
    ) -> Iterator[tuple[Int[Tensor, "b 16"], Float[Tensor, "b 16"]]]:
        """Draw part after part; yields the tokens of the next part of every asset and their
        log-probs. ``given`` (b, g, 16) are parts that are not drawn. With guidance, ``memory`` has
        2 b entries, those without text last."""
        b = len(uniforms)
        keys = [[block.split(t) for t in block.cross_kv(memory.tokens).chunk(2, -1)] for block in self.layers]
        caches = [torch.zeros(2, *k.shape[:2], uniforms.shape[1], k.shape[-1], device=k.device) for k, _ in keys]
        copies, device = len(memory.mask) // b, uniforms.device
        active = torch.arange(b, device=device)  # assets that have not ended
        before_within = within = last = last_but_one = torch.full((b, A), UNUSED, device=device)
        objects = noun_of(last)  # how many of each noun are there
        for p in range(uniforms.shape[1]):
            before = self._before(last, within, memory.tables) + self.start * (p == 0)
            x = before.repeat(copies, 1) + self.slots[p]
            mask = memory.mask[:, None, None]
            for block, (k, v), cache in zip(self.layers, keys, caches, strict=True):
                q, new_k, new_v = (block.split(t.unsqueeze(1)) for t in block.qkv(block.norm(x)).chunk(3, -1))
                cache[0, :, :, p], cache[1, :, :, p] = new_k[:, :, 0], new_v[:, :, 0]
                seen = cache[:, :, :, : p + 1]
                everything = torch.ones(1, dtype=torch.bool, device=x.device)
                x = x + block.self_out(attention(q, seen[0], seen[1], everything)[:, 0])
                x = x + block.cross_out(block.cross(block.cross_q(block.cross_norm(x)).unsqueeze(1), k, v, mask)[:, 0])
                x = block.mlp(x)
            forced = given[active, p] if p < given.shape[1] else torch.zeros_like(last)
            pointed = self.point(F.layer_norm(x, x.shape[-1:]).unsqueeze(1), memory)[:, 0]
            earlier = last, last_but_one, within, before_within
            tokens, log_probs = self._draw_part(x, pointed, memory, earlier, objects, uniforms[active, p], options)
            forced_rows = forced[:, OBJECT] != END
            tokens = torch.where(forced_rows[:, None], forced, tokens)
            log_probs = torch.where(forced_rows[:, None], 0.0, log_probs)
            ended = tokens[:, OBJECT] == END
            all_tokens, all_log_probs = tokens.new_full((b, A), UNUSED), log_probs.new_zeros(b, A)
            all_tokens[:, OBJECT] = END
            all_tokens[active], all_log_probs[active] = tokens, log_probs
            yield all_tokens, all_log_probs
            last_but_one, last = last, tokens
            object_ = is_object(tokens)[:, None]
            before_within, within = torch.where(object_, within, before_within), torch.where(object_, tokens, within)
            objects = objects + noun_of(tokens) * object_
            if ended.any():
                rest = ~ended
                active, last, last_but_one = active[rest], last[rest], last_but_one[rest]
                within, before_within, objects = within[rest], before_within[rest], objects[rest]
                if not len(active):
                    return
                rows = rest.repeat(copies)
                memory = memory.rows(rows)
                keys = [[t[rows] for t in pair] for pair in keys]
                caches = [cache[:, rows] for cache in caches]

    def _draw_part(
        self,
        h: Tensor,
        pointed: Tensor,
        memory: Memory,
        before: tuple[Tensor, Tensor, Tensor, Tensor],
        objects: Tensor,
        uniforms: Tensor,
        options: TokenSampling,
    ) -> tuple[Tensor, Tensor]:
        last, last_but_one, within, before_within = before
        copies = len(h) // len(last)
        objects, latest = (t.repeat(copies, 1).unsqueeze(1) for t in (objects, noun_of(within)))
        plain = h[:, None] + self.attribute + pointed.unflatten(1, (A, -1))
        base = plain + self._beside(last, last_but_one, memory.tables).repeat(copies, 1, 1)
        so_far, tokens, log_probs = torch.zeros_like(h), [], []
        for k, (start, size) in enumerate(zip(STARTS, SIZES, strict=True)):
            if k == SHAPE:
                base = base + self.reread((h + so_far).unsqueeze(1), memory)
            y = base[:, k] + so_far
            first = torch.addmm(self.first_bias[k], F.layer_norm(y, y.shape[-1:]), self.first_weight[k])
            y = y + F.gelu(first, approximate="tanh")
            second = torch.addmm(self.second_bias[k], F.layer_norm(y, y.shape[-1:]), self.second_weight[k])
            weight, bias = self.out_weight[start : start + size], self.out_bias[start : start + size]
            y = F.gelu(second, approximate="tanh")
            logits = F.linear(y, weight, bias)
            if k in NAMED:
                features = y.unsqueeze(1)
                said = self.words.read(k, features, memory.word_keys, memory.said, memory.mask, objects, latest)
                logits = self.words.named(k, logits, *(t[:, 0] for t in said))
            if k == OBJECT:
                logits = grammatical(logits, last[:, OBJECT].repeat(copies))
            logits = guided(logits, options.guidance)
            log_p = (logits / options.temperature).log_softmax(-1)
            token = nucleus(log_p, uniforms[:, k], options.top_p)
            if k == OBJECT:
                used = USED.to(token.device)[torch.where(token == END, 0, torch.where(token == PART, 2, 1))]
                own = token[:, None].expand_as(last)
                last, last_but_one = beside(own, last, within), beside(own, last_but_one, before_within)
                base = plain + self._beside(last, last_but_one, memory.tables).repeat(copies, 1, 1)
            tokens.append(torch.where(used[:, k], token, UNUSED))
            log_probs.append(log_p.gather(1, token.unsqueeze(1)).squeeze(1) * used[:, k])
            so_far = so_far + (memory.tables.so_far[token + start] * used[:, k, None]).repeat(copies, 1)
        return torch.stack(tokens, 1), torch.stack(log_probs, 1)


def beside(own: Int[Tensor, "n 16"], element: Int[Tensor, "n 16"], object_: Int[Tensor, "n 16"]) -> Int[Tensor, "n 16"]:
    """What each token is read beside: the first always the element before; the others of an object
    an object before, which lies on the same grid."""
    seen = torch.where(is_object(own)[:, None], object_, element)
    return torch.cat([element[:, : OBJECT + 1], seen[:, OBJECT + 1 :]], 1)


def opposite_faces(tokens: Int[Tensor, "n 16"]) -> Int[Tensor, "n 16"]:
    """The tokens with the two faces of each axis exchanged, and nothing else: where something lies
    on another thing or beside it, its face is the other's opposite one."""
    swapped = tokens[:, FACES : FACES + 6].unflatten(1, (3, 2)).flip(2).flatten(1)
    return F.pad(swapped, (FACES, A - FACES - 6), value=UNUSED)


def grammatical(logits: Float[Tensor, "n v"], last: Int[Tensor, "n"]) -> Float[Tensor, "n v"]:
    """Logits of the first token of elements, given that of the element before each, -1 for none: an
    asset begins with an object, and an object has a part."""
    value = torch.arange(logits.shape[-1], device=logits.device)
    not_object = (value == END) | (value == PART)
    begins, after_object = (last < 0)[:, None], ((last > END) & (last < PART))[:, None]
    return logits.masked_fill(begins & not_object | after_object & (value != PART), NEVER)


def _places(number: Int[Tensor, "b e"]) -> Int[Tensor, "b e"]:
    """Place of each part within its example."""
    same = (number.unsqueeze(-1) == number.unsqueeze(-2)).tril(-1)
    return same.sum(-1)


def _first_values(width: int) -> Float[Tensor, "v w"]:
    """Sinusoids for tokens that are numbers, so that near values begin alike; noise for names."""
    out = torch.randn(VALUES, width) * 0.5
    waves = torch.exp(torch.linspace(math.log(0.5), math.log(60), width // 2))
    for k in ORDERED:
        angles = torch.linspace(0, 1, SIZES[k])[:, None] * waves
        tones = torch.cat([angles.sin(), angles.cos()], -1)[:, :width]
        out[STARTS[k] : STARTS[k] + SIZES[k]] = F.pad(tones, (0, width - tones.shape[-1])) @ _mixing(width, k)
    return out


def _mixing(width: int, k: int) -> Float[Tensor, "w w"]:
    """A rotation of its own for each attribute: sums of embeddings then stay readable."""
    return torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(k)))[0]
