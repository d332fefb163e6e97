"""Captions of the corpus with their text features, and fresh geometry for them.

Text features are slow to compute, so captions come from a pool. Geometry is cheap, and what is
drawn twice is memorised, so it is drawn anew for every batch.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rewards.text import MiniLM, TextFeatures
from rewards.text.minilm import WEIGHTS_SHA256
from rl3d.corpus import Spec, sample_spec
from scenes.files.tensors import read_tensors, write_tensors

T = TypeVar("T")


def draw_specs(count: int, seed: int) -> list[Spec]:
    """The captions of a pool, the same in every process."""
    rng = np.random.default_rng(seed)
    return [sample_spec(rng, "train") for _ in range(count)]


@dataclass(frozen=True)
class TextPool:
    """Text features of C captions, ragged, in float16."""

    tokens: Float[Tensor, "t d"]
    starts: Int[Tensor, "c1"]
    pooled: Float[Tensor, "c d"]

    @staticmethod
    def cached(path: Path, captions: list[str], encoder: Callable[[], MiniLM]) -> TextPool:
        """The features kept in ``path``, or new ones that are kept there: a resumed run starts at
        once."""
        crc = zlib.crc32("\n".join(captions).encode())
        made_from = {"captions": len(captions), "crc": crc, "encoder": WEIGHTS_SHA256}
        if path.exists():
            tensors, header, _ = read_tensors(path)
            if header == made_from:
                return TextPool(**tensors)
        pool = TextPool.build(captions, encoder())
        write_tensors(path, {"tokens": pool.tokens, "starts": pool.starts, "pooled": pool.pooled}, made_from)
        return pool

    @staticmethod
    def build(captions: list[str], encoder: MiniLM) -> TextPool:
        # Captions of like length together: padding costs time.
        order = sorted(range(len(captions)), key=lambda i: len(captions[i]))
        tokens: list[Tensor] = [torch.empty(0)] * len(captions)
        pooled = torch.empty(0)
        for start in range(0, len(order), 512):
            rows = order[start : start + 512]
            piece = encoder.encode([captions[i] for i in rows], batch_size=64)
            pooled = piece.pooled.new_zeros(len(captions), piece.pooled.shape[1]) if not start else pooled
            pooled[rows] = piece.pooled
            for i, t, m in zip(rows, piece.tokens, piece.mask, strict=True):
                tokens[i] = t[m].half()
        starts = torch.tensor([0, *np.cumsum([len(t) for t in tokens])])
        return TextPool(torch.cat(tokens), starts, pooled)

    def text(self, captions: Int[Tensor, "b"]) -> TextFeatures:
        rows = [self.tokens[self.starts[c] : self.starts[c + 1]].float() for c in captions.tolist()]
        length = max(len(r) for r in rows)
        tokens = torch.zeros(len(rows), length, rows[0].shape[-1])
        mask = torch.zeros(len(rows), length, dtype=torch.bool)
        for i, row in enumerate(rows):
            tokens[i, : len(row)], mask[i, : len(row)] = row, True
        return TextFeatures(tokens, mask, self.pooled[captions])

    def neighbours(self, count: int) -> Int[Tensor, "c n"]:
        """The ``count`` captions whose pooled features are most like each caption's, itself left
        out."""
        out = []
        for start in range(0, len(self.pooled), 1024):
            likeness = self.pooled[start : start + 1024] @ self.pooled.T
            rows = torch.arange(len(likeness))
            likeness[rows, start + rows] = -1
            out.append(likeness.topk(min(count, len(self.pooled) - 1)).indices)
        return torch.cat(out)


class Ahead(Generic[T]):
    """Makes the batch of the next step in another process, while the network works on this one. A
    context manager: the process ends with it."""

    def __init__(self, maker: Callable[..., Callable[[int], T]], *arguments: object) -> None:
        """``maker(*arguments)`` is called once in the process, and gives the function that makes
        the batch of a step."""
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _prepare, (maker, arguments))
        self._next: tuple[int, Future[T]] | None = None

    def __call__(self, step: int) -> T:
        if self._next is None or self._next[0] != step:
            self._next = step, self._pool.submit(_make, step)
        made = self._next[1].result()
        self._next = step + 1, self._pool.submit(_make, step + 1)
        return made

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)


_maker: Callable[[int], Any]
"""In the process that makes batches."""


def _prepare(maker: Callable[..., Callable[[int], Any]], arguments: tuple[object, ...]) -> None:
    global _maker
    threading.Thread(target=end_with_parent, daemon=True).start()
    _maker = maker(*arguments)


def end_with_parent() -> None:
    """A training that is killed leaves no process behind."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _make(step: int) -> Any:
    return _maker(step)
