"""Correction of assets: both stages raise real rewards within the trust region, and the command
writes what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from renderers.assets import SplatAsset
from rewards import resolve
from rewards.base import Differentiable
from rl3d.cli import main
from rl3d.correction import REACH, correct
from rl3d.optimize import OptimizeConfig, optimize
from rl3d.scoring import score_assets
from scenes.asset import Asset, PartAsset
from scenes.files.assets import read_asset
from scenes.files.glb import read_parts, write_glb
from scenes.files.ply import read_ply
from scenes.parts import Parts
from scenes.parts.layout import (
    CENTRE,
    CENTRE_X,
    CENTRE_Z,
    COLOR,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    METALLIC,
    PATTERN,
    PLAIN,
    ROTATION,
    ROUGHNESS,
    SHAPE_SIZE,
    UPRIGHT,
    VECTOR_SIZE,
)

ARMCHAIR = "a red armchair with white legs"


def _box(centre: tuple[float, float, float], half: tuple[float, float, float]) -> torch.Tensor:
    vector = torch.zeros(VECTOR_SIZE)
    vector[EXISTENCE], vector[EXPONENTS] = 1, 0.1
    vector[CENTRE], vector[LOG_HALF_SIZE] = torch.tensor(centre), torch.tensor(half).log()
    vector[ROTATION], vector[COLOR], vector[SHAPE_SIZE:] = torch.tensor(UPRIGHT), 0.5, torch.tensor(PLAIN)
    return vector


def _tower() -> PartAsset:
    """A post with a slab on top whose weight hangs over the post's edge: it falls."""
    post, slab = _box((0, 0, 0.25), (0.08, 0.08, 0.25)), _box((0.16, 0, 0.55), (0.3, 0.1, 0.06))
    absent = _box((0, 0, 0), (0.1, 0.1, 0.1))
    absent[EXISTENCE] = -1
    return PartAsset(Parts.from_vectors(torch.stack([post, slab, absent])[None]))


def _score(name: str, prompt: str = "a tower"):
    reward = resolve(name)
    return lambda asset: score_assets([reward], [prompt] * len(asset), asset)[name].values


def _moved(before: Asset, after: Asset) -> torch.Tensor:
    assert before.parts is not None and after.parts is not None
    return (after.parts.vectors() - before.parts.vectors())[0]


def test_evolution_makes_a_leaning_tower_stand() -> None:
    tower, score = _tower(), _score("stability")
    start = score(tower).item()
    after, (stage,) = correct(tower, "a tower", score, [], 8.0)
    assert stage.name == "evolution" and stage.before == pytest.approx(start)
    assert start < 0.5 and score(after).item() == pytest.approx(stage.total, abs=1e-6)
    assert stage.total > start + 0.2
    moved = _moved(tower, after)
    assert moved[:2, CENTRE_X].abs().max() > 0.001, "the fall is only prevented by moving something"
    assert moved[2].abs().max() < 1e-6, "an absent part stays as it is"


def test_a_correction_stays_in_its_trust_region() -> None:
    tower = _tower()
    assert tower.parts is not None
    after, _ = correct(tower, "a tower", _score("stability"), [], 2.0)
    assert after.parts is not None
    moved = _moved(tower, after).abs()
    for numbers, reach in REACH:
        if numbers != ROTATION:  # decoding makes the two columns orthonormal again
            assert moved[..., numbers].max() <= reach + 1e-5
    assert (after.parts.exists == tower.parts.exists).all()
    for fixed in (METALLIC, ROUGHNESS, PATTERN):
        assert moved[..., fixed].max() < 1e-6
    assert moved[0, CENTRE_Z] <= 0.04 + 1e-5


def test_the_gradient_raises_a_differentiable_reward() -> None:
    tower, margin = _tower(), resolve("margin")
    assert isinstance(margin, Differentiable)
    score = _score("margin")
    start = score(tower).item()
    _, stages = correct(tower, "a tower", score, [(margin, 1.0)], 4.0)
    assert [stage.name for stage in stages] == ["gradient", "evolution"]
    assert stages[0].total > start + 0.02
    assert stages[1].total >= stages[0].total


def test_the_gradient_raises_the_alignment_of_raw_splats() -> None:
    splats = SplatAsset(_tower().gaussians(512))
    alignment, prompt = resolve("alignment"), "a red table"
    assert isinstance(alignment, Differentiable)
    after, (stage,) = correct(splats, prompt, _score("alignment", prompt), [(alignment, 1.0)], 4.0)
    assert stage.name == "gradient" and stage.total > stage.before + 0.005
    assert (after.gaussians().means - splats.gaussians().means).abs().max() <= 0.01 + 1e-6
    assert torch.equal(after.gaussians().opacities, splats.gaussians().opacities)


