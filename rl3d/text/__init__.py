"""Text encoders: prompts to token and sentence embeddings."""

from rl3d.text.minilm import MiniLM, TextFeatures

__all__ = ["MiniLM", "TextFeatures"]
