"""Which faults the rewards detect on raw splats: ``python -m benchmarks.splat_rewards [--assets
16]``.

Assets of the corpus are turned into Gaussians, written to a .ply and read back: nothing is left of
their parts. A copy of each gets a fault made on the Gaussians alone. The figure is the AUC over
pairs: the fraction in which the good asset scores more than its copy, ties counting half. Legs are
taken from furniture, and only pairs count in which the asset falls for want of one by the centre of
mass and the hull of what touches the ground. Second faces are put on animals, toys and robots. All
other faults are made on single things of all kinds."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from benchmarks.rewards import ranked
from renderers.assets import SplatAsset
from rewards import Batch, Reward, Scores, resolve
from rl3d.corpus import CATEGORIES, FACED, Item, captions, sample_for
from rl3d.corpus.corruptions import faces_copied
from rl3d.scoring import render_views
from scenes.asset import PartAsset
from scenes.files.ply import read_ply, write_ply
from scenes.gaussians import Gaussians, rotations, transformed
from scenes.parts import COLOR, SHAPE_SIZE, Parts

COUNT = 8192
"""Gaussians of one asset."""
REWARDS = (
    "stability", "push", "connected", "floaters", "printable",
    "mrc", "reprojection", "silhouette", "normals", "worst_view", "alignment", "one_face",
)  # fmt: skip
LEGGED = ("chair", "table", "desk", "bench", "bed", "stool")
Fault = Callable[[Gaussians, np.random.Generator], Gaussians]


def bump(scene: Gaussians, rng: np.random.Generator) -> Gaussians:
    """A patch as wide as a third of the asset bulges outwards by a tenth of it."""
    extent, distance = _about_a_point(scene, rng)
    height = 0.1 * extent * (1 - (distance / (0.17 * extent)) ** 2).clamp_min(0)
    return replace(scene, means=scene.means + height.unsqueeze(-1) * _outwards(scene))


def hole(scene: Gaussians, rng: np.random.Generator) -> Gaussians:
    """A patch as wide as a fifth of the asset is missing."""
    extent, distance = _about_a_point(scene, rng)
    return scene.select(distance > 0.1 * extent)


def leg_removed(scene: Gaussians, rng: np.random.Generator) -> Gaussians:
    """Nothing is left of one corner below two fifths of the height."""
    low, high = scene.means.amin(0), scene.means.amax(0)
    below = scene.means[:, 2] < low[2] + 0.4 * (high[2] - low[2])
    sides = torch.from_numpy(rng.choice([-1.0, 1.0], 2)).to(scene.means)
    corner = ((scene.means - (low + high) / 2)[:, :2] * sides > 0).all(-1)
    return scene.select(~(below & corner))


def floater(scene: Gaussians, rng: np.random.Generator, radius: float = 0.06) -> Gaussians:
    """A ball hangs beside the upper half, at a gap of 5 to 15 cm."""
    high, low = scene.means.amax(0), scene.means.amin(0)
    gap, height = rng.uniform(0.05, 0.15), rng.uniform(0.5, 0.95)
    turn = rng.uniform(0, 2 * np.pi)
    along = torch.tensor([np.cos(turn), np.sin(turn), 0.0]).to(scene.means)
    place = (low + high) / 2
    place[2] = low[2] + height * (high[2] - low[2])
    place = place + ((scene.means - place) @ along).max() * along + (gap + radius) * along
    vector = torch.zeros(1, SHAPE_SIZE)
    vector[0, :4], vector[0, 4:7], vector[0, 7:10] = torch.tensor([1.0, 1, 1, 0]), place, np.log(radius)
    vector[0, 10] = vector[0, 14] = 1
    vector[0, COLOR] = scene.colors[rng.integers(scene.count)].clamp(0, 1)
    return Gaussians.concatenate([scene, Parts.from_vectors(vector).gaussians(400)])


def crumb(scene: Gaussians, rng: np.random.Generator) -> Gaussians:
    """The same with a ball of 4 cm across."""
    return floater(scene, rng, radius=0.02)


def tilted(scene: Gaussians, rng: np.random.Generator) -> Gaussians:
    """Turned by 12 degrees about a horizontal axis: it stands on an edge or a corner."""
    turn, lean = rng.uniform(0, 2 * np.pi), np.radians(12)
    x, y, c, s = np.cos(turn), np.sin(turn), np.cos(lean), np.sin(lean)
    axis = np.array([[0, 0, y], [0, 0, -x], [-y, x, 0]])
    matrix = torch.from_numpy(np.eye(3) + s * axis + (1 - c) * axis @ axis).float()
    return transformed(scene, matrix)


def shaken(scene: Gaussians, rng: np.random.Generator) -> Gaussians:
    """Every Gaussian is off by 1.5 cm."""
    noise = torch.from_numpy(rng.normal(0, 0.015, scene.means.shape)).to(scene.means)
    return replace(scene, means=scene.means + noise)


def spun(scene: Gaussians, rng: np.random.Generator) -> Gaussians:
    """Every Gaussian is turned at random: the flat ones stand on edge."""
    return replace(scene, quats=torch.from_numpy(rng.normal(size=scene.quats.shape)).to(scene.quats))


def recoloured(scene: Gaussians, rng: np.random.Generator) -> Gaussians:
    """Red, green and blue change places."""
    return replace(scene, colors=scene.colors.roll(1, -1))


def two_looks(scene: Gaussians, rng: np.random.Generator) -> Gaussians:
    """Colours depend on the side they are seen from, by harmonics of the first degree."""
    rest = torch.zeros(scene.count, 3, 3)
    rest[:, [0, 2]] = torch.from_numpy(rng.normal(0, 0.5, (2, 3))).float()
    return replace(scene, sh_rest=rest)


FAULTS: dict[str, Fault] = {
    fault.__name__: fault for fault in (bump, hole, floater, crumb, tilted, shaken, spun, recoloured, two_looks)
}
ONLY_COLORS = ("recoloured", "two_looks")
FOR = {
    "stability": {"leg_removed", "floater", "tilted"},
    "push": {"leg_removed", "floater", "crumb", "tilted"},
    "connected": {"floater"},
    "floaters": {"floater", "crumb"},
    "printable": {"floater", "crumb"},
    "mrc": {"two_looks"},
    "reprojection": {"two_looks"},
    "normals": {"spun"},
    "alignment": {"bump", "leg_removed", "shaken", "recoloured"},
    "worst_view": {"recoloured"},
    "one_face": {"second_face"},
}
"""The faults that each reward is meant to detect."""


def splats(vectors: np.ndarray, folder: Path) -> Gaussians:
    """The Gaussians of one asset as its file holds them."""
    parts = Parts.stack([Parts.from_vectors(torch.from_numpy(vectors).float())])
    path = folder / "asset.ply"
    write_ply(path, PartAsset(parts).gaussians(COUNT, fine=True)[0])
    return read_ply(path)


def scored(rewards: list[Reward], items: list[Item], scenes: list[Gaussians]) -> dict[str, Scores]:
    asset, prompts = SplatAsset.of(scenes), [item.caption for item in items]
    batch = Batch(prompts, asset, render_views(asset, rewards))
    return {reward.name: reward(batch) for reward in rewards}


def table(count: int, names: list[str]) -> dict[tuple[str, str], float]:
    """AUC of every reward on every fault."""
    rng = np.random.default_rng(2025)
    rewards, cells = [resolve(name) for name in names], {}
    mixed, faced = (_items(count, kinds, rng) for kinds in (CATEGORIES, FACED))

    def compare(good: dict[str, Scores], bad: dict[str, Scores], fault: str) -> None:
        for name, scores in bad.items():
            cells[name, fault] = ranked(good[name].values, scores.values)
        pairs = len(next(iter(bad.values())).values)
        failed = {name: scores.failed for name, scores in bad.items() if scores.failed}
        print(f"  {fault}: {pairs} pairs{', failed ' + str(failed) if failed else ''}", flush=True)

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        whole = [splats(item.vectors, folder) for item in mixed]
        good = scored(rewards, mixed, whole)
        print("good assets, mean: " + ", ".join(f"{name} {s.values.mean():.2f}" for name, s in good.items()))
        for fault, change in FAULTS.items():
            chosen = [r for r in rewards if r.needs.cameras or fault not in ONLY_COLORS]
            compare(good, scored(chosen, mixed, [change(scene, rng) for scene in whole]), fault)
        pairs = []
        for item in _items(4 * count, LEGGED, rng):
            whole = splats(item.vectors, folder)
            bad = leg_removed(whole, rng)
            if stands(whole) and not stands(bad):
                pairs.append((item, whole, bad))
            if len(pairs) == count:
                break
        legged, *both = (list(column) for column in zip(*pairs, strict=True))
        compare(scored(rewards, legged, both[0]), scored(rewards, legged, both[1]), "leg_removed")
        whole, bad = ([splats(change(item), folder) for item in faced] for change in (
            lambda item: item.vectors, lambda item: faces_copied(item.vectors, rng)
        ))  # fmt: skip
        compare(scored(rewards, faced, whole), scored(rewards, faced, bad), "second_face")
    return cells


def stands(scene: Gaussians) -> bool:
    """Whether the middle of the mesh's volume is above the convex hull of all that lies within 2 cm
    of the ground, also when the ground leans by 5 degrees."""
    mesh = SplatAsset.of([scene]).meshes()[0]
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy())
    points, middle = solid.vertices, solid.center_mass
    try:
        hull = ConvexHull(points[points[:, 2] < points[:, 2].min() + 0.02, :2])
    except QhullError:  # nothing but a point or a line
        return False
    inside = -(hull.equations[:, :2] @ middle[:2] + hull.equations[:, 2]).max()
    return inside > np.tan(np.radians(5)) * (middle[2] - points[:, 2].min())


def _items(count: int, kinds: tuple[str, ...], rng: np.random.Generator) -> list[Item]:
    order = rng.permutation(len(kinds))
    return [sample_for(captions.single(rng, "heldout", kinds[order[i % len(order)]]), rng) for i in range(count)]


def _about_a_point(scene: Gaussians, rng: np.random.Generator) -> tuple[float, Tensor]:
    """The asset's extent, and each Gaussian's distance (n,) from one of them."""
    extent = float((scene.means.amax(0) - scene.means.amin(0)).max())
    return extent, (scene.means - scene.means[rng.integers(scene.count)]).norm(dim=-1)


def _outwards(scene: Gaussians) -> Tensor:
    """Unit normals (n, 3) that point away from the asset's middle."""
    normals = rotations(scene.quats).gather(-1, scene.scales.argmin(-1)[:, None, None].expand(-1, 3, 1)).squeeze(-1)
    away = scene.means - scene.means.mean(0)
    return normals * torch.where((normals * away).sum(-1, keepdim=True) < 0, -1.0, 1.0)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--assets", type=int, default=16, help="pairs of each fault (default %(default)s)")
    arguments.add_argument("--rewards", default=",".join(REWARDS), help="names with commas")
    options = arguments.parse_args()
    names, start = options.rewards.split(","), time.monotonic()
    cells = table(options.assets, names)
    faults = ("leg_removed", *FAULTS, "second_face")
    print("\n| reward | " + " | ".join(fault.replace("_", " ") for fault in faults) + " |")
    print("|---|" + "---|" * len(faults))
    for name in names:
        row = []
        for fault in faults:
            cell = f"{cells[name, fault]:.2f}" if (name, fault) in cells else ""
            row.append(f"**{cell}**" if fault in FOR.get(name, ()) and cell else cell)
        print(f"| `{name}` | " + " | ".join(row) + " |")
    print(f"\n{options.assets} pairs of each fault, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
