"""Which faults the multi-view rewards detect: ``python -m benchmarks.views [--assets 100]
[--rewards silhouette,reprojection]``.

Held-out assets of the corpus are rendered and their views are spoiled in known ways. Each reward
must rank whole assets above spoiled ones. The figure is the AUC over all pairs of a whole and a
spoiled asset, not only the two versions of one."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

import rewards
from renderers.base import Views
from rewards.base import Batch, Shots
from rl3d.corpus import CATEGORIES, FACED, Item, captions, sample_for
from rl3d.corpus.corruptions import faces_copied
from rl3d.scoring import render_views
from scenes.asset import PartAsset
from scenes.parts import Parts

REWARDS = ("silhouette", "reprojection", "normals", "mrc", "worst_view")
NOTHING = {"rgb": 1.0, "alpha": 0.0, "depth": 0.0, "normal": 0.0}

Fault = Callable[[Views, Tensor], Views]
"""Views (B, C, ...) and the view (B,) of each asset to be spoiled."""


def other_asset(views: Views, which: Tensor) -> Views:
    """One view shows the next asset of the batch."""
    return _spoiled(views, which, lambda name, image: getattr(views, name).roll(-1, 0)[torch.arange(len(which)), which])


def painted(views: Views, which: Tensor) -> Views:
    """In one view, the middle of the asset (half of its height and width) has other colours."""
    shown = views.alpha[torch.arange(len(which)), which, ..., 0] > 0.5

    def paint(name: str, image: Tensor) -> Tensor:
        if name != "rgb":
            return image
        return torch.where((shown & _middle(shown)).unsqueeze(-1), 1 - image.roll(1, -1), image)

    return _spoiled(views, which, paint)


def shifted(views: Views, which: Tensor, pixels: int = 3) -> Views:
    """One view is moved sideways."""

    def shift(name: str, image: Tensor) -> Tensor:
        return torch.cat([torch.full_like(image[:, :, :pixels], NOTHING[name]), image[:, :, :-pixels]], 2)

    return _spoiled(views, which, shift)


def deeper_one(views: Views, which: Tensor) -> Views:
    """The depth of one view is 5 % too large."""
    return _spoiled(views, which, lambda name, image: image * 1.05 if name == "depth" else image)


def deeper_all(views: Views, which: Tensor) -> Views:
    """The depth of all views is 5 % too large."""
    return replace(views, depth=views.depth * 1.05)


def flipped(views: Views, which: Tensor) -> Views:
    """The normals of one view point the other way."""
    return _spoiled(views, which, lambda name, image: -image if name == "normal" else image)


FAULTS: dict[str, Fault] = {
    fault.__name__: fault for fault in (other_asset, painted, shifted, deeper_one, deeper_all, flipped)
}
SECOND_FACE = "second_face"
"""A fault of the asset, not of its views: ``faces_copied`` on what has a front. The reward for it
is ``one_face``, of three views."""
FOR = {
    "silhouette": {"other_asset", "shifted"},
    "reprojection": {"other_asset", "painted", "shifted", "deeper_one", "deeper_all"},
    "normals": {"flipped"},
    "mrc": {"other_asset", "painted", "shifted"},
    "worst_view": {"other_asset"},
}


@dataclass(frozen=True)
class Row:
    """One reward on one fault."""

    reward: str
    fault: str
    meant: bool
    auc: float
    whole: float
    spoiled: float
    """Mean values."""
    found: float | None
    """Fraction of the assets in which the spoiled view has the lowest per-view score; None if no
    single view is spoiled."""
    milliseconds: float
    """CPU time for an asset's whole views, rendering not counted."""


