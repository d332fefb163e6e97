"""The four floors: rl3d over rewards over renderers over scenes, and no import upwards. The
contract is in pyproject.toml."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["scenes", "renderers", "rewards", "rl3d"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    # -S leaves an editable install's import hook out, so that the packages are those of the folder.
    path = os.pathsep.join([str(folder), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    command = [
        sys.executable,
        "-S",
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    env = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=120)


def test_no_floor_imports_from_above():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("lower", "upper"), [("scenes", "renderers"), ("renderers", "rewards"), ("rewards", "rl3d"), ("scenes", "rl3d")]
)
def test_an_import_from_above_is_found(tmp_path, lower, upper):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for floor in FLOORS:
        (tmp_path / floor).mkdir()
        (tmp_path / floor / "__init__.py").touch()
    (tmp_path / lower / "wrong.py").write_text(f"def later():\n    import {upper}\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert f"{lower}.wrong -> {upper}" in result.stdout