def test_a_stage_ends_when_nothing_rises() -> None:
    flat = lambda asset: torch.ones(len(asset))  # noqa: E731
    after, (stage,) = correct(_tower(), "a tower", flat, [], 60.0)
    assert stage.seconds < 10 and stage.total == 1
    assert _moved(_tower(), after).abs().max() < 1e-6


def test_an_asset_without_parts_is_not_corrected() -> None:
    nothing = PartAsset(Parts.from_vectors(_tower().parts.vectors()[:, 2:]))
    with pytest.raises(ValueError, match="has no parts; try another seed"):
        correct(nothing, "a tower", _score("stability"), [], 1.0)


def test_best_of_n_goes_on_from_the_same_samples() -> None:
    result = optimize(ARMCHAIR, OptimizeConfig(seconds=1.5, against_best_of_n=True))
    sampled = result.stages[0]
    assert result.best_of_n is not None and result.best_of_n.scored > sampled.scored
    assert result.best_of_n.total >= sampled.total
    assert result.best_of_n.seconds >= sum(stage.seconds for stage in result.stages) - 1e-3
    assert result.stages[1].before == pytest.approx(sampled.total, abs=1e-3)


def test_the_command_writes_an_asset_that_can_be_optimized_again(tmp_path: Path, capsys) -> None:
    out = tmp_path / "chair"
    assert main(["optimize", ARMCHAIR, "--out", str(out), "--seconds", "1"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["before_after.png", "mesh.glb", "optimize.json", "scene.ply"]
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("sampling", "gradient", "evolution", "judge_logit"))
    found = json.loads((out / "optimize.json").read_text())
    assert [stage["name"] for stage in found["stages"]] == ["sampling", "gradient", "evolution"]
    assert found["assets"]["after"]["total"] >= found["assets"]["before"]["total"] - 1e-3
    assert read_ply(out / "scene.ply").count == 16384
    parts = read_parts("mesh.glb", (out / "mesh.glb").read_bytes())
    assert parts is not None and parts.count == found["assets"]["after"]["number of parts"]

    again = tmp_path / "again"
    arguments = ["--asset", str(out / "mesh.glb"), "--seconds", "0.5", "--rewards", "stability=1"]
    assert main(["optimize", ARMCHAIR, "--out", str(again), *arguments]) == 0
    found = json.loads((again / "optimize.json").read_text())
    assert [stage["name"] for stage in found["stages"]] == ["given", "evolution"]
    assert len(read_asset(again / "mesh.glb")[0]) == parts.count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seconds", "0"], "--seconds must be above 0"),
        (["--seconds", "nan"], "--seconds must be above 0"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--asset", "asset", "--out", "asset"], "cannot write to asset: it holds an asset with its card"),
        (["--out", "asset"], "cannot write to asset: it holds an asset with its card"),
        (["--asset", "other/mesh.glb", "--out", "other"], "cannot write to other: it holds the original asset"),
        (["--rewards", "stabilty=1"], "unknown reward 'stabilty'"),
        (["--asset", "none.glb"], "none.glb"),
        (["--asset", "text.glb"], "text.glb"),
        (["--asset", "mesh.glb"], "cannot use mesh.glb: it has no parts"),
        (["--asset", "mesh.glb", "--against-best-of-n"], "--asset excludes --against-best-of-n"),
        (["--asset", "mesh.glb", "--generator", "part-flow"], "--asset excludes --generator: leave one of them out"),
        (["--asset", "mesh.glb", "--sampling.top-p", "0.9"], "--asset excludes --sampling.*"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path: Path, capsys, monkeypatch) -> None:
    import trimesh

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("text.glb").write_text("this is no mesh")
    trimesh.creation.box().export("mesh.glb")
    for folder in (Path("asset"), Path("other")):
        folder.mkdir()
        write_glb(folder / "mesh.glb", _tower().parts[0].present())
    Path("asset/card.json").write_text("{}")
    assert main(["optimize", "a tower", "--out", "out", *arguments]) == 2
    output, errors = capsys.readouterr()
    assert not output and len(errors.splitlines()) == 1 and message in errors
    assert not Path("out").exists()
    assert [len(list(Path(name).iterdir())) for name in ("asset", "other")] == [2, 1]


def test_an_empty_prompt_is_refused(capsys, tmp_path: Path) -> None:
    assert main(["optimize", " ", "--out", str(tmp_path / "a")]) == 2
    assert "the prompt is empty" in capsys.readouterr().err and not (tmp_path / "a").exists()


def test_parts_written_and_read_are_the_same(tmp_path: Path) -> None:
    parts = _tower().parts[0].present()
    write_glb(tmp_path / "tower.glb", parts)
    assert torch.allclose(read_asset(tmp_path / "tower.glb")[0], parts.vectors(), atol=1e-5)
