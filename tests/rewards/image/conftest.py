"""Tiny random models of the published classes, in folders laid out as their repositories."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from renderers import Views
from rewards import Batch, Shots
from rewards.image.judge import VLMJudge
from rewards.image.pretrained import ViewReward
from scenes.cameras import orbit

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIZE = 28


def make_batch(rgb: Tensor, prompts: list[str]) -> Batch:
    """Assets seen in ``rgb`` (B, C, H, W, 3)."""
    views = Views(rgb, torch.ones_like(rgb[..., :1]), torch.zeros_like(rgb[..., :1]))
    shots = Shots(views, orbit(rgb.shape[1], size=rgb.shape[2]))
    return Batch(prompts, shots={reward.needs.rig: shots for reward in (ViewReward, VLMJudge)})


def clip_config(width: int = 32, head: int = 16):
    from transformers import CLIPConfig

    tower = {"num_hidden_layers": 2, "hidden_act": "gelu", "projection_dim": 24}
    text = {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
    }
    vision = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": width // head,
        "image_size": SIZE,
        "patch_size": 7,
    }
    return CLIPConfig(
        text_config={**tower, **text, "bos_token_id": 58, "eos_token_id": 59, "pad_token_id": 59},
        vision_config={**tower, **vision},
        projection_dim=24,
    )


def save_clip_tokenizer(folder: Path) -> None:
    """One token a letter."""
    from transformers import CLIPTokenizer

    vocab = {letter: i for i, letter in enumerate(LETTERS)} | {
        f"{letter}</w>": 26 + i for i, letter in enumerate(LETTERS)
    }
    CLIPTokenizer(vocab | {"<|startoftext|>": 58, "<|endoftext|>": 59}, []).save_pretrained(folder)


def save_clip(folder: Path, *, pickled: bool = False):
    """A CLIP model with its configuration and tokenizer; what it returns is the model."""
    from transformers import CLIPModel

    model = CLIPModel(clip_config()).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    model.logit_scale.data.fill_(4.6)
    model.save_pretrained(folder)
    save_clip_tokenizer(folder)
    if pickled:
        (folder / "model.safetensors").unlink()
        torch.save(
            model.state_dict() | {"text_model.embeddings.position_ids": torch.arange(77)[None]},
            folder / "pytorch_model.bin",
        )
    return model


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """The folder that rewards look for their models in."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("RL3D_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    return make_batch


@pytest.fixture
def pictures() -> Tensor:
    """Three assets from two sides, in whole bytes: smooth colours with hard edges, as renders
    have."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(6, 3, 5, 5, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(0, 1)
    fine[:, :, :6] = 1
    return (fine * 255).round().div(255).movedim(1, -1).unflatten(0, (3, 2))


@pytest.fixture
def clip_repository(weights) -> Callable[..., object]:
    return lambda name, **options: save_clip(weights / name, **options)


@pytest.fixture
def clip_texts(weights) -> Callable[..., None]:
    """A repository with only the configuration and the tokenizer of a CLIP model."""

    def make(name: str, **sizes: int) -> None:
        (weights / name).mkdir(parents=True)
        (weights / name / "config.json").write_text(json.dumps(clip_config(**sizes).to_dict()))
        save_clip_tokenizer(weights / name)

    return make
