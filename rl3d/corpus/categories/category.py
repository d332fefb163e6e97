"""A category of objects: how it is drawn, what it is called, and what a caption may state about
it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rl3d.corpus.shapes import Sketch


@dataclass(frozen=True)
class Category:
    """Colour options are names separated by spaces. Options after "/" are used if the first ones
    equal the main colour."""

    draw: Callable[[Sketch], None]
    nouns: str
    """Synonyms separated by commas, the canonical one first."""
    natural: str
    """Colours of the main parts if the caption names none."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Parts whose colour a caption may name, with their usual colours. "main" is the colour of the
    main parts."""
    accents: Mapping[str, str] = field(default_factory=dict)
    """Parts that captions do not name."""
    details: str = ""
    """Optional details that a caption may ask for, separated by commas."""
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Details that a caption may count, with the range of their number."""
    sizes: str = ""
    """The adjectives that apply: height, width, length."""
    materials: str = ""
    patterns: tuple[str, ...] = ()
    """Those of ``PATTERNS`` that a caption may name."""
    finishes: bool = False
    """Whether a caption may call it glossy, matte or metallic."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.nouns.split(", "))
