"""ImageReward (Xu et al., 2023): which of several pictures of one prompt people prefer, by a BLIP
that reads both together.

The published model is BLIP's (Li et al., 2022) image encoder ViT-L/16 and its text encoder with
cross-attention to the image, whose first token goes through linear layers to one number.
transformers has both halves, under other names."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rewards.image.preprocess import clip_pixels
from rewards.image.pretrained import (
    ViewReward,
    build,
    digest,
    find,
    linear_head,
    optional,
    read_tokenizer,
    read_weights,
)
from scenes.files import FileError

MAX_TOKENS = 35
HEAD_WIDTH = 64
"""Of one attention head, in both encoders."""
MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the raw numbers over the authors' annotated pictures: a published score has mean 0 and
deviation 1 there."""

_VISION = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm": "post_layernorm",
}
_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
}


@dataclass(frozen=True)
class Blip:
    """The two encoders and the head."""

    vision: Any
    text: Any
    head: nn.Sequential
    tokenizer: Any
    version: str

    def raw(self, rgb: Float[Tensor, "n h w 3"], text: str) -> Float[Tensor, "n"]:
        """The head's number for each image with the text, before it is normalised;
        differentiable."""
        vision, encoder, head = self.vision.to(rgb.device), self.text.to(rgb.device), self.head.to(rgb.device)
        patches = vision(pixel_values=clip_pixels(rgb, vision.config.image_size)).last_hidden_state
        # One text, so no padding: the reference pads to 35 tokens and masks the padding.
        ids = torch.tensor([self.tokenizer.encode(text).ids], device=rgb.device).expand(len(rgb), -1)
        return head(encoder(input_ids=ids, encoder_hidden_states=patches).last_hidden_state[:, 0]).squeeze(-1)


@functools.cache
def load_blip(weights: Path, tokenizer: Path) -> Blip:
    """ImageReward of its files, once a process; sizes are read from the weights. FileError with one
    line for other files."""
    transformers = optional("transformers")
    tensors = read_weights(weights)
    vision, text = _vision(tensors), _under(tensors, "blip.text_encoder.")
    try:
        width, depth = vision["embeddings.class_embedding"].shape[-1], _layers(vision, "encoder.layers.")
        patch = vision["embeddings.patch_embedding.weight"].shape[-1]
        vision_config = transformers.BlipVisionConfig(
            hidden_size=width,
            intermediate_size=len(vision["encoder.layers.0.mlp.fc1.weight"]),
            num_hidden_layers=depth,
            num_attention_heads=width // HEAD_WIDTH,
            image_size=patch * round((vision["embeddings.position_embedding"].shape[1] - 1) ** 0.5),
            patch_size=patch,
            layer_norm_eps=1e-6,
        )
        words, inner = text["embeddings.word_embeddings.weight"].shape
        text_config = transformers.BlipTextConfig(
            vocab_size=words,
            hidden_size=inner,
            encoder_hidden_size=width,
            intermediate_size=len(text["encoder.layer.0.intermediate.dense.weight"]),
            num_hidden_layers=_layers(text, "encoder.layer."),
            num_attention_heads=inner // HEAD_WIDTH,
            max_position_embeddings=len(text["embeddings.position_embeddings.weight"]),
            bos_token_id=None,
            sep_token_id=None,
        )
    except Exception as error:  # tensors that are not there or of no such shape, and transformers' own checks
        raise FileError(f"{weights}: not the weights of ImageReward") from error
    return Blip(
        build(transformers.BlipVisionModel, vision_config, vision, weights),
        build(transformers.BlipTextModel, text_config, text, weights, add_pooling_layer=False),
        linear_head(tensors, "mlp.layers.", inner, weights),
        read_tokenizer(tokenizer, MAX_TOKENS),
        digest(weights, tokenizer),
    )


def _under(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}


def _layers(weights: dict[str, Tensor], prefix: str) -> int:
    return 1 + max(int(name.removeprefix(prefix).partition(".")[0]) for name in weights if name.startswith(prefix))


def _vision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """BLIP's names of the image encoder (those of timm) to transformers' BlipVisionModel."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in _under(weights, "blip.visual_encoder.").items():
        if name in _VISION:
            renamed[_VISION[name]] = tensor
            continue
        module, _, kind = name.rpartition(".")
        if module.startswith("blocks."):
            _, number, inner = module.split(".", 2)
            module = f"encoder.layers.{number}.{_BLOCK.get(inner, inner)}"
        renamed[f"{_VISION.get(module, module)}.{kind}"] = tensor
    return renamed


class ImageReward(ViewReward):
    """sigmoid of the published score, which has mean 0 and standard deviation 1 over the authors'
    pictures. 0.5 means 0; one more gives 0.73."""

    name = "image_reward"
    centre, spread = 0.0, 1.0

    def __init__(self, model: str = "THUDM/ImageReward", texts: str = "google-bert/bert-base-uncased") -> None:
        self.blip = load_blip(find(model, "ImageReward.pt"), find(texts, "tokenizer.json"))
        self.version = f"1+{self.blip.version}"

    def published(self, rgb: Float[Tensor, "c h w 3"], prompt: str) -> Float[Tensor, "c"]:
        return (self.blip.raw(rgb, prompt) - MEAN) / STD
