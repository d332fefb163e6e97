"""Which faults each reward detects, and what it costs: ``python -m benchmarks.rewards [--assets N]
[--truth N]``.

- Discrimination: good assets of the corpus beside copies with a known fault. How often does each
  reward rank the pair right?
- Cost: milliseconds an asset.
- Physics truth: does the simulation agree with the analytic margin?

A pair is counted for a reward where the fault can be seen by a definition that does not ask the
reward:

- changed: the fault changed the asset at all (an asset of one part has no part to lose).
- loose: the exact union of the part meshes (manifold3d) has a piece farther than the centimetre of
  ``TOUCH_TOLERANCE`` from all others, and the good asset's has none.
- floats: loose, and such a piece ends more than 2 cm above the ground.
- falls: floats; or, in one piece, the centre of mass leaves the convex hull (scipy) of all that
  lies within 2 cm of the ground when the ground leans by 5 degrees, as in the simulation.
- topples: the same without a lean.
- overlaps: the exact volume of the parts that is in two places has grown by a hundredth of their
  volume.
- mirrored: every part of the good asset has a mirror image among its parts, in place, size and
  colour to 2 cm and 0.1, and the bad asset's parts have not.
- relation: the caption places one coloured solid on, under, beside, before or behind another.
- painted: all colours that the caption names are right on the good asset's parts, and one is wrong
  on the bad asset's.
- view: the fault is one of the views, not of the asset.
- outline: the same, and the outline that all views now have differs from its own mirror image.
  Otherwise it is that of a solid of revolution, whose outlines are all right.

Where a reward is not meant to see a fault, all changed pairs are counted. Scores closer than
``TIE`` are a tie, which counts half."""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import manifold3d
import numpy as np
import torch
import trimesh
from scipy.spatial import ConvexHull, QhullError

from benchmarks.mesh_faults import MESH_FAULTS
from rewards import KNOWN, Batch, Reward, Scores, Shots, resolve
from rewards.geometry.meshes import inspect
from rewards.physics.simulate import Trial
from rl3d.corpus import CORRUPTIONS, FACED, SUBTLE, Facts, Item, captions, check_colors, sample, sample_for
from rl3d.corpus.corruptions import faces_copied
from rl3d.scoring import render_views
from scenes.asset import PartAsset
from scenes.parts import COLOR, TOUCH_TOLERANCE, Parts
from scenes.solids import joined

TIE = 0.002
FAULTS = (
    "leg_removed", "part_raised", "part_lifted", "floater_added", "part_rotated", "part_shifted",
    "leaning_slightly", "part_sunk", "part_thinned", "colors_swapped", "category_swapped",
)  # fmt: skip
VIEW_FAULT = "view_dependent"
"""Every view is the first one: a face that looks at every camera."""
FACE_FAULT = "second_face"
"""``faces_copied``, on as many assets that have a front (``FACED``)."""
FOR = {
    "stability": {
        "leg_removed": "falls",
        "part_raised": "floats",
        "part_lifted": "floats",
        "floater_added": "floats",
        "leaning_slightly": "changed",
    },
    "margin": {
        "leg_removed": "falls",
        "part_raised": "floats",
        "part_lifted": "floats",
        "floater_added": "floats",
        "leaning_slightly": "changed",
    },
    "push": {
        "leg_removed": "falls",
        "part_raised": "floats",
        "part_lifted": "floats",
        "floater_added": "floats",
        "leaning_slightly": "changed",
    },
    "structure": {
        "leg_removed": "topples",
        "part_raised": "floats",
        "part_lifted": "floats",
        "floater_added": "floats",
        "leaning_slightly": "changed",
    },
    "penetration": {"part_sunk": "overlaps"},
    "stacking": {"colors_swapped": "relation"},
    "connected": {"part_raised": "loose", "part_lifted": "loose", "floater_added": "loose"},
    "floaters": {"part_raised": "loose", "part_lifted": "loose", "floater_added": "loose"},
    "contact": {"part_raised": "loose", "part_lifted": "loose", "floater_added": "loose"},
    "symmetry": {
        "leg_removed": "mirrored",
        "floater_added": "mirrored",
        "part_rotated": "mirrored",
        "part_shifted": "mirrored",
    },
    "printable": {"part_raised": "loose", "part_lifted": "loose", "floater_added": "loose", "part_thinned": "changed"},
    "alignment": {"category_swapped": "changed", "colors_swapped": "painted"},
    "worst_view": {"category_swapped": "changed", "colors_swapped": "painted"},
    "one_face": {FACE_FAULT: "changed"},
    "mrc": {VIEW_FAULT: "view"},
    "reprojection": {VIEW_FAULT: "view"},
    "silhouette": {VIEW_FAULT: "outline"},
}
"""Which faults each reward is for, and the rule by which their pairs are counted. Of the meshes'
faults: see ``meshes``."""
AIM, CHANCE = 0.95, (0.4, 0.6)


