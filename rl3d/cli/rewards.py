"""``rl3d rewards``: what there is to reward, what each looks at, whether it has a gradient, and
what it costs here."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass, replace
from typing import Any

from rewards import KNOWN, Batch, Needs, Reward, resolve
from rl3d.cli.options import parse as parse_options
from rl3d.configs import at_least


@dataclass(frozen=True)
class RewardsConfig:
    """Every value is in [0, 1]."""

    rewards: str = ",".join(KNOWN)
    """NAME,...; left out, all that come with rl3d. A path of your own, my_module:shiny, too."""
    measure: int = 0
    """Time each on so many assets of the corpus, the best of four calls, rendering not counted.
    Those with published weights or a server only if --rewards names them, and by a single call: a
    server's answers are kept."""

    def __post_init__(self) -> None:
        at_least(self, measure=0)


def shipped(name: str) -> bool:
    """Whether a reward is made without fetching anything: a built-in one whose version hangs on no
    files or server, or a user's own."""
    module, _, attribute = KNOWN.get(name, "").partition(":")
    return not module or hasattr(getattr(importlib.import_module(module), attribute), "version")


def declared(name: str) -> Any:
    """What declares itself a reward: the reward, or only its class where ``shipped`` is not."""
    if shipped(name):
        return resolve(name)
    module, _, attribute = KNOWN[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def looks_at(needs: Needs) -> str:
    """In words."""
    seen = ["parts"] * needs.parts + ["text embeddings"] * needs.text
    if needs.cameras:
        seen.append(f"{needs.cameras} views of {needs.size}" + " with normals" * needs.normals)
    return ", ".join(seen)


def milliseconds(reward: Reward, batch: Batch, calls: int) -> float:
    """Of one asset, in the fastest of so many calls. ValueError if no asset can be scored: the time
    of that is no cost."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        scores = reward(replace(batch))  # a new batch: what rewards share, such as gaps between parts, is found again
        times.append(time.perf_counter() - start)
        if scores.failed == len(batch):
            raise ValueError(
                f"reward {reward.name!r} failed on all of {len(batch)} assets: there is nothing to measure"
            )
    return 1000 * min(times) / len(batch)


def corpus_batch(count: int, rewards: list[Reward]) -> Batch:
    """Assets of the corpus as rewards see them."""
    import numpy as np
    import torch

    from rewards.text import MiniLM
    from rl3d.corpus import sample
    from rl3d.scoring import render_views
    from scenes.parts import Parts

    rng = np.random.default_rng(0)
    items = [sample(rng, "heldout") for _ in range(count)]
    prompts = [item.caption for item in items]
    parts = Parts.stack([Parts.from_vectors(torch.from_numpy(item.vectors)) for item in items])
    return Batch(prompts, parts, render_views(parts, rewards), MiniLM().encode(prompts))


def run(arguments: list[str]) -> None:
    config = parse_options(RewardsConfig, "rewards", __doc__, arguments)
    found = {name: declared(name) for name in filter(None, map(str.strip, config.rewards.split(",")))}
    if not found:
        raise ValueError("--rewards names none")
    cost = dict.fromkeys(found, "")
    if config.measure:
        named = config.rewards != RewardsConfig.rewards
        chosen = {n: found[n] if shipped(n) else resolve(n) for n in found if shipped(n) or named}
        batch = corpus_batch(config.measure, list(chosen.values()))
        cost |= {
            name: f"{milliseconds(reward, batch, 4 if shipped(name) else 1):.2f}" for name, reward in chosen.items()
        }
    rows = [("reward", "version", "gradient", "ms an asset", "looks at")]
    for name, reward in found.items():
        gradient = "yes" if hasattr(reward, "values") else "no"
        rows.append((name, getattr(reward, "version", "of its files"), gradient, cost[name], looks_at(reward.needs)))
    if not config.measure:
        rows = [(*row[:3], row[4]) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
