"""The names of the corpus, for readers of prompts."""

from __future__ import annotations

from rewards.composition.prompt import Lexicon
from rl3d.corpus.categories import CATALOGUE
from rl3d.corpus.scenes import HATS
from rl3d.corpus.shapes import MATERIALS
from rl3d.corpus.wording import FINISH_WORDS, PATTERN_NOUNS, PATTERN_WORDS, SOLID_NOUNS, plural


def lexicon() -> Lexicon:
    """Every noun that a caption may use, with the roles of its parts."""
    names = {noun: dict.fromkeys((*kind.names, *SOLID_NOUNS.get(noun, ()))) for noun, kind in CATALOGUE.items()}
    finishes = {word: finish for word, (_, finish) in MATERIALS.items()}
    finishes |= {word: finish for finish, words in FINISH_WORDS.items() for word in words}
    patterns = {word: name for table in (PATTERN_WORDS, PATTERN_NOUNS) for name in table for word in table[name]}
    details = {
        noun: tuple(dict.fromkeys((*kind.accents, *filter(None, kind.details.split(", ")), *kind.counts)))
        for noun, kind in CATALOGUE.items()
    }
    return Lexicon(
        nouns={noun: {name: plural(name) for name in found} for noun, found in names.items()},
        roles={noun: tuple(kind.roles) for noun, kind in CATALOGUE.items()},
        details=details,
        finishes=finishes,
        patterns=patterns,
        worn=HATS,
    )