def batched(assets: list[np.ndarray]) -> Parts:
    return Parts.stack([Parts.from_vectors(torch.from_numpy(vectors)) for vectors in assets])


def part_meshes(parts: Parts, per_octant: int = 3) -> list[trimesh.Trimesh]:
    vertices, faces = parts.present().meshes(per_octant)
    return [trimesh.Trimesh(v, faces.numpy(), process=False) for v in vertices.double().numpy()]


@dataclass(frozen=True)
class Solid:
    """Exact figures of one asset's part meshes."""

    loose: int
    """Pieces of their union that are farther than ``TOUCH_TOLERANCE`` from all others; 0 if there
    is one piece."""
    floats: bool
    """Such a piece ends more than 2 cm above the ground."""
    overlap: float
    """Fraction of the parts' volume that is in two places."""


def solid_of(parts: Parts) -> Solid:
    # As fine as they are exported.
    shapes = [
        manifold3d.Manifold(manifold3d.Mesh64(m.vertices, m.faces.astype(np.uint64))) for m in part_meshes(parts, 5)
    ]
    union = manifold3d.Manifold.batch_boolean(shapes, manifold3d.OpType.Add)
    pieces, volume = union.decompose(), sum(shape.volume() for shape in shapes)
    # Cavities decompose as pieces turned inside out.
    pieces = [piece for piece in pieces if piece.volume() > 0]
    gap = 2 * TOUCH_TOLERANCE
    loose = (
        [p for p in pieces if all(p.min_gap(q, gap) > TOUCH_TOLERANCE for q in pieces if q is not p)]
        if len(pieces) > 1
        else []
    )
    ground = union.bounding_box()[2]
    return Solid(len(loose), any(p.bounding_box()[2] > ground + 0.02 for p in loose), 1 - union.volume() / volume)


def topples_at_deg(parts: Parts) -> float:
    """The least lean that moves one asset's centre of mass out of the hull of what lies within 2 cm
    of the ground; -90 without a hull."""
    shown = parts.present()
    volumes, centroids = (t.double().numpy() for t in shown.masses())
    centre = np.average(centroids, axis=0, weights=volumes)
    points = shown.surface_grid(6).double().flatten(0, 2).numpy()
    try:
        hull = ConvexHull(points[points[:, 2] < points[:, 2].min() + 0.02, :2])
    except (QhullError, ValueError):
        return -90.0
    inside = -(hull.equations[:, :2] @ centre[:2] + hull.equations[:, 2]).max()
    return math.degrees(math.atan2(inside, centre[2]))


