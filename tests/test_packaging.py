"""The files that say what rl3d needs agree with each other, with what the code imports, and with
what a build ships."""

import ast
import functools
import importlib.metadata
import json
import re
import statistics
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGES = ["rl3d", "rewards", "renderers", "scenes"]
CONDA_NAMES = {"torch": "pytorch", "mujoco": "mujoco-python"}
OPTIONAL_BACKENDS = {"pytorch3d", "kaolin", "nerfstudio"}  # no extra can install them: see environment.yml

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
CONDA_SPECS = [line for line in ENVIRONMENT if isinstance(line, str)]
CONSTRAINTS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def run_python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("requirement", CORE, ids=lambda r: r.name)
def test_environment_yml_has_the_same_range(requirement):
    from_pip = [Requirement(line) for entry in ENVIRONMENT if isinstance(entry, dict) for line in entry["pip"]]
    ranges = {r.name: r.specifier for r in from_pip}
    ranges |= {name: SpecifierSet(spec) for name, _, spec in (line.partition(" ") for line in CONDA_SPECS)}
    assert ranges[CONDA_NAMES.get(requirement.name, requirement.name)] == requirement.specifier


def test_environment_yml_asks_for_the_same_python():
    assert f"python {PROJECT['requires-python']}" in CONDA_SPECS


def test_conda_can_read_environment_yml():
    rattler = pytest.importorskip("rattler")
    for spec in CONDA_SPECS:
        rattler.MatchSpec(spec, strict=True)


def pins(python_version: str) -> dict[str, str]:
    found = {}
    for line in CONSTRAINTS:
        if line.marker is None or line.marker.evaluate({"python_version": python_version}):
            (specifier,) = line.specifier
            assert specifier.operator == "==" and line.name not in found, line
            found[canonicalize_name(line.name)] = specifier.version
    return found


@pytest.mark.parametrize("python_version", ["3.10", "3.11", "3.13"])
def test_constraints_are_exact_and_within_the_ranges(python_version):
    pinned = pins(python_version)
    for requirement in [*CORE, *EXTRAS["cuda"], *EXTRAS["dev"]]:
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python_version}):
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_constraints_pin_all_dependencies():
    pinned = pins(f"{sys.version_info.major}.{sys.version_info.minor}")
    waiting = [*CORE, *EXTRAS["dev"]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            seen.add((name, extra))
            for line in importlib.metadata.requires(name) or []:
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    further.marker = None
                    waiting.append(further)
    came_along = {name for name, _ in seen}
    # A CUDA build of torch brings its libraries; on a machine with one, they follow from torch's
    # own pin.
    assert {name for name in came_along - pinned.keys() if not name.startswith(("nvidia-", "cuda-", "triton"))} == set()


def imported_modules() -> dict[str, str]:
    """Top-level names of the third-party modules the four packages import anywhere, and a file that
    does."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names = [node.module]
                found |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {
        name: path
        for name, path in found.items()
        if name not in {*sys.stdlib_module_names, *PACKAGES, *OPTIONAL_BACKENDS}
    }


def test_every_import_is_declared():
    declared = {
        canonicalize_name(r.name)
        for r in [*CORE, *(r for name, extra in EXTRAS.items() if name != "dev" for r in extra)]
    }
    distributions = importlib.metadata.packages_distributions()
    for module, path in imported_modules().items():
        providers = {canonicalize_name(name) for name in distributions.get(module, [module])}
        assert providers & declared, f"{path} imports {module}, which pyproject.toml does not ask for"


def test_importing_rl3d_is_quick_and_loads_nothing_heavy():
    code = """if True:
        import json, sys, time
        start = time.perf_counter()
        import rl3d
        seconds = time.perf_counter() - start
        heavy = ("torch", "transformers", "trimesh", "mujoco", "viser")
        print(json.dumps([seconds, [name for name in heavy if name in sys.modules]]))
    """
    runs = [json.loads(run_python(code)) for _ in range(3)]
    assert statistics.median(seconds for seconds, _ in runs) < 0.5
    assert runs[0][1] == []


def test_core_imports_without_the_extras():
    run_python("""if True:
        import sys
        class Missing:
            names = {"gsplat", "nerfacc", "nerfstudio", "pytorch3d", "kaolin", "torchvision", "sentence_transformers",
                     "transformers", "diffusers", "peft", "accelerate", "beartype", "plyfile", "pytest", "hypothesis"}
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in self.names:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Missing())
        import rl3d, rl3d.cli, rewards, renderers, scenes.gaussians
        for name in getattr(rl3d, "__all__", []):
            getattr(rl3d, name)
    """)


def test_version_is_stated_once():
    import rl3d

    assert rl3d.__version__ == PROJECT["version"]


@functools.cache
def shipped_files() -> set[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def test_wheel_ships_the_packages_with_their_data(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    from scikit_build_core.build import build_wheel

    wheel = tmp_path / build_wheel(str(tmp_path), {"wheel.cmake": "false"})
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == shipped_files()
    assert any(re.fullmatch(r"rl3d/weights/.*\.safetensors", name) for name in names)
    assert wheel.stat().st_size < 40e6


def test_sdist_can_be_built_from(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    from scikit_build_core.build import build_sdist

    with tarfile.open(tmp_path / build_sdist(str(tmp_path))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert shipped_files() | {"pyproject.toml", "CMakeLists.txt", "LICENSE", "README.md"} <= names
    assert not any(name.startswith((".ci", ".venv", "build")) for name in names)
