"""``rl3d replay``: an asset made again from its card, to the bit, and the message if that fails."""

import json
import shutil
from pathlib import Path

import pytest

import rl3d
from rl3d.assets import read_card
from rl3d.cli import main
from rl3d.generators.load import BUILT_IN, BuiltIn
from scenes.files import FileError


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("assets") / "stool"
    rl3d.generate("a green stool", rl3d.GenerateConfig(out=out, num=2, best_of=3, seed=11))
    return out


def test_one_of_several_candidates_comes_back_to_the_bit(assets, tmp_path, capsys):
    for folder in sorted(assets.iterdir()):
        assert main(["replay", str(folder), "--out", str(tmp_path / folder.name)]) == 0
        assert "the same to the bit" in capsys.readouterr().out
        for name in ("scene.ply", "mesh.glb"):
            assert (tmp_path / folder.name / name).read_bytes() == (folder / name).read_bytes()


def test_the_asset_is_not_overwritten_by_its_replay(assets, capsys):
    before = {f.name: f.read_bytes() for f in (assets / "00").iterdir()}
    for path in (assets / "00", assets / "00" / "card.json"):
        assert main(["replay", str(path), "--out", str(assets / "01" / ".." / "00")]) == 2
        assert "it holds the original asset" in capsys.readouterr().err
    assert {f.name: f.read_bytes() for f in (assets / "00").iterdir()} == before


def changed(assets: Path, tmp_path: Path, **fields: object) -> Path:
    folder = tmp_path / "changed"
    shutil.copytree(assets / "00", folder)
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **fields}))
    return folder


def test_missing_weights_and_a_file_as_folder_are_one_line(assets, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    assert main(["replay", str(assets / "00"), "--out", str(tmp_path / "file")]) == 2
    assert "file is a file; name a folder" in capsys.readouterr().err
    missing = tmp_path / "none.safetensors"
    monkeypatch.setitem(BUILT_IN, "part-tokens", BuiltIn(BUILT_IN["part-tokens"].path, missing, missing))
    assert main(["replay", str(assets / "00")]) == 2
    error = capsys.readouterr().err
    assert "generator 'part-tokens' has no weights" in error and error.count("\n") == 1
    assert "add --checkpoint FILE with the weights of the card (part_tokens.safetensors)" in error


def test_differences_are_reported(assets, tmp_path, capsys):
    card = json.loads((assets / "00" / "card.json").read_text())
    folder = changed(assets, tmp_path, prompt="a red stool", software={**card["software"], "torch": "1.0.0"})
    assert main(["replay", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "scene.ply, mesh.glb differ" in error and "torch was 1.0.0, is 2" in error and error.count("\n") == 1


def test_another_environment_alone_is_no_difference(assets, tmp_path, capsys):
    card = json.loads((assets / "00" / "card.json").read_text())
    folder = changed(assets, tmp_path, software={**card["software"], "mujoco": "0.1"})
    assert main(["replay", str(folder)]) == 0
    assert "the same to the bit, though mujoco was 0.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch": None}, "its card is incomplete or damaged"),
        ({"seed": 99}, "its card is incomplete"),
        ({"sampling": {"steps": -1}}, "its card is incomplete"),
        ({"files": {"../x": "0"}}, "its card is incomplete"),
        ({"device": 3}, "its card is incomplete"),
        ({"sampling": {"steps": 10**9}}, "its card is incomplete"),
        ({"sampling": {"steps": 2.5}}, "its card is incomplete"),
        ({"sampling": {"noise": float("nan")}}, "its card is incomplete"),
        ({"seed": 2**64, "batch": {"seed": 2**64, "count": 1}}, "its card is incomplete"),
        ({"rewards": [1]}, "its card is incomplete"),
    ],
)
def test_incomplete_cards_are_refused(assets, tmp_path, capsys, fields, message):
    assert main(["replay", str(changed(assets, tmp_path, **fields))]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_card_is_refused(tmp_path, capsys):
    for content in ("[", "[" * 50_000):
        (tmp_path / "card.json").write_text(content)
        with pytest.raises(FileError, match="it is not JSON"):
            read_card(tmp_path)
    for path in (tmp_path, tmp_path / "missing"):
        assert main(["replay", str(path)]) == 2
        error = capsys.readouterr().err
        assert "cannot read" in error and error.count("\n") == 1
