"""A token policy of parts goes wherever part flow goes: trained, evaluated, exported, viewed,
preferred and replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trimesh

from rl3d.cli import main
from rl3d.generators.load import load_generator
from rl3d.preferences import append_pair, read_pairs
from rl3d.tables import read_table
from rl3d.viewer.library import find_entries
from rl3d.viewer.prefer import PreferConfig, Session
from rl3d.viewer.subjects import Subject
from tests.rl3d.toys import TokenToy

TOKENS = "tests.rl3d.toys:TokenToy"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a short training."""
    out = tmp_path_factory.mktemp("runs") / "tokens"
    arguments = ["--prompts-per-iteration", "2", "--group-size", "4", "--iterations", "2", "--guard", "off"]
    rewards = ["--rewards", "tests.rl3d.toys:Red=1,connected=1", "--lr", "0.5"]
    assert main(["train", "--generator", TOKENS, "--objective", "grpo", "--out", str(out), *arguments, *rewards]) == 0
    return out


def test_the_checkpoint_knows_its_generator(run: Path) -> None:
    assert type(load_generator(run)) is TokenToy


def test_it_is_generated_exported_viewed_and_replayed(run: Path, tmp_path: Path, capsys) -> None:
    asset = tmp_path / "tower"
    assert (
        main(["generate", "a tower", "--checkpoint", str(run), "--out", str(asset), "--sampling.temperature", "0.5"])
        == 0
    )
    card = json.loads((asset / "card.json").read_text())
    assert card["generator"]["name"] == TOKENS and card["sampling"] == {"temperature": 0.5}
    cubes = card["parts"]
    assert main(["export", str(asset), "--to", str(tmp_path / "tower.stl"), "--united"]) == 0
    solid = trimesh.load_mesh(tmp_path / "tower.stl")
    assert solid.is_watertight and solid.volume / 1e9 == pytest.approx(cubes * 0.2**3, rel=0.03)  # millimetres
    (entry,) = find_entries(asset)
    parts = Subject.read(entry).parts
    assert parts is not None and parts.count == cubes
    assert main(["replay", str(asset), "--checkpoint", str(run), "--generator", TOKENS]) == 0
    assert "the same to the bit" in capsys.readouterr().out


def test_it_is_evaluated_with_all_that_parts_allow(run: Path, tmp_path: Path) -> None:
    arguments = ["--generator", TOKENS, "--against", str(run), "--num-prompts", "4", "--samples", "2"]
    assert main(["evaluate", *arguments, "--out", str(tmp_path)]) == 0
    table = read_table(tmp_path)
    assert {"structure", "number of parts", "colors", "judge", "diversity"} <= table["difference"].keys()


def test_its_assets_are_preferred(run: Path, tmp_path: Path) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "pairs.jsonl"
    prompts.write_text("a tower\n")
    session = Session(PreferConfig(out=out, checkpoint=run, prompts=prompts))
    pair = session.next()
    append_pair(out, pair)
    (again,) = read_pairs(out)
    assert again.prompt == "a tower" and again.left.parts is not None and pair.left.parts is not None
    assert again.left.parts.exists.sum() == pair.left.parts.exists.sum()
