"""A table of the rewards: what each needs, whether it has a gradient, and what it costs on this
machine."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass, replace
from typing import Any

from rewards import KNOWN, Batch, Needs, Reward, resolve


@dataclass(frozen=True)
class Row:
    """One reward."""

    name: str
    version: str
    gradient: bool
    """Whether it is differentiable."""
    looks_at: str
    milliseconds: float | None
    """For one asset, rendering excluded; None if it was not measured."""


def reward_table(names: list[str], assets: int = 0, *, downloads: bool = False) -> list[Row]:
    """A row for each named reward. With ``assets``, each is timed on so many assets of the corpus.

    Rewards with published weights or a server are timed only with ``downloads``, and by a single
    call, because the answers of a server are cached. ValueError with one line for an unknown
    reward, and for one that cannot score any of the assets.
    """
    found = {name: declared(name) for name in names}
    cost: dict[str, float] = {}
    if assets:
        timed = {name: found[name] if shipped(name) else resolve(name) for name in names if shipped(name) or downloads}
        batch = corpus_batch(assets, list(timed.values()))
        cost = {name: milliseconds(reward, batch, 4 if shipped(name) else 1) for name, reward in timed.items()}
    return [
        Row(
            name,
            getattr(reward, "version", "of its files"),
            hasattr(reward, "values"),
            looks_at(reward.needs),
            cost.get(name),
        )
        for name, reward in found.items()
    ]


def shipped(name: str) -> bool:
    """Whether a reward can be made without a download or a server: its class states its version."""
    module, _, attribute = KNOWN.get(name, "").partition(":")
    return not module or hasattr(getattr(importlib.import_module(module), attribute), "version")


def declared(name: str) -> Any:
    """The reward; or, where ``shipped`` is false, only its class."""
    if shipped(name):
        return resolve(name)
    module, _, attribute = KNOWN[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def looks_at(needs: Needs) -> str:
    """A reward's needs in words."""
    seen = [name for name in ("parts", "bodies", "mesh", "frames") if getattr(needs, name)]
    if needs.cameras:
        seen.append(f"{needs.cameras} views of {needs.size}" + " with normals" * needs.normals)
    return ", ".join(seen)


def milliseconds(reward: Reward, batch: Batch, calls: int) -> float:
    """Milliseconds for one asset, in the fastest of ``calls``. ValueError if the reward cannot
    score any of the assets."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        scores = reward(replace(batch))  # a new batch has no cached gaps between parts
        times.append(time.perf_counter() - start)
        if scores.failed == len(batch):
            raise ValueError(f"reward {reward.name!r} failed on all {len(batch)} assets: there is nothing to measure")
    return 1000 * min(times) / len(batch)


def corpus_batch(count: int, rewards: list[Reward]) -> Batch:
    """Held-out assets of the corpus, with the views that the rewards need."""
    import numpy as np
    import torch

    from rl3d.corpus import sample
    from rl3d.scoring import render_views
    from scenes.asset import PartAsset
    from scenes.parts import Parts

    rng = np.random.default_rng(0)
    items = [sample(rng, "heldout") for _ in range(count)]
    asset = PartAsset(Parts.stack([Parts.from_vectors(torch.from_numpy(item.vectors)) for item in items]))
    return Batch([item.caption for item in items], asset, render_views(asset, rewards))
