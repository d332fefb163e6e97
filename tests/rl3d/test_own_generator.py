"""A generator in one file outside the package goes through every command, as its author would use
them: docs/my_generator.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import trimesh

from rl3d.algorithms.load import OBJECTIVES, find_objective
from rl3d.cli import main
from scenes.files.splats import read_gaussians

DOCS = Path(__file__).parents[2] / "docs"
NAME = "my_generator:Blobs"


def test_the_page_shows_the_file() -> None:
    code = (DOCS / "my_generator.py").read_text().rstrip()
    assert f"```python\n{code}\n```" in (DOCS / "generators.md").read_text()
    assert len(code.splitlines()) <= 120


def test_every_command_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    shutil.copy(DOCS / "my_generator.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def rl3d(*arguments: str) -> str:
        code, (output, error) = main(list(arguments)), capsys.readouterr()
        assert code == 0, f"{' '.join(arguments)}: {error or output}"
        return output

    checked = rl3d("check-generator", NAME)
    assert "FAIL" not in checked and checked.count("ok  ") == 15

    from my_generator import Blobs  # type: ignore[import-not-found]

    own = {"distill": {"teachers": "runs/awm"}}
    small = ["--prompts-per-iteration", "2", "--group-size", "3", "--rewards", "alignment=1", "--guard", "off"]
    for objective in ("awm", "grpo", "dpo", "hybrid", "distill"):
        out = ["--objective", objective, "--out", f"runs/{objective}"]
        out += [text for name, value in own.get(objective, {}).items() for text in (f"--{name}", value)]
        rl3d("train", "--generator", NAME, *out, *small, "--iterations", "2")
        metrics = [json.loads(line) for line in (tmp_path / f"runs/{objective}/metrics.jsonl").open()]
        assert [m["iteration"] for m in metrics] == [1, 2] and metrics[1]["grad_norm"] > 0

    for name in OBJECTIVES:  # a flow can do everything
        find_objective(name)(**own.get(name, {})).check(Blobs())

    # A checkpoint knows its generator.
    table = rl3d(
        "evaluate", "--checkpoint", "runs/awm", "--against", "runs/grpo", "--num-prompts", "2", "--samples", "2",
        "--rewards", "stability=1,connected=1", "--out", "evaluation",
    )  # fmt: skip
    assert "| stability |" in table and "| judge |" in table and "| diversity |" in table
    assert (tmp_path / "evaluation/sheet.png").stat().st_size > 10_000

    rl3d("generate", "a red ball", "--checkpoint", "runs/awm", "--seed", "3", "--out", "ball",
         "--rewards", "stability=1,connected=1,alignment=1")  # fmt: skip
    card = json.loads((tmp_path / "ball/card.json").read_text())
    assert card["generator"]["name"] == NAME and set(card["rewards"]) == {"stability", "connected", "alignment"}
    for suffix in (".ply", ".glb", ".spz"):
        rl3d("export", "ball", "--to", f"out/ball{suffix}")
    kept = read_gaussians(tmp_path / "ball/scene.ply")
    for suffix in (".ply", ".spz"):
        again = read_gaussians(tmp_path / f"out/ball{suffix}")
        assert again.count == kept.count == 64
        assert (again.means - kept.means).abs().max() < 1e-3
    mesh = trimesh.load(tmp_path / "out/ball.glb", force="mesh")
    assert len(mesh.faces) > 100 and mesh.extents.max() < 3  # type: ignore[union-attr]

    assert "the same to the bit" in rl3d("replay", "ball", "--checkpoint", "runs/awm", "--generator", NAME)

    with subprocess.Popen(
        [sys.executable, "-m", "rl3d", "view", "ball", "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as page:
        assert page.stdout is not None
        url = page.stdout.readline().split(" at ")[1].split()[0]
        assert urllib.request.urlopen(url, timeout=20).status == 200
        page.terminate()