def mirrors_itself(vectors: np.ndarray) -> bool:
    """Whether every part has a mirror image among the parts, left and right or front and back,
    about the middle of all."""
    parts = Parts.from_vectors(torch.from_numpy(vectors))
    boxes = parts.surface_grid(2).flatten(-3, -2).numpy()
    low, high = boxes.min(1), boxes.max(1)
    for axis in (0, 1):
        middle = (low[:, axis].min() + high[:, axis].max()) / 2
        low_image, high_image = low.copy(), high.copy()
        low_image[:, axis], high_image[:, axis] = 2 * middle - high[:, axis], 2 * middle - low[:, axis]
        apart = np.maximum(np.abs(low_image[:, None] - low).max(-1), np.abs(high_image[:, None] - high).max(-1))
        paint = np.abs(vectors[:, None, COLOR] - vectors[None, :, COLOR]).max(-1)
        if ((apart < 0.02) & (paint < 0.1)).any(1).all():
            return True
    return False


def named_right(facts: Facts, vectors: np.ndarray) -> float:
    """Fraction of the colours named in the caption that the parts have; 1 if it names none."""
    right, total = check_colors(facts, Parts.from_vectors(torch.from_numpy(vectors)))
    return right / total if total else 1.0


def counted(items: list[Item], whole: list[Solid], bad: list[np.ndarray]) -> dict[str, np.ndarray]:
    """By each rule, which of the pairs count; ``whole`` are the good assets' figures."""
    broken = batched(bad)
    pairs = [(solid, solid_of(broken[i])) for i, solid in enumerate(whole)]
    changed = np.array(
        [
            a.shape != b.vectors.shape or not np.allclose(a, b.vectors, atol=1e-3)
            for a, b in zip(bad, items, strict=True)
        ]
    )
    loose = np.array([b.loose > 0 and a.loose == 0 for a, b in pairs])
    floats = loose & np.array([b.floats for _, b in pairs])
    lean = np.array([topples_at_deg(broken[i]) if not pairs[i][1].loose else 90.0 for i in range(len(items))])
    rules = {
        "changed": changed,
        "loose": loose,
        "floats": floats,
        "falls": floats | (lean < Trial().lean_deg),
        "topples": floats | (lean < 0),
        "overlaps": np.array([b.overlap > a.overlap + 0.01 for a, b in pairs]),
        "mirrored": np.array(
            [mirrors_itself(b.vectors) and not mirrors_itself(a) for a, b in zip(bad, items, strict=True)]
        ),
        "relation": np.array([item.kind == "relation" and item.facts.relations[0].kind != "next" for item in items]),
        "painted": np.array(
            [
                named_right(a.facts, a.vectors) == 1 and named_right(a.facts, b) < 1
                for a, b in zip(items, bad, strict=True)
            ]
        ),
    }
    return {rule: changed & which for rule, which in rules.items()}


def ranked(good: torch.Tensor, bad: torch.Tensor) -> float:
    """AUC over pairs: the fraction in which the good asset scores more than its faulty copy, ties
    counting half."""
    more = (good - bad).double()
    return float(((more > TIE).double() + 0.5 * (more.abs() <= TIE).double()).mean())


def known() -> dict[str, Reward]:
    """The built-in rewards that run here."""
    found = {}
    for name in KNOWN:
        try:
            found[name] = resolve(name)
        except (ValueError, OSError, ImportError) as error:
            print(f"left out: {name} ({' '.join(str(error).split())[:100]})")
    return found


def views_of(parts: Parts, reward: Reward) -> dict[tuple[int, int], Shots]:
    return render_views(PartAsset(parts), [reward]) if reward.needs.cameras else {}


def from_one_side(shots: dict[tuple[int, int], Shots]) -> dict[tuple[int, int], Shots]:
    """The same shots with the first view in the place of every other."""

    def repeat(t: torch.Tensor | None) -> torch.Tensor | None:
        return None if t is None else t[:, :1].expand_as(t)

    return {
        rig: Shots(
            replace(
                s.views, **{name: repeat(value) for name, value in vars(s.views).items() if torch.is_tensor(value)}
            ),
            s.cameras,
        )
        for rig, s in shots.items()
    }


def lopsided(shots: Shots) -> np.ndarray:
    """Of which assets the first view's outline differs by a fiftieth of its area and more from its
    mirror image about the axis around which the cameras stand."""
    shown = shots.views.alpha[:, 0, ..., 0] > 0.5
    return ((shown ^ shown.flip(-1)).sum((1, 2)) > 0.02 * shown.sum((1, 2))).numpy()


