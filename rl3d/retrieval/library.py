"""A library: captioned assets of parts, found by the text of a prompt.

Search is exact. A block of captions that fits into the cache costs one matrix product, which at
10^6 captions is faster than faiss for a dozen prompts or more (``python -m benchmarks.retrieval``).
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rewards.text import shared_encoder
from rewards.text.minilm import DIM, WEIGHTS_SHA256
from rl3d.retrieval.files import find_files, own_caption, read_captions
from rl3d.retrieval.head import RetrieverHead, load_head
from scenes.asset import PartAsset
from scenes.files import FileError
from scenes.files.assets import NoParts, read_asset
from scenes.files.tensors import read_tensors, write_tensors
from scenes.files.trees import parse_json
from scenes.parts import VECTOR_SIZE, Parts

FOLDER = ".rl3d"
"""Folder in a library for what rl3d adds to it: the index, and the trained retriever."""
INDEX, RETRIEVER = f"{FOLDER}/index.safetensors", f"{FOLDER}/retriever.safetensors"
CHUNK = 256
"""Files that are read and embedded at a time."""
SAVE_EVERY_S = 30.0
"""Seconds between saved states of an index that is being built."""
BLOCK, QUERIES = 4096, 16
"""Captions and prompts of one matrix product: 3 MB in float16, and 64 MB of scores at 10^6."""
ROUNDING = 1e-5
"""More than the rounding of a similarity in float32. Captions this near to the K-th are compared
in float64."""

UNREADABLE, NO_PARTS = "unreadable", "no parts"


class Entry(NamedTuple):
    """A file of a library."""

    file: str
    """Its name relative to the library's folder."""
    stamp: str
    caption: str
    problem: str
    """``UNREADABLE`` or ``NO_PARTS`` for a file that cannot be an example, else ""."""


@dataclass(frozen=True)
class Example:
    """One asset of a library."""

    file: str
    caption: str
    vectors: Float[Tensor, "p v"]
    """As ``Parts.vectors``."""

    @property
    def asset(self) -> PartAsset:
        """A batch of one scene."""
        return PartAsset(Parts.from_vectors(self.vectors)[None])


class Library:
    """The usable assets of a folder, with an index of their captions' embeddings."""

    def __init__(self, folder: Path) -> None:
        """Open a folder and bring its index up to date.

        Only new and changed files are read, so an interrupted build goes on where it stopped.
        FileError if the folder cannot be read or holds no usable asset.
        """
        self.folder = folder
        self.notes: list[str] = []
        """A line for each new file that cannot be used, and a summary. They are for the user, once
        it is known that the library serves."""
        index = _up_to_date(folder, self.notes.append)
        self.entries = [entry for entry in index.entries if not entry.problem]
        self.embeddings: Float[Tensor, "m d"] = torch.cat(index.embeddings)
        if not self.entries:
            why = f" ({problems})" if (problems := _problems(index.entries)) else ""
            raise FileError(f"library {folder}: holds no usable asset{why}: give .glb or .safetensors files with parts")

    def show_notes(self) -> None:
        """Print the notes on standard error."""
        for note in self.notes:
            print(note, file=sys.stderr, flush=True)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def captions(self) -> list[str]:
        return [entry.caption for entry in self.entries]

    @cached_property
    def head(self) -> RetrieverHead | None:
        """The trained retriever, if the library has one."""
        path = self.folder / RETRIEVER
        return load_head(path) if path.exists() else None

    @torch.no_grad()
    def nearest(self, prompts: Sequence[str], k: int) -> tuple[Int[Tensor, "n k"], Float[Tensor, "n k"]]:
        """Numbers of the ``k`` assets whose captions are nearest to each prompt, and their cosine
        similarities, highest first. Equal ones are in the order of the files. ValueError for more
        than there are."""
        if not 1 <= k <= len(self):
            raise ValueError(
                f"library {self.folder} has {counted(len(self), 'asset')}, so {k} cannot be retrieved: lower --retrieve"
            )
        queries = shared_encoder().encode(list(prompts)).pooled
        return search(self.embeddings, self.head(queries) if self.head else queries, k)

    def example(self, index: int) -> Example:
        """One asset. FileError if its file has gone or cannot be read any more."""
        entry = self.entries[index]
        return Example(entry.file, entry.caption, read_asset(self.folder / entry.file)[0])


def search(
    embeddings: Float[Tensor, "m d"], queries: Float[Tensor, "n d"], k: int
) -> tuple[Int[Tensor, "n k"], Float[Tensor, "n k"]]:
    """The ``k`` highest inner products of each query with M embeddings, exactly, highest first. The
    result for a query does not depend on the others; of equal ones the first come first."""
    indices, values = [], []
    for some in queries.split(QUERIES):
        scores = torch.cat([some @ block.float().T for block in embeddings.split(BLOCK)], 1)
        least = scores.topk(k).values[:, -1:] - ROUNDING
        for row, query in zip(scores >= least, some):
            near = row.nonzero().flatten()
            exact, order = (embeddings[near].double() * query.double()).sum(-1).sort(descending=True, stable=True)
            indices.append(near[order[:k]])
            values.append(exact[:k].float())
    return torch.stack(indices), torch.stack(values)


