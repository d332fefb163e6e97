"""Adapters: low-rank changes of a network's linear layers (LoRA; Hu et al., 2022).

Training holds the weights W and learns A and B of every layer; the layer then computes with
W + alpha / rank B A. The package peft puts A and B into the network. An adapter's file holds them
alone, and needs no peft to be merged: the network is then a plain one again.
"""

from __future__ import annotations

import copy
import hashlib
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rl3d.generators.base import Generator
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors

ADAPTER = "adapter.safetensors"
"""Name of the adapter in the folder of a run."""


def linear_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """The layers that an adapter changes, by name. Subclasses are left out: those of torch
    (``nn.MultiheadAttention``) are not called, only their weights are read."""
    return {name: layer for name, layer in network.named_modules() if name and type(layer) is nn.Linear}


def add_adapter(generator: Generator, rank: int, seed: int) -> None:
    """Add A and B to every linear layer; only they have gradients from now on. A is random by
    ``seed``, B is 0: the samples stay as they are. ValueError with one line without peft, and for
    a network without linear layers."""
    layers = linear_layers(generator.network)
    if not layers:
        raise ValueError(
            f"--adapter-rank changes linear layers inside the network, and generator {generator.name!r} has none: "
            "leave it out"
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--adapter-rank needs the package {error.name!r}, which is not installed: pip install peft, or leave it "
            "out"
        ) from error
    names = "|".join(map(re.escape, layers))
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=names)  # a text is matched in full
    training = generator.network.training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, generator.network)
    generator.network.train(training)


def adapted_layers(network: nn.Module) -> dict[str, Any]:
    """The layers of a network that ``add_adapter`` has changed, by name: peft's modules."""
    from peft.tuners.lora import LoraLayer

    return {name: layer for name, layer in network.named_modules() if isinstance(layer, LoraLayer)}


def merged(network: nn.Module) -> nn.Module:
    """A plain copy of a network with an adapter, whose weights are W + alpha / rank B A."""
    out = copy.deepcopy(network)
    for name, layer in adapted_layers(out).items():
        layer.merge()
        out.set_submodule(name, layer.get_base_layer())
    return out


def save_adapter(path: Path, generator: Generator, network: nn.Module, **header: Any) -> None:
    """Write the adapter of ``network``, in float32: A and B by the name of their layer, and what
    they belong to."""
    layers = adapted_layers(network)
    tensors, layer = {}, next(iter(layers.values()))
    for name, one in layers.items():
        tensors |= {f"{name}.A": one.lora_A["default"].weight, f"{name}.B": one.lora_B["default"].weight}
    sizes = {"rank": layer.r["default"], "alpha": layer.lora_alpha["default"]}
    known = {"kind": "adapter", "generator": generator.name, **sizes, "base": generator.source}
    write_tensors(path, tensors, {**known, **header})


def check_base(path: Path, generator: Generator) -> None:
    """FileError with one line if the adapter of a run that goes on belongs to other weights than
    those of ``generator``: its file would then name the wrong ones."""
    base = read_tensors(path).header.get("base")
    if not isinstance(base, dict) or base.get("sha256") != generator.source.get("sha256"):
        name = base.get("weights") if isinstance(base, dict) else "unknown"
        raise FileError(f"{path}: was trained on other weights, {name}: put them back, or begin another run")


def parse_adapters(text: str) -> list[tuple[Path, float]]:
    """Read ``stable.safetensors=1,runs/tall=0.5``: files, or folders of runs, and weights; a file
    alone weighs 1. ValueError with one line for a weight that is no finite number."""
    found = []
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        name, equals, number = entry.rpartition("=")
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            weight = math.nan
        name = name if equals else entry
        if not name or not math.isfinite(weight):
            raise ValueError(f"--adapter takes FILE=WEIGHT,... with finite numbers as weights, got {entry!r}")
        path = Path(name)
        found.append((path / ADAPTER if path.is_dir() else path, weight))
    return found


def shown(text: str) -> str:
    """The same without folders, for files that go to other machines."""
    return ",".join(f"{path.name}={weight:g}" for path, weight in parse_adapters(text))


@torch.no_grad()
def merge_adapters(generator: Generator, text: str) -> None:
    """Add the adapters that ``text`` names, each with its weight, to the weights of a generator.

    An adapter must have been trained on these very weights, or on what they are with the adapters
    named before it. FileError with one line for any other, and for a file that holds no adapter.
    """
    layers = linear_layers(generator.network)
    start = generator.source["sha256"]
    for path, weight in parse_adapters(text):
        tensors, header, sha256 = read_tensors(path, f"the {ADAPTER} of a run with --adapter-rank")
        if header.get("kind") != "adapter":
            kind = header.get("kind", "unknown")
            raise FileError(f"{path}: holds no adapter (its kind is {kind!r}); name the {ADAPTER} of a run")
        if header.get("generator") != generator.name:
            raise FileError(
                f"{path}: is an adapter of the generator {header.get('generator')}, not of {generator.name}: "
                "add --generator or --checkpoint"
            )
        rank, alpha, base = header.get("rank"), header.get("alpha"), header.get("base")
        if not (isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float) and isinstance(base, dict)):
            raise FileError(f"{path}: its header does not describe an adapter; make or fetch it again")
        if base.get("sha256") not in (start, generator.source["sha256"]):
            raise FileError(
                f"{path}: was trained on other weights, {base.get('weights')}: name them with --checkpoint, "
                "or train the adapter again"
            )
        for name in sorted({name.rpartition(".")[0] for name in tensors}):
            change = _change(layers.get(name), tensors.get(f"{name}.A"), tensors.get(f"{name}.B"), rank)
            if change is None:
                raise FileError(f"{path}: layer {name} does not fit: the adapter is of another network or version")
            change *= weight * alpha / rank
            if not change.isfinite().all():
                raise FileError(f"{path}: layer {name} has values that are not finite numbers; train it again")
            layers[name].weight.add_(change)
        together = hashlib.sha256(f"{generator.source['sha256']} {sha256} {weight!r}".encode()).hexdigest()
        weights = f"{generator.source['weights']} + {path.name}={weight:g}"
        generator.source = {"weights": weights, "sha256": together}


def _change(layer: nn.Linear | None, a: Tensor | None, b: Tensor | None, rank: int) -> Tensor | None:
    """B A, or None if they do not fit the layer."""
    if layer is None or a is None or b is None:
        return None
    fits = a.shape == (rank, layer.in_features) and b.shape == (layer.out_features, rank)
    return b.float() @ a.float() if fits and a.is_floating_point() and b.is_floating_point() else None
