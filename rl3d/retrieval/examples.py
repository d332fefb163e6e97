"""Examples for a generator: the options that the commands share, and what finds the examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from rl3d.configs import as_paths, at_least
from rl3d.generators.base import Examples, Generator, Retrieves
from rl3d.retrieval.library import Example, Library
from scenes.asset import PartAsset
from scenes.parts import COLOR, EXISTENCE, EXPONENTS, ROTATION, UPRIGHT, VECTOR_SIZE, Parts


@dataclass(frozen=True)
class RetrievalConfig:
    """Options of the commands that make assets."""

    retrieve: int = 0
    """Examples for each prompt: the assets of --library whose captions are nearest. 0: none. Needs
    a generator that looks at examples; part-tokens takes up to 3."""
    library: Path | None = None
    """Folder of captioned assets of parts: those of rl3d generate, .glb and .safetensors files. An
    index of the captions is kept in its folder .rl3d."""

    def __post_init__(self) -> None:
        as_paths(self, "library")
        at_least(self, retrieve=0)
        if self.retrieve and self.library is None:
            raise ValueError("--retrieve needs --library, the folder of assets to retrieve from")
        if self.library is not None and not self.retrieve:
            raise ValueError("--library needs --retrieve, the number of examples for each prompt")


@dataclass
class Retriever:
    """Finds the ``k`` nearest assets of a library, and remembers them by prompt."""

    library: Library
    k: int
    _found: dict[str, list[Example]] = field(default_factory=dict)

    def examples(self, prompts: Sequence[str]) -> list[list[Example]]:
        """The examples of each prompt, the nearest first."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._found]
        if missing:
            indices, _ = self.library.nearest(missing, self.k)
            for prompt, row in zip(missing, indices.tolist()):
                self._found[prompt] = [self.library.example(i) for i in row]
        return [self._found[prompt] for prompt in prompts]

    def __call__(self, prompts: list[str]) -> Examples:
        """The same as assets."""
        return [[example.asset for example in some] for some in self.examples(prompts)]


def use_library(generator: Generator, config: RetrievalConfig) -> Retriever | None:
    """Let a generator look at the examples that ``config`` asks for, if it asks for any.

    ValueError with one line for a generator that cannot, for more examples than it takes, and for a
    library that cannot be read or is too small.
    """
    if not config.retrieve or config.library is None:
        return None
    _check(generator, [_box()] * config.retrieve)  # before the library is read, which may take long
    retriever = Retriever(Library(config.library), config.retrieve)
    _use(generator, retriever, retriever.library.captions[0])
    retriever.library.show_notes()
    return retriever


def fixed_examples(generator: Generator, examples: Sequence[Example]) -> None:
    """Let a generator look at these examples for every prompt, the nearest first. ValueError as in
    ``use_library``."""
    if examples:
        assets = [example.asset for example in examples]
        _use(generator, lambda prompts: [assets] * len(prompts), "a")


def _use(generator: Generator, find_examples: Callable[[list[str]], Examples], prompt: str) -> None:
    """Set it, unless the generator refuses its examples of a prompt."""
    _check(generator, find_examples([prompt])[0])
    generator.find_examples = find_examples


def _box() -> PartAsset:
    """An asset of one part, to ask a generator how many examples it takes."""
    vectors = torch.zeros(1, VECTOR_SIZE)
    vectors[0, EXISTENCE], vectors[0, EXPONENTS], vectors[0, COLOR] = 1, 0.1, 0.5
    vectors[0, ROTATION] = torch.tensor(UPRIGHT)
    return PartAsset(Parts.from_vectors(vectors)[None])


def _check(generator: Generator, examples: list[PartAsset]) -> None:
    """ValueError if the generator does not take these examples of a prompt."""
    if not isinstance(generator, Retrieves):
        raise ValueError(
            f"--retrieve needs a generator that looks at examples, which {generator.name!r} does not: add "
            "--generator part-tokens, or leave --retrieve and --library out"
        )
    generator.with_examples(generator.condition(["a"]), [examples])
