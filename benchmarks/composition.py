"""How well the objects of unseen scenes are read, and whether ``composition`` tells right
assets from altered ones::

    python -m benchmarks.composition

Scenes are drawn afresh, half of them of held-out combinations. Two tables: what is read right by
kind of caption, and for each alteration the AUC of the reward's values. ``--weights`` names another
parser than the shipped one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from benchmarks.views import auc
from rewards.base import Batch
from rewards.composition.facts import Facts
from rewards.composition.parser import SHIPPED, FoundObject
from rewards.composition.prompt import facts_of
from rewards.composition.reward import Composition
from rl3d.corpus import MIX, Item, sample_for, sample_spec
from rl3d.corpus.altered import ALTERATIONS
from rl3d.corpus.shapes import Drawing
from rl3d.training.train_parser import gathering
from scenes.asset import PartAsset
from scenes.parts import Parts

PROMPTS = Path(__file__).parents[1] / "rl3d" / "corpus" / "benchmark.txt"


@dataclass(frozen=True)
class Arguments:
    """Accuracy of the composition reward."""

    scenes: int = 500
    """Number of scenes, and as many assets of each other kind."""
    altered: int = 300
    """Number of pairs of a right and an altered asset, for each alteration."""
    seed: int = 100
    """Seed of captions and geometry."""
    weights: Path = SHIPPED
    """Weights of the parser."""


def drawn(kind: str, count: int, seed: int) -> list[Item]:
    """Items of one kind, by turns of the training and the held-out split."""
    rng = np.random.default_rng([seed, sorted(MIX).index(kind)])
    items: list[Item] = []
    while len(items) < count:
        spec = sample_spec(rng, ("train", "heldout")[len(items) % 2])
        if spec.kind == kind:
            items.append(sample_for(spec, rng))
    return items


def objects_right(item: Item | Drawing, found: Sequence[FoundObject]) -> bool:
    """Whether every object is found with all of its parts and named."""
    names = {tuple(one.parts.tolist()): one.noun for one in found}
    return names == {tuple(np.flatnonzero(item.objects == k).tolist()): item.nouns[k] for k in np.unique(item.objects)}


def accuracy(reward: Composition, items: Sequence[Item]) -> dict[str, float]:
    """Fractions of the items of one kind."""
    right: dict[str, list[float]] = {
        "objects": [],
        "nouns": [],
        "roles": [],
        "prompt": [],
        "facts": [],
        "all facts": [],
    }
    for item in items:
        found = reward.reader.parse(item.vectors.astype(np.float64))
        facts: Facts | None = facts_of(item.caption, reward.reader.lexicon)
        judgement = reward.judge(item.facts, item.vectors.astype(np.float64))
        roles = dict(zip((k for one in found for k in one.parts.tolist()), (r for one in found for r in one.roles)))
        right["objects"].append(objects_right(item, found))
        right["nouns"].append(sorted(one.noun for one in found) == sorted(item.nouns))
        right["roles"].append(float(np.mean([roles[k] == role for k, role in enumerate(item.roles)])))
        right["prompt"].append(facts is not None and facts.ordered() == item.facts.ordered())
        right["facts"] += [credit == 1 for _, credit in judgement.facts]
        right["all facts"].append(judgement.right)
    return {name: float(np.mean(values)) for name, values in right.items()}


def altered_auc(reward: Composition, name: str, count: int, seed: int) -> tuple[float, float, int]:
    """AUC of the values of right assets against altered ones under the same captions, the fraction
    of altered assets that pass as right, and their number."""
    rng = np.random.default_rng([seed, 7, *name.encode()])
    good, bad, passed = [], [], 0
    while len(bad) < count:
        spec = sample_spec(rng, ("train", "heldout")[len(bad) % 2])
        item = sample_for(spec, rng)
        other = ALTERATIONS[name](item, rng)
        if other is None:
            continue
        good.append(reward.judge(item.facts, item.vectors.astype(np.float64)).value)
        judgement = reward.judge(item.facts, other.vectors.astype(np.float64))
        bad.append(judgement.value)
        passed += judgement.right
    return auc(torch.tensor(good), torch.tensor(bad)), passed / count, count


def milliseconds(reward: Composition, items: Sequence[Item], batch: int = 64) -> float:
    """Processor time of one asset in batches, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = Parts.stack([Parts.from_vectors(torch.from_numpy(item.vectors)) for item in items[:batch]])
    prompts = [item.caption for item in items[:batch]]
    times = []
    for _ in range(5):
        whole = Batch(prompts, PartAsset(parts))
        start = time.process_time()
        reward(whole)
        times.append(time.process_time() - start)
    torch.set_num_threads(threads)
    return 1000 * float(np.median(times)) / len(prompts)


def main() -> None:
    given = tyro.cli(Arguments, prog="python -m benchmarks.composition")
    reward = Composition(given.weights)
    print("| kind | objects with all their parts | nouns | roles | prompt read | facts right | all facts right | ms |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in MIX:
        items = drawn(kind, given.scenes, given.seed)
        found = accuracy(reward, items)
        columns = " | ".join(f"{value:.3f}" for value in found.values())
        print(f"| {kind} | {columns} | {milliseconds(reward, items):.1f} |", flush=True)
    print("\n| altered | AUC | passed as right | pairs |\n|---|---|---|---|")
    for name in ALTERATIONS:
        area, passed, count = altered_auc(reward, name, given.altered, given.seed)
        print(f"| {name} | {area:.3f} | {passed:.3f} | {count} |", flush=True)
    rng = np.random.default_rng([given.seed, 8])
    gathered = [gathering(rng) for _ in range(given.scenes)]
    whole = np.mean([objects_right(one, reward.reader.parse(one.vectors)) for one in gathered])
    print(f"\nAll objects are found in {whole:.3f} of {given.scenes} gatherings of any objects.")
    prompts = PROMPTS.read_text().splitlines()
    read = sum(facts_of(prompt, reward.reader.lexicon) is not None for prompt in prompts)
    print(f"{read} of the {len(prompts)} benchmark prompts are read.")


if __name__ == "__main__":
    main()
