"""``--adapter`` of the commands that make assets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rl3d.cli import main
from rl3d.generators.adapters import ADAPTER
from rl3d.generators.load import load_generator
from rl3d.tables import read_table
from rl3d.viewer.studio import WITH_ADAPTERS, Studio
from tests.rl3d.generators.test_adapters import saved

FLOW = ["--generator", "part-flow"]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("adapter") / ADAPTER, "part-flow")


def test_an_asset_of_an_adapter_replays_with_it(adapter: Path, tmp_path: Path, capsys) -> None:
    asset, plain = tmp_path / "asset", tmp_path / "plain"
    wanted = ["generate", "a red chair", *FLOW, "--rewards", "connected=1"]
    assert main([*wanted, "--adapter", f"{adapter}=0.5", "--out", str(asset)]) == 0
    assert main([*wanted, "--out", str(plain)]) == 0
    assert (asset / "scene.ply").read_bytes() != (plain / "scene.ply").read_bytes()
    source = load_generator(generator="part-flow", adapter=f"{adapter}=0.5").source
    assert json.loads((asset / "card.json").read_text())["generator"] == {"name": "part-flow", **source}
    assert main(["replay", str(asset), "--adapter", f"{adapter}=0.5"]) == 0
    capsys.readouterr()
    assert main(["replay", str(asset)]) == 2
    assert f"weights was {source['sha256']}" in capsys.readouterr().err


def test_an_asset_is_optimized_from_adapted_weights(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "asset"
    wanted = ["optimize", "a red chair", *FLOW, "--rewards", "connected=1", "--seconds", "0.5"]
    assert main([*wanted, "--adapter", str(adapter), "--out", str(out)]) == 0
    assert f"{ADAPTER}=1" in (out / "optimize.json").read_text()


def test_adapted_weights_are_compared_with_plain_ones(adapter: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red chair\na blue lamp\n")
    settings = ["--prompts", str(prompts), "--samples", "1", "--rewards", "connected=1", "--out", str(tmp_path / "out")]
    assert main(["evaluate", *FLOW, "--adapter", str(adapter), *settings]) == 0
    assert set(read_table(tmp_path / "out")) == {"before", "after", "difference"}
    before, after = json.loads((tmp_path / "out/table.json").read_text())["generators"]
    assert after["weights"] == f"{before['weights']} + {ADAPTER}=1"


def test_the_prompt_box_has_the_weights_with_adapters_and_without(adapter: Path) -> None:
    studio = Studio(None, "part-flow", str(adapter))
    assert list(studio.generators) == [WITH_ADAPTERS, "part-flow"]
    made = [studio.make("a chair", 1, 0, name, lambda done: None, lambda asset: None)[0] for name in studio.generators]
    assert f"{ADAPTER}=1" in made[0].source["weights"] and ADAPTER not in made[1].source["weights"]
    assert not made[0].asset.gaussians(64).means.equal(made[1].asset.gaussians(64).means)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "a", "--adapter", "{a}"], "is an adapter of the generator part-flow, not of part-tokens"),
        (["generate", "a", *FLOW, "--adapter", "{a}=nan"], "--adapter takes FILE=WEIGHT,... with finite numbers"),
        (["optimize", "a", "--adapter", "{a}=x"], "--adapter takes FILE=WEIGHT,... with finite numbers"),
        (["optimize", "a", "--asset", "b", "--adapter", "{a}"], "--asset excludes --adapter"),
        (["train", "--adapter", "none"], "none: no such file; name the adapter.safetensors of a run"),
        (["train", "--adapter-rank", "-1"], "--adapter-rank must be at least 0, got -1"),
        (["evaluate", "--adapter", "{a}", "--against", "b"], "--adapter excludes --against"),
        (["evaluate", "--forgetting", "part-flow"], "--forgetting needs --checkpoint or --adapter"),
    ],
)  # fmt: skip
def test_wrong_adapters_are_refused_before_a_folder_is_made(
    arguments: list[str], message: str, adapter: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out"
    assert main([*(a.replace("{a}", str(adapter)) for a in arguments), "--out", str(out)]) == 2
    output, errors = capsys.readouterr()
    assert output == "" and len(errors.strip().splitlines()) == 1 and message in errors
    assert not out.exists()


def test_the_viewer_refuses_adapters_that_do_not_fit(adapter: Path, capsys) -> None:
    assert main(["view", "--adapter", str(adapter), "--port", "0"]) == 2
    assert "is an adapter of the generator part-flow, not of part-tokens" in capsys.readouterr().err
