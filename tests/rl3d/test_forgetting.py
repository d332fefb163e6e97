"""What a tuned generator lost: what counts as tuned on, and the table of the rest."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rl3d.algorithms.load import find_objective
from rl3d.cli import main
from rl3d.corpus import MIX
from rl3d.evaluate import EvaluateConfig, evaluate
from rl3d.forgetting import SUMMARY, Tuning, not_tuned_on, tuned_on
from rl3d.generators.load import PRETRAINED, load_generator, save_generator
from rl3d.tables import compare, read_table
from rl3d.training.config import TrainConfig, as_saved
from scenes.files import FileError
from scenes.files.tensors import write_tensors
from tests.rl3d.generators.test_adapters import saved


def _training(**settings: Any) -> dict[str, Any]:
    return as_saved(TrainConfig(generator="part-flow", **settings))


def _tuned(path: Path, **settings: Any) -> Path:
    """Part flow after a run that only shook its weights."""
    generator = load_generator(generator="part-flow")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in generator.parameters():
            p.add_(0.005 * torch.randn(p.shape, generator=rng))
    save_generator(path, generator, training=_training(**settings))
    return path


@pytest.mark.parametrize(
    ("settings", "kinds", "rewards"),
    [
        ({"kinds": "composition, scene"}, {"composition", "scene"}, {"stability", "connected", "alignment"}),
        ({"rewards": "stability=1,alignment=0,my:own"}, set(MIX), {"stability", "my:own"}),
        (
            {"rewards": "stability=1,alignment=0,connected=0,structure=1", "constraints": "alignment=0.5"},
            set(MIX),
            {"stability", "structure", "alignment"},
        ),
        (
            {"rewards": "alignment=1,stability=0,connected=0", "gates": "alignment=stability+connected"},
            set(MIX),
            {"alignment", "stability", "connected"},
        ),
        ({"rewards": "alignment=1,stability=0", "gates": "alignment=stability>0.9"}, set(MIX), {"alignment"}),
        ({"prompts": Path("prompts.txt"), "rewards": "stability=1"}, set(), {"stability"}),
        ({"objective": find_objective("dpo")(pairs=Path("pairs.jsonl"))}, set(), set()),
    ],
)
def test_the_header_says_what_was_tuned_on(settings, kinds: set[str], rewards: set[str], tmp_path: Path) -> None:
    write_tensors(tmp_path / "generator.safetensors", {}, {"training": _training(**settings)})
    found = tuned_on(tmp_path)
    assert found.kinds == kinds and found.rewards == rewards


def test_figures_are_those_that_were_not_optimised() -> None:
    """Four prompts of two kinds with two assets each."""
    kinds = [kind for kind in ("single", "single", "scene", "scene") for _ in range(2)]
    before = {
        "stability": torch.full((8,), 0.5), "stability_success_rate": torch.ones(8),
        "structure": torch.arange(8) / 8, "structure_success_rate": torch.ones(8),
        "alignment": torch.full((8,), 0.25), "judge": torch.ones(8),
    }  # fmt: skip
    tuning = Tuning(frozenset({"scene"}), frozenset({"stability"}))
    names = ["stability", "structure", "alignment"]
    after = before | {
        "stability_success_rate": torch.tensor([1.0, 0, 1, 0, 0, 0, 0, 0]),
        "structure_success_rate": torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0]),
    }
    table = compare(*(not_tuned_on(values, kinds, names, tuning) for values in (before, after)), 2)
    single = ["single: stability_success_rate", "single: structure_success_rate", "single: alignment"]
    assert list(table["difference"]) == [
        *single, "scene: structure_success_rate", "scene: alignment", SUMMARY,
    ]  # fmt: skip
    assert {name: found.prompts for name, found in table["after"].items()} == {
        name: 4 if name == SUMMARY else 2 for name in table["after"]
    }
    assert table["difference"]["single: stability_success_rate"] == (-0.5, 0.0, 2)
    mean, error, _ = table["difference"]["scene: structure_success_rate"]
    assert (mean, error) == pytest.approx((-0.75, 0.25))
    # By prompt -0.25, -0.25 (half of it is stability), -0.5 and -1.
    mean, error, _ = table["difference"][SUMMARY]
    assert mean == pytest.approx(-0.5)
    assert error == pytest.approx(math.sqrt((2 * 0.25**2 + 0.5**2) / 3) / 2)


def test_the_table_has_only_what_was_not_tuned_on(tmp_path: Path, capsys) -> None:
    checkpoint = _tuned(
        tmp_path / "tuned.safetensors", kinds="composition,scene,single", rewards="structure=1,connected=1"
    )
    out = tmp_path / "out"
    wanted = ["evaluate", "--checkpoint", str(checkpoint), "--forgetting", "part-flow", "--out", str(out)]
    rewards = ["--rewards", "structure=1,connected=1"]
    assert main([*wanted, *rewards, "--num-prompts", "6", "--samples", "1", "--pictures", "2"]) == 0
    table = read_table(out)
    assert list(table["before"]) == [
        *(f"{k}: {r}_success_rate" for k in ("relation", "count") for r in ("structure", "connected")), SUMMARY,
    ]  # fmt: skip
    assert all(found.prompts == 3 for name, found in table["before"].items() if name != SUMMARY)
    change, error, count = table["difference"][SUMMARY]
    assert change == pytest.approx(table["after"][SUMMARY].mean - table["before"][SUMMARY].mean) and count == 6
    said = capsys.readouterr().out
    assert f"not tuned on: success rates changed by {change:+.3f} ± {error:.3f} on 6 prompts" in said


def test_a_parent_is_a_file_too_and_the_same_weights_lose_nothing(tmp_path: Path) -> None:
    parent = load_generator(generator="part-flow")
    checkpoint = tmp_path / "generator.safetensors"
    save_generator(checkpoint, parent, training=_training())
    settings: dict[str, Any] = {"rewards": "structure=1,connected=1", "num_prompts": 5, "samples": 1, "pictures": 1}
    forgetting = {"checkpoint": tmp_path, "forgetting": str(checkpoint)}
    table = evaluate(EvaluateConfig(out=tmp_path / "out", **forgetting, **settings))
    names = [f"{kind}: structure" for kind in MIX]
    assert [name.removesuffix("_success_rate") for name in table["difference"] if name != SUMMARY] == names
    assert all((found.mean, found.error) == (0, 0) for found in table["difference"].values())


@pytest.mark.parametrize(
    ("checkpoint", "settings", "message"),
    [
        (None, {}, "does not say what it was tuned on, which --forgetting needs: name the generator.safetensors"),
        ({}, {"rewards": "stability=1"}, "nothing to measure: these kinds and rewards were all tuned on"),
        ({}, {"forgetting": "none.safetensors"}, r"none\.safetensors: no such file"),
        ({}, {"against": PRETRAINED}, "--forgetting excludes --against"),
        ({"objective": find_objective("distill")(teachers="a")}, {}, "was distilled, and does not say what its teach"),
    ],
)
def test_what_cannot_be_measured_is_refused(checkpoint, settings, message: str, tmp_path: Path) -> None:
    path = PRETRAINED if checkpoint is None else _tuned(tmp_path / "tuned.safetensors", **checkpoint)
    with pytest.raises(ValueError, match=message) as error:
        evaluate(EvaluateConfig(**{"checkpoint": path, "forgetting": "part-flow", "out": tmp_path / "out", **settings}))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "training", [5, {}, {"prompts": None, "rewards": "a=x", "kinds": "", "constraints": "", "gates": ""}]
)
def test_a_damaged_header_is_refused(training: Any, tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", {}, {"training": training})
    with pytest.raises(FileError, match=r"x\.safetensors: does not say what it was tuned on"):
        tuned_on(tmp_path / "x.safetensors")


def test_an_adapter_says_what_it_was_tuned_on(tmp_path: Path) -> None:
    """Of several adapters, everything counts that one of them was tuned on."""
    files = []
    for seed, rewards in enumerate(("penetration=1", "connected=1")):
        path = saved(tmp_path / f"{seed}.safetensors", "part-flow", seed=seed, training=_training(rewards=rewards))
        files.append(str(path))
    settings: dict[str, Any] = {"num_prompts": 5, "samples": 1, "pictures": 1, "generator": "part-flow"}
    config = EvaluateConfig(
        adapter=",".join(files), forgetting="part-flow", rewards="connected=1,penetration=1,structure=1",
        kinds="single", out=tmp_path / "out", **settings,
    )  # fmt: skip
    assert {name for name in evaluate(config)["difference"] if name.startswith("single: structure")}
    assert not {name for name in read_table(tmp_path / "out")["before"] if "penetration" in name or "connected" in name}


def test_a_reward_of_a_user_is_known_by_its_path(tmp_path: Path) -> None:
    own = "tests.rl3d.toys:Low"
    checkpoint = _tuned(tmp_path / "tuned.safetensors", rewards=f"{own}=1")
    settings: dict[str, Any] = {"num_prompts": 2, "samples": 1, "pictures": 1, "kinds": "single"}
    config = EvaluateConfig(
        checkpoint=checkpoint, forgetting="part-flow", rewards=f"{own}=1,connected=1", out=tmp_path / "out", **settings
    )
    assert list(evaluate(config)["before"]) == ["single: connected_success_rate", SUMMARY]
