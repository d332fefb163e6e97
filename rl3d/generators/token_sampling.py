"""How a token is drawn from logits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class TokenSampling:
    """How tokens are drawn."""

    temperature: float = 0.8
    """Lower is safer, higher more varied; training explores at 1."""
    top_p: float = 0.95
    """Each token is drawn from the likeliest values whose probabilities sum to this much; 1 is all
    of them. Log-probs do not know of it."""
    guidance: float = 1.0
    """Scale of classifier-free guidance; 1 means none, and half the cost."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"--sampling.temperature must be a number above 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"--sampling.top-p must be above 0 and at most 1, got {self.top_p}")
        if not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise ValueError(f"--sampling.guidance must be a finite number of at least 0, got {self.guidance}")


def guided(logits: Float[Tensor, "n v"], guidance: float) -> Float[Tensor, "m v"]:
    """Classifier-free guidance of logits; the second half of the rows is without text."""
    if guidance == 1:
        return logits
    with_text, without = logits.chunk(2)
    return without + guidance * (with_text - without)


def nucleus(log_p: Float[Tensor, "n v"], uniforms: Float[Tensor, "n"], top_p: float) -> Int[Tensor, "n"]:
    """One value a row from the likeliest ones that hold ``top_p`` of the probability."""
    p, order = log_p.exp().sort(dim=-1, descending=True, stable=True)
    below = p.cumsum(-1) - p
    kept = p * (below < top_p)
    total = kept.cumsum(-1)
    place = (total <= uniforms.unsqueeze(-1) * total[:, -1:]).sum(-1, keepdim=True)
    return order.gather(1, place.clamp_max((kept > 0).sum(-1, keepdim=True) - 1)).squeeze(1)
