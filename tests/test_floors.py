"""The contracts on imports in pyproject.toml hold, and each of them finds a violation."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import importlinter
import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["scenes", "renderers", "rewards", "rl3d"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    # -S leaves out the import hook of an editable install, so that the folder's packages are found.
    path = os.pathsep.join([str(folder), str(Path(importlinter.__file__).parents[1])])
    command = [
        sys.executable,
        "-S",
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    env = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=120)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The contracts, and all modules of the four packages without content."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for floor in FLOORS:
        for module in (ROOT / floor).rglob("*.py"):
            copy = tmp_path / module.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.touch()
    return tmp_path


def test_every_contract_is_kept():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_modules_without_content_keep_every_contract(empty):
    result = lint(empty)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("contract", "module", "imported"),
    [
        ("A floor imports only", "scenes.mesh", "renderers"),
        ("A floor imports only", "renderers.base", "rewards"),
        ("A floor imports only", "rewards.mix", "rl3d"),
        ("A floor imports only", "scenes.mesh", "rl3d.assets"),
        ("In rl3d the command line is above", "rl3d.viewer.page", "rl3d.cli.options"),
        ("In rl3d the command line is above", "rl3d.generate", "rl3d.viewer.server"),
        ("In rl3d the command line is above", "rl3d.generators.base", "rl3d.training"),
        ("Generating, evaluating, viewing and exporting", "rl3d.viewer.studio", "rl3d.training"),
        ("Generating, evaluating, viewing and exporting", "rl3d.generate", "rl3d.algorithms.grpo"),
        ("Nothing imports torchvision", "rewards.mix", "torchvision"),
    ],
)
def test_a_forbidden_import_is_found(empty, contract, module, imported):
    path = empty / f"{module.replace('.', '/')}.py"
    path.write_text(f"def later():\n    import {imported}\n")
    result = lint(empty)
    assert result.returncode == 1, result.stdout + result.stderr
    assert any(line.startswith(contract) and line.endswith("BROKEN") for line in result.stdout.splitlines())
    assert f"{module} -> {imported}" in result.stdout


def test_a_detour_to_the_training_is_found(empty):
    (empty / "rl3d/export.py").write_text("import rl3d.pictures\n")
    (empty / "rl3d/pictures.py").write_text("import rl3d.training.loop\n")
    result = lint(empty)
    assert result.returncode == 1
    assert "rl3d.export -> rl3d.pictures" in result.stdout and "rl3d.pictures -> rl3d.training" in result.stdout


def test_a_circle_is_found(empty):
    (empty / "rl3d/export.py").write_text("def later():\n    import rl3d.nerfstudio.run\n")
    (empty / "rl3d/nerfstudio/run.py").write_text("def later():\n    import rl3d.export\n")
    result = lint(empty)
    assert result.returncode == 1
    (broken,) = [line for line in result.stdout.splitlines() if line.endswith("BROKEN")]
    assert broken.startswith("No circle of imports")
