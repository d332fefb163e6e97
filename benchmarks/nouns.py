"""Does part-tokens name the things of a scene? ``python -m benchmarks.nouns [--checkpoint FILE]``

For scenes like those of the training and for held-out ones: the mean log-probability of each noun,
given all that comes before it in an asset of the corpus; and of the scenes that the generator makes
itself, how many have just the things of the prompt by its own words, how many have others, and how
many lack one. Means and standard errors are over prompts."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rewards.composition.prompt import facts_of
from rl3d.corpus import CATEGORIES, Item, Spec, sample_for, sample_spec
from rl3d.corpus.lexicon import lexicon
from rl3d.generators.load import load_generator
from rl3d.generators.part_codes import END, OBJECT, PART, encode_assets, is_object
from rl3d.generators.part_tokens import PartTokens, ended, padded
from rl3d.generators.part_tokens_network import A
from rl3d.generators.token_sampling import TokenSampling
from rl3d.tables import mean_and_error
from rl3d.training.pretrain_tokens import PretrainTokensConfig, TokenBatches
from scenes.files import FileError

SEED, BATCH = 999, 50
NOUNS = sorted(CATEGORIES)
"""In the order of the tokens; the first token is for no name."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--checkpoint", type=Path, help="weights of part-tokens; default: the shipped ones")
    arguments.add_argument("--prompts", type=int, default=300)
    arguments.add_argument("--temperature", type=float, default=TokenSampling().temperature)
    options = arguments.parse_args()
    try:
        policy = load_generator(options.checkpoint, generator="part-tokens")
    except FileError as error:
        arguments.error(str(error))
    assert isinstance(policy, PartTokens)
    maker = TokenBatches(PretrainTokensConfig(captions=2, invented=0), np.zeros((2, 1), int))
    print("| scenes | log-probability of a noun | the prompt's things | others | one missing |\n" + "|---" * 5 + "|")
    for split in ("train", "heldout"):
        rng = np.random.default_rng(SEED)
        specs: list[Spec] = []
        while len(specs) < options.prompts:
            spec = sample_spec(rng, split)
            specs += [spec] if spec.kind == "scene" else []
        rows: list[list[float]] = []
        for start in range(0, len(specs), BATCH):
            piece = specs[start : start + BATCH]
            items = [sample_for(spec, rng) for spec in piece]
            said = _said(policy, piece, TokenSampling(temperature=options.temperature), start)
            rows += [[a, *b] for a, b in zip(_log_probs(policy, items, maker), said, strict=True)]
        estimates = [mean_and_error(column) for column in torch.tensor(rows).T]
        print(f"| {split} | " + " | ".join(f"{e.mean:.3f} ± {e.error:.3f}" for e in estimates) + " |", flush=True)


def _log_probs(policy: PartTokens, items: list[Item], maker: TokenBatches) -> list[float]:
    """Mean log-probability of the nouns of each asset, among nouns, given all tokens before."""
    known = [maker.labelled(item) for item in items]
    coded = encode_assets([vectors for vectors, _ in known], [labels for _, labels in known])
    tokens = padded([ended(own) for own in coded], A, END)
    exists = (tokens[..., OBJECT] != END).sum(1, keepdim=True)
    counted = torch.arange(tokens.shape[1]) <= exists
    with torch.no_grad():
        text = policy.condition([item.spec.caption for item in items]).text
        logits = policy.network(tokens, counted, policy.network.memory(text, None))[OBJECT]
    log_p = torch.zeros(*counted.shape, PART - 1).masked_scatter(
        counted.unsqueeze(-1), logits[:, 1:PART].log_softmax(-1)
    )
    objects = is_object(tokens)
    own = log_p.gather(-1, (tokens[..., OBJECT] - 1).clamp(0, PART - 2).unsqueeze(-1)).squeeze(-1) * objects
    return (own.sum(1) / objects.sum(1)).tolist()


def _said(policy: PartTokens, specs: list[Spec], options: TokenSampling, seed: int) -> list[tuple[float, ...]]:
    """Of one sample for each caption: whether its nouns are those of the prompt, whether there are
    others, and whether one is missing."""
    condition = policy.condition([spec.caption for spec in specs])
    tokens = policy.sample(condition, seeds=[seed + k for k in range(len(specs))], options=options).tokens
    return [_compared(spec, own) for spec, own in zip(specs, tokens, strict=True)]


def _compared(spec: Spec, tokens: Tensor) -> tuple[float, ...]:
    facts = facts_of(spec.caption, lexicon())
    assert facts is not None
    wanted: Counter[str] = Counter()
    for thing in facts.things:
        wanted[thing.noun] += thing.count
    numbers = (tokens[is_object(tokens)][:, OBJECT] - 2).tolist()
    said = Counter(NOUNS[number] if number >= 0 else "no name" for number in numbers)
    return float(said == wanted), float(bool(said.keys() - wanted.keys())), float(bool(wanted.keys() - said.keys()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
