"""Part tokens: an autoregressive transformer over objects and their parts, and an inner cascade
over the 16 tokens of each (see ``part_codes``).

An element at a time: causal self-attention to those before, cross-attention to the tokens of the
text and to the parts of retrieved examples. The cascade draws the tokens of an element one by one
from the transformer's state, what is already drawn of this element, the same tokens of the two
elements before (of an object: the two objects before) and the opposite faces of the last, and those
of the example's part that the state points at (pointer networks; Vinyals et al., 2015). Once it
knows the noun or the role, it reads the text again. It costs a sixth of a flat sequence of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rl3d.configs import from_file
from rl3d.generators.base import Generator, StepStats, TextCondition
from rl3d.generators.part_codes import (
    COLOR_TOKEN,
    END,
    FACES,
    OBJECT,
    PART,
    SIZES,
    UNUSED,
    decode_assets,
    encode_assets,
    encode_parts,
    is_object,
)
from rl3d.generators.part_tokens_network import (
    NEVER,
    A,
    Memory,
    PartTokensConfig,
    PartTokensNetwork,
)
from rl3d.generators.token_sampling import TokenSampling, guided
from scenes.asset import Asset, PartAsset
from scenes.parts import EXISTENCE, MAX_PARTS, Parts

WIDEST = max(SIZES)


@dataclass(frozen=True)
class TokenCondition(TextCondition):
    """Prompts, retrieved examples, and parts that are given."""

    examples: Int[Tensor, "b e 17"] | None = None
    """Tokens of the parts of all examples of a prompt, and last the number of the example, -1 for
    padding."""
    given: Float[Tensor, "b g v"] | None = None
    """The first parts of each asset as vectors; absent parts are padding."""

    def __getitem__(self, index: Tensor) -> TokenCondition:
        text = super().__getitem__(index)
        examples, given = (None if t is None else t[index] for t in (self.examples, self.given))
        return TokenCondition(text.prompts, text.text, examples, given)


@dataclass(frozen=True)
class TokenRollout:
    """B assets of at most P - 1 elements. A step is one token: T = 16 P."""

    condition: TokenCondition
    options: TokenSampling
    tokens: Int[Tensor, "b p 16"]
    """The element after an asset's last one has the first token ``END``."""
    log_probs: Float[Tensor, "t b"]

    @property
    def exists(self) -> Bool[Tensor, "b p"]:
        return (self.tokens[..., OBJECT] != END).long().cumprod(1).bool()

    @property
    def mask(self) -> Bool[Tensor, "t b"]:
        """All tokens that were drawn, those that end the assets among them."""
        exists = self.exists
        place = torch.arange(exists.shape[1], device=exists.device)
        drawn = place <= exists.sum(1, keepdim=True)
        if self.condition.given is not None:
            count = (self.condition.given[..., EXISTENCE] > 0).sum(1, keepdim=True)
            drawn = drawn & (place > torch.where(count > 0, count, -1))  # with their object
        unknown = (self.tokens[..., FACES] == UNUSED).unsqueeze(-1) & (self.tokens[..., OBJECT : OBJECT + 1] != END)
        return (drawn.unsqueeze(-1) & (self.tokens != UNUSED) & ~unknown).flatten(1).T

    @property
    def parts(self) -> Bool[Tensor, "b p"]:
        """The elements that are parts of the asset."""
        part = self.exists & (self.tokens[..., OBJECT] == PART)
        return part & (part.cumsum(1) <= MAX_PARTS)

    @property
    def units(self) -> Int[Tensor, "t b"]:
        """The part that each step draws; of an object, its first part. -1 for the token that ends
        the asset."""
        part, object_ = self.parts, self.exists & is_object(self.tokens)
        number = part.cumsum(1)  # of the part after an element
        unit = torch.where(part, number - 1, torch.where(object_ & (number < MAX_PARTS), number, -1))
        return unit.repeat_interleave(A, 1).T

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Tensor) -> TokenRollout:
        return TokenRollout(self.condition[index], self.options, self.tokens[index], self.log_probs[:, index])


