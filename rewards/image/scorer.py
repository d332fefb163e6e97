"""A small image-text scorer of multi-view renders: whether an asset shows what the text says, and
whether it is well made.

Two transformer towers (Dosovitskiy et al., ViT, 2021) are trained with the pairwise sigmoid loss
(Zhai et al., SigLIP, 2023). Negatives are wrong captions, and broken assets with their right
caption, so that a thickened, simplified or missing part lowers the score like a wrong colour
does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

VIEWS = 3
SIZE = 64
AZIMUTH_DEG = 30.0
"""Azimuth of the first view. It is fixed, so that the scorer can tell left from right in a
relation."""


@dataclass(frozen=True)
class ScorerConfig:
    """Size of the network."""

    width: int = 128
    depth: int = 3
    text_depth: int = 2
    patch: int = 8
    dim: int = 192
    text_dim: int = 384


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None, :])
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.norm2(x)), approximate="tanh"))


class Scorer(nn.Module):
    """Embeds views and texts; ``logits`` compares every image with every text."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.config = config
        w, d, patches = config.width, config.dim, (SIZE // config.patch) ** 2
        self.patch_in = nn.Linear(4 * config.patch**2, w)
        self.position = nn.Parameter(torch.randn(patches, w) * 0.02)
        self.view = nn.Parameter(torch.randn(VIEWS, 1, w) * 0.02)
        self.image_blocks = nn.ModuleList(_Block(w) for _ in range(config.depth))
        self.image_out = nn.Sequential(nn.LayerNorm(w), nn.Linear(w, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.text_in = nn.Linear(config.text_dim, w)
        self.text_blocks = nn.ModuleList(_Block(w) for _ in range(config.text_depth))
        self.text_out = nn.Sequential(nn.LayerNorm(w), nn.Linear(w, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.log_scale = nn.Parameter(torch.tensor(2.3))
        self.bias = nn.Parameter(torch.tensor(-6.0))

    def view_features(
        self, rgb: Float[Tensor, "b c h w 3"], alpha: Float[Tensor, "b c h w 1"], places: Int[Tensor, "v"] | None = None
    ) -> Float[Tensor, "b v f"]:
        """Features of each view; larger views are averaged down to ``SIZE`` pixels. ``places`` says
        which of the ``VIEWS`` that the scorer knows each is nearest to; without it, they are the
        first ``VIEWS`` in their order."""
        if places is None:
            places, rgb, alpha = torch.arange(VIEWS, device=rgb.device), rgb[:, :VIEWS], alpha[:, :VIEWS]
        (batch, count), p = rgb.shape[:2], self.config.patch
        x = torch.cat([rgb * 2 - 1, alpha], -1).flatten(0, 1)
        if x.shape[-2] != SIZE:
            x = F.interpolate(x.permute(0, 3, 1, 2), size=(SIZE, SIZE), mode="area").permute(0, 2, 3, 1)
        x = x.unflatten(2, (-1, p)).unflatten(1, (-1, p)).permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)
        h = self.patch_in(x).unflatten(0, (batch, count)) + self.position + self.view[places]
        h = h.flatten(0, 1)
        for block in self.image_blocks:
            h = block(h)
        return h.mean(1).unflatten(0, (batch, count))

    def embed_images(self, rgb: Float[Tensor, "b c h w 3"], alpha: Float[Tensor, "b c h w 1"]) -> Float[Tensor, "b d"]:
        """Unit embeddings of assets from ``VIEWS`` views each."""
        return F.normalize(self.image_out(self.view_features(rgb, alpha).mean(1)), dim=-1)

    def embed_single_views(
        self, rgb: Float[Tensor, "b c h w 3"], alpha: Float[Tensor, "b c h w 1"], places: Int[Tensor, "c"]
    ) -> Float[Tensor, "b c d"]:
        """Unit embeddings of any number of views, each for itself."""
        return F.normalize(self.image_out(self.view_features(rgb, alpha, places)), dim=-1)

    def embed_text(self, tokens: Float[Tensor, "b l t"], mask: Bool[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """Unit embeddings of texts from their contextual token embeddings."""
        h = self.text_in(tokens)
        for block in self.text_blocks:
            h = block(h, mask)
        keep = mask.unsqueeze(-1)
        return F.normalize(self.text_out((h * keep).sum(1) / keep.sum(1)), dim=-1)

    def logits(self, images: Float[Tensor, "i d"], texts: Float[Tensor, "t d"]) -> Float[Tensor, "i t"]:
        return self.log_scale.exp() * images @ texts.T + self.bias

    def match(self, images: Float[Tensor, "*c b d"], texts: Float[Tensor, "b d"]) -> Float[Tensor, "*c b"]:
        """Logit of each image with its own text."""
        return self.log_scale.exp() * (images * texts).sum(-1) + self.bias
