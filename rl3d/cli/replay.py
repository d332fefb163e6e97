"""``rl3d replay ASSET``: make an asset again from its card, and say whether it is the same to the bit."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.assets import HASHED, Asset, circumstances, load_generator, read_card
from rl3d.cli.options import parse as parse_options
from rl3d.generators.sde import Sampling
from rl3d.training.checkpoints import TUNED, as_paths
from scenes.files import FileError


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of ``rl3d replay``."""

    path: tyro.conf.Positional[Path]
    """An asset's folder, or its card.json."""
    checkpoint: Path = TUNED
    """The weights that the card names, if they are not the shipped ones: a file, or the folder of a training run."""
    out: Path | None = None
    """Folder to write the asset to; left out, it is only compared."""

    def __post_init__(self) -> None:
        as_paths(self, "path", "checkpoint", "out")


@dataclass(frozen=True)
class Replay:
    """What came of it: the asset, the files that are not the same to the bit, and in what the circumstances differ."""

    asset: Asset
    changed: list[str]
    circumstances: list[str]


def replay(path: str | Path, checkpoint: Path = TUNED, out: Path | None = None) -> Replay:
    """Make the asset of a card again, with the weights, seeds and batch that the card names."""
    card = read_card(Path(path))
    try:
        prompt, seed, batch = card["prompt"], card["seed"], card["batch"]
        sampling = Sampling(**card["sampling"])
        first, count = batch["seed"], batch["count"]
        known, files = {"weights": card["generator"]["sha256"], **card["software"]}, card["files"]
        if not (isinstance(prompt, str) and all(type(n) is int for n in (seed, first, count))):
            raise ValueError("prompt and seeds")
        if not 0 <= first <= seed < first + count <= first + 10_000:
            raise ValueError("seeds")
        if not (isinstance(files, dict) and set(files) == set(HASHED) and isinstance(card.get("device", "cpu"), str)):
            raise ValueError("files, device")
        rewards = card["rewards"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"cannot replay {path}: its card lacks what it takes ({type(error).__name__}: {error})") from error
    generator = load_generator(checkpoint, card.get("device", "cpu"))
    seeds = list(range(first, first + count))
    parts = generator.generate([prompt] * count, seeds=seeds, sampling=sampling).to("cpu")
    asset = Asset(prompt, parts[seed - first], seed, sampling, generator.source, rewards, first, count)
    now = {"weights": generator.source.get("sha256"), **circumstances()}
    with tempfile.TemporaryDirectory() as folder:
        made = out or Path(folder)
        asset.save(made)
        changed = [name for name, was in files.items() if hashlib.sha256((made / name).read_bytes()).hexdigest() != was]
    differences = [f"{name} was {was}, is {now.get(name)}" for name, was in known.items() if now.get(name) != was]
    return Replay(asset, changed, differences)


def run(arguments: list[str]) -> None:
    config = parse_options(ReplayConfig, "replay", __doc__, arguments)
    found = replay(config.path, config.checkpoint, config.out)
    because = "; ".join(found.circumstances)
    if found.changed:
        why = because or "nothing that the card knows of differs: another processor, perhaps"
        raise ValueError(f"{config.path} is not the same to the bit: {', '.join(found.changed)} differ ({why})")
    print(f"{config.path}: made again, the same to the bit" + (f", though {because}" if because else ""))
