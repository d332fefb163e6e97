"""Meshes and rigid bodies of raw splats against those of the parts they were made from: ``python -m
benchmarks.assets [--assets 40]``.

Assets of the corpus, one of each category in turn, become 3072 Gaussians. The table has the time on
this machine (one core with ``RL3D_NUM_THREADS=1 OMP_NUM_THREADS=1``) and how far the bodies are
from the analytic ones.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from renderers.assets import SplatAsset
from rl3d.corpus import CATEGORIES, captions, sample_for
from scenes.asset import INSET, Convex, PartAsset
from scenes.parts import Parts


def centre_of_mass(pieces: list[Convex]) -> np.ndarray:
    return np.average([c.centroid for c in pieces], axis=0, weights=[c.volume for c in pieces])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--assets", type=int, default=40)
    count = arguments.parse_args().assets
    rng = np.random.default_rng(3)
    rows = []
    SplatAsset.of([PartAsset(_parts(rng, 0)[None]).gaussians()[0]]).bodies()  # loads the libraries
    for i in range(count):
        exact = PartAsset(_parts(rng, i)[None])
        splats = SplatAsset(exact.parts.gaussians(3072, inset=INSET))
        start = time.perf_counter()
        splats.meshes()
        middle = time.perf_counter()
        (found,), end = splats.bodies(), time.perf_counter()
        (true,) = exact.bodies()
        off = np.linalg.norm(centre_of_mass(found) - centre_of_mass(true))
        lower = min(c.bottom for c in found) - min(c.bottom for c in true)
        bodies = len({c.body for c in found}) == len({c.body for c in true})
        rows.append([middle - start, end - middle, len(found), len(true), off, abs(lower), bodies])
    mesh, decomposition, hulls, parts, off, lower, same = np.array(rows, dtype=float).T
    print(f"{count} assets on {torch.get_num_threads()} thread(s)")
    for name, seconds in (("mesh", mesh), ("bodies", decomposition), ("both", mesh + decomposition)):
        print(f"{name:8} {seconds.mean():.2f} s in the mean, {seconds.max():.2f} s at most")
    print(f"hulls    {hulls.mean():.1f} for {parts.mean():.1f} parts")
    print(f"centre of mass off by {1e3 * off.mean():.0f} mm in the mean, {1e3 * off.max():.0f} mm at most")
    print(f"lowest point off by {1e3 * lower.mean():.0f} mm in the mean, {1e3 * lower.max():.0f} mm at most")
    print(f"as many bodies as the parts form: {int(same.sum())} of {count}")


def _parts(rng: np.random.Generator, i: int) -> Parts:
    item = sample_for(captions.single(rng, "heldout", CATEGORIES[i % len(CATEGORIES)]), rng)
    return Parts.from_vectors(torch.from_numpy(item.vectors))


if __name__ == "__main__":
    main()
