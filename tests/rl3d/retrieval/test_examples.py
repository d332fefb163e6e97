"""``--retrieve K --library FOLDER`` in every command, with a toy that copies its examples'
colours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from rl3d.cli import main
from rl3d.tables import read_table
from rl3d.training.config import saved_config
from scenes.files.assets import write_asset
from tests.rl3d.retrieval.test_library import cubes

TOY, RED = "tests.rl3d.toys:ExampleToy", "tests.rl3d.toys:Red"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    for color, name in enumerate(("red", "green", "blue")):
        for place in ("garden", "yard"):
            file = folder / f"{name}_{place}.safetensors"
            write_asset(file, cubes(*[color] * 4).vectors(), f"a {name} tower in a {place}")
    return folder


def test_generate_uses_the_examples_and_replay_has_them(folder: Path, tmp_path: Path, capsys) -> None:
    asked = [
        "generate",
        "a red tower in a yard",
        "--generator",
        TOY,
        "--rewards",
        f"{RED}=1",
        "--num",
        "4",
        "--seed",
        "6",
    ]
    assert main([*asked, "--out", str(tmp_path / "plain")]) == 0
    found = ["--retrieve", "2", "--library", str(folder)]
    assert main([*asked, *found, "--out", str(tmp_path / "helped")]) == 0
    cards = {
        name: [json.loads((tmp_path / name / f"{i:02d}" / "card.json").read_text()) for i in range(4)]
        for name in ("plain", "helped")
    }
    red = {name: sum(card["rewards"]["red"]["value"] for card in some) for name, some in cards.items()}
    assert red["helped"] == 4 and red["plain"] < 3  # 8 votes for red against logits of 0.3
    assert "examples" not in cards["plain"][0]
    examples = cards["helped"][0]["examples"]
    assert [e["file"] for e in examples] == ["red_yard.safetensors", "red_garden.safetensors"]
    assert examples[0]["caption"] == "a red tower in a yard" and len(examples[0]["parts"]) == 4
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "helped" / "02"), "--generator", TOY]) == 0
    assert "the same to the bit" in capsys.readouterr().out


def test_training_and_evaluation_use_the_examples(folder: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red tower in a garden\na red tower in a yard\n")
    found = ["--retrieve", "1", "--library", str(folder), "--prompts", str(prompts)]
    small = ["--prompts-per-iteration", "2", "--group-size", "4", "--iterations", "1", "--guard", "off"]
    run = tmp_path / "run"
    train = ["train", "--generator", TOY, "--objective", "grpo", "--rewards", f"{RED}=1", "--out", str(run)]
    assert main([*train, *small, *found]) == 0
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["red"] > 0.8
    assert yaml.safe_load((run / "config.yaml").read_text())["library"] == str(folder)
    assert saved_config(run).library == folder and saved_config(run).retrieve == 1
    evaluate = ["evaluate", "--generator", TOY, "--rewards", RED, "--samples", "4"]
    assert main([*evaluate, *found, "--out", str(tmp_path / "with")]) == 0
    assert main([*evaluate, "--prompts", str(prompts), "--out", str(tmp_path / "without")]) == 0
    red = {name: read_table(tmp_path / name)["before"]["red"].mean for name in ("with", "without")}
    assert red["with"] > 0.8 > 0.6 > red["without"]


@pytest.mark.parametrize("command", ["generate", "train", "evaluate"])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--generator", "part-flow", "--retrieve", "1"],
            "needs a generator that looks at examples, which 'part-flow' does not: add --generator part-tokens",
        ),
        (["--generator", TOY, "--retrieve", "3"], "this generator takes 2 examples for each prompt, got 3"),
        (["--generator", TOY, "--retrieve", "7"], "this generator takes 2 examples for each prompt, got 7"),
        (["--generator", TOY, "--retrieve", "0"], "--library needs --retrieve"),
    ],
)
def test_what_cannot_be_retrieved_is_refused(command, options, text, folder: Path, tmp_path: Path, capsys) -> None:
    prompt = ["a tower"] if command == "generate" else []
    rewards = ["--rewards", "connected=1"] + (["--objective", "grpo"] if command == "train" and TOY in options else [])
    out = tmp_path / "out"
    assert main([command, *prompt, *options, *rewards, "--library", str(folder), "--out", str(out)]) == 2
    _, errors = capsys.readouterr()
    assert text in errors and len(errors.strip().splitlines()) == 1 and not out.exists()


def test_notes_about_a_library_are_shown_only_if_it_serves(tmp_path: Path, capsys) -> None:
    library = tmp_path / "library"
    asked = ["generate", "a tower", "--generator", TOY, "--rewards", f"{RED}=1", "--out", str(tmp_path / "out")]
    wanted = [*asked, "--library", str(library), "--retrieve"]
    library.mkdir()
    (library / "cut.safetensors").write_text("no tensors")
    unusable = f"library {library}: holds no usable asset (not used: 1 file, 1 unreadable, 0 without parts: cut.safe"
    small = f"library {library} has 1 asset, so 2 cannot be retrieved: lower --retrieve"
    for message in (unusable, small):
        assert main([*wanted, "2"]) == 2
        errors = capsys.readouterr().err
        assert message in errors and len(errors.strip().splitlines()) == 1
        write_asset(library / "a.safetensors", cubes(0).vectors(), "a red tower")
    assert main([*wanted, "1"]) == 0
    # One usable asset beside a bad file, added later: its embedding is kept too.
    summary = f"library {library}: 1 asset; not used: 1 file, 1 unreadable, 0 without parts: cut.safetensors"
    assert capsys.readouterr().err.strip() == summary


def test_a_retrieval_without_a_library_is_refused(tmp_path: Path, capsys) -> None:
    assert main(["generate", "a tower", "--retrieve", "2", "--out", str(tmp_path / "out")]) == 2
    assert "--retrieve needs --library" in capsys.readouterr().err


def test_a_damaged_example_on_a_card_is_one_line(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "asset"
    found = ["--retrieve", "1", "--library", str(folder), "--rewards", f"{RED}=1"]
    assert main(["generate", "a red tower", "--generator", TOY, *found, "--out", str(out)]) == 0
    card = json.loads((out / "card.json").read_text())
    card["examples"][0]["parts"] = [[1.0, 2.0]]
    (out / "card.json").write_text(json.dumps(card))
    capsys.readouterr()
    assert main(["replay", str(out), "--generator", TOY]) == 2
    assert "its card is incomplete or damaged" in capsys.readouterr().err


def test_a_library_of_generated_assets_serves_as_one(folder: Path, tmp_path: Path) -> None:
    from rl3d.retrieval import Library

    made = tmp_path / "made"
    asked = ["--num", "2", "--generator", TOY, "--rewards", f"{RED}=1", "--retrieve", "1", "--library", str(folder)]
    assert main(["generate", "a blue tower in a garden", *asked, "--out", str(made)]) == 0
    library = Library(made)
    assert [e.file for e in library.entries] == ["00/mesh.glb", "01/mesh.glb"]
    assert library.captions == ["a blue tower in a garden"] * 2
    assert torch.isfinite(library.example(0).vectors).all()