def table(assets: int, names: Sequence[str] = REWARDS) -> list[Row]:
    """Every reward on every fault."""
    rng = np.random.default_rng([2024, 7])
    which = torch.from_numpy(rng.integers(0, 9, assets))
    mixed, animals = (_singles(assets, categories, rng) for categories in (CATEGORIES, FACED))
    two_faced = [replace(item, vectors=faces_copied(item.vectors, rng)) for item in animals]
    rows = []
    for name in names:
        reward = rewards.resolve(name)

        def score(items: list[Item], fault: Fault | None = None, reward=reward) -> tuple[Tensor, Tensor | None, float]:
            shots = render_views(
                PartAsset(Parts.stack([Parts.from_vectors(torch.from_numpy(item.vectors)) for item in items])),
                [_AllImages(reward)],
            )
            ((rig, seen),) = shots.items()
            if fault:
                seen = Shots(fault(seen.views, which), seen.cameras)
            texts = [item.caption for item in items]
            batch = Batch(texts, shots={rig: seen})
            start = time.process_time()
            scores = reward(batch)
            return scores.values, scores.per_view, 1000 * (time.process_time() - start) / len(items)

        whole, _, cost = score(mixed)
        for fault in FAULTS:
            spoiled, per_view, _ = score(mixed, FAULTS[fault])
            found = None
            if per_view is not None and fault != "deeper_all":
                found = (per_view.argmin(-1) == which).float().mean().item()
            means = whole.mean().item(), spoiled.mean().item()
            rows.append(Row(name, fault, fault in FOR[name], auc(whole, spoiled), *means, found, cost))
        whole, spoiled = score(animals)[0], score(two_faced)[0]
        means = whole.mean().item(), spoiled.mean().item()
        rows.append(Row(name, SECOND_FACE, SECOND_FACE in FOR[name], auc(whole, spoiled), *means, None, cost))
    return rows


def auc(whole: Tensor, spoiled: Tensor) -> float:
    """Chance that a whole asset scores higher than a spoiled one; equal scores count half."""
    difference = whole.unsqueeze(1) - spoiled
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean().item()


class _AllImages:
    """Needs the views of a reward, and normals, so that every fault has an image to spoil."""

    def __init__(self, reward: rewards.Reward) -> None:
        self.name, self.version, self.needs = reward.name, reward.version, replace(reward.needs, normals=True)

    def __call__(self, batch: Batch) -> rewards.Scores:
        raise NotImplementedError


def _singles(count: int, categories: Sequence[str], rng: np.random.Generator) -> list[Item]:
    order = rng.permutation(len(categories))
    return [
        sample_for(captions.single(rng, "heldout", categories[int(order[i % len(order)])]), rng) for i in range(count)
    ]


def _spoiled(views: Views, which: Tensor, change: Callable[[str, Tensor], Tensor]) -> Views:
    each, images = torch.arange(len(which)), {}
    for field in fields(Views):
        image = getattr(views, field.name)
        if image is not None:
            images[field.name] = image.index_put((each, which), change(field.name, image[each, which]))
    return Views(**images)


def _middle(shown: Tensor) -> Tensor:
    """The middle half of the box around what is shown, along both axes."""
    masks = []
    for axis in (-1, -2):
        line = shown.any(axis).float()
        place = line.cumsum(-1) / line.sum(-1, keepdim=True).clamp_min(1)
        masks.append(((place > 0.25) & (place <= 0.75)).unsqueeze(axis))
    return masks[0] & masks[1]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--assets", type=int, default=100)
    arguments.add_argument("--rewards", default=",".join(REWARDS))
    options = arguments.parse_args()
    print(
        f"{options.assets} assets; AUC >= 0.95 is wanted where a reward is meant for the fault (*), "
        "0.4 to 0.6 elsewhere"
    )
    print("reward        fault           AUC    whole  spoiled  view found  CPU ms an asset")
    for name in options.rewards.split(","):
        for row in table(options.assets, [name]):
            found = "" if row.found is None else f"{row.found:.2f}"
            line = f"{row.reward:13} {row.fault:12}{'*' if row.meant else ' '} {row.auc:6.3f}"
            line += f"  {row.whole:6.3f}  {row.spoiled:7.3f}"
            print(f"{line}  {found:>10}  {row.milliseconds:15.1f}", flush=True)


if __name__ == "__main__":
    main()
