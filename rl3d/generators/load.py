"""Generators by name, by checkpoint, or by the dotted path of a user's own."""

from __future__ import annotations

from pathlib import Path

import torch

from rewards.text import MiniLM
from rl3d.checkpoints import file_hash, load_network, load_tensors
from rl3d.configs import from_file
from rl3d.devices import usable_device
from rl3d.generators.part_flow import PartFlow, PartFlowConfig, PartFlowNetwork
from scenes.files import FileError

WEIGHTS = Path(__file__).parent.parent / "weights"
PRETRAINED = WEIGHTS / "part_flow.safetensors"
"""The generator after supervised training alone: where reinforcement learning starts."""
TUNED = WEIGHTS / "part_flow_tuned.safetensors"
"""The same after the training of docs/results.md: what assets are generated with."""


def load_generator(checkpoint: Path = TUNED, device: str = "cpu") -> PartFlow:
    """The generator of a weights file, a run's folder or, by default, the shipped one."""
    return load_part_flow(checkpoint, device=device)


def load_part_flow(path: Path, encoder: MiniLM | None = None, device: str = "cpu") -> PartFlow:
    """The part-flow policy of a weights file, or of the folder of a run."""
    place = usable_device(device)
    if path.is_dir():
        path = path / "part_flow.safetensors"
    tensors, header = load_tensors(path)
    if header.get("kind") != "part-flow":
        raise FileError(f"{path}: holds a {header.get('kind', 'model of unknown kind')}, not a part-flow generator")
    try:
        config = from_file(PartFlowConfig, header["config"])
        if config.depth > len(tensors):
            raise ValueError("depth")
        with torch.device("meta"):  # sizes that the weights do not have cost nothing
            network = PartFlowNetwork(config)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FileError(f"{path}: its header does not describe a part-flow network") from error
    load_network(network, tensors, path)
    return PartFlow(network.to(place).eval(), encoder, source={"weights": path.name, "sha256": file_hash(path)})
