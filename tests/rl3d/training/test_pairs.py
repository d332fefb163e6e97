"""Training on stored pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rl3d.algorithms.load import find_objective
from rl3d.generators.base import Generator
from rl3d.preferences import Pair, append_pair
from rl3d.training.config import saved_config
from rl3d.training.loop import iterate
from scenes.files import FileError
from tests.rl3d.toys import SplatFlow, TokenToy
from tests.rl3d.training.conftest import make

PROMPTS = ["a ball", "a cube"]


def _stored(path: Path, policy: Generator, choice: str | None = None) -> Path:
    """Of two samples of a prompt, the lower one is preferred."""
    for number in range(12):
        prompt = PROMPTS[number % 2]
        left, right = (policy.generate([prompt], seeds=[2 * number + i]) for i in (0, 1))
        low = [float(a.gaussians(32).means[..., 2].mean()) for a in (left, right)]
        better = "left" if low[0] < low[1] else "right"
        append_pair(path, Pair(prompt, left, right, choice or better))  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("objective", ["dpo", "dro"])
def test_stored_pairs_are_learnt_from(start, tmp_path: Path, objective: str) -> None:
    path = _stored(tmp_path / "pairs.jsonl", make("splats"))
    run = start(
        "splats", objective, iterations=40, prompts=None, warmup=1, save_every=40, settings={"pairs": path, "lr": 0.01}
    )
    assert sorted(run.state.prompts.prompts) == PROMPTS

    def height() -> float:
        asset = run.state.policy.generate(PROMPTS * 16, seeds=list(range(100, 132)))
        return float(asset.gaussians(32).means[..., 2].mean())

    before = height()
    figures = list(iterate(run))
    assert figures[0]["kl"] == 0 and figures[-1]["kl"] > 0
    assert height() < before - 0.02


def test_a_run_on_stored_pairs_resumes_to_the_bit(start, tmp_path: Path, monkeypatch) -> None:
    path = _stored(tmp_path / "pairs.jsonl", make("splats"))
    monkeypatch.chdir(tmp_path)
    settings = {"prompts": None, "settings": {"pairs": Path(path.name)}}
    whole = start("splats", "dpo", **settings)
    list(iterate(whole))
    cut = iterate(start("splats", "dpo", out=tmp_path / "cut", **settings))
    next(cut), next(cut)
    cut.close()
    assert saved_config(tmp_path / "cut").objective == whole.config.objective
    again = start("splats", "dpo", out=tmp_path / "cut", resume=True, **settings)
    list(iterate(again))
    for a, b in zip(whole.state.policy.network.parameters(), again.state.policy.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_pairs_that_cannot_be_learnt_from_are_refused(start, tmp_path: Path) -> None:
    splats = _stored(tmp_path / "splats.jsonl", SplatFlow())
    towers, alike = tmp_path / "towers.jsonl", tmp_path / "alike.jsonl"
    _stored(towers, TokenToy()), _stored(alike, SplatFlow(), choice="equal")
    for policy, file, settings, message in [
        ("splats", splats, {}, "those of the pairs: leave --prompts and --kinds out"),
        ("splats", splats, {"prompts": None, "redraw": 1}, "a run with --pairs samples nothing: leave --redraw, --ga"),
        ("splats", splats, {"prompts": None, "constraints": "low=0.5"}, "a run with --pairs samples nothing"),
        ("tokens", towers, {"prompts": None}, "cannot take stored assets: leave --pairs out"),
        ("part-flow", splats, {"prompts": None}, "a pair for 'a ball' does not fit: part-flow encodes assets of"),
        ("splats", alike, {"prompts": None}, "all pairs are equal"),
        ("splats", tmp_path / "none.jsonl", {"prompts": None}, "cannot read pairs"),
    ]:
        with pytest.raises((FileError, ValueError), match=message) as error:
            start(policy, "dpo", settings={"pairs": file}, **settings)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "run").exists()
    assert find_objective("dpo")().prompts() is None
