"""A small image-text scorer of multi-view renders: does this asset show what the text says, and is it well made?

Two towers and a pairwise logit, trained with the sigmoid loss (Zhai et al., SigLIP, 2023) against wrong captions and against
broken assets under their right caption, so that thickening, simplifying or losing a part costs as a wrong colour does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

VIEWS = 3
SIZE = 64
AZIMUTH_DEG = 30.0
"""The first view's azimuth: left and right of a relation are told from a known side."""


@dataclass(frozen=True)
class ScorerConfig:
    """Size of the network."""

    width: int = 48
    dim: int = 192
    text_dim: int = 384


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Scorer(nn.Module):
    """Embeds views and texts; ``logits`` compares every image with every text."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.config = config
        w, d = config.width, config.dim
        self.image = nn.Sequential(
            nn.Conv2d(4, w, 4, stride=4), _Residual(w),
            nn.Conv2d(w, 2 * w, 2, stride=2), _Residual(2 * w),
            nn.Conv2d(2 * w, 3 * w, 2, stride=2), _Residual(3 * w), nn.GroupNorm(8, 3 * w), nn.SiLU(),
        )  # fmt: skip
        self.per_view = nn.ModuleList(nn.Linear(3 * w * (SIZE // 16) ** 2, d) for _ in range(VIEWS))
        self.image_out = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d))
        self.text_in = nn.Linear(config.text_dim, d)
        self.text_layer = nn.TransformerEncoderLayer(d, 4, 2 * d, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.text_out = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d))
        self.log_scale = nn.Parameter(torch.tensor(2.3))
        self.bias = nn.Parameter(torch.tensor(-6.0))

    def embed_images(self, rgb: Float[Tensor, "b c h w 3"], alpha: Float[Tensor, "b c h w 1"]) -> Float[Tensor, "b d"]:
        """Unit embeddings of assets from ``VIEWS`` views each; larger views are averaged down to ``SIZE`` pixels."""
        batch = len(rgb)
        x = torch.cat([rgb * 2 - 1, alpha], -1)[:, :VIEWS].flatten(0, 1).permute(0, 3, 1, 2)
        if x.shape[-1] != SIZE:
            x = F.interpolate(x, size=(SIZE, SIZE), mode="area")
        features = self.image(x).flatten(1).unflatten(0, (batch, VIEWS))
        views = torch.stack([layer(features[:, i]) for i, layer in enumerate(self.per_view)], 1)
        return F.normalize(self.image_out(views.mean(1)), dim=-1)

    def embed_text(self, tokens: Float[Tensor, "b l t"], mask: Bool[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """Unit embeddings of texts from their contextual token embeddings."""
        x = self.text_layer(self.text_in(tokens), src_key_padding_mask=~mask)
        keep = mask.unsqueeze(-1)
        return F.normalize(self.text_out((x * keep).sum(1) / keep.sum(1)), dim=-1)

    def logits(self, images: Float[Tensor, "i d"], texts: Float[Tensor, "t d"]) -> Float[Tensor, "i t"]:
        return self.log_scale.exp() * images @ texts.T + self.bias

    def match(self, images: Float[Tensor, "b d"], texts: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """Logit of each image with its own text."""
        return self.log_scale.exp() * (images * texts).sum(-1) + self.bias
