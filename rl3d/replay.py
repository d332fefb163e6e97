"""An asset made again from its card, and compared with its files."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl3d.assets import HASHED, GeneratedAsset, check_apart, environment, read_card
from rl3d.configs import from_file
from rl3d.generate import complete_from
from rl3d.generators.load import load_generator
from rl3d.retrieval import Example, fixed_examples
from scenes.files import FileError, check_folder
from scenes.files.assets import as_vectors


@dataclass(frozen=True)
class Replay:
    """The result of a replay."""

    asset: GeneratedAsset
    changed: list[str]
    """Files that differ from those of the card."""
    environment: list[str]
    """Differences between this machine and weights and those of the card, one sentence each."""


@dataclass(frozen=True)
class Recipe:
    """What a card says about how its asset was made."""

    prompt: str
    seed: int
    first: int
    count: int
    """The asset was sampled in one batch with the seeds ``first`` to ``first + count - 1``."""
    generator: str
    weights: str
    """Name of the weights' file; empty if the generator has none."""
    sampling: dict[str, Any]
    device: str
    rewards: dict[str, Any]
    examples: list[Example]
    given: Example | None
    known: dict[str, Any]
    """The weights' hash and the environment."""
    files: dict[str, str]


def recipe(path: str | Path) -> Recipe:
    """The recipe on a card, or on the card in a folder; FileError with one line if the card is
    incomplete or damaged."""
    card = read_card(Path(path))
    try:
        prompt, seed, batch, rewards = card["prompt"], card["seed"], card["batch"], card["rewards"]
        sampling, files, device = card["sampling"], card["files"], card.get("device", "cpu")
        first, count = batch["seed"], batch["count"]
        generator, weights = card["generator"]["name"], str(card["generator"].get("weights", ""))
        known = {"weights": card["generator"].get("sha256"), **card["software"]}
        if not (isinstance(prompt, str) and all(type(n) is int for n in (seed, first, count))):
            raise ValueError("prompt and seeds")
        if not 0 <= first <= seed < first + count <= min(first + 10_000, 2**63):
            raise ValueError("seeds")
        if not (isinstance(files, dict) and set(files) == set(HASHED) and isinstance(device, str)):
            raise ValueError("files, device")
        examples = [_example(found) for found in card.get("examples", [])]
        given = _example(card["given"]) if "given" in card else None
        if not (isinstance(generator, str) and isinstance(sampling, dict) and isinstance(rewards, dict)):
            raise ValueError("generator, sampling, rewards")
        made = generator, weights, sampling, device
        return Recipe(prompt, seed, first, count, *made, rewards, examples, given, known, files)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _incomplete(path, error) from error


def replay(
    path: str | Path,
    checkpoint: Path | None = None,
    out: Path | None = None,
    *,
    generator: str | None = None,
    adapter: str = "",
) -> Replay:
    """Make the asset of a card again, with the generator, seeds and batch that the card names.

    ``checkpoint`` holds the weights if they are not the generator's own, ``adapter`` names adapters
    that were merged into them. A card that names a
    generator in a user's file (``module:Class``) is followed only if ``generator`` names it too:
    opening a card must not run code that the card chooses. ``out`` is where the asset is saved;
    None compares only. FileError with one line if the card cannot be followed.
    """
    made = recipe(path)
    check_apart(out, Path(path))
    if out is not None:
        check_folder(out)
    if ":" in made.generator and generator is None:
        raise FileError(
            f"cannot replay {path}: its generator is code of a user, {made.generator}; "
            f"add --generator {made.generator} if you trust it"
        )
    if generator not in (None, made.generator):
        raise FileError(f"cannot replay {path}: its generator is {made.generator}, not {generator}")
    try:
        policy = load_generator(checkpoint, made.device, generator=made.generator, adapter=adapter)
    except FileError as error:
        if checkpoint is not None or adapter:
            raise
        add = f"add --checkpoint FILE with the weights of the card ({made.weights})"
        raise FileError(f"cannot replay {path}: {error}; {add}") from error
    try:
        options = from_file(type(policy.default_options), made.sampling)
    except (TypeError, ValueError) as error:
        raise _incomplete(path, error) from error
    fixed_examples(policy, made.examples)
    complete_from(policy, made.given)
    seeds = list(range(made.first, made.first + made.count))
    batch = policy.generate([made.prompt] * made.count, seeds=seeds, options=options).to("cpu").detach()
    index = made.seed - made.first
    asset = GeneratedAsset(
        prompt=made.prompt,
        asset=batch[index : index + 1],
        seed=made.seed,
        generator=policy.name,
        options=options,
        source=policy.source,
        rewards=made.rewards,
        first_seed=made.first,
        candidates=made.count,
        device=made.device,
        examples=made.examples,
        given=made.given,
    )
    with tempfile.TemporaryDirectory() as folder:
        place = asset.save(out or Path(folder))
        changed = [
            name for name, was in made.files.items() if hashlib.sha256((place / name).read_bytes()).hexdigest() != was
        ]
    now = {"weights": policy.source.get("sha256"), **environment()}
    differences = [f"{name} was {was}, is {now.get(name)}" for name, was in made.known.items() if now.get(name) != was]
    return Replay(asset, changed, differences)


def _example(found: dict[str, Any]) -> Example:
    return Example(str(found["file"]), str(found["caption"]), as_vectors(found["parts"]))


def _incomplete(path: str | Path, error: Exception) -> FileError:
    return FileError(f"cannot replay {path}: its card is incomplete or damaged ({type(error).__name__}: {error})")
