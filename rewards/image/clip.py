"""Rewards on CLIP's embeddings (Radford et al., 2021): CLIP score, PickScore, HPSv2 and the LAION
aesthetic predictor.

All four are transformers' CLIPModel with published weights; HPSv2's are written with open_clip's
names and are renamed here."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rewards.image.preprocess import clip_pixels
from rewards.image.pretrained import (
    WEIGHT_FILES,
    ViewReward,
    build,
    digest,
    find,
    linear_head,
    optional,
    read_json,
    read_tokenizer,
    read_weights,
)
from scenes.files import FileError

MAX_TOKENS = 77
VIT_H = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
"""The model that PickScore and HPSv2 were tuned from; its configuration and tokenizer are used for
both."""


@dataclass(frozen=True)
class Clip:
    """A CLIP model with its tokenizer. ``version`` tells its files' contents."""

    model: Any
    tokenizer: Any
    version: str

    @property
    def width(self) -> int:
        """Dimensions of an embedding."""
        return self.model.config.projection_dim

    def embed_images(self, rgb: Float[Tensor, "n h w 3"]) -> Float[Tensor, "n d"]:
        """Unit embeddings of images, sRGB in [0, 1]; differentiable."""
        model = self.model.to(rgb.device)
        pixels = clip_pixels(rgb, model.config.vision_config.image_size)
        return F.normalize(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output), dim=-1)

    def embed_text(self, text: str) -> Float[Tensor, "d"]:
        """The unit embedding of a text; what goes beyond 77 tokens is cut off, as in the
        reference."""
        model = self.model
        ids = torch.tensor([self.tokenizer.encode(text).ids], device=model.logit_scale.device)
        return F.normalize(model.text_projection(model.text_model(input_ids=ids).pooler_output), dim=-1)[0]

    def cosines(self, rgb: Float[Tensor, "n h w 3"], text: str) -> Float[Tensor, "n"]:
        """Cosine between each image and the text."""
        return self.embed_images(rgb) @ self.embed_text(text)


@functools.cache
def load_clip(config: Path, tokenizer: Path, weights: Path) -> Clip:
    """A CLIP model of its three files, once a process. FileError with one line where they do not
    fit together."""
    transformers = optional("transformers")
    sizes = read_json(config)
    try:
        made = transformers.CLIPConfig(**sizes)
    except Exception as error:  # transformers checks fields with errors of its own
        raise FileError(f"{config}: not the configuration of a CLIP model") from error
    tensors = read_weights(weights)
    if "visual.proj" in tensors:
        tensors = from_open_clip(tensors)
    model = build(transformers.CLIPModel, made, tensors, weights)
    return Clip(model, read_tokenizer(tokenizer, MAX_TOKENS), digest(config, tokenizer, weights))


def published_clip(repository: str, texts: str | None = None) -> Clip:
    """The CLIP model of a repository; ``texts`` names another one for the tokenizer."""
    weights, config = find(repository, *WEIGHT_FILES), find(repository, "config.json")
    return load_clip(config, find(texts or repository, "tokenizer.json"), weights)


_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TOWERS = {"visual.transformer.resblocks.": "vision_model", "transformer.resblocks.": "text_model"}
_OUTSIDE = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}


def from_open_clip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's names to those of transformers' CLIPModel. Projections are transposed, and the
    joint query-key-value is three.

    A name that open_clip's ViT does not have is kept as it is, and refused by whoever builds the
    model."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        prefix = next((p for p in _TOWERS if name.startswith(p)), None)
        if name in ("visual.proj", "text_projection"):
            renamed["visual_projection.weight" if name == "visual.proj" else "text_projection.weight"] = (
                tensor.T.contiguous()
            )
        elif prefix is None:
            renamed[_OUTSIDE.get(name, name)] = tensor
        else:
            number, _, inner = name.removeprefix(prefix).partition(".")
            layer = f"{_TOWERS[prefix]}.encoder.layers.{number}"
            module, _, kind = inner.rpartition(".")
            if inner in ("attn.in_proj_weight", "attn.in_proj_bias"):
                for which, part in zip("qkv", tensor.chunk(3)):
                    renamed[f"{layer}.self_attn.{which}_proj.{inner.rpartition('_')[2]}"] = part.contiguous()
            else:
                renamed[f"{layer}.{_BLOCK.get(module, module)}.{kind}"] = tensor
    return renamed


