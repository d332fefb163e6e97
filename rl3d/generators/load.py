"""Generators by name, by checkpoint, or by the dotted path of a user's own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rl3d.checkpoints import check_weights, load_network
from rl3d.configs import find_class
from rl3d.devices import usable_device
from rl3d.generators.adapters import merge_adapters
from rl3d.generators.base import Generator
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors

G = TypeVar("G", bound=Generator)
WEIGHTS = Path(__file__).parent.parent / "weights"
HALF_MAX = 65504.0
"""Largest number of float16."""
RESULT = "generator.safetensors"
"""Name of the weights in the folder of a run."""


@dataclass(frozen=True)
class BuiltIn:
    """A generator that comes with rl3d: where its class is, and its shipped weights."""

    path: str
    pretrained: Path
    """After supervised training alone: where reinforcement learning starts."""
    tuned: Path
    """What assets are generated with: the same, until weights that were trained further are
    shipped."""


_TOKENS, _FLOW = WEIGHTS / "part_tokens.safetensors", WEIGHTS / "part_flow.safetensors"
BUILT_IN = {
    "part-tokens": BuiltIn("rl3d.generators.part_tokens:PartTokens", _TOKENS, _TOKENS),
    "part-flow": BuiltIn("rl3d.generators.part_flow:PartFlow", _FLOW, _FLOW),
}
DEFAULT = "part-tokens"
"""The embedded generator: what commands use unless another is named."""
PRETRAINED, TUNED = BUILT_IN[DEFAULT].pretrained, BUILT_IN[DEFAULT].tuned


def find_generator(name: str) -> type[Generator]:
    """The class of a built-in generator, or of ``module:Class``. ValueError with one line if there
    is none."""
    return find_class("generator", name, {known: built.path for known, built in BUILT_IN.items()}, Generator)


def load_generator(
    checkpoint: Path | None = None,
    device: str = "cpu",
    *,
    generator: str | None = None,
    pretrained: bool = False,
    adapter: str = "",
) -> Generator:
    """The generator of a weights file or of a run's folder, which know their own class.

    Without a checkpoint, ``generator`` names one: a built-in one comes with its shipped weights
    (the tuned ones, or with ``pretrained`` those that training starts from), a user's own is made
    without arguments. With both, they must agree. ``adapter``, FILE=WEIGHT,..., names adapters to
    merge into the weights. FileError or ValueError with one line for anything else.
    """
    place = usable_device(device)
    made = _load(checkpoint, generator, pretrained)
    merge_adapters(made, adapter)
    return made.to(place)


def _load(checkpoint: Path | None, generator: str | None, pretrained: bool) -> Generator:
    if checkpoint is None:
        name = generator or DEFAULT
        if name not in BUILT_IN:
            return _untrained(find_generator(name))
        checkpoint = BUILT_IN[name].pretrained if pretrained else BUILT_IN[name].tuned
        if not checkpoint.exists():
            raise FileError(f"generator {name!r} has no weights yet: run rl3d pretrain {name}, then add --checkpoint")
    path = checkpoint / RESULT if checkpoint.is_dir() else checkpoint
    tensors, header, sha256 = read_tensors(path)
    if header.get("kind") != "generator" or not isinstance(header.get("generator"), str):
        kind = header.get("kind", "unknown")
        raise FileError(f"{path}: holds no generator (its kind is {kind!r}); name the weights of one")
    if generator is not None and find_generator(generator).name != header["generator"]:
        raise FileError(f"{path}: holds the generator {header['generator']}, not {generator}")
    made = _build(find_generator(header["generator"]), header.get("config"), tensors, path)
    load_network(made.network, tensors, path)
    made.source = {"weights": path.name, "sha256": sha256}
    made.network.eval()
    return made


def starting_policy(kind: type[G], checkpoint: Path | None, **sizes: Any) -> G:
    """Where a supervised training starts: the weights of ``checkpoint``, or a new network of the
    given sizes. FileError with one line if the file holds another kind of generator."""
    if checkpoint is None:
        return kind(**sizes)
    policy = load_generator(checkpoint, generator=kind.name)
    assert isinstance(policy, kind)
    policy.network.train()
    return policy


def sampling_options(generator: Generator, options: Any = None) -> Any:
    """``options`` if they are the generator's own, or its defaults for None; else ValueError."""
    if options is None:
        return generator.default_options
    wanted = type(generator.default_options)
    if not isinstance(options, wanted):
        raise ValueError(
            f"generator {generator.name!r} takes sampling options of type {wanted.__name__}, "
            f"got {type(options).__name__}"
        )
    return options


def generator_class(checkpoint: Path | None = None, generator: str | None = None) -> type[Generator]:
    """The class of the generator that ``load_generator`` would give, without loading its weights.
    FileError or ValueError with one line if there is none."""
    named = generator_name(checkpoint) if checkpoint is not None else None
    return find_generator(named or generator or DEFAULT)


def generator_name(checkpoint: Path) -> str | None:
    """The generator that a weights file or a run's folder names, without importing its code."""
    name = read_tensors(checkpoint / RESULT if checkpoint.is_dir() else checkpoint).header.get("generator")
    return name if isinstance(name, str) else None


def _untrained(kind: type[Generator]) -> Generator:
    """A generator as its class makes it, the same in every process."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = kind()  # type: ignore[call-arg]
    except TypeError as error:
        raise ValueError(f"generator {kind.name!r} cannot be made without arguments ({error})") from error
    made.network.eval()
    digest = hashlib.sha256()
    for name, value in made.network.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    made.source = {"weights": "as its class makes them", "sha256": digest.hexdigest()}
    return made


def _build(kind: type[Generator], config: Any, tensors: dict[str, Tensor], path: Path) -> Generator:
    try:
        if not isinstance(config, dict):
            raise TypeError("config")
        if kind.name in BUILT_IN:
            # Sizes that the weights do not have cost nothing: a network on the meta device has no
            # memory. A user's own class may not allow for that.
            with torch.device("meta"):
                check_weights(kind(**config).network, tensors, path)
        return kind(**config)
    except FileError:
        raise
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise FileError(f"{path}: its header does not describe a {kind.name} network") from error


def save_generator(path: Path, generator: Generator, network: nn.Module | None = None, **header: Any) -> None:
    """Write a generator's weights, or those of another network of its kind, with what it takes to
    load them. Parameters are float16 if they fit into its range."""
    network = network or generator.network
    learned = {name for name, _ in network.named_parameters()}
    weights = {
        name: t.half() if name in learned and t.is_floating_point() and t.abs().amax() < HALF_MAX else t
        for name, t in network.state_dict().items()
    }
    known = {"kind": "generator", "generator": generator.name, "config": generator.config}
    write_tensors(path, weights, {**known, **header})
