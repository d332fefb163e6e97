"""A generator of raw splats goes wherever one of parts goes: generated, evaluated, preferred,
exported, viewed and replayed."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
import trimesh

import rl3d
from renderers.assets import SplatAsset
from rewards.physics.simulate import drop
from rl3d.cli import main
from rl3d.generators.load import load_generator
from rl3d.preferences import Pair, append_pair, read_pairs
from rl3d.tables import read_table
from rl3d.viewer.library import find_entries
from rl3d.viewer.prefer import PreferConfig, Session
from rl3d.viewer.studio import Studio
from rl3d.viewer.subjects import Subject
from scenes.asset import PartAsset
from scenes.files import FileError
from scenes.files.ply import read_ply
from scenes.files.splats import read_gaussians
from scenes.parts import Parts
from tests.rl3d.toys import COUNT, SplatBalls, SplatOptions, SplatRollout

BALLS = "tests.rl3d.toys:SplatBalls"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("assets") / "ball"
    arguments = ["generate", "a red ball", "--generator", BALLS, "--out", str(out), "--best-of", "2", "--seed", "3"]
    assert main([*arguments, "--sampling.spread", "0.02"]) == 0
    return out


def test_an_assets_folder_holds_the_splats_and_their_surface(folder):
    assert {f.name for f in folder.iterdir()} == {"card.json", "mesh.glb", "preview.png", "scene.ply", "turntable.mp4"}
    scene = read_ply(folder / "scene.ply")
    assert scene.count == COUNT + COUNT // 4
    mesh = trimesh.load_scene(folder / "mesh.glb").to_mesh()
    radius = float(scene.means[:COUNT, 2].max()) / 2
    mesh.merge_vertices(merge_norm=True)
    assert mesh.is_watertight and mesh.body_count == 2
    assert max(piece.volume for piece in mesh.split()) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.1)


def test_the_card_names_generator_options_and_rewards_but_no_parts(folder):
    card = json.loads((folder / "card.json").read_text())
    assert card["generator"] == {"name": BALLS, **load_generator(generator=BALLS).source}
    assert card["sampling"] == {"spread": 0.02}
    assert card["gaussians"] == COUNT + COUNT // 4 and "parts" not in card and "inset" not in card
    assert set(card["rewards"]) == {"stability", "connected", "alignment"}
    assert card["rewards"]["connected"]["verdict"] is False, "the small ball floats"


def test_it_is_replayed_to_the_bit_if_the_user_trusts_its_code(folder, tmp_path, capsys):
    assert main(["replay", str(folder)]) == 2
    assert f"add --generator {BALLS} if you trust it" in capsys.readouterr().err
    assert main(["replay", str(folder), "--generator", "part-flow"]) == 2
    assert f"its generator is {BALLS}, not part-flow" in capsys.readouterr().err
    assert main(["replay", str(folder), "--generator", BALLS, "--out", str(tmp_path / "again")]) == 0
    assert "the same to the bit" in capsys.readouterr().out
    for name in ("scene.ply", "mesh.glb"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_reward_of_parts_is_refused_before_anything_is_written(tmp_path, capsys):
    for command in (["generate", "a ball"], ["evaluate", "--num-prompts", "1"]):
        out = ["--out", str(tmp_path / "out"), "--generator", BALLS, "--rewards", "stability=1,symmetry=1"]
        assert main([*command, *out]) == 2
        error = capsys.readouterr().err
        assert "reward 'symmetry' needs parts" in error and BALLS in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_options_of_another_generator_are_refused(tmp_path, capsys):
    assert main(["generate", "a ball", "--generator", BALLS, "--sampling.steps", "8"]) == 2
    assert "has no sampling option steps; it has: spread" in capsys.readouterr().err
    with pytest.raises(ValueError, match="takes sampling options of type SplatOptions, got Sampling"):
        rl3d.generate("a ball", rl3d.GenerateConfig(generator=BALLS, sampling=rl3d.Sampling()))


def test_help_shows_the_options_of_the_generator_that_is_named(capsys):
    for named, shown, hidden in (
        (["--generator", "part-flow"], "--sampling.steps", "--sampling.spread"),
        (["--generator", BALLS], "--sampling.spread", "--sampling.steps"),
    ):
        for command in ("generate", "evaluate", "prefer"):
            with pytest.raises(SystemExit) as stop:
                main([command, *named, "--help"])
            said = capsys.readouterr().out
            assert stop.value.code == 0 and shown in said and hidden not in said, command


def test_an_empty_asset_is_refused_in_one_line(tmp_path, monkeypatch):
    decode = SplatBalls.decode

    def invisible(self: SplatBalls, rollout: SplatRollout) -> SplatAsset:
        scene = decode(self, rollout).scene
        return SplatAsset(replace(scene, opacities=torch.zeros_like(scene.opacities)))

    monkeypatch.setattr(SplatBalls, "decode", invisible)
    with pytest.raises(ValueError, match="'a ball' with seed 0 is empty: try another seed") as error:
        rl3d.generate("a ball", rl3d.GenerateConfig(generator=BALLS, out=tmp_path / "ball"))
    assert "\n" not in str(error.value) and not list((tmp_path / "ball").iterdir())


def test_it_is_evaluated_by_what_needs_no_parts(tmp_path):
    config = rl3d.EvaluateConfig(generator=BALLS, out=tmp_path, num_prompts=6, samples=2, pictures=2)
    table = rl3d.evaluate(config)["before"]
    for name in ("stability", "connected", "alignment", "judge", "category", "diversity", "height"):
        assert table[name].prompts > 0, name
    assert not {"structure", "colors", "relation", "count", "number of parts"} & table.keys()
    assert table["connected_success_rate"].mean == 0 and table["diversity"].mean > 0
    assert read_table(tmp_path)["before"] == table
    assert json.loads((tmp_path / "table.json").read_text())["generators"] == [
        {"name": BALLS, **load_generator(generator=BALLS).source}
    ]
    assert (tmp_path / "sheet.png").is_file()


def test_generators_of_two_kinds_are_compared_by_what_both_have(tmp_path):
    from rl3d.generators.load import TUNED

    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red ball\na green cube\n")
    config = rl3d.EvaluateConfig(generator=BALLS, against=TUNED, out=tmp_path / "e", prompts=prompts, samples=2)
    table = rl3d.evaluate(config)
    assert set(table) == {"before", "after", "difference"}
    assert "stability" in table["difference"] and "number of parts" not in table["difference"]
    for name, (mean, _, _) in table["difference"].items():
        assert mean == pytest.approx(table["after"][name].mean - table["before"][name].mean, abs=1e-5), name


def test_weights_are_compared_with_their_own_generator(tmp_path):
    """Not with the default one."""
    from rl3d.generators.load import BUILT_IN

    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red ball\n")
    for name, built in BUILT_IN.items():
        config = rl3d.EvaluateConfig(against=built.tuned, out=tmp_path / name, prompts=prompts, samples=1)
        rl3d.evaluate(config)
        compared = json.loads((tmp_path / name / "table.json").read_text())["generators"]
        assert [one["name"] for one in compared] == [name, name]


@pytest.mark.parametrize("suffix", [".ply", ".spz", ".splat", ".glb", ".stl", ".png", ".nerfstudio"])
def test_it_is_exported(folder, tmp_path, suffix):
    to = tmp_path / f"ball{suffix}"
    assert main(["export", str(folder), "--to", str(to)]) == 0
    if suffix in (".ply", ".spz", ".splat"):
        means, own = read_gaussians(to).means, read_ply(folder / "scene.ply").means
        assert (means.amax(0) - own.amax(0)).abs().max() < 2e-3
    elif suffix == ".glb":
        assert to.read_bytes() == (folder / "mesh.glb").read_bytes()
    else:
        assert to.exists()


def test_its_body_for_simulators_is_convex_pieces(folder, tmp_path):
    rl3d.export(folder, tmp_path / "ball.xml")
    meshes = [trimesh.load_mesh(f) for f in (tmp_path / "ball_xml_parts").glob("*.stl")]
    assert len(meshes) == 2 and all(mesh.is_convex for mesh in meshes)
    model = mujoco.MjModel.from_xml_path(str(tmp_path / "ball.xml"))
    volume = trimesh.load_scene(folder / "mesh.glb").to_mesh().volume
    assert model.body_mass[1] == pytest.approx(500 * volume, rel=0.1)
    assert model.geom_rgba[:, 0].min() > 0.7, "red, as the splats are"


def test_the_viewer_shows_drops_and_hands_it_out(folder):
    (entry,) = find_entries(folder)
    subject = Subject.read(entry)
    assert subject.parts is None and subject.glb is not None and subject.prompt == "a red ball"
    assert subject.asset is not None
    recording = drop(subject.asset, 0.1)
    assert len(recording.bodies) == 2
    body = subject.body_of_splats(recording.bodies)
    assert (body[:COUNT] == 0).all() and (body[COUNT:] == 1).all()
    with zipfile.ZipFile(io.BytesIO(subject.packed())) as archive:
        assert "scene.ply" in archive.namelist()
    assert subject.exported(".spz")


def test_the_prompt_box_generates_it():
    studio = Studio(generator=BALLS)
    (made,) = studio.make("a red ball", 1, 3, BALLS, lambda fraction: None, lambda asset: None)
    subject = Subject.of(made, "ball")
    assert subject.parts is None and subject.asset is made.asset
    assert subject.glb == made.glb() and subject.splats is not None and subject.splats.count == COUNT + COUNT // 4
    assert {"scene.ply", "mesh.glb", "card.json"} <= set(zipfile.ZipFile(io.BytesIO(subject.packed())).namelist())


def test_pairs_of_it_are_kept_beside_the_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    session = Session(PreferConfig(out=path, generator=BALLS, sampling=SplatOptions(0.1)))
    first, second = session.next(), session.next()
    for pair in (first, second, first):
        session.keep(pair)
    again = read_pairs(path)
    assert [p.prompt for p in again] == [first.prompt, second.prompt, first.prompt]
    for pair, kept in zip((first, second, first), again, strict=True):
        for side in ("left", "right"):
            was, now = (getattr(p, side).gaussians()[0] for p in (pair, kept))
            torch.testing.assert_close(now.means, was.means)
            torch.testing.assert_close(now.colors, was.colors, atol=1e-5, rtol=0)
    assert len(list((tmp_path / "pairs_splats").iterdir())) == 4, "an asset is written once"
    (tmp_path / "pairs_splats" / json.loads(path.read_text().splitlines()[1])["left"]).unlink()
    with pytest.raises(FileError, match=r"pairs\.jsonl: line 2: cannot read .*\.ply") as error:
        read_pairs(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../scene.ply", "scene.glb", "", "a/b.ply"])
def test_a_pair_refers_to_no_file_outside_its_folder(tmp_path, name):
    asset = load_generator(generator=BALLS).generate(["a ball"], seeds=[0])
    path = tmp_path / "pairs.jsonl"
    append_pair(path, Pair("a ball", asset, asset, "left"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "right": name}) + "\n")
    with pytest.raises(FileError, match="line 1 is not a pair of assets"):
        read_pairs(path)


def test_a_pair_may_mix_parts_and_splats(tmp_path):
    vectors = torch.zeros(1, 2, 19)
    vectors[..., [0, 1, 2, 10, 14]] = 1
    vectors[0, 1, 0] = -1  # an absent part
    balls = load_generator(generator=BALLS).generate(["a ball"], seeds=[0])
    path = tmp_path / "pairs.jsonl"
    append_pair(path, Pair("a ball", PartAsset(Parts.from_vectors(vectors)), balls, "right"))
    (pair,) = read_pairs(path)
    assert pair.choice == "right" and pair.right.parts is None and pair.left.parts is not None
    torch.testing.assert_close(pair.left.parts.vectors()[..., :19], vectors[:, :1])
