"""Reads English prompts: which things they name, with number, colours and material, and how these
stand to each other.

Rules over a lexicon of nouns, roles of parts, and words for materials. The lexicon comes with the
weights of the parser (``rewards.composition.parser``), so that both know the same names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from rewards.composition.facts import Facts, Relation, Thing
from rewards.relations import RELATION_WORDS
from scenes.colors import BASE_OF

NUMBERS = ("one", "two", "three", "four", "five", "six")
MAX_WORDS = 100
"""Longer prompts are not read. The reader recurses once for each thing named after "with"."""


@dataclass(frozen=True)
class Lexicon:
    """The names that prompts are read by."""

    nouns: Mapping[str, Mapping[str, str]]
    """For each canonical noun, its names with their plurals: {"chair": {"chair": "chairs"}}."""
    roles: Mapping[str, Sequence[str]]
    """For each canonical noun, the roles of its parts whose colour can be checked."""
    details: Mapping[str, Sequence[str]]
    """For each canonical noun, parts that a prompt may ask for but that are not checked."""
    finishes: Mapping[str, str | None]
    """Words for a finish. None: a word for a material that states no finish, like "wooden"."""
    patterns: Mapping[str, str]
    """Adjectives and nouns for a pattern: {"striped": "stripes", "stripes": "stripes"}."""
    worn: Sequence[str]
    """The nouns that are worn: "a bear in a hat" wears it, "a cat in a bucket" does not."""

    @staticmethod
    def from_header(header: Mapping[str, Any]) -> Lexicon:
        """From the JSON object that ``header()`` gave. KeyError or TypeError for anything else."""
        return Lexicon(**{name: header[name] for name in Lexicon.__dataclass_fields__})

    def header(self) -> dict[str, Any]:
        return asdict(self)

    @cached_property
    def phrases(self) -> dict[str, list[tuple[tuple[str, ...], str, Any]]]:
        """All known phrases by their first word, the longest first: words, kind, value."""
        found: dict[tuple[str, ...], tuple[str, Any]] = {}

        def add(kind: str, values: Iterable[tuple[str, Any]]) -> None:
            for words, value in values:
                found.setdefault(tuple(words.split(" ")), (kind, value))

        add("noun", ((name, (noun, False)) for noun, names in self.nouns.items() for name in names))
        add("noun", ((many, (noun, True)) for noun, names in self.nouns.items() for many in names.values()))
        add("color", BASE_OF.items())
        add("number", ((word, k + 1) for k, word in enumerate(NUMBERS)))
        add("number", ((str(k + 1), k + 1) for k in range(len(NUMBERS))))
        add("number", (("single", 1), ("a pair of", 2), ("pair of", 2), ("a couple of", 2)))
        add("finish", self.finishes.items())
        add("pattern", self.patterns.items())
        add("relation", ((word, kind) for kind, words in _RELATION_WORDS.items() for word in words))
        for kind, words in _WORDS.items():
            add(kind, ((word, None) for word in words))
        table: dict[str, list[tuple[tuple[str, ...], str, Any]]] = {}
        for words in sorted(found, key=len, reverse=True):
            table.setdefault(words[0], []).append((words, *found[words]))
        return table


_RELATION_WORDS = {
    **RELATION_WORDS,
    "between": ("between", "in between"),
    "around": ("around", "surrounding"),
    "wearing": ("wearing",),
    "surrounded": ("surrounded by",),
}
_WORDS = {
    "article": ("a", "an", "the"),
    "with": ("with", "that has", "which has"),
    "and": ("and", ",", ", and"),
    "in a row": ("in a row", "in a line", "side by side", "next to each other", "next to one another", "lined up"),
    "row of": ("a row of", "row of", "a line of", "line of"),
    "group of": ("a stack of", "stack of", "a tower of", "tower of", "a group of", "group of", "a set of", "set of"),
    "stacked": ("stacked up", "stacked", "on top of each other", "on top of one another"),
    "colored": ("colored", "coloured"),
    "painted": ("painted",),
    "of": ("made of", "made out of"),
    "placed": (
        "standing", "placed", "sitting", "lying", "resting", "put", "set", "riding", "is", "are", "that is", "which is",
        "that are",
    ),
    # "a bucket with an apple in it"
    "on it": ("on it", "on top", "on top of it", "on them"),
    "in it": ("in it", "inside it", "inside of it", "in them"),
    "around it": ("around it", "around them"),
    "next to it": ("next to it", "beside it"),
    "refused": (
        "no", "not", "non", "without", "some", "several", "many", "few", "zero", "dozen", "various", "multiple", "or",
        "half",
    ),
    "more": ("seven", "eight", "nine", "ten", "7", "8", "9", "10"),
}  # fmt: skip
_PLACED = {"on it": "on", "in it": "inside", "around it": "around", "next to it": "next"}
_ASIDE = ("left", "right", "front", "behind", "next")
"""Of these, "next to a cube and a cone" states two relations."""
_OPENING = re.compile(
    r"^(?:(?:an?|the) )?(?:(?:\w+ ){0,2}?3d |low poly )?"
    r"(?:model|render|rendering|picture|image|photo|scene|sculpture) (?:of|with) "
)

_SAID = ("color", "pattern", "finish", "number", "more", "refused")


class _Token(NamedTuple):
    kind: str
    """One of the kinds of phrases, "word" for an unknown word, or "end"."""
    value: Any
    text: str


class _Unreadable(Exception):
    pass


def facts_of(prompt: str, lexicon: Lexicon) -> Facts | None:
    """What a prompt states, things in the order in which it names them. None if any of it cannot be
    read: an unknown noun, a number that is not from one to six, a colour of an unknown part, more
    than ``MAX_WORDS`` words.

    Unknown adjectives and parts without a colour are passed over: "a fluffy cat with whiskers" is a
    cat."""
    text = " ".join(re.findall(r"[^\W_]+(?:[-']+[^\W_]+)*|,", prompt.lower().replace("’", "'")))
    try:
        opening = _OPENING.match(text)
        if opening and any(token.kind in _SAID for token in _tokens(opening.group().split(" "), lexicon)):
            return None  # "a red 3d model of a chair"
        words = [piece for word in _OPENING.sub("", text).split(" ") for piece in _pieces(word, lexicon)]
        return _Reader(_tokens(words, lexicon), lexicon).scene() if len(words) <= MAX_WORDS else None
    except _Unreadable:
        return None


def _pieces(word: str, lexicon: Lexicon) -> list[str]:
    """Splits "light-blue" and "teddy-bear" at the hyphens, for their last piece is known.
    "tom-tom", which is a noun, and "three-legged", an unknown adjective, stay one word."""
    pieces = re.split("-+", word)
    if len(pieces) == 1 or word in lexicon.phrases:
        return [word]
    kinds = [token.kind for token in _tokens(pieces, lexicon)]
    if kinds[-1] in ("color", "colored", "noun"):
        return pieces
    if "color" in kinds:
        raise _Unreadable  # "white-legged": a colour of something unknown
    return [word]


def _tokens(words: list[str], lexicon: Lexicon) -> list[_Token]:
    tokens, k = [], 0
    while k < len(words):
        known = lexicon.phrases.get(words[k], ())
        fitting = (found for found in known if tuple(words[k : k + len(found[0])]) == found[0])
        phrase, kind, value = next(fitting, ((words[k],), "word", None))
        tokens.append(_Token(kind, value, " ".join(phrase)))
        k += len(phrase)
    return tokens


class _Reader:
    """A recursive descent over the tokens of one prompt."""

    def __init__(self, tokens: list[_Token], lexicon: Lexicon) -> None:
        self.tokens, self.lexicon, self.at = tokens, lexicon, 0
        self.things: list[Thing] = []
        self.relations: list[Relation] = []

    def peek(self, ahead: int = 0) -> _Token:
        k = self.at + ahead
        return self.tokens[k] if k < len(self.tokens) else _Token("end", None, "")

    def take(self, *kinds: str) -> _Token | None:
        token = self.peek()
        if token.kind not in kinds:
            return None
        self.at += 1
        return token

    def scene(self) -> Facts:
        in_row = self.take("row of", "group of")
        subjects = self.group()
        if in_row and in_row.kind == "row of":
            self.chain(subjects)
        elif in_row and len(subjects) > 1 and in_row.text.split(" ")[-2] in ("stack", "tower"):
            raise _Unreadable  # which is on top?
        while self.peek().kind != "end":
            if self.take("in a row"):
                self.chain(subjects)
                continue
            self.take("stacked")
            if self.take("end") or self.peek().kind == "end":
                break
            self.take("placed")
            relation = self.take("relation")
            if relation is None:
                raise _Unreadable
            kind, objects = relation.value, self.group()
            if kind == "surrounded":
                self.relations += [Relation("around", other, (subjects[-1],)) for other in objects]
            elif kind == "between":
                if sum(self.things[k].count for k in objects) != 2:
                    raise _Unreadable
                self.relations += [Relation(kind, k, tuple(objects)) for k in subjects]
            else:
                if relation.text == "in" and self.things[objects[0]].noun in self.lexicon.worn:
                    kind = "wearing"
                stated = objects if kind in _ASIDE else objects[:1]
                self.relations += [Relation(kind, k, (other,)) for k in subjects for other in stated]
            subjects = objects
        return Facts(tuple(self.things), tuple(self.relations))

    def chain(self, row: list[int]) -> None:
        """Each of a row stands next to the one before."""
        self.relations += [Relation("next", k, (other,)) for k, other in pairwise(row)]

    def group(self) -> list[int]:
        """Things joined by commas and "and": their numbers in ``things``."""
        found = [self.thing()]
        while self.take("and"):
            found.append(self.thing())
        return found

    def thing(self) -> int:
        """One kind of thing with everything that is said of it. Raises before it adds anything."""
        count, colors, pattern, finish = None, [], None, None
        while (token := self.peek()).kind != "noun" or self.peek(1).kind in ("noun", "colored"):
            self.at += 1
            if token.kind == "number":
                count = token.value if count is None else count * token.value
            elif token.kind == "color":
                colors.append(token.value)
            elif token.kind == "and":
                if not (colors and token.text == "and" and self.peek().kind == "color"):
                    raise _Unreadable
            elif token.kind == "pattern":
                pattern = token.value
            elif token.kind == "finish":
                finish = token.value or finish
            elif token.kind not in ("article", "colored", "stacked", "word", "noun"):
                raise _Unreadable
        self.at += 1
        noun, many = token.value
        if count is None:
            if many and token.text not in self.lexicon.nouns[noun]:
                raise _Unreadable  # "chairs": how many?
            count = 1
        if len(colors) > (2 if pattern else 1) or count > len(NUMBERS):
            raise _Unreadable
        index = len(self.things)
        self.things.append(Thing(noun, colors[0] if colors else None, (), count, pattern, finish))
        if len(colors) == 2 and pattern:
            self.part(index, pattern, colors[1])
        self.after(index)
        return index

    def after(self, index: int) -> None:
        """What is said of a thing after its noun."""
        while True:
            token, following = self.peek(), self.peek(1)
            if (token.text == "in" and following.kind == "color" and self.peek(2).kind in _AFTER_COLOR) or (
                token.kind == "painted" and following.kind == "color"
            ):
                self.at += 2
                self.things[index] = replace(self.things[index], color=following.value)
            elif token.kind == "of" and following.kind == "finish":
                self.at += 2
                self.things[index] = replace(self.things[index], finish=following.value)
            elif token.kind == "of" and following.kind == "word":  # "made of wood"
                self.at += 2
            elif token.kind == "with":
                self.at += 1
                if not self.clauses(index):
                    self.at -= 1  # "a table with a mug with white legs": said of the thing before
                    return
            else:
                return

    def clauses(self, index: int) -> bool:
        """What follows "with". False, with nothing taken, if it cannot be said of the thing."""
        if not self.clause(index):
            return False
        while True:
            start = self.at
            if not self.take("and"):
                return True
            if not self.is_part(index):
                self.at = start  # "... and a blue cube": the next thing
                return True
            self.clause(index)

    def is_part(self, index: int) -> bool:
        """Whether the next words name a part, a detail or a pattern of the thing."""
        start, things, relations = self.at, list(self.things), list(self.relations)
        found = self.clause(index, strict=True)
        self.at, self.things, self.relations = start, things, relations
        return found

    def clause(self, index: int, strict: bool = False) -> bool:
        """One clause. Not ``strict``, it may name another thing, or a detail that is unknown.
        False, with nothing taken, if it is none of these."""
        start, color = self.at, None
        noun = self.things[index].noun
        while True:
            if role := self.role(noun):
                if self.peek().kind in _PLACED:
                    break  # "a tree with three apples around it": other things
                if color is not None:
                    self.part(index, role, color)
                return True
            token = self.peek()
            if token.kind == "pattern" and self.peek(1).kind in _AFTER_COLOR:
                self.at += 1
                self.things[index] = replace(self.things[index], pattern=token.value)
                if color is not None:
                    self.part(index, token.value, color)
                return True
            if token.kind == "color" and color is not None:
                break
            if token.kind not in ("article", "number", "more", "color", "finish", "pattern", "word", "noun"):
                break
            color = token.value if token.kind == "color" else color
            self.at += 1
        end, self.at = self.at, start
        if strict:
            return False
        try:
            other = self.thing()
        except _Unreadable:  # before its noun: no thing was added
            passed = {token.kind for token in self.tokens[start:end]}
            if color is not None or end == start or passed >= {"more", "noun"}:
                self.at = start
                return False  # a colour of a part that is not known, or "seven cubes"
            self.at = end
            return True
        self.placed_at(other, index)
        return True

    def placed_at(self, other: int, index: int) -> None:
        """How a thing named after "with" stands to the one before."""
        placed = self.take(*_PLACED)
        if placed:
            self.relations.append(Relation(_PLACED[placed.kind], other, (index,)))
        elif self.peek().text == "inside" and self.peek(1).kind in ("end", "and"):
            self.at += 1
            self.relations.append(Relation("inside", other, (index,)))
        elif self.things[other].noun in self.lexicon.worn:
            self.relations.append(Relation("wearing", index, (other,)))

    def role(self, noun: str) -> str | None:
        """Takes the name of a part or a detail, singular or plural."""
        if self.peek().kind == "relation":  # "a bucket with a cat inside", though buckets have an inside
            return None
        for name in (*self.lexicon.roles.get(noun, ()), *self.lexicon.details.get(noun, ())):
            for form in {name, name.removesuffix("s"), f"{name}s"}:
                words, ahead = form, 0
                while words and (words == self.peek(ahead).text or words.startswith(self.peek(ahead).text + " ")):
                    words = words[len(self.peek(ahead).text) :].lstrip()
                    ahead += 1
                if not words and self.peek(ahead).kind not in ("noun", "word"):
                    self.at += ahead
                    return name
        return None

    def part(self, index: int, role: str, color: str) -> None:
        thing = self.things[index]
        self.things[index] = replace(thing, parts=tuple(sorted({*thing.parts, (role, color)})))


_AFTER_COLOR = ("end", "stacked", "with", "and", "relation", "in a row", "placed", *_PLACED)
