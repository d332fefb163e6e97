"""Does part-tokens give what the words of a prompt name? ``python -m benchmarks.words``

First the things of scenes, like those of the training and held-out ones: the mean log-probability
of each noun, given all that comes before it in an asset of the corpus; and of the scenes that the
generator makes itself, how many have just the things of the prompt by its own words, how many have
others, and how many lack one. Then colours that a prompt does not name: of single things of which
only a part has a named colour ("a snowman with an orange nose"), how many are of this colour
themselves, in the corpus and as they are generated. Means and standard errors are over prompts."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rewards.composition.prompt import facts_of
from rl3d.corpus import CATEGORIES, Item, Spec, sample_for, sample_spec
from rl3d.corpus.lexicon import lexicon
from rl3d.generators.load import load_generator
from rl3d.generators.part_codes import COLOR_TOKEN, END, OBJECT, PART, ROLE, encode_assets, is_object
from rl3d.generators.part_tokens import PartTokens, ended, padded
from rl3d.generators.part_tokens_network import A
from rl3d.generators.token_sampling import TokenSampling
from rl3d.tables import mean_and_error
from rl3d.training.pretrain_tokens import PretrainTokensConfig, TokenBatches
from scenes.colors import BASE_OF, COLORS
from scenes.files import FileError

SEED, BATCH = 999, 50
NOUNS = sorted(CATEGORIES)
"""In the order of the tokens; the first token is for no name."""
BASES = [BASE_OF[name] for name in COLORS]
"""Of each colour token."""


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
    drawn = TokenSampling(temperature=options.temperature)
    print("| scenes | log-probability of a noun | the prompt's things | others | one missing |\n" + "|---" * 5 + "|")
    for split in ("train", "heldout"):
        rng, rows = np.random.default_rng(SEED), []
        specs = _specs(rng, split, options.prompts, lambda spec: spec.kind == "scene")
        for start in range(0, len(specs), BATCH):
            piece = specs[start : start + BATCH]
            known = _log_probs(policy, [sample_for(spec, rng) for spec in piece], maker)
            said = [_compared(spec, own) for spec, own in zip(piece, _made(policy, piece, drawn, start), strict=True)]
            rows += [[a, *b] for a, b in zip(known, said, strict=True)]
        _print(split, rows)
    rng, rows = np.random.default_rng(SEED), []
    specs = _specs(rng, "train", options.prompts, lambda spec: _color_of_a_part(spec) is not None)
    for start in range(0, len(specs), BATCH):
        piece = specs[start : start + BATCH]
        assets = [maker.labelled(sample_for(spec, rng)) for spec in piece]
        coded = encode_assets([vectors for vectors, _ in assets], [labels for _, labels in assets])
        both = zip(piece, coded, _made(policy, piece, drawn, start), strict=True)
        rows += [[_all_of_it(spec, own, maker) for own in assets] for spec, *assets in both]
    print("\n| things | corpus | generated |\n" + "|---" * 3 + "|")
    _print("have the colour that only a part should have", rows)


def _specs(rng: np.random.Generator, split: str, count: int, wanted: Callable[[Spec], bool]) -> list[Spec]:
    specs: list[Spec] = []
    while len(specs) < count:
        spec = sample_spec(rng, split)
        specs += [spec] if wanted(spec) else []
    return specs


def _print(split: str, rows: Sequence[Sequence[float]]) -> None:
    estimates = [mean_and_error(column) for column in torch.tensor(rows).T]
    print(f"| {split} | " + " | ".join(f"{e.mean:.3f} ± {e.error:.3f}" for e in estimates) + " |", flush=True)


def _made(policy: PartTokens, specs: list[Spec], options: TokenSampling, seed: int) -> Tensor:
    """One sample for each caption."""
    condition = policy.condition([spec.caption for spec in specs])
    return policy.sample(condition, seeds=[seed + k for k in range(len(specs))], options=options).tokens


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


def _compared(spec: Spec, tokens: Tensor) -> tuple[float, ...]:
    """Whether the nouns are those of the prompt, whether there are others, and whether one is
    missing."""
    facts = facts_of(spec.caption, lexicon())
    assert facts is not None
    wanted: Counter[str] = Counter()
    for thing in facts.things:
        wanted[thing.noun] += thing.count
    numbers = (tokens[is_object(tokens)][:, OBJECT] - 2).tolist()
    said = Counter(NOUNS[number] if number >= 0 else "no name" for number in numbers)
    return float(said == wanted), float(bool(said.keys() - wanted.keys())), float(bool(wanted.keys() - said.keys()))


def _color_of_a_part(spec: Spec) -> str | None:
    """The only colour that a caption of a single thing names, if it is that of a part."""
    facts = facts_of(spec.caption, lexicon())
    if spec.kind != "single" or facts is None or len(facts.things) != 1:
        return None
    thing = facts.things[0]
    return thing.parts[0][1] if len(thing.parts) == 1 and not thing.color and not thing.pattern else None


def _all_of_it(spec: Spec, tokens: Tensor, maker: TokenBatches) -> float:
    """Fraction of the main parts that have the colour of the part which is named."""
    colors = tokens[tokens[:, ROLE] == maker.roles["main"]][:, COLOR_TOKEN].tolist()
    color = _color_of_a_part(spec)
    return float(np.mean([BASES[value] == color for value in colors])) if colors else 0.0


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
