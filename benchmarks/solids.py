"""Whether the meshes of part assets are solids: ``python -m benchmarks.solids [--assets 105]
[--extracted 20]``.

Assets of the corpus, one of each category in turn, as ``rl3d export`` makes them. Every part's
mesh, and with ``--united`` their union, must be watertight, consistently wound and of positive
volume, and the union's volume that of the analytic solids: of half a million random points each is
asked whether a part holds it. Of the first few, a mesh is also made from the Gaussians alone; how
far does its surface lie from the union's, and the union's from it?"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from renderers.surface import extract
from rl3d.assets import FINAL_GAUSSIANS
from rl3d.corpus import CATEGORIES, captions, sample_for
from scenes.asset import INSET
from scenes.files.glb import parts_to_trimesh
from scenes.parts import Parts
from scenes.solids import joined

POINTS = 500_000


def union_volume(parts: Parts, low: np.ndarray, high: np.ndarray) -> float:
    """Cubic metres that some part holds within a box."""
    rng = torch.Generator().manual_seed(0)
    size = torch.from_numpy(high - low).float()
    inside = 0
    for _ in range(10):
        points = torch.rand(POINTS // 10, 3, generator=rng) * size + torch.tensor(low).float()
        inside += int((parts.distance(points.expand(parts.count, -1, 3)) < 0).any(0).sum())
    return inside / POINTS * float(size.prod())


def distances(a: trimesh.Trimesh, b: trimesh.Trimesh) -> tuple[float, float]:
    """Mean distance from the surface of ``a`` to that of ``b``, and back, in metres; their sum is
    the chamfer distance.

    Each is from 20,000 points to the nearest of 400,000, which is a little more than to the surface
    itself."""
    few, many = (
        [trimesh.sample.sample_surface(mesh, count, seed=0)[0] for mesh in (a, b)] for count in (20_000, 400_000)
    )
    return cKDTree(many[1]).query(few[0])[0].mean(), cKDTree(many[0]).query(few[1])[0].mean()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--assets", type=int, default=len(CATEGORIES))
    arguments.add_argument("--extracted", type=int, default=20)
    options = arguments.parse_args()
    count = options.assets
    rng = np.random.default_rng(3)
    parts_closed, closed, errors, chamfers = 0, 0, [], []
    meshes = 0
    for i in range(count):
        item = sample_for(captions.single(rng, "heldout", CATEGORIES[i % len(CATEGORIES)]), rng)
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
        if i < options.extracted:
            surface = extract(parts.gaussians(FINAL_GAUSSIANS, inset=INSET))
            there, back = distances(trimesh.Trimesh(surface.vertices.numpy(), surface.faces.numpy()), whole)
            chamfers.append([there / whole.extents.max(), back / whole.extents.max()])
            print(
                f"{CATEGORIES[i % len(CATEGORIES)]:24} extracted surface off by "
                f"{100 * there / whole.extents.max():.2f} % of the extent, "
                f"and back {100 * back / whole.extents.max():.2f} %",
                flush=True,
            )
    off = np.abs(errors)
    print(f"{parts_closed} of {meshes} parts and {closed} of {count} unions are closed solids")
    print(
        f"volume against the analytic union: off by {100 * off.mean():.2f} % in the mean, {100 * off.max():.2f} % "
        f"at most; {(off > 0.01).sum()} of {count} by more than 1 %"
    )
    if chamfers:
        ways, sums = np.mean(chamfers, 0), np.sum(chamfers, 1)
        print(
            f"extraction from Gaussians, of the extent: {100 * ways[0]:.2f} % and back {100 * ways[1]:.2f} % in "
            f"the mean of {len(sums)}; the sum of both {100 * sums.mean():.2f} % in the mean, "
            f"{100 * sums.max():.2f} % at most"
        )


if __name__ == "__main__":
    main()
