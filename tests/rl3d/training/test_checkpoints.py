"""Checkpoint files: whole or not at all, and one clear line for anything that is not one."""

from pathlib import Path

import pytest
import torch

from rl3d.generators.part_flow import PartFlowConfig, PartFlowNetwork
from rl3d.training.checkpoints import load_network, load_optimizer, load_tensors, optimizer_tensors, save_tensors
from scenes.files import FileError


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.zeros(2, 2, dtype=torch.float16)}
    save_tensors(tmp_path / "x.safetensors", tensors, {"step": 7})
    back, header = load_tensors(tmp_path / "x.safetensors")
    assert header == {"step": 7}
    assert back.keys() == tensors.keys() and all(torch.equal(back[k], tensors[k]) and back[k].dtype == tensors[k].dtype for k in tensors)


def test_optimizer_state_survives() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    first = torch.optim.AdamW([p], lr=0.1)
    p.sum().backward()
    first.step()
    second = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))], lr=0.1)
    load_optimizer(second, optimizer_tensors(first))
    a, b = first.state_dict()["state"][0], second.state_dict()["state"][0]
    assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 64, b"\x10\x00\x00\x00\x00\x00\x00\x00{}              "])
def test_garbage_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileError, match="not an rl3d checkpoint, or cut short"):
        load_tensors(path)


def test_truncated_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(1000)}, {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FileError, match="cut short"):
        load_tensors(path)


def test_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such checkpoint"):
        load_tensors(tmp_path / "none.safetensors")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    small, large = (PartFlowNetwork(PartFlowConfig(width=w, depth=1, heads=1)) for w in (16, 32))
    with pytest.raises(FileError, match="does not fit"):
        load_network(small, large.state_dict(), tmp_path / "x")
    weights = large.state_dict()
    weights.pop("slots")
    with pytest.raises(FileError, match="weight slots is missing"):
        load_network(large, weights, tmp_path / "x")