def evaluate(reward: Reward, batch: Batch) -> Scores:
    with torch.no_grad():
        return reward(batch)


def discrimination(rewards: dict[str, Reward], count: int) -> None:
    rng = np.random.default_rng(2024)
    items = [sample(rng) for _ in range(count)]
    prompts = [item.caption for item in items]
    faults: dict[str, Callable] = {**CORRUPTIONS, **SUBTLE}
    bad = {name: [faults[name](item.vectors, rng) for item in items] for name in FAULTS}
    good = batched([item.vectors for item in items])
    faced = [sample_for(captions.single(rng, "heldout", FACED[i % len(FACED)]), rng) for i in range(count)]
    names = [item.caption for item in faced]
    one, two = (batched([change(item.vectors, rng) for item in faced]) for change in (lambda v, rng: v, faces_copied))
    whole = [solid_of(good[i]) for i in range(count)]
    rules = {name: counted(items, whole, assets) for name, assets in bad.items()}
    print(f"\ndiscrimination: AUC over pairs of {count} assets and their faulty copies (n pairs counted; rule)")
    missed, cells = [], {}
    for name, reward in rewards.items():
        base_shots = views_of(good, reward)
        base = evaluate(reward, Batch(prompts, PartAsset(good), base_shots)).values
        print(f"\n{name}  (mean on good assets {base.mean():.3f})")
        for fault in (*FAULTS, FACE_FAULT, *([VIEW_FAULT] if base_shots else [])):
            rule, keep, whole_ones = FOR.get(name, {}).get(fault, ""), np.ones(count, bool), base
            if fault == VIEW_FAULT:
                batch = Batch(prompts, PartAsset(good), from_one_side(base_shots))
                if rule == "outline":
                    keep = lopsided(base_shots[reward.needs.rig])
            elif fault == FACE_FAULT:
                whole_ones = evaluate(reward, Batch(names, PartAsset(one), views_of(one, reward))).values
                batch = Batch(names, PartAsset(two), views_of(two, reward))
                keep = (two.exists.sum(-1) > one.exists.sum(-1)).numpy()
            else:
                parts = batched(bad[fault])
                batch = Batch(prompts, PartAsset(parts), views_of(parts, reward))
                keep = rules[fault][rule or "changed"]
            if not keep.any():
                print(f"  {fault:18}     -   (0 pairs)")
                continue
            kept = torch.from_numpy(keep)
            value = ranked(whole_ones[kept], evaluate(reward, batch).values[kept])
            ok = value >= AIM if rule else CHANCE[0] <= value <= CHANCE[1]
            cells[name, fault] = f"**{value:.2f}**" if rule else f"{value:.2f}"
            mark = "" if ok else "  MISSED" if rule else "  sees it, too" if value > CHANCE[1] else "  likes it"
            print(f"  {fault:18} {value:6.3f}  {'for, ' + rule if rule else 'not for':14} n={keep.sum():4d}{mark}")
            if rule and not ok:
                missed.append((name, fault, value))
    columns = (*FAULTS, FACE_FAULT, VIEW_FAULT)
    print(
        "\n| reward | " + " | ".join(fault.replace("_", " ") for fault in columns) + " |\n|---|" + "---|" * len(columns)
    )
    for name in rewards:
        print(f"| `{name}` | " + " | ".join(cells.get((name, fault), "") for fault in columns) + " |")
    print(
        "\nmeant to see it and below the aim of 0.95: "
        + (", ".join(f"{n} on {f} ({v:.3f})" for n, f, v in missed) or "none")
    )


