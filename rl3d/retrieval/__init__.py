"""Retrieval: examples from a library of captioned assets, for generators that look at them.

Conditioning on retrieved examples: Blattmann et al., Retrieval-Augmented Diffusion Models, 2022.
The trained retriever: Lyu et al., RealRAG, 2025.
"""

from rl3d.retrieval.examples import RetrievalConfig, Retriever, fixed_examples, use_library
from rl3d.retrieval.library import Example, Library

__all__ = ["Example", "Library", "RetrievalConfig", "Retriever", "fixed_examples", "use_library"]
