"""Text encoders: prompts to token and sentence embeddings. Rewards and generators share one."""

from __future__ import annotations

from functools import cache

from rewards.text.minilm import MiniLM, TextFeatures

__all__ = ["MiniLM", "TextFeatures", "shared_encoder"]


@cache
def shared_encoder() -> MiniLM:
    """The process's one text encoder, on the CPU. It loads 90 MB once and caches embeddings."""
    return MiniLM()
