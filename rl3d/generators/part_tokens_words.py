"""Nouns and colours of part tokens, read off the words of the text.

The network points at a word, and a table says what the word stands for (pointer-generator networks
with coverage; See et al., 2017). What a word means does not depend on the words around it: things
can stand together that never did in the training. Words are marked whose objects are there already,
and an asset ends where no word is left that fits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rl3d.generators.part_codes import COLOR_TOKEN, OBJECT, PART, SECOND, SIZES

NAMED = {OBJECT: slice(1, PART), COLOR_TOKEN: slice(0, SIZES[COLOR_TOKEN]), SECOND: slice(1, SIZES[SECOND])}
"""Tokens that a word may name, a noun or a colour, and the range of the values that words stand
for."""
_NOUNS, _COLORS = (NAMED[k].stop - NAMED[k].start for k in (OBJECT, COLOR_TOKEN))
_WIDTH = 48
"""Width in which the network points."""
_REACH = 3
"""A word's key also tells of this many words before it and after it: of "orange" before "nose"."""
_LEAST = 1e-6
"""Least probability of a value that words name."""
_NEVER = -1e4


class Words(nn.Module):
    """Which words are pointed at, and what they stand for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Linear(width, len(NAMED) * _WIDTH, bias=False) for _ in range(2))
        self.says = nn.Linear(width, _NOUNS + _COLORS)
        self.around = nn.Parameter(torch.eye(1 + 2 * _REACH)[_REACH].repeat(len(NAMED) * _WIDTH, 1))
        """What the words around a word add to its key."""
        self.marks = nn.Parameter(torch.zeros(len(NAMED), 3, _WIDTH))
        """What is added to a word's key if it names objects that are there already, for each of
        them (a quarter), and if it names the last of them."""
        self.end = nn.Linear(width, 1)
        """The score of the end, among those of words that may name the next object."""

    def forward(
        self, words: Float[Tensor, "b t w"], meaning: Float[Tensor, "b t1 w"], mask: Bool[Tensor, "b t1"]
    ) -> tuple[Float[Tensor, "b k t u"], Float[Tensor, "b t1 v"]]:
        """Keys of the text's t1 words, and before them of none, for each named token; and the
        probability of each noun and of each colour, side by side, if a word is what names it."""
        none, keys = self.key(words).split([1, words.shape[1] - 1], 1)
        padded = F.pad(keys * mask.unsqueeze(-1), (0, 0, _REACH, _REACH))
        keys = (padded.unfold(1, 1 + 2 * _REACH, 1) * self.around).sum(-1)
        keys = torch.cat([none, keys], 1).unflatten(-1, (len(NAMED), -1)).transpose(1, 2)
        return keys, torch.cat([z.softmax(-1) for z in self.says(meaning).split([_NOUNS, _COLORS], -1)], -1)

    def read(
        self,
        k: int,
        y: Float[Tensor, "b p w"],
        keys: Float[Tensor, "b k t u"],
        said: Float[Tensor, "b t1 v"],
        mask: Bool[Tensor, "b l"],
        objects: Float[Tensor, "b p n"],
        last: Float[Tensor, "b p n"],
    ) -> tuple[Float[Tensor, "b p 1"], Float[Tensor, "b p c"], Float[Tensor, "b p 1"]]:
        """The probability that no word names token ``k`` of parts with the features ``y``, and
        those of its values as words name them: the mean over words, each with the weight with which
        ``y`` points at it. Third, the log-odds of another object against the end: they share one
        softmax with the words. With a text and without examples, a word always names an object.

        ``mask`` says what is seen: no word, the words, the parts of examples. ``objects`` says how
        many of each noun come before the parts, ``last`` has 1 at the noun of the last of them."""
        number = list(NAMED).index(k)
        query = self.query(y).unflatten(-1, (len(NAMED), -1))[..., number, :]
        seen = mask[:, : keys.shape[2]]
        if k == OBJECT:
            words, examples = seen[:, 1:], mask[:, keys.shape[2] :]
            seen = torch.cat([~words.any(1, keepdim=True) | examples.any(1, keepdim=True), words], 1)
        nouns, colors = said.split([_NOUNS, _COLORS], -1)
        named = nouns.transpose(-1, -2).to(query.dtype)
        there, latest = (F.pad(t.to(query.dtype) @ named, (1, 0)) for t in (objects, last))
        marked = torch.stack([there.clamp_max(1), there / 4, latest], -1)
        scores = query @ keys[:, number].transpose(-1, -2)
        scores = (scores + ((query @ self.marks[number].T).unsqueeze(-2) * marked).sum(-1)) * _WIDTH**-0.5
        scores = scores.float().masked_fill(~seen[:, None], _NEVER)
        weights = scores.softmax(-1).to(said.dtype)
        values = weights[..., 1:] @ (nouns if k == OBJECT else colors)
        return weights[..., :1], values, scores.logsumexp(-1, keepdim=True) - self.end(y).float()

    def named(
        self,
        k: int,
        logits: Float[Tensor, "n v"],
        no_word: Float[Tensor, "n 1"],
        said: Float[Tensor, "n c"],
        more: Float[Tensor, "n 1"],
    ) -> Float[Tensor, "n v"]:
        """Logits of token ``k``, from what ``read`` gives. The values that words can name keep
        their share of the probability. Among them they are drawn as words name them, or as before
        with the probability ``no_word``. Objects and the end keep the share that is not that of
        parts, and divide it by ``more``."""
        values = NAMED[k]
        own, before = logits[:, values], logits[:, : values.start]
        mixed = (no_word * own.softmax(-1) + said).clamp_min(_LEAST).log()
        share = own.logsumexp(-1, keepdim=True)
        if k == OBJECT:
            both = torch.logaddexp(before, share)
            before, share = both + F.logsigmoid(-more), both + F.logsigmoid(more)
        return torch.cat([before, share + mixed, logits[:, values.stop :]], -1)


def nouns_so_far(tokens: Int[Tensor, "b p a"], is_object: Bool[Tensor, "b p"]) -> Float[Tensor, "b p n"]:
    """How many objects of each noun come before each element."""
    nouns = noun_of(tokens) * is_object.unsqueeze(-1)
    return nouns.cumsum(1) - nouns


def noun_of(element: Int[Tensor, "*b a"]) -> Float[Tensor, "*b n"]:
    """1 at the noun of an object, zeros for none."""
    noun = element[..., OBJECT] - 1
    return (F.one_hot(noun.clamp(0, _NOUNS - 1), _NOUNS) * (noun >= 0).unsqueeze(-1)).float()
