"""Retrieval from a library: ``python -m benchmarks.retrieval [--captions 1000000]``.

It prints the time of a search over so many random embeddings on one thread, by ``rl3d.retrieval``
and by faiss where that is installed (``pip install faiss-cpu``; rl3d does not need it), and the
time that an index of a library takes. ``--make-library FOLDER`` writes a library instead:
``--count`` assets of the corpus of ``--categories``, as .safetensors.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rewards.text.minilm import DIM
from rl3d.corpus import CATALOGUE, captions, sample_for
from rl3d.retrieval.library import Library, search
from scenes.files.assets import write_asset

K = 8
BATCHES = (1, 12, 256)
"""Prompts of one search: an asset, an iteration of training, an evaluation."""


def make_library(folder: Path, count: int, categories: Sequence[str], seed: int = 0) -> None:
    """Write ``count`` single objects of the corpus, of each category in turn."""
    rng = np.random.default_rng([seed, 16])
    for i in range(count):
        item = sample_for(captions.single(rng, "train", categories[i % len(categories)]), rng)
        write_asset(folder / f"{item.category}_{i:06d}.safetensors", torch.from_numpy(item.vectors), item.caption)


def embeddings(count: int, rng: torch.Generator) -> Tensor:
    """Random unit vectors (count, 384) in float16."""
    return torch.nn.functional.normalize(torch.randn(count, DIM, generator=rng), dim=-1).half()


def seconds(call: Callable[[], object]) -> float:
    """The best of three, after one that warms up."""
    call()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def time_search(count: int) -> None:
    """Print the time of a search, a row a method."""
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    library = torch.cat([embeddings(min(100_000, count - i), rng) for i in range(0, count, 100_000)])
    queries = {n: embeddings(n, rng).float() for n in BATCHES}
    methods: dict[str, Callable[[Tensor], object]] = {"rl3d.retrieval, float16": lambda q: search(library, q, K)}
    try:
        import faiss
    except ImportError:
        print("faiss is not installed: pip install faiss-cpu")
    else:
        faiss.omp_set_num_threads(1)
        product = faiss.METRIC_INNER_PRODUCT
        indices = {
            "faiss IndexFlat, float32": faiss.IndexFlatIP(DIM),
            "faiss scalar quantizer, float16": faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, product),
        }
        for name, index in indices.items():
            index.train(library[:1000].float().numpy())
            for part in library.split(100_000):
                index.add(part.float().numpy())
            methods[name] = lambda q, index=index: index.search(q.numpy(), K)
    print(f"seconds of an exact search, {count:,} captions, {K} nearest, 1 thread")
    print(f"| method | {' | '.join(f'{n} prompts' for n in BATCHES)} |\n|---|{'---|' * len(BATCHES)}")
    for name, method in methods.items():
        cells = [f"{seconds(lambda q=q, method=method: method(q)):.3f}" for q in queries.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def time_index(count: int) -> None:
    """Print how long a library takes to open, first without an index and then with one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "library"
        make_library(folder, count, tuple(CATALOGUE))
        for what in ("making the index", "opening it again"):
            start = time.perf_counter()
            Library(folder)
            took = time.perf_counter() - start
            print(f"{what}, {count:,} assets: {took:.2f} s, {1e3 * took / count:.3f} ms an asset", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--captions", type=int, default=1_000_000)
    arguments.add_argument("--count", type=int, default=2000)
    arguments.add_argument("--categories", default=",".join(CATALOGUE))
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--make-library", type=Path, metavar="FOLDER")
    options = arguments.parse_args()
    categories = options.categories.split(",")
    if unknown := [name for name in categories if name not in CATALOGUE]:
        arguments.error(f"unknown category {unknown[0]!r}: some of {', '.join(CATALOGUE)}")
    if options.make_library:
        make_library(options.make_library, options.count, categories, options.seed)
        print(f"{options.count} assets in {options.make_library}")
        return
    time_search(options.captions)
    time_index(options.count)


if __name__ == "__main__":
    main()
