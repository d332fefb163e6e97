"""What a category of objects is: how it is drawn, what it is called, and what a caption may say
about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rl3d.corpus.shapes import Sketch


@dataclass(frozen=True)
class Category:
    """Colour options are names separated by spaces, "/" before options for when the first ones
    equal the main colour."""

    draw: Callable[[Sketch], None]
    nouns: str
    """Synonyms separated by commas, the canonical one first."""
    natural: str
    """Colours of the main parts when the caption names none."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Parts whose colour a caption may name, with their usual colours ("main" is that of the main
    parts)."""
    accents: Mapping[str, str] = field(default_factory=dict)
    """Parts that captions do not name."""
    details: str = ""
    """Optional details that a caption may ask for, separated by commas."""
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Details that come in a number, and its range."""
    sizes: str = ""
    """Which of height, width and length adjectives act on."""
    materials: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.nouns.split(", "))
