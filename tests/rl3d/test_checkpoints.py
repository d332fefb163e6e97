"""Checkpoint files: whole or not at all, and one clear line for anything that is not one."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save

from rl3d.algorithms.awm import AWM
from rl3d.algorithms.grpo import GRPO
from rl3d.checkpoints import load_network, load_optimizer, optimizer_tensors
from rl3d.generators.load import load_generator
from rl3d.generators.part_flow import PartFlow, PartFlowConfig, PartFlowNetwork
from rl3d.generators.sde import Sampling
from rl3d.training.config import TrainConfig, save_config, saved_config
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.zeros(2, 2, dtype=torch.float16)}
    write_tensors(tmp_path / "x.safetensors", tensors, {"step": 7})
    back, header, _ = read_tensors(tmp_path / "x.safetensors")
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
        read_tensors(path)


def test_truncated_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.zeros(1000)}, {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FileError, match="cut short"):
        read_tensors(path)


def test_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file; name an rl3d checkpoint"):
        read_tensors(tmp_path / "none.safetensors")


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
def test_a_header_of_another_network_is_refused_without_memory(tmp_path: Path, config: object) -> None:
    network = PartFlow(width=16, depth=1, heads=1).network
    path = tmp_path / "x.safetensors"
    whole = {"width": 16, "depth": 1, "heads": 1}
    write_tensors(path, network.state_dict(), {"kind": "generator", "generator": "part-flow", "config": whole})
    assert all(
        torch.equal(a, b) for a, b in zip(load_generator(path).network.parameters(), network.parameters(), strict=True)
    )
    write_tensors(
        path,
        network.state_dict(),
        {
            "kind": "generator",
            "generator": "part-flow",
            "config": {**whole, **config} if isinstance(config, dict) else config,
        },
    )
    with pytest.raises(FileError, match=r"does not describe a part-flow network|does not fit"):
        load_generator(path)


@pytest.mark.parametrize("header", ["3", "[" * 50_000, "null"])
def test_a_header_that_is_no_table_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({"a": torch.zeros(1)}, metadata={"rl3d": header}))
    with pytest.raises(FileError, match="not an rl3d checkpoint"):
        read_tensors(path)


@pytest.mark.parametrize("objective", [AWM(clip=0.1), GRPO(timesteps_per_iteration=0)])
@pytest.mark.parametrize("sampling", [None, Sampling(steps=5, noise=0.3)])
def test_settings_come_back_from_their_file(tmp_path: Path, objective, sampling) -> None:
    named = {"generator": "part-flow", "prompts": tmp_path / "prompts.txt"}
    config = TrainConfig(out=tmp_path, objective=objective, sampling=sampling, **named)
    save_config(config)
    assert saved_config(tmp_path) == config


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": "many"},
        {"objective": {"name": "awm", "lr": float("inf")}},
        {"objective": {"name": "awm", "colour": 3}},
        {"objective": {"name": "ppo"}},
        {"objective": {"name": "os:system"}},
        {"objective": "awm"},
        {"generator": "part-flaw"},
        {"sampling": {"steps": 0}},
        {"sampling": {"steps": 2**31}},
        {"sampling": 3},
        {"x": 1},
    ],
)
def test_settings_that_no_run_has_are_refused(tmp_path: Path, change: dict) -> None:
    save_config(TrainConfig(out=tmp_path))
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**settings, **change}))
    with pytest.raises(FileError, match="not the settings of a training run"):
        saved_config(tmp_path)