@dataclass
class _Index:
    """Entries, and the embeddings of the usable ones in their order."""

    entries: list[Entry]
    embeddings: list[Float[Tensor, "_ d"]]

    def kept(self, stamps: dict[str, str]) -> _Index:
        """Without the entries of files that have changed or gone."""
        stays = [stamps.get(entry.file) == entry.stamp for entry in self.entries]
        if all(stays):
            return self
        rows = torch.tensor([stay for stay, entry in zip(stays, self.entries) if not entry.problem], dtype=torch.bool)
        return _Index([entry for stay, entry in zip(stays, self.entries) if stay], [torch.cat(self.embeddings)[rows]])

    def ordered(self) -> _Index:
        """In the order of the file names, whatever was added when."""
        by_file = sorted(range(len(self.entries)), key=lambda i: self.entries[i].file)
        entries = [self.entries[i] for i in by_file]
        if entries == self.entries:
            return self
        row = [0, *accumulate(int(not entry.problem) for entry in self.entries)]
        rows = [row[i] for i in by_file if not self.entries[i].problem]
        return _Index(entries, [torch.cat(self.embeddings)[rows]])

    def write(self, folder: Path, say: Callable[[str], None]) -> None:
        # A tensor of bytes holds names and captions: the header of a .safetensors file is limited.
        text = json.dumps(self.entries, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self.embeddings = [torch.cat(self.embeddings)]
        entries = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        try:
            write_tensors(folder / INDEX, {"entries": entries, "embeddings": self.embeddings[0]}, _header())
        except FileError as error:
            say(f"the library's index is not kept: {error}")

    @classmethod
    def read(cls, folder: Path, say: Callable[[str], None]) -> _Index:
        """What an earlier build has left; empty if there is none, or one that does not fit."""
        path, empty = folder / INDEX, cls([], [torch.zeros(0, DIM, dtype=torch.float16)])
        if not path.exists():
            return empty
        try:
            tensors, header, _ = read_tensors(path, "a library's index")
            if header != _header():
                return empty
            text = tensors["entries"].numpy().tobytes().decode("utf-8", "surrogatepass")
            entries, embeddings = [Entry(*map(str, values)) for values in parse_json(text)], tensors["embeddings"]
            usable = sum(not entry.problem for entry in entries)
            if (
                embeddings.shape != (usable, DIM)
                or embeddings.dtype != torch.float16
                or not embeddings.isfinite().all()
            ):
                raise ValueError("embeddings")
            return cls(entries, [embeddings])
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            say(f"{path}: damaged ({type(error).__name__}), so the index is made again")
            return empty


def _header() -> dict[str, object]:
    """What an index depends on besides the files."""
    return {"kind": "library-index", "version": 1, "encoder": WEIGHTS_SHA256, "numbers": VECTOR_SIZE}


def _up_to_date(folder: Path, say: Callable[[str], None]) -> _Index:
    """The index of a folder, with new and changed files read."""
    captions = read_captions(folder)
    # A caption that changes in the sidecar makes its file a changed one.
    stamps = {file: f"{stamp}/{zlib.crc32(captions.get(file, '').encode())}" for file, stamp in find_files(folder)}
    for file in sorted(captions.keys() - stamps.keys()):
        say(f"library {folder}: a caption is given for {file}, which is not there")
    known = _Index.read(folder, say)
    index = known.kept(stamps)
    there = {entry.file for entry in index.entries}
    new = [file for file in stamps if file not in there]
    saved, pause = time.monotonic(), SAVE_EVERY_S
    for start in range(0, len(new), CHUNK):
        files = new[start : start + CHUNK]
        entries = [_entry(folder, file, stamps[file], captions.get(file, ""), say) for file in files]
        index.entries.extend(entries)
        index.embeddings.append(shared_encoder().pooled([e.caption for e in entries if not e.problem]).half())
        if len(new) > CHUNK:
            _progress(f"library {folder}: {start + len(files):,} of {len(new):,} new files")
            if start + len(files) == len(new):
                _progress("")
        if time.monotonic() - saved > pause:
            begun = time.monotonic()
            index.write(folder, say)
            saved = time.monotonic()
            pause = max(SAVE_EVERY_S, 10 * (saved - begun))  # writing takes a tenth of the time at most
    index = index.ordered()
    if new or index is not known:
        index.write(folder, say)
    if problems := _problems(index.entries):
        say(f"library {folder}: {counted(sum(not e.problem for e in index.entries), 'asset')}; {problems}")
    return index


def _problems(entries: Sequence[Entry]) -> str:
    """How many files are not used, and the names of the first few; empty if all are used."""
    bad = [entry for entry in entries if entry.problem]
    if not bad:
        return ""
    without = sum(entry.problem == NO_PARTS for entry in bad)
    names = ", ".join(entry.file for entry in bad[:3]) + (", ..." if len(bad) > 3 else "")
    kinds = f"{len(bad) - without:,} unreadable, {without:,} without parts"
    return f"not used: {counted(len(bad), 'file')}, {kinds}: {names}"


def counted(number: int, noun: str) -> str:
    """``1 asset``, ``2 assets``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _entry(folder: Path, file: str, stamp: str, caption: str, say: Callable[[str], None]) -> Entry:
    """Read a file once. ``say`` gets a line if it cannot be used."""
    try:
        _, inside = read_asset(folder / file)
        return Entry(file, stamp, caption or own_caption(folder / file, inside), "")
    except FileError as error:
        say(str(error))
        return Entry(file, stamp, "", NO_PARTS if isinstance(error, NoParts) else UNREADABLE)


def _progress(line: str) -> None:
    """A line that the next one writes over; nothing where there is no terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