class ClipScore(ViewReward):
    """CLIP score (Hessel et al., 2021): 2.5 max(cos, 0) between a view and "A photo depicts " +
    prompt, by ViT-B/32.

    The value is the published number itself, cut at 1 (a cosine of 0.4, which hardly a caption
    reaches). 0.5 is a cosine of 0.2."""

    name = "clip"
    prefix = "A photo depicts "

    def __init__(self, model: str = "openai/clip-vit-base-patch32") -> None:
        self.clip = published_clip(model)
        self.version = f"1+{self.clip.version}"

    def published(self, rgb: Float[Tensor, "c h w 3"], prompt: str) -> Float[Tensor, "c"]:
        return 2.5 * self.clip.cosines(rgb, self.prefix + prompt).clamp(min=0)

    def scale(self, published: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return published.clamp(max=1)

    def unscale(self, value: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return value


class PickScore(ViewReward):
    """PickScore (Kirstain et al., Pick-a-Pic, 2023): exp(s) cos by a CLIP ViT-H/14 tuned on
    people's choices, exp(s) its learned scale.

    0.5 means a PickScore of 20; one more is worth about 0.12 there.
    """

    name = "pickscore"
    centre, spread = 20.0, 2.0

    def __init__(self, model: str = "yuvalkirstain/PickScore_v1") -> None:
        self.clip = published_clip(model, VIT_H)
        self.version = f"1+{self.clip.version}"

    def published(self, rgb: Float[Tensor, "c h w 3"], prompt: str) -> Float[Tensor, "c"]:
        cosines = self.clip.cosines(rgb, prompt)
        return self.clip.model.logit_scale.exp() * cosines


class HPSv2(ViewReward):
    """Human Preference Score v2 (Wu et al., 2023), checkpoint v2.1: the cosine of a CLIP ViT-H/14
    tuned on people's rankings.

    0.5 means a score of 0.25 (tables often print 100 times as much); 0.01 more is worth about 0.1
    there."""

    name = "hpsv2"
    centre, spread = 0.25, 0.025

    def __init__(self, checkpoint: str = "HPS_v2.1_compressed.pt") -> None:
        weights = find("xswu/HPSv2", checkpoint)
        self.clip = load_clip(find(VIT_H, "config.json"), find(VIT_H, "tokenizer.json"), weights)
        self.version = f"1+{self.clip.version}"

    def published(self, rgb: Float[Tensor, "c h w 3"], prompt: str) -> Float[Tensor, "c"]:
        return self.clip.cosines(rgb, prompt)


class Aesthetic(ViewReward):
    """LAION's improved aesthetic predictor (Schuhmann, 2022): how people rate a picture from 1 to
    10, whatever the prompt.

    Linear layers 768, 1024, 128, 64, 16, 1 on unit embeddings of CLIP ViT-L/14
    ("sac+logos+ava1-l14-linearMSE"). 0.5 means a rating of 5; one more is worth about 0.23 there.
    """

    name = "aesthetic"
    centre, spread = 5.0, 1.0

    def __init__(
        self, model: str = "openai/clip-vit-large-patch14", head: str = "trl-lib/ddpo-aesthetic-predictor"
    ) -> None:
        path = find(head, "aesthetic-model.pth", "sac+logos+ava1-l14-linearMSE.pth")
        self.clip = published_clip(model)
        self.head = linear_head(read_weights(path), "layers.", self.clip.width, path)
        self.version = f"1+{self.clip.version}{digest(path)}"

    def published(self, rgb: Float[Tensor, "c h w 3"], prompt: str) -> Float[Tensor, "c"]:
        return self.head.to(rgb.device)(self.clip.embed_images(rgb)).squeeze(-1)
