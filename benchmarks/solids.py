"""Whether the meshes of part assets are solids: ``python -m benchmarks.solids [--assets 105]``.

Assets of the corpus, one of each category in turn, as ``rl3d export`` makes them. Every part's mesh, and with ``--united`` their union,
must be watertight, consistently wound and of positive volume, and the union's volume that of the analytic solids: of half a million
random points each is asked whether a part holds it.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import trimesh

from rl3d.corpus import CATEGORIES, captions, sample_for
from scenes.files.glb import parts_to_trimesh
from scenes.parts import Parts
from scenes.solids import joined

POINTS = 500_000


def union_volume(parts: Parts, low: np.ndarray, high: np.ndarray) -> float:
    """Cubic metres that some part holds within a box."""
    random = torch.Generator().manual_seed(0)
    size = torch.from_numpy(high - low).float()
    inside = 0
    for _ in range(10):
        points = torch.rand(POINTS // 10, 3, generator=random) * size + torch.tensor(low).float()
        inside += int((parts.distance(points.expand(parts.count, -1, 3)) < 0).any(0).sum())
    return inside / POINTS * float(size.prod())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--assets", type=int, default=len(CATEGORIES))
    count = arguments.parse_args().assets
    random = np.random.default_rng(3)
    parts_closed, closed, errors = 0, 0, []
    meshes = 0
    for i in range(count):
        item = sample_for(captions.single(random, "heldout", CATEGORIES[i % len(CATEGORIES)]), random)
        parts = Parts.from_vectors(torch.from_numpy(item.vectors))
        shapes = list(parts_to_trimesh(parts).geometry.values())
        for shape in shapes:
            shape.merge_vertices(merge_norm=True, merge_tex=True)
        meshes += len(shapes)
        parts_closed += sum(shape.is_volume for shape in shapes)
        solid = joined(shapes, np.zeros((len(shapes), 3)), united=True)
        whole = trimesh.Trimesh(solid.vertices.numpy(), solid.faces.numpy(), process=False)
        whole.merge_vertices(merge_norm=True, merge_tex=True)
        closed += whole.is_volume
        errors.append(whole.volume / union_volume(parts, *whole.bounds) - 1)
    off = np.abs(errors)
    print(f"{parts_closed} of {meshes} parts and {closed} of {count} unions are closed solids")
    print(
        f"volume against the analytic union: off by {100 * off.mean():.2f} % in the mean, {100 * off.max():.2f} % at most; "
        f"{(off > 0.01).sum()} of {count} by more than 1 %"
    )


if __name__ == "__main__":
    main()
