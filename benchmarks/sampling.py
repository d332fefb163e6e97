"""Sampling by the built-in generators: ``python -m benchmarks.sampling``.

It prints the median time of 32 held-out prompts at once, of one prompt, and the resident memory
after 100 and after 1,000 assets.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from rl3d.corpus import prompts
from rl3d.generators.load import BUILT_IN, load_generator
from scenes.files import FileError

TIMES = 7
BATCH, FEW, MANY = 32, 100, 1000


def resident_mib() -> float:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="*", default=list(BUILT_IN), help="names, or weights files")
    options = parser.parse_args(arguments)
    texts = [item.caption for item in prompts(BATCH, 7)]
    for name in options.generators:
        known = name in BUILT_IN
        try:
            generator = load_generator(None if known else Path(name), generator=name if known else None)
        except FileError as error:
            parser.error(str(error))
        generator.generate(texts, seeds=range(BATCH))  # loads the text encoder, allocates memory
        for count in (BATCH, 1):
            times = []
            for repeat in range(TIMES):
                start = time.perf_counter()
                generator.generate(texts[:count], seeds=range(repeat * count, (repeat + 1) * count))
                times.append(time.perf_counter() - start)
            print(f"{name}: {count} assets in {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")
        for made in range(0, MANY, BATCH):
            generator.generate(texts, seeds=range(made, made + BATCH))
            if made <= FEW < made + BATCH or made + BATCH >= MANY:
                print(f"{name}: {resident_mib():.0f} MiB after {made + BATCH} assets")


if __name__ == "__main__":
    main()
