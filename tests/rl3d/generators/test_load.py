"""Generators by name, by checkpoint and by dotted path; one clear line for anything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rl3d.checkpoints import load_network
from rl3d.generators.load import (
    BUILT_IN,
    PRETRAINED,
    TUNED,
    find_generator,
    generator_class,
    load_generator,
    save_generator,
)
from rl3d.generators.part_flow import PartFlow
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors
from tests.rl3d.toys import SplatFlow, TokenToy


def test_a_checkpoint_knows_its_generator(tmp_path) -> None:
    policy = SplatFlow(width=8)
    save_generator(tmp_path / "x.safetensors", policy, step=3)
    for path in (tmp_path / "x.safetensors",):
        loaded = load_generator(path)
        assert type(loaded) is SplatFlow and loaded.config == {"width": 8}
        assert loaded.source["weights"] == "x.safetensors" and len(loaded.source["sha256"]) == 64
        assert generator_class(path) is SplatFlow
        pairs = zip(policy.network.parameters(), loaded.network.parameters(), strict=True)
        assert all(torch.equal(a.half().float(), b) for a, b in pairs)
    save_generator(tmp_path / "run/generator.safetensors", policy)
    assert type(load_generator(tmp_path / "run", generator="tests.rl3d.toys:SplatFlow")) is SplatFlow
    with pytest.raises(FileError, match=r"holds the generator tests.rl3d.toys:SplatFlow, not part-flow"):
        load_generator(tmp_path / "run", generator="part-flow")


def test_a_generator_is_found_by_name_and_by_path() -> None:
    assert find_generator("part-flow") is PartFlow and PartFlow.name == "part-flow"
    assert type(load_generator(generator="tests.rl3d.toys:TokenToy")) is TokenToy
    assert TokenToy.name == "tests.rl3d.toys:TokenToy"
    tuned, pretrained = load_generator(), load_generator(pretrained=True)
    assert (tuned.source["weights"], pretrained.source["weights"]) == (TUNED.name, PRETRAINED.name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("part-flaw", r"unknown generator 'part-flaw', did you mean 'part-flow'\?"),
        ("nowhere:Thing", "generator 'nowhere:Thing': there is no module 'nowhere' here"),
        ("os:system", r"'system' is no subclass of rl3d\.generators\.base\.Generator"),
        ("tests.rl3d.toys:Red", "'Red' is no subclass"),
        ("tests.rl3d.toys:Nothing", "'Nothing' is no subclass"),
    ],
)
def test_other_names_are_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        load_generator(generator=name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"kind": "scorer"}, r"holds no generator \(its kind is 'scorer'\); name the weights of one"),
        ({}, r"holds no generator \(its kind is 'unknown'\)"),
        ({"kind": "generator", "generator": 5, "config": {}}, "holds no generator"),
        ({"kind": "generator", "generator": "os:system", "config": {}}, "is no subclass"),
        (
            {"kind": "generator", "generator": "part-flow", "config": {"colour": 3}},
            "does not describe a part-flow network",
        ),
    ],
)
def test_files_that_hold_something_else(tmp_path, header: dict, message: str) -> None:
    write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, header)
    with pytest.raises(ValueError, match=message):
        load_generator(tmp_path / "x.safetensors")


class Masked(SplatFlow):
    """A network with buffers that float16 cannot hold."""

    def __init__(self) -> None:
        super().__init__(8)
        self.network.register_buffer("mask", torch.tensor([0.0, -torch.inf, -1e9]))
        self.network.register_buffer("steps", torch.tensor(70_001))


def test_buffers_are_kept_as_they_are(tmp_path) -> None:
    policy = Masked()
    with torch.no_grad():
        policy.network[0].bias[0] = 1e6  # type: ignore[index, union-attr]
    save_generator(tmp_path / "x.safetensors", policy, step=1)
    tensors = read_tensors(tmp_path / "x.safetensors").tensors
    assert tensors["0.weight"].dtype == torch.float16 and tensors["0.bias"].dtype == torch.float32
    loaded_network = Masked().network
    load_network(loaded_network, tensors, tmp_path / "x.safetensors")
    assert torch.equal(loaded_network.mask, policy.network.mask) and loaded_network.steps == 70_001
    assert loaded_network[0].bias[0] == 1e6  # type: ignore[index]


class Dropping(SplatFlow):
    def __init__(self) -> None:
        super().__init__(8)
        self.network.append(torch.nn.Linear(11, 11))  # type: ignore[operator, union-attr]
        self.network.append(torch.nn.Dropout(0.5))  # type: ignore[operator, union-attr]


def test_an_untrained_generator_is_the_same_in_every_process() -> None:
    name = f"{__name__}:Dropping"
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, other = load_generator(generator=name), load_generator(generator=name)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.source == other.source and len(one.source["sha256"]) == 64 and not one.network.training
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True))


def test_a_class_that_wants_arguments_is_named() -> None:
    with pytest.raises(ValueError, match=r"generator 'rl3d.generators.flow:Flow' cannot be made without arguments"):
        load_generator(generator="rl3d.generators.flow:Flow")


def test_a_generator_without_weights_says_how_to_make_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone.safetensors"
    monkeypatch.setitem(BUILT_IN, "part-tokens", replace(BUILT_IN["part-tokens"], tuned=gone))
    with pytest.raises(FileError, match="'part-tokens' has no weights yet: run rl3d pretrain part-tokens"):
        load_generator(generator="part-tokens")