class PartTokens(Generator):
    """The part-token policy."""

    name = "part-tokens"
    gives = frozenset({"parts"})
    units_are_parts = True
    default_options = TokenSampling()
    exploration = TokenSampling(temperature=1.0, top_p=1.0)
    parallel_steps = True
    objectives: ClassVar = {
        "grpo": {"lr": 1e-4, "clip": 0.2, "kl_weight": 0.05},
        "reinforce": {"lr": 1e-4, "kl_weight": 0.05},
        "ddpo": {"lr": 1e-4, "clip": 0.2},
        "dpok": {"lr": 1e-4, "clip": 0.2, "kl_weight": 0.05},
        # Log-likelihoods are sums over hundreds of tokens, those of a flow are means.
        "dgpo": {"beta": 0.1, "clip": 0.2},
        "dpo": {"beta": 0.1},
        "dro": {"bound": 10.0},
    }

    network: PartTokensNetwork

    def __init__(self, **config: int) -> None:
        sizes = from_file(PartTokensConfig, config)
        super().__init__(PartTokensNetwork(sizes), asdict(sizes))

    @property
    def slots(self) -> int:
        return self.network.config.slots

    @property
    def _most_parts(self) -> int:
        return min(MAX_PARTS, self.slots - 1)

    def condition(self, prompts: list[str]) -> TokenCondition:
        plain = super().condition(prompts)
        return TokenCondition(plain.prompts, plain.text)

    def with_examples(self, condition: TokenCondition, examples: Sequence[Sequence[PartAsset]]) -> TokenCondition:
        """The condition with retrieved assets, each a batch of one: at most ``config.examples`` for
        a prompt."""
        most = max(map(len, examples))
        if most > self.network.config.examples:
            raise ValueError(
                f"{self.name} looks at up to {self.network.config.examples} examples of a prompt, got {most}: "
                "lower --retrieve"
            )
        rows = []
        for assets in examples:
            found = [encode_parts(a.parts[0].present().vectors().detach().cpu()) for a in assets]
            rows.append(torch.cat([F.pad(t, (0, 1), value=n) for n, t in enumerate(found)]) if found else None)
        return replace(condition, examples=padded(rows, A + 1, -1).to(self.device))

    def with_given(self, condition: TokenCondition, given: Sequence[PartAsset]) -> TokenCondition:
        """The condition with the parts that each sample begins with: a batch of one scene each. The
        network sees the nearest tokens; the asset has the parts as they are given."""
        parts = [asset.parts[0].present().detach().to("cpu") for asset in given]
        most, fit = max(p.count for p in parts), self._most_parts - 1
        if most > fit:
            raise ValueError(
                f"the given asset has {most} parts: {self.name} goes on from at most {fit}; add --keep {fit}"
            )
        return replace(condition, given=Parts.stack(parts).vectors().to(self.device))

    def stream(
        self, condition: TokenCondition, *, seeds: Sequence[int], options: TokenSampling | None = None
    ) -> Iterator[TokenRollout]:
        """Draw samples part by part: yields what there is after each part."""
        drawn = options or self.default_options
        count = len(condition)
        if len(seeds) != count:
            raise ValueError(f"{count} prompts need {count} seeds, got {len(seeds)}")
        # On the CPU whatever the device, and one stream per sample.
        uniforms = torch.stack(
            [torch.rand(self.slots, A, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        ).to(self.device)
        given = torch.zeros(count, 0, A, dtype=torch.long)
        if condition.given is not None:
            rows = [row[row[:, EXISTENCE] > 0] for row in condition.given.cpu()]
            given = padded(_tokens_of(rows), A, END)
        given = given.to(self.device)
        tokens, log_probs = [], []
        with torch.no_grad():
            memory = self._memory(condition, drawn)
        for part, log_p in self.network.draw(memory, given, uniforms, drawn):
            tokens.append(part)
            log_probs.append(log_p)
            yield TokenRollout(condition, drawn, torch.stack(tokens, 1), torch.cat(log_probs, 1).T)

    def sample(
        self,
        condition: TokenCondition,
        *,
        seeds: Sequence[int],
        options: TokenSampling | None = None,
        initial_seeds: Sequence[int] | None = None,
    ) -> TokenRollout:
        """Tokens have no gradient, and there is no initial noise."""
        *_, last = self.stream(condition, seeds=seeds, options=options)
        return last

    def decode(self, rollout: TokenRollout) -> PartAsset:
        part = rollout.parts
        order = part.long().argsort(dim=1, descending=True, stable=True)[:, : max(int(part.sum(1).max()), 1)]
        vectors = decode_assets(rollout.tokens)[0]
        vectors[..., EXISTENCE] = torch.where(part, 1.0, -1.0)
        vectors = vectors.gather(1, order.unsqueeze(-1).expand(-1, -1, vectors.shape[-1]))
        given = rollout.condition.given
        if given is not None:
            given = given[:, : vectors.shape[1]]
            there = given[..., EXISTENCE] > 0
            vectors[:, : given.shape[1]] = torch.where(there.unsqueeze(-1), given, vectors[:, : given.shape[1]])
        return PartAsset(Parts.from_vectors(vectors))

    def encode(self, asset: Asset, condition: TokenCondition) -> TokenRollout:
        """The nearest tokens. Parts are placed to 2.5 mm, and colours become named ones."""
        if asset.parts is None or int(asset.parts.exists.sum(-1).max()) > self._most_parts:
            raise ValueError(f"{self.name} encodes assets of at most {self._most_parts} parts, and only those")
        found = _tokens_of([asset.parts[i].present().vectors().detach().cpu() for i in range(len(asset))])
        tokens = padded([ended(t)[: self.slots] for t in found], A, END).to(self.device)
        zeros = torch.zeros(tokens.shape[1] * A, len(tokens), device=self.device)
        rollout = TokenRollout(condition, self.default_options, tokens, zeros)
        with torch.no_grad():
            return replace(rollout, log_probs=self.log_probs(rollout, range(len(zeros))).log_probs)

    def steps(self, rollout: TokenRollout) -> tuple[list[int], list[int]]:
        return list(range(len(rollout.log_probs))), []

    def coarse(self, rollout: TokenRollout) -> Bool[Tensor, "t"]:
        """All tokens of an element but its colours and its surface."""
        geometry = torch.arange(A, device=self.device) < COLOR_TOKEN
        return geometry.repeat(len(rollout.log_probs) // A)

    def log_probs(self, rollout: TokenRollout, steps: Sequence[int]) -> StepStats:
        tokens, options = rollout.tokens, rollout.options
        b, p = tokens.shape[:2]
        counted = torch.arange(p, device=tokens.device) <= rollout.exists.sum(1, keepdim=True)
        memory = self._memory(rollout.condition, options)
        copies = len(memory.mask) // b
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.network(tokens.repeat(copies, 1, 1), counted.repeat(copies, 1), memory)
        guided_logits = [
            guided(z.float(), options.guidance if copies > 1 else 1.0) / options.temperature for z in logits
        ]
        log_p = torch.stack(
            [F.pad(z.log_softmax(-1), (0, WIDEST - z.shape[-1]), value=NEVER) for z in guided_logits], 1
        )
        everywhere = log_p.new_zeros(b, p, A, WIDEST).masked_scatter(counted[:, :, None, None], log_p)
        distribution = everywhere.permute(1, 2, 0, 3).flatten(0, 1)[list(steps)]
        chosen = tokens.permute(1, 2, 0).flatten(0, 1)[list(steps)]
        mask = rollout.mask[list(steps)]
        new = distribution.gather(-1, chosen.clamp_min(0).unsqueeze(-1)).squeeze(-1) * mask
        return StepStats(new, -(distribution.exp() * distribution).sum(-1) * mask, distribution)

    def kl(self, rollout: TokenRollout, steps: Sequence[int], new: StepStats, reference: StepStats) -> Tensor:
        """Exact, over all values of each token."""
        kl = (new.distribution.exp() * (new.distribution - reference.distribution)).sum(-1)
        return kl * rollout.mask[list(steps)]

    def _memory(self, condition: TokenCondition, options: TokenSampling) -> Memory:
        if options.guidance == 1:
            return self.network.memory(condition.text, condition.examples)
        twice = condition[torch.arange(len(condition)).repeat(2)]
        keep = torch.arange(len(twice), device=self.device) < len(condition)
        return self.network.memory(twice.text, twice.examples, keep)


def _tokens_of(assets: Sequence[Float[Tensor, "_ v"]]) -> list[Int[Tensor, "_ 16"]]:
    """Tokens of parts from elsewhere, an asset each; none of an asset without parts."""
    coded = iter(encode_assets([a.numpy() for a in assets if len(a)], [None for a in assets if len(a)]))
    return [next(coded) if len(a) else torch.zeros(0, A, dtype=torch.long) for a in assets]


def ended(tokens: Int[Tensor, "_ 16"]) -> Int[Tensor, "_ 16"]:
    """The tokens of an asset with its end."""
    end = torch.full((1, A), UNUSED)
    end[:, OBJECT] = END
    return torch.cat([tokens, end])


def padded(rows: Sequence[Tensor | None], columns: int, value: int) -> Int[Tensor, "b l c"]:
    """Rows of elements as one tensor. Padding has ``value`` in the first and the last column."""
    length = max((len(r) for r in rows if r is not None), default=0)
    out = torch.full((len(rows), length, columns), UNUSED)
    out[..., 0] = out[..., -1] = value
    for i, row in enumerate(rows):
        if row is not None:
            out[i, : len(row)] = row
    return out
