"""Runs with --adapter-rank: only the adapter learns, the result is a plain network, and a run goes
on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rl3d.algorithms.awm import AWM
from rl3d.generators.adapters import ADAPTER, adapted_layers, linear_layers
from rl3d.generators.load import load_generator, save_generator
from rl3d.training.config import TrainConfig, saved_config
from rl3d.training.loop import Run, begin, iterate
from scenes.files import FileError
from scenes.files.tensors import read_tensors

SPLATS = "tests.rl3d.toys:SplatFlow"


def _settings(prompts: Path, **changes: Any) -> dict[str, Any]:
    objective = AWM(lr=0.03, kl_weight=0.0, timesteps_per_iteration=2, clip=0.2)
    return {
        "generator": SPLATS, "rewards": "tests.rl3d.toys:Low", "prompts": prompts, "guard": "off", "warmup": 1,
        "prompts_per_iteration": 2, "bfloat16": False, "objective": objective, **changes,
    }  # fmt: skip


def _frozen(run: Run) -> dict[str, torch.Tensor]:
    named = run.state.policy.network.named_parameters()
    return {name: p.detach().clone() for name, p in named if not p.requires_grad}


def _learned(run: Run) -> list[torch.Tensor]:
    return [p.detach().clone() for p in run.state.policy.parameters()]


def test_an_adapter_learns_and_its_files_hold_what_was_learnt(prompts: Path, tmp_path: Path) -> None:
    settings = _settings(prompts, iterations=25, group_size=12, save_every=25, adapter_rank=4)
    run = begin(TrainConfig(out=tmp_path / "run", **settings))
    before = _frozen(run)
    metrics = list(iterate(run))
    values = [m["low"] for m in metrics]
    assert values[0] < 0.7 and sum(values[-5:]) / 5 > 0.9
    assert metrics[0]["kl"] == 0 and metrics[-1]["kl"] > 0
    after = _frozen(run)
    assert before and all(torch.equal(before[name], after[name]) for name in before)
    base = load_generator(generator=SPLATS)
    result = load_generator(run.config.weights)
    adapted = load_generator(generator=SPLATS, adapter=str(run.config.out))
    seeds = {"seeds": [1, 2]}
    with run.state.averaged() as policy:
        condition = policy.condition(["a red cube", "a blue ball"])
        own, start_, merged, added = (
            g.sample(condition, **seeds).states[-1]  # type: ignore[attr-defined]
            for g in (policy, base, result, adapted)
        )
    assert (own - start_).abs().max() > 0.1
    assert torch.allclose(added, own, rtol=1e-4, atol=1e-4)
    assert torch.allclose(merged, own, rtol=1e-2, atol=2e-2)  # the weights of this file are float16
    header = read_tensors(run.config.out / ADAPTER).header
    assert header["step"] == 25 and header["training"]["adapter_rank"] == 4 and header["base"] == base.source


@pytest.mark.parametrize(("policy", "objective"), [("splats", "awm"), ("part-flow", "grpo"), ("part-flow", "nft")])
def test_a_run_with_an_adapter_resumes_to_the_bit(start, tmp_path: Path, policy: str, objective: str) -> None:
    settings = {"num_minibatches": 2, "adapter_rank": 2}
    whole = start(policy, objective, **settings)
    list(iterate(whole))
    out = tmp_path / "cut"
    cut = iterate(start(policy, objective, out=out, **settings))
    next(cut), next(cut)
    cut.close()
    again = start(policy, objective, out=out, resume=True, **settings)
    assert again.state.iteration == 2 and saved_config(out).adapter_rank == 2
    list(iterate(again))
    assert all(torch.equal(a, b) for a, b in zip(_learned(whole), _learned(again), strict=True))
    first, second = (read_tensors(folder / ADAPTER).tensors for folder in (whole.config.out, out))
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
    with pytest.raises(FileError, match=r"does not fit|is missing"):
        start(policy, objective, out=out, resume=True, **{**settings, "adapter_rank": 3})


@pytest.mark.parametrize("name", ["part-flow", "part-tokens"])
def test_an_iteration_on_shipped_weights_moves_every_layer(name: str, prompts: Path, tmp_path: Path) -> None:
    run = begin(
        TrainConfig(
            out=tmp_path / "run", generator=name, rewards="connected=1,alignment=1", prompts=prompts, iterations=1,
            prompts_per_iteration=2, group_size=3, guard="off", adapter_rank=2, warmup=1,
        )
    )  # fmt: skip
    layers = adapted_layers(run.state.policy.network)
    base = load_generator(generator=name)
    assert layers.keys() == linear_layers(base.network).keys()
    (metrics,) = iterate(run)
    assert metrics["grad_norm"] > 0
    still = {layer for layer, module in layers.items() if not module.lora_B["default"].weight.abs().sum() > 0}
    # These are for retrieved examples, of which this run has none.
    assert still == (set() if name == "part-flow" else {"example_in", "key", "pointed_at", "pointer"})
    assert load_generator(run.config.weights).network.state_dict().keys() == base.network.state_dict().keys()
    assert load_generator(generator=name, adapter=str(run.config.out)).source["sha256"]


def test_a_run_starts_from_adapters(prompts: Path, tmp_path: Path) -> None:
    first, settings = tmp_path / "first", _settings(prompts, iterations=1, group_size=4)
    list(iterate(begin(TrainConfig(out=first, adapter_rank=2, **settings))))
    adapter = f"{first / ADAPTER}=0.5"
    second = begin(TrainConfig(out=tmp_path / "second", adapter=adapter, **settings))
    wanted = load_generator(generator=SPLATS, adapter=adapter)
    pairs = zip(second.state.policy.parameters(), wanted.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    list(iterate(second))
    assert saved_config(tmp_path / "second").adapter == adapter
    training = read_tensors(second.config.weights).header["training"]
    assert training["adapter"] == f"{ADAPTER}=0.5", "names, not places of this machine"
    assert not (second.config.out / ADAPTER).exists()


def test_a_run_does_not_go_on_from_other_weights(prompts: Path, tmp_path: Path) -> None:
    """Its adapter would say that it belongs to them."""
    start = tmp_path / "start.safetensors"
    save_generator(start, load_generator(generator=SPLATS), step=1)
    settings = _settings(prompts, iterations=1, group_size=4, adapter_rank=2, checkpoint=start, out=tmp_path / "run")
    list(iterate(begin(TrainConfig(**settings))))
    begin(TrainConfig(**settings), resume=True)
    save_generator(start, load_generator(generator=SPLATS), step=2)
    with pytest.raises(FileError, match=r"adapter\.safetensors: was trained on other weights, start\.safetensors"):
        begin(TrainConfig(**settings), resume=True)
