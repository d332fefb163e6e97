"""The embedded generator: a small rectified-flow transformer over sets of parts (see scenes.parts).

Architecture: DiT blocks with adaLN-single (Peebles and Xie, 2023; Chen et al., PixArt-alpha, 2024),
cross-attention to text tokens. Training: rectified flow with logit-normal times (Liu et al., 2023;
Esser et al., 2024), classifier-free guidance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rewards.text import MiniLM, TextFeatures
from rewards.text.minilm import DIM as TEXT_DIM
from rl3d.generators.base import Condition, MatchingStats, Rollout, StepStats
from rl3d.generators.sde import Sampling, gaussian_log_prob
from scenes.parts import MAX_PARTS, VECTOR_SIZE, Parts

# The network sees each of the 19 numbers shifted and scaled to about unit size; an absent part is
# existence -1 and zeros.
_SHIFT = torch.tensor([0, 0.5, 0.5, 0, 0, 0, 0.4, -2.2, -2.2, -2.2, 1, 0, 0, 0, 1, 0, 0.45, 0.45, 0.45])
_SCALE = torch.tensor([1, 0.4, 0.4, 0.5, 0.2, 0.2, 0.28, 0.8, 0.8, 0.8, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3])


DEFAULT_SAMPLING = Sampling(steps=8, guidance=1.0)
"""How assets are sampled for keeps: the deterministic flow. More steps or guidance make fewer
assets that stand (docs/results.md)."""


EXISTENCE_HELD = 30.0
"""How much tighter than the shape of parts their existence is held to the reference policy. A part
that is left out cannot float or fall over, and no reward misses an antenna: at a weight of 1 small
details were lost (docs/results.md)."""


@dataclass(frozen=True)
class PartFlowConfig:
    """Size of the network."""

    width: int = 192
    depth: int = 6
    heads: int = 3
    slots: int = MAX_PARTS

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.slots) < 1 or self.width % self.heads:
            raise ValueError(f"a network's sizes are at least 1, and its heads divide its width, got {self}")


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
        # Written out: for two dozen tokens on a CPU the fused kernel's backward is up to 7 times
        # slower.
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
        x: Float[Tensor, "b p 19"],
        sigma: Float[Tensor, "b"],
        text: TextFeatures,
        keep_text: Bool[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b p 19"]:
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


class PartFlow:
    """The part-flow policy (implements ``rl3d.generators.base.Generator``)."""

    def __init__(
        self, network: PartFlowNetwork, encoder: MiniLM | None = None, source: dict[str, str] | None = None
    ) -> None:
        self.network = network
        self.bfloat16 = False
        """Matrix products in bfloat16: training only, where speed counts for more than the last
        digit."""
        self._encoder = encoder
        self.source = source or {}
        """File name and SHA-256 of the weights, where they came from a file."""

    @property
    def encoder(self) -> MiniLM:
        if self._encoder is None:
            self._encoder = MiniLM()
        return self._encoder

    @property
    def device(self) -> torch.device:
        return self.network.slots.device

    def with_network(self, network: PartFlowNetwork) -> PartFlow:
        """The same policy with other weights (a reference policy, say), sharing the text
        encoder."""
        policy = PartFlow(network, self.encoder)
        policy.bfloat16 = self.bfloat16
        return policy

    def condition(self, prompts: list[str]) -> Condition:
        return Condition(prompts, self.encoder.encode(prompts).to(self.device))

    def velocity(self, x: Tensor, sigma: Tensor, condition: Condition, guidance: float) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            if guidance == 1:
                return self.network(x, sigma, condition.text).float()
            text = condition.text
            both = TextFeatures(*(torch.cat([t, t]) for t in (text.tokens, text.mask, text.pooled)))
            keep = torch.arange(2 * len(x), device=x.device) < len(x)
            with_text, without = self.network(torch.cat([x, x]), torch.cat([sigma, sigma]), both, keep).float().chunk(2)
            return without + guidance * (with_text - without)

    @torch.no_grad()
    def rollout(
        self, condition: Condition, *, seeds: list[int], sampling: Sampling, noise_seeds: list[int] | None = None
    ) -> Rollout:
        count, shape = len(condition), (self.network.config.slots, VECTOR_SIZE)
        if len(seeds) != count:
            raise ValueError(f"{count} prompts need {count} seeds, got {len(seeds)}")

        def draws(seed: int, number: int) -> Tensor:
            # On the CPU whatever the device: the same seed means the same asset everywhere.
            return torch.randn((number, *shape), generator=torch.Generator().manual_seed(seed))

        x = torch.stack([draws(s, 1)[0] for s in noise_seeds or seeds], 0).to(self.device)
        # One stream per sample, apart from the initial noise's: samples do not depend on the batch
        # they are in.
        noise = (
            torch.stack([draws(s + 2**40, sampling.steps) for s in seeds], 1).to(self.device)
            if sampling.noise
            else None
        )
        states, means, stds = [x], [], sampling.stds()
        for step, sigma in enumerate(sampling.sigmas()[:-1]):
            velocity = self.velocity(x, torch.full((count,), sigma, device=x.device), condition, sampling.guidance)
            mean = sampling.mean(x, velocity, step)
            x = mean if noise is None else mean + stds[step] * noise[step]
            means.append(mean)
            states.append(x)
        if noise is None:
            log_probs = torch.zeros(sampling.steps, count, device=x.device)
        else:
            counted = self._counted(x)
            log_probs = torch.stack(
                [_masked_log_prob(states[t + 1], means[t], stds[t], counted) for t in range(sampling.steps)]
            )
        return Rollout(
            condition, sampling, torch.stack(states), torch.stack(means), torch.tensor(stds, device=x.device), log_probs
        )

    def log_probs(self, rollout: Rollout, steps: list[int]) -> StepStats:
        count = len(rollout)
        levels = rollout.sampling.sigmas()
        counted = self._counted(rollout.states[-1])
        means, log_probs = [], []
        for step in steps:
            x = rollout.states[step]
            velocity = self.velocity(
                x, torch.full((count,), levels[step], device=x.device), rollout.condition, rollout.sampling.guidance
            )
            mean = rollout.sampling.mean(x, velocity, step)
            means.append(mean)
            log_probs.append(_masked_log_prob(rollout.states[step + 1], mean, float(rollout.stds[step]), counted))
        return StepStats(torch.stack(log_probs), torch.stack(means), rollout.stds[steps])

    def matching(
        self, rollout: Rollout, sigmas: Float[Tensor, "d b"], noise: Float[Tensor, "d b p 19"]
    ) -> MatchingStats:
        final = rollout.states[-1]
        counted = self._counted(final)
        errors, velocities = [], []
        for sigma, e in zip(sigmas, noise, strict=True):
            at = sigma[:, None, None]
            velocity = self.velocity((1 - at) * final + at * e, sigma, rollout.condition, rollout.sampling.guidance)
            velocities.append(velocity)
            errors.append(((velocity - (e - final)) ** 2 * counted).sum(-1) / counted.sum((-1, -2)).unsqueeze(-1))
        return MatchingStats(torch.stack(errors), torch.stack(velocities))

    def held(self, rollout: Rollout) -> Float[Tensor, "b p 19"]:
        counted = self._counted(rollout.states[-1])
        held = counted / counted.sum((-1, -2), keepdim=True)
        held[..., 0] *= EXISTENCE_HELD
        return held

    @staticmethod
    def _counted(final: Tensor) -> Tensor:
        """1 for what belongs to a sample: all numbers of a part that is there, existence of one
        that is not."""
        counted = (final[..., :1] > 0).float().expand_as(final).clone()
        counted[..., 0] = 1.0
        return counted

    def decode(self, rollout: Rollout) -> Parts:
        return decode(rollout.states[-1])

    def generate(self, prompts: list[str], *, seeds: list[int], sampling: Sampling, batch_size: int = 64) -> Parts:
        """One asset a prompt, in batches."""
        vectors = []
        for start in range(0, len(prompts), batch_size):
            piece = slice(start, start + batch_size)
            rollout = self.rollout(self.condition(prompts[piece]), seeds=seeds[piece], sampling=sampling)
            vectors.append(rollout.states[-1])
        return decode(torch.cat(vectors))


def encode(vectors: Float[Tensor, "*b p 19"]) -> Float[Tensor, "*b p 19"]:
    """Part vectors to network states; absent parts become existence -1 and zeros."""
    shift, scale = _SHIFT.to(vectors.device), _SCALE.to(vectors.device)
    present = vectors[..., :1] > 0
    states = torch.where(present, (vectors - shift) / scale, torch.zeros_like(vectors))
    return torch.cat([torch.where(present, 1.0, -1.0), states[..., 1:]], -1)


def decode(states: Float[Tensor, "*b p 19"]) -> Parts:
    """Network states to assets."""
    return Parts.from_vectors(states * _SCALE.to(states.device) + _SHIFT.to(states.device))


def _masked_log_prob(x: Tensor, mean: Tensor, std: float, counted: Tensor) -> Tensor:
    # Averaged, not summed, over the counted numbers: a clip range then means the same for small and
    # large assets.
    if std == 0:
        return torch.zeros(len(x), device=x.device)
    return (gaussian_log_prob(x, mean, std) * counted).sum((-1, -2)) / counted.sum((-1, -2))
