"""Batches of sequences of unequal length, in few shapes.

oneDNN compiles a kernel for each shape of a matrix product, 0.3 ms a time. Rows and lengths are
therefore padded to multiples: a step of training takes a fifth less time than with exact ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rewards.text import TextFeatures

LENGTHS, ROWS = 8, 32
"""Multiples that lengths of sequences, and numbers of packed rows, are padded to."""


def rounded(count: int, multiple: int = LENGTHS) -> int:
    """``count``, or the next multiple above it."""
    return -(-count // multiple) * multiple


class Packing:
    """Rows of a padded batch without the padding, and back. Layers work on packed rows; only
    attention needs the padding. (A boolean index does the same, and its gradient costs more.) With
    ``even``, a row of the padding is repeated until the rows are a multiple of ROWS. What is
    computed of it must not be seen: its gradient is then zero."""

    def __init__(self, mask: Bool[Tensor, "b p"], even: bool = False) -> None:
        self.shape = mask.shape
        self.rows = mask.flatten().nonzero().squeeze(1)
        more = rounded(len(self.rows), ROWS) - len(self.rows)
        if even and more and len(self.rows) < mask.numel():
            unseen = (~mask).flatten().long().argmax()
            self.rows = torch.cat([self.rows, unseen.expand(more)])

    def pack(self, padded: Float[Tensor, "b p w"]) -> Float[Tensor, "n w"]:
        return padded.flatten(0, 1).index_select(0, self.rows)

    def pad(self, packed: Float[Tensor, "n w"]) -> Float[Tensor, "b p w"]:
        empty = packed.new_zeros(self.shape.numel(), packed.shape[-1])
        return empty.index_copy(0, self.rows, packed).unflatten(0, self.shape)


def even_rows(counted: Bool[Tensor, "b p"]) -> Bool[Tensor, "b p"]:
    """With as much of the padding behind the assets as makes the rows a multiple of ROWS."""
    more = rounded(int(counted.sum()), ROWS) - counted.sum()
    free = ~counted.flatten()
    return counted | (free & (free.cumsum(0) <= more)).view_as(counted)


def even_length(text: TextFeatures) -> TextFeatures:
    """With padding that makes its words, and one for none, a rounded number."""
    more = rounded(text.mask.shape[1] + 1) - 1 - text.mask.shape[1]
    return TextFeatures(F.pad(text.tokens, (0, 0, 0, more)), F.pad(text.mask, (0, more)), text.pooled)
