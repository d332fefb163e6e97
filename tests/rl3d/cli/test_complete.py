"""``rl3d generate --complete``: assets that go on from given parts, their cards, wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import rl3d
from rl3d.cli import main
from rl3d.generators.load import load_generator, save_generator
from rl3d.generators.part_tokens import PartTokens
from scenes.files.assets import read_asset, write_asset
from scenes.files.glb import write_mesh_glb
from scenes.mesh import Mesh
from tests.rl3d.retrieval.test_library import cubes

SLOTS = 7


@pytest.fixture
def tokens(tmp_path: Path) -> list[str]:
    """The options of a small generator with random weights, whose assets seldom end."""
    torch.manual_seed(0)
    policy = PartTokens(width=12, depth=1, heads=1, hidden=8, slots=SLOTS)
    with torch.no_grad():
        policy.network.words.end.bias.fill_(-9)
    save_generator(tmp_path / "tokens.safetensors", policy)
    return ["--checkpoint", str(tmp_path / "tokens.safetensors")]


@pytest.fixture
def tower(tmp_path: Path) -> Path:
    write_asset(tmp_path / "tower.safetensors", cubes(0, 2, 1).vectors(), "a tower")
    return tmp_path / "tower.safetensors"


def test_assets_begin_with_the_parts_and_cards_replay(tokens: list[str], tower: Path, tmp_path: Path, capsys) -> None:
    given, _ = read_asset(tower)
    asked = ["generate", "a tower", *tokens, "--complete", str(tower), "--keep", "2", "--num", "2"]
    assert main([*asked, "--out", str(tmp_path / "made")]) == 0
    for i in range(2):
        made, _ = read_asset(tmp_path / f"made/{i:02d}")
        assert len(made) > 2 and torch.allclose(made[:2], given[:2], atol=1e-6)
    card = json.loads((tmp_path / "made/01/card.json").read_text())
    assert card["given"]["file"] == "tower.safetensors" and len(card["given"]["parts"]) == 2
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "made/01"), *tokens]) == 0
    assert "the same to the bit" in capsys.readouterr().out
    # An asset's own folder can be completed, and without --complete nothing is given.
    folder = ["--complete", str(tmp_path / "made/00"), "--keep", "1"]
    assert main(["generate", "a tower", *tokens, *folder, "--out", str(tmp_path / "again")]) == 0
    assert main(["generate", "a tower", *tokens, "--out", str(tmp_path / "new")]) == 0
    assert "given" not in json.loads((tmp_path / "new/card.json").read_text())


def test_a_generator_of_the_caller_stays_as_it_was(tokens: list[str], tower: Path) -> None:
    generator = load_generator(Path(tokens[1]))
    made = rl3d.generate(
        "a tower", rl3d.GenerateConfig(complete=tower, keep=1, rewards="connected=1"), generator=generator
    )
    assert made[0].given is not None and generator.given is None and generator.find_examples is None


def test_what_cannot_be_completed_is_one_line(tokens: list[str], tower: Path, tmp_path: Path, capsys) -> None:
    write_asset(tmp_path / "high.safetensors", cubes(*[0] * (SLOTS - 1)).vectors(), "")
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    write_mesh_glb(tmp_path / "mesh.glb", Mesh(corners, torch.tensor([[0, 1, 2]]), torch.ones(3, 3)))
    (tmp_path / "damaged.glb").write_bytes(b"glTF")
    (tmp_path / "a.txt").write_text("no asset")
    (tmp_path / "folder").mkdir()
    wrong = {
        f"--complete {tmp_path}/none.glb": "cannot read",
        f"--complete {tmp_path}/damaged.glb": "cannot read",
        f"--complete {tmp_path}/mesh.glb": "it has no parts",
        f"--complete {tmp_path}/a.txt": "a.txt: it is no .glb or .safetensors file",
        f"--complete {tmp_path}/folder": "folder: it has no mesh.glb; name an asset's folder or its file",
        f"--complete {tmp_path}/out/mesh.glb": "out: it holds the original asset",
        "--complete=": "--complete is empty",
        "--keep=x": "rl3d: --keep takes a whole number, got 'x'",
        f"--complete {tmp_path}/high.safetensors": "has 6 parts: part-tokens goes on from at most 5; add --keep 5",
        f"--complete {tower} --keep 4": "it has 3; lower --keep",
        f"--complete {tower} --keep 0": "rl3d: --keep must be at least 1",
        "--keep 1": "--keep needs --complete",
        "--sampling.temperature 0": "rl3d: --sampling.temperature must be a number above 0",
        "--sampling.temperature -1": "rl3d: --sampling.temperature must be a number above 0",
        "--sampling.top-p 0": "rl3d: --sampling.top-p must be above 0",
        "--sampling.steps 3": "'part-tokens' has no sampling option steps; it has: temperature, top-p, guidance",
    }
    for options, message in wrong.items():
        assert main(["generate", "a tower", *tokens, *options.split(), "--out", str(tmp_path / "out")]) == 2, options
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1, (options, error)
    assert main(["generate", "a tower", "--complete", str(tower), "--generator", "part-flow"]) == 2
    assert "'part-flow' does not: add --generator part-tokens" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
