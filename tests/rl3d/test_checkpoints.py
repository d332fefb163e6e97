"""Checkpoint files: whole or not at all, and one clear line for anything that is not one."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from rl3d.checkpoints import load_network, load_optimizer, load_tensors, optimizer_tensors, save_tensors
from rl3d.generators.load import load_part_flow
from rl3d.generators.part_flow import PartFlowConfig, PartFlowNetwork
from rl3d.training.trainer import TrainConfig, saved_config
from scenes.files import FileError


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.zeros(2, 2, dtype=torch.float16)}
    save_tensors(tmp_path / "x.safetensors", tensors, {"step": 7})
    back, header = load_tensors(tmp_path / "x.safetensors")
    assert header == {"step": 7}
    assert back.keys() == tensors.keys() and all(
        torch.equal(back[k], tensors[k]) and back[k].dtype == tensors[k].dtype for k in tensors
    )


def test_optimizer_state_survives() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    first = torch.optim.AdamW([p], lr=0.1)
    p.sum().backward()
    first.step()
    second = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))], lr=0.1)
    load_optimizer(second, optimizer_tensors(first), Path("x"))
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
    weights = small.state_dict()
    weights["slots"][0, 0] = torch.nan
    with pytest.raises(FileError, match="weight slots has values that are not finite numbers"):
        load_network(small, weights, tmp_path / "x")


@pytest.mark.parametrize(
    "config",
    [
        {"width": 10**12},
        {"depth": 10**9},
        {"heads": 5},
        {"width": 0},
        {"width": "16"},
        {"width": 16.0},
        {"colour": 3},
        [16],
        None,
    ],
)
def test_a_header_of_a_network_that_its_weights_are_not_costs_nothing(tmp_path: Path, config: object) -> None:
    network = PartFlowNetwork(PartFlowConfig(width=16, depth=1, heads=1))
    path = tmp_path / "x.safetensors"
    whole = {"width": 16, "depth": 1, "heads": 1}
    save_tensors(path, network.state_dict(), {"kind": "part-flow", "config": whole})
    assert all(
        torch.equal(a, b) for a, b in zip(load_part_flow(path).network.parameters(), network.parameters(), strict=True)
    )
    save_tensors(
        path,
        network.state_dict(),
        {"kind": "part-flow", "config": {**whole, **config} if isinstance(config, dict) else config},
    )
    with pytest.raises(FileError, match=r"does not describe a part-flow network|does not fit"):
        load_part_flow(path)


@pytest.mark.parametrize("header", ["3", "[" * 50_000, "null"])
def test_a_header_that_is_no_table_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({"a": torch.zeros(1)}, metadata={"rl3d": header}))
    with pytest.raises(FileError, match="not an rl3d checkpoint"):
        load_tensors(path)


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": "many"},
        {"lr": float("inf")},
        {"sampling": {"steps": 0}},
        {"sampling": {"steps": 2**31}},
        {"sampling": 3},
        {"objective": "ppo"},
        {"x": 1},
    ],
)
def test_settings_that_no_run_has_are_refused(tmp_path: Path, change: dict) -> None:
    settings = json.loads(json.dumps(asdict(TrainConfig()), default=str))
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    assert saved_config(tmp_path) == TrainConfig(out=tmp_path)
    (tmp_path / "config.yaml").write_text(json.dumps({**settings, **change}))
    with pytest.raises(FileError, match="not the settings of a training run"):
        saved_config(tmp_path)
