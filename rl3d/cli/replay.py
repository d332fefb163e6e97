"""``rl3d replay ASSET``: make an asset again from its card, and say whether it is the same to the
bit."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from rl3d.assets import HASHED, Asset, environment, read_card
from rl3d.cli.options import parse as parse_options
from rl3d.configs import as_paths, from_file
from rl3d.generators.load import TUNED, load_generator
from rl3d.generators.sde import Sampling
from scenes.files import FileError


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of ``rl3d replay``."""

    path: tyro.conf.Positional[Path]
    """An asset's folder, or its card.json."""
    checkpoint: Path = TUNED
    """The weights that the card names, if they are not the shipped ones: a file, or the folder of a
    training run."""
    out: Path | None = None
    """Folder to write the asset to; left out, it is only compared."""

    def __post_init__(self) -> None:
        as_paths(self, "path", "checkpoint", "out")


@dataclass(frozen=True)
class Replay:
    """What came of it: the asset, the files that are not the same to the bit, and in what the
    circumstances differ."""

    asset: Asset
    changed: list[str]
    environment: list[str]


@dataclass(frozen=True)
class Recipe:
    """What a card says of how its asset was made."""

    prompt: str
    seed: int
    first: int
    count: int
    """The asset's seed is one of ``count`` from ``first`` on: they were made at once."""
    sampling: Sampling
    device: str
    rewards: dict[str, Any]
    known: dict[str, Any]
    """The weights' hash, and the circumstances."""
    files: dict[str, str]


def recipe(path: str | Path) -> Recipe:
    """The recipe of a card, or of the folder it lies in; a FileError with one line if it is none
    that can be followed."""
    card = read_card(Path(path))
    try:
        prompt, seed, batch, rewards = card["prompt"], card["seed"], card["batch"], card["rewards"]
        sampling = from_file(Sampling, card["sampling"])
        first, count = batch["seed"], batch["count"]
        known, files = {"weights": card["generator"]["sha256"], **card["software"]}, card["files"]
        if not (isinstance(prompt, str) and all(type(n) is int for n in (seed, first, count))):
            raise ValueError("prompt and seeds")
        if not 0 <= first <= seed < first + count <= min(first + 10_000, 2**63):
            raise ValueError("seeds")
        if not (isinstance(files, dict) and set(files) == set(HASHED) and isinstance(card.get("device", "cpu"), str)):
            raise ValueError("files, device")
        if not isinstance(rewards, dict):
            raise ValueError("rewards")
        return Recipe(prompt, seed, first, count, sampling, card.get("device", "cpu"), rewards, known, files)
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"cannot replay {path}: its card lacks what it takes ({type(error).__name__}: {error})"
        ) from error


def replay(path: str | Path, checkpoint: Path = TUNED, out: Path | None = None) -> Replay:
    """Make the asset of a card again, with the weights, seeds and batch that the card names."""
    made = recipe(path)
    if out is not None and out.resolve() == (Path(path) if Path(path).is_dir() else Path(path).parent).resolve():
        raise FileError(
            f"cannot write to {out}: it holds the asset to compare with; name another folder, or leave --out away"
        )
    generator = load_generator(checkpoint, made.device)
    seeds = list(range(made.first, made.first + made.count))
    parts = generator.generate([made.prompt] * made.count, seeds=seeds, sampling=made.sampling).to("cpu")
    asset = Asset(
        made.prompt,
        parts[made.seed - made.first],
        made.seed,
        made.sampling,
        generator.source,
        made.rewards,
        made.first,
        made.count,
    )
    now = {"weights": generator.source.get("sha256"), **environment()}
    with tempfile.TemporaryDirectory() as folder:
        place = asset.save(out or Path(folder))
        changed = [
            name for name, was in made.files.items() if hashlib.sha256((place / name).read_bytes()).hexdigest() != was
        ]
    differences = [f"{name} was {was}, is {now.get(name)}" for name, was in made.known.items() if now.get(name) != was]
    return Replay(asset, changed, differences)


def run(arguments: list[str]) -> None:
    config = parse_options(ReplayConfig, "replay", __doc__, arguments)
    found = replay(config.path, config.checkpoint, config.out)
    because = "; ".join(found.environment)
    if found.changed:
        why = because or "nothing that the card knows of differs: another processor, perhaps"
        raise ValueError(f"{config.path} is not the same to the bit: {', '.join(found.changed)} differ ({why})")
    print(f"{config.path}: made again, the same to the bit" + (f", though {because}" if because else ""))