def meshes(count: int) -> None:
    """The figures of ``inspect`` on united meshes, good and faulty."""
    rng = np.random.default_rng(7)
    good, bad = [], {name: [] for name in MESH_FAULTS}
    seconds, triangles = 0.0, 0
    for _ in range(count):
        shapes = part_meshes(batched([sample(rng).vectors])[0])
        solid = joined(shapes, np.zeros((len(shapes), 3)), united=True)
        mesh = trimesh.Trimesh(solid.vertices.double().numpy(), solid.faces.numpy(), process=False)
        start = time.perf_counter()
        good.append(inspect(mesh))
        seconds += time.perf_counter() - start
        triangles += len(mesh.faces)
        for name, fault in MESH_FAULTS.items():
            bad[name].append(inspect(fault(mesh, rng)))
    faultless = np.mean([report.printable for report in good])
    print(f"\nmeshes: {count} united assets, score of inspect (good: {faultless:.3f} without any fault)")
    base = torch.tensor([report.score for report in good])
    for name, reports in bad.items():
        found = np.mean(
            [not r.watertight if name == "hole_cut" else r.inner_shells > 0 or r.crossings > 0 for r in reports]
        )
        value = ranked(base, torch.tensor([report.score for report in reports]))
        print(f"  {name:18} {value:6.3f}  the fault itself is named in {found:.3f}")
    print(f"  inspect: {1e3 * seconds / count:.0f} ms a mesh of {triangles / count:.0f} triangles in the mean")


def cost(rewards: dict[str, Reward], count: int = 96) -> None:
    rng = np.random.default_rng(5)
    items = [sample(rng) for _ in range(count)]
    parts, prompts = batched([item.vectors for item in items]), [item.caption for item in items]
    print(
        f"\ncost: {count} assets, torch on {torch.get_num_threads()} threads; "
        "best of 3 (views are not counted, shared work is)"
    )
    for name, reward in rewards.items():
        shots, best = views_of(parts, reward), math.inf
        for _ in range(3):
            batch = Batch(prompts, PartAsset(parts), shots)
            wall, cpu = time.perf_counter(), time.process_time()
            evaluate(reward, batch)
            best = min(best, time.perf_counter() - wall)
            cpu = time.process_time() - cpu
        print(
            f"  {name:12} {1e3 * best / count:7.2f} ms an asset, {best:6.2f} s in all ({cpu:.2f} s of processor time)"
        )


def truth(count: int) -> None:
    """Simulated verdict against the analytic one, on good assets and on as many that may fall."""
    rng = np.random.default_rng(11)
    good = [sample(rng).vectors for _ in range(count)]
    kinds = ("leg_removed", "leg_shortened", "leaning", "bulged", "jitter")
    spoilt = [CORRUPTIONS[kinds[i % len(kinds)]](vectors, rng) for i, vectors in enumerate(good)]
    stability, margin = resolve("stability"), resolve("margin")
    print("\nphysics truth: verdicts of the simulation (stands in gravity that leans by 5 degrees) and of the margin")
    for title, assets in (("corpus", good), ("with a fault", spoilt)):
        batch = Batch([""] * count, PartAsset(batched(assets)))
        simulated, analytic = evaluate(stability, batch).verdict, evaluate(margin, batch).verdict
        assert simulated is not None and analytic is not None
        agree, stand = (simulated == analytic).double().mean(), simulated.double().mean()
        only = int((analytic & ~simulated).sum()), int((~analytic & simulated).sum())
        print(
            f"  {title:13} {count} assets: agree in {agree:.4f}; {stand:.3f} stand; "
            f"for one only: margin {only[0]}, simulation {only[1]}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--assets", type=int, default=200, help="good assets of the discrimination table (default %(default)s)"
    )
    parser.add_argument("--truth", type=int, default=2000, help="assets of the physics truth (default %(default)s)")
    parser.add_argument("--rewards", default="", help="names with commas (default: all built-in ones)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    rewards = {name: resolve(name) for name in options.rewards.split(",")} if options.rewards else known()
    if options.assets:
        discrimination(rewards, options.assets)
        meshes(max(1, options.assets // 5))
        cost(rewards)
    if options.truth:
        truth(options.truth)


if __name__ == "__main__":
    main()
