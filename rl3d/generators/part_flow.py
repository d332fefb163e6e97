"""The embedded generator: a small rectified-flow transformer over sets of parts (see scenes.parts).

Architecture: DiT blocks with adaLN-single (Peebles and Xie, 2023; Chen et al., PixArt-alpha, 2024),
cross-attention to text tokens. Training: rectified flow with logit-normal times (Liu et al., 2023;
Esser et al., 2024), classifier-free guidance."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rewards.text import TextFeatures
from rewards.text.minilm import DIM as TEXT_DIM
from rl3d.configs import from_file
from rl3d.generators.base import TextCondition
from rl3d.generators.flow import Flow, FlowRollout
from rl3d.generators.sde import Sampling
from scenes.asset import Asset, PartAsset
from scenes.parts import MAX_PARTS, PLAIN, VECTOR_SIZE, Parts

# The network sees each number shifted and scaled to about unit size; an absent part is existence -1
# and zeros.
_SHIFT = torch.tensor([0, 0.5, 0.5, 0, 0, 0, 0.4, -2.2, -2.2, -2.2, 1, 0, 0, 0, 1, 0, 0.45, 0.45, 0.45])
_SCALE = torch.tensor([1, 0.4, 0.4, 0.5, 0.2, 0.2, 0.28, 0.8, 0.8, 0.8, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3])
_SHIFT = torch.cat([_SHIFT, torch.tensor(PLAIN)])
_SCALE = torch.cat([_SCALE, torch.tensor([0.5, 0.3, 1, 1, 1, 0.4, 0.4, 0.4])])


DEFAULT_SAMPLING = Sampling(steps=8, guidance=1.0)
"""How kept assets are sampled: by the deterministic flow. With more steps or guidance, fewer assets
stand (docs/results.md)."""
EXISTENCE_KL_WEIGHT = 30.0
"""KL weight of the parts' existence, relative to that of their shape. A missing part cannot float
or fall over, and no reward detects a missing antenna. With a weight of 1 small details were lost
(docs/results.md)."""


@dataclass(frozen=True)
class PartFlowConfig:
    """Size of the network."""

    width: int = 192
    depth: int = 6
    heads: int = 3
    slots: int = MAX_PARTS

    def __post_init__(self) -> None:
        sizes = self.width, self.depth, self.heads, self.slots
        if min(sizes) < 1 or max(sizes) > 4096 or self.width % self.heads:
            raise ValueError(f"a network's sizes are 1 to 4096, and its heads divide its width, got {self}")


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_q = nn.Linear(width, width)
        self.cross_kv = nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)
        self.table = nn.Parameter(torch.zeros(6, width))
        self.cross_norm = nn.LayerNorm(width)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        # Attention is written out, because for two dozen tokens on a CPU the fused kernel's
        # backward is up to 7 times slower.
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e4)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, modulation: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table).unsqueeze(2).unbind(1)
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale1) + shift1
        q, k, v = self.qkv(h).chunk(3, -1)
        x = x + gate1 * self.self_out(self._attend(q, k, v))
        k, v = self.cross_kv(text).chunk(2, -1)
        x = x + self.cross_out(self._attend(self.cross_q(self.cross_norm(x)), k, v, mask))
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale2) + shift2
        return x + gate2 * self.mlp_out(F.gelu(self.mlp_in(h), approximate="tanh"))


class PartFlowNetwork(nn.Module):
    """Velocity of a noisy set of parts, given its noise level and the text."""

    def __init__(self, config: PartFlowConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.embed = nn.Linear(VECTOR_SIZE, w)
        self.slots = nn.Parameter(torch.randn(config.slots, w) * 0.02)
        self.text_in = nn.Linear(TEXT_DIM, w)
        self.null_token = nn.Parameter(torch.randn(w) * 0.02)
        self.pooled_in = nn.Linear(TEXT_DIM, w)
        self.time_in = nn.Sequential(nn.Linear(128, w), nn.SiLU(), nn.Linear(w, w))
        self.modulation = nn.Linear(w, 6 * w)
        self.blocks = nn.ModuleList(_Block(w, config.heads) for _ in range(config.depth))
        self.final_modulation = nn.Linear(w, 2 * w)
        self.out = nn.Linear(w, VECTOR_SIZE)
        for zero in (self.modulation, self.final_modulation, self.out):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)
        for block in self.blocks:
            with torch.no_grad():
                block.table[2] = block.table[5] = 0.1  # type: ignore[index]  # gates a little open: the start learns sooner
            nn.init.zeros_(block.cross_out.weight)  # type: ignore[union-attr]
            nn.init.zeros_(block.cross_out.bias)  # type: ignore[union-attr]

    def forward(
        self,
        x: Float[Tensor, "b p v"],
        sigma: Float[Tensor, "b"],
        text: TextFeatures,
        keep_text: Bool[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b p v"]:
        """``keep_text`` false drops the text of an entry (classifier-free guidance)."""
        batch = len(x)
        if keep_text is None:
            keep_text = torch.ones(batch, dtype=torch.bool, device=x.device)
        tokens = torch.cat([self.null_token.expand(batch, 1, -1), self.text_in(text.tokens)], 1)
        seen = torch.cat([torch.ones_like(text.mask[:, :1]), text.mask & keep_text[:, None]], 1)[:, None, None, :]
        frequencies = torch.exp(torch.linspace(0, math.log(1000), 64, device=x.device))
        angles = sigma[:, None] * frequencies
        time = self.time_in(torch.cat([angles.sin(), angles.cos()], -1))
        # Unit embeddings of 384 numbers are small: scaled to about unit variance.
        pooled = self.pooled_in(text.pooled * 20) * keep_text[:, None]
        signal = F.silu(time + pooled)
        modulation = self.modulation(signal).unflatten(-1, (6, -1))
        h = self.embed(x) + self.slots
        for block in self.blocks:
            h = block(h, modulation, tokens, seen)
        shift, scale = self.final_modulation(signal).unsqueeze(1).chunk(2, -1)
        return self.out(F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift)


class PartFlow(Flow):
    """The part-flow policy: a state is a set of parts."""

    name = "part-flow"
    gives = frozenset({"parts"})
    units_are_parts = True
    default_options = DEFAULT_SAMPLING

    network: PartFlowNetwork

    def __init__(self, **config: int) -> None:
        sizes = from_file(PartFlowConfig, config)
        super().__init__(PartFlowNetwork(sizes), asdict(sizes))

    @property
    def shape(self) -> tuple[int, int]:
        return self.network.config.slots, VECTOR_SIZE

    def velocity(
        self, x: Float[Tensor, "b p v"], sigma: Float[Tensor, "b"], condition: TextCondition, guidance: float
    ) -> Float[Tensor, "b p v"]:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            if guidance == 1:
                return self.network(x, sigma, condition.text).float()
            text = condition.text
            both = TextFeatures(*(torch.cat([t, t]) for t in (text.tokens, text.mask, text.pooled)))
            keep = torch.arange(2 * len(x), device=x.device) < len(x)
            with_text, without = self.network(torch.cat([x, x]), torch.cat([sigma, sigma]), both, keep).float().chunk(2)
            return without + guidance * (with_text - without)

    def counted(self, final: Float[Tensor, "b p v"]) -> Float[Tensor, "b p v"]:
        """All numbers of a part that is there, and only the existence of one that is not."""
        counted = (final[..., :1] > 0).float().expand_as(final).clone()
        counted[..., 0] = 1.0
        return counted

    def kl_weights(self, rollout: FlowRollout) -> Float[Tensor, "b p v"]:
        """Existence weighs ``EXISTENCE_KL_WEIGHT`` times as much as shape."""
        weights = super().kl_weights(rollout)
        weights[..., 0] *= EXISTENCE_KL_WEIGHT
        return weights

    def decode(self, rollout: FlowRollout) -> PartAsset:
        """The asset, without the slots at the end that no sample uses: rewards are quicker."""
        parts = decode(rollout.states[-1])
        used = parts.exists.any(0).nonzero()
        return PartAsset(parts[:, : int(used.max()) + 1 if len(used) else 1])

    def encode(self, asset: Asset, condition: TextCondition) -> FlowRollout:
        """The parts as finished states; the trajectory holds nothing else."""
        if asset.parts is None or asset.parts.count > self.network.config.slots:
            raise ValueError(f"part-flow encodes assets of at most {self.network.config.slots} parts, and only those")
        vectors = Parts.stack([asset.parts[b] for b in range(len(asset))], self.network.config.slots).vectors()
        states = encode(vectors.to(self.device)).unsqueeze(0)
        empty = states[:0]
        none = states.new_zeros(0)
        return FlowRollout(condition, self.default_options, states, empty, none, none.new_zeros(0, len(asset)))


def encode(vectors: Float[Tensor, "*b p v"]) -> Float[Tensor, "*b p v"]:
    """Part vectors to network states; absent parts become existence -1 and zeros."""
    shift, scale = (t.to(vectors.device) for t in (_SHIFT, _SCALE))
    present = vectors[..., :1] > 0
    states = torch.where(present, (vectors - shift) / scale, torch.zeros_like(vectors))
    return torch.cat([torch.where(present, 1.0, -1.0), states[..., 1:]], -1)


def decode(states: Float[Tensor, "*b p v"]) -> Parts:
    """Network states to assets."""
    shift, scale = (t.to(states.device) for t in (_SHIFT, _SCALE))
    return Parts.from_vectors(states * scale + shift)
