"""Adapters: what is sampled uses them, files merge into the same weights, and one clear line for
whatever does not fit."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rl3d.generators.adapters import (
    ADAPTER,
    adapted_layers,
    add_adapter,
    linear_layers,
    merged,
    parse_adapters,
    save_adapter,
    shown,
)
from rl3d.generators.base import Generator, HasLogProbs, HasMatching, Retrieves
from rl3d.generators.load import load_generator, save_generator
from scenes.asset import PartAsset
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors
from tests.rl3d.toys import TokenToy, tower

SPLATS = "tests.rl3d.toys:SplatFlow"
REAL = ["part-flow", "part-tokens"]
PROMPTS = ["a red chair with white legs", "two blue balls"]


def adapted(name: str, seed: int = 0, adapter: str = "") -> Generator:
    """A generator with an adapter whose B is not 0 any more."""
    generator = load_generator(generator=name, adapter=adapter)
    add_adapter(generator, 2, seed)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in adapted_layers(generator.network).values():
            b = layer.lora_B["default"].weight
            b.copy_(0.02 * torch.randn(b.shape, generator=rng))
    return generator


def saved(path: Path, name: str = SPLATS, seed: int = 0, adapter: str = "", **header: Any) -> Path:
    generator = adapted(name, seed, adapter)
    save_adapter(path, generator, generator.network, **header)
    return path


def samples(generator: Generator) -> Tensor:
    rollout: Any = generator.sample(generator.condition(PROMPTS), seeds=[3, 4])
    return rollout.tokens if hasattr(rollout, "tokens") else rollout.states[-1]


def weights(generator: Generator) -> list[Tensor]:
    return [layer.weight.detach() for layer in linear_layers(generator.network).values()]


@pytest.mark.parametrize("name", [SPLATS, *REAL])
def test_samples_are_those_of_the_merged_weights(name: str, tmp_path: Path) -> None:
    base = load_generator(generator=name)
    own = adapted(name)
    save_adapter(tmp_path / ADAPTER, own, own.network)
    loaded = load_generator(generator=name, adapter=str(tmp_path))
    plain = merged(own.network)
    assert type(own.network) is type(base.network) is type(plain)
    assert plain.state_dict().keys() == base.network.state_dict().keys() == loaded.network.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), loaded.network.parameters(), strict=True))
    found, start = samples(own), samples(base)
    assert found.shape != start.shape or not torch.allclose(found.float(), start.float(), atol=1e-2)
    assert torch.allclose(found.float(), samples(loaded).float(), atol=1e-4)
    assert loaded.source["weights"] == f"{base.source['weights']} + {ADAPTER}=1"
    assert loaded.source["sha256"] not in ("", base.source["sha256"])


@pytest.mark.parametrize("name", [SPLATS, *REAL])
def test_a_new_adapter_changes_nothing(name: str) -> None:
    generator = load_generator(generator=name)
    before = samples(generator)
    state = torch.random.get_rng_state()
    add_adapter(generator, 2, 0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(samples(generator), before) and not generator.network.training
    assert len(generator.parameters()) == 2 * len(adapted_layers(generator.network))


@pytest.mark.parametrize("name", REAL)
def test_every_linear_layer_has_an_adapter_with_a_gradient(name: str) -> None:
    """A layer whose weight is read without calling the layer would have none."""
    generator = adapted(name)
    layers = adapted_layers(generator.network)
    assert layers.keys() == linear_layers(load_generator(generator=name).network).keys()
    condition: Any = generator.condition(PROMPTS)
    if isinstance(generator, Retrieves):  # some layers are for examples alone
        tokens = torch.tensor([[0], [1], [2], [3]])
        example = PartAsset(tower(tokens, torch.ones_like(tokens, dtype=torch.bool)))
        condition = generator.with_examples(condition, [[example]] * len(PROMPTS))
    rollout = generator.sample(condition, seeds=[3, 4])
    if isinstance(generator, HasMatching):
        rng = torch.Generator().manual_seed(0)
        noise = torch.randn(1, *generator.final(rollout).shape, generator=rng)
        loss = generator.matching(rollout, torch.tensor([[0.4, 0.6]]), noise).errors.sum()
    else:
        assert isinstance(generator, HasLogProbs)
        loss = generator.log_probs(rollout, generator.steps(rollout)[0]).log_probs.sum()
    loss.backward()
    for layer_name, layer in layers.items():
        for matrix in (layer.lora_A, layer.lora_B):
            gradient = matrix["default"].weight.grad
            assert gradient is not None and gradient.abs().sum() > 0, layer_name
    assert all(p.grad is None for p in generator.network.parameters() if not p.requires_grad)


def test_weight_0_gives_the_samples_of_the_base(tmp_path: Path) -> None:
    base = load_generator(generator=SPLATS)
    none = load_generator(generator=SPLATS, adapter=f"{saved(tmp_path / 'a.safetensors')}=0")
    assert torch.equal(samples(none), samples(base))


def test_adapters_add_up(tmp_path: Path) -> None:
    one, two = (saved(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (1, 2))

    def changes(adapter: str) -> list[Tensor]:
        made = load_generator(generator=SPLATS, adapter=adapter)
        return [w - w0 for w, w0 in zip(weights(made), weights(load_generator(generator=SPLATS)), strict=True)]

    first, second, both = changes(f"{one}"), changes(f"{two}=1"), changes(f"{one}=1,{two}=-0.5")
    for a, b, sum_ in zip(first, second, both, strict=True):
        assert a.abs().max() > 1e-3 and b.abs().max() > 1e-3
        assert torch.allclose(sum_, a - 0.5 * b, atol=1e-6)


def test_an_adapter_of_adapted_weights_follows_their_adapters(tmp_path: Path) -> None:
    first = saved(tmp_path / "first.safetensors", seed=1)
    second = saved(tmp_path / "second.safetensors", seed=2, adapter=f"{first}=0.5")
    both = load_generator(generator=SPLATS, adapter=f"{first}=0.5,{second}")
    wanted = merged(adapted(SPLATS, 2, adapter=f"{first}=0.5").network)
    assert all(torch.equal(a, b) for a, b in zip(both.network.parameters(), wanted.parameters(), strict=True))
    for other in (f"{second}", f"{first}=1,{second}"):
        with pytest.raises(FileError, match=r"second.safetensors: was trained on other weights, as its class"):
            load_generator(generator=SPLATS, adapter=other)


def test_the_file_says_what_it_belongs_to(tmp_path: Path) -> None:
    tensors, header, _ = read_tensors(saved(tmp_path / "a.safetensors"))
    base = load_generator(generator=SPLATS)
    assert header == {"kind": "adapter", "generator": SPLATS, "rank": 2, "alpha": 2, "base": base.source}
    assert sorted(tensors) == ["0.A", "0.B", "2.A", "2.B"] and tensors["0.A"].shape == (2, 28)


def test_parsing() -> None:
    assert parse_adapters(" a.safetensors, b=c=0.5 ,") == [(Path("a.safetensors"), 1.0), (Path("b=c"), 0.5)]
    assert parse_adapters("") == [] and shown("x/a.safetensors,y/b=-2") == "a.safetensors=1,b=-2"


@pytest.mark.parametrize("text", ["a=nan", "a=inf", "a=much", "a=", "=1"])
def test_a_weight_that_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--adapter takes FILE=WEIGHT,\.\.\. with finite numbers .*, got '") as error:
        load_generator(generator=SPLATS, adapter=text)
    assert "\n" not in str(error.value)


WRONG: list[tuple[dict[str, Any], dict[str, Tensor], str]] = [
    ({"kind": "generator"}, {}, r"holds no adapter \(its kind is 'generator'\); name the adapter.safetensors of a run"),
    ({"generator": "part-flow"}, {}, "is an adapter of the generator part-flow, not of tests.rl3d.toys:SplatFlow"),
    ({"base": {"weights": "old", "sha256": "5"}}, {}, "was trained on other weights, old: name them with --checkpoint"),
    ({"base": 5}, {}, "its header does not describe an adapter"),
    ({"rank": 0}, {}, "its header does not describe an adapter"),
    ({"alpha": "2"}, {}, "its header does not describe an adapter"),
    ({"alpha": float("nan")}, {}, "layer 0 has values that are not finite numbers"),
    ({}, {"7.A": torch.zeros(2, 28)}, "layer 7 does not fit: the adapter is of another network"),
    ({}, {"1.A": torch.zeros(2, 28)}, "layer 1 does not fit"),
    ({}, {"0.B": torch.zeros(2, 2)}, "layer 0 does not fit"),
    ({"rank": 3}, {}, "layer 0 does not fit"),
    ({}, {"0.A": torch.zeros(2, 28, dtype=torch.int32)}, "layer 0 does not fit"),
    ({}, {"2.A": torch.full((2, 32), torch.nan)}, "layer 2 has values that are not finite numbers"),
]


@pytest.mark.parametrize(("header", "tensors", "message"), WRONG)
def test_other_files_are_refused_in_one_line(tmp_path: Path, header, tensors, message: str) -> None:
    good = read_tensors(saved(tmp_path / "a.safetensors"))
    write_tensors(tmp_path / "a.safetensors", good.tensors | tensors, good.header | header)
    with pytest.raises(FileError, match=message) as error:
        load_generator(generator=SPLATS, adapter=str(tmp_path / "a.safetensors"))
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path))


def test_other_weights_of_the_same_generator_are_refused(tmp_path: Path) -> None:
    adapter = saved(tmp_path / "a.safetensors")
    save_generator(tmp_path / "other.safetensors", load_generator(generator=SPLATS))
    with pytest.raises(FileError, match="was trained on other weights"):
        load_generator(tmp_path / "other.safetensors", adapter=str(adapter))


def test_a_network_without_linear_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"generator 'tests.rl3d.toys:TokenToy' has none: leave it out"):
        add_adapter(TokenToy(), 2, 0)


def test_without_peft_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"--adapter-rank needs the package 'peft', which is not installed"):
        add_adapter(load_generator(generator=SPLATS), 2, 0)


def test_layers_that_are_not_called_stay_as_they_are() -> None:
    """``nn.MultiheadAttention`` reads the weight of its last layer without calling it."""
    network = nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 1))
    assert list(linear_layers(network)) == ["0"]


def test_merging_leaves_the_network_with_its_adapter() -> None:
    generator = adapted(SPLATS)
    before = copy.deepcopy(generator.network.state_dict())
    merged(generator.network)
    after = generator.network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
