"""A study gives every objective the same time, goes on where it was, refuses a file that does not
fit, and writes a page that says what was measured."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml

from rl3d.cli import main
from rl3d.study import compare, reached
from rl3d.study_file import read_study
from rl3d.study_page import curves
from rl3d.tables import mean_and_error, mean_of_seeds
from scenes.files import FileError
from scenes.files.tensors import read_tensors
from tests.rl3d.toys import Low, Red


class Slow(Red):
    """Sleeps, so that its runs have fewer iterations."""

    def __call__(self, batch: Any) -> Any:
        time.sleep(0.3)
        return super().__call__(batch)


class Breaking(Low):
    """Fails at its ``left``-th call from now."""

    left: ClassVar[int] = -1

    def __call__(self, batch: Any) -> Any:
        Breaking.left -= 1
        if Breaking.left == 0:
            raise RuntimeError("killed")
        return super().__call__(batch)


LOW, RED = "tests.rl3d.toys:Low", "tests.rl3d.toys:Red"
SPLATS, TOKENS = "tests.rl3d.toys:SplatFlow", "tests.rl3d.toys:TokenToy"


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    prompts = folder / "prompts.txt"
    prompts.write_text("a red cube\na blue ball\n")
    return {
        "out": str(folder / "study"),
        "generators": [TOKENS],
        "objectives": ["grpo"],
        "seeds": [0],
        "minutes": 0.005,
        "marks": 2,
        "figure": "red",
        "train": {"rewards": RED, "prompts": str(prompts), "prompts_per_iteration": 2, "group_size": 4, "guard": "off"},
        "evaluation": {
            "rewards": RED,
            "in_domain": {"prompts": str(prompts)},
            "out_of_domain": {"kinds": "single", "num_prompts": 3},
        },
    } | changes


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(settings(folder, **changes)))
    return path


def quiet(line: str) -> None:
    return


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of two generators, of which one cannot learn by the objectives."""
    folder = tmp_path_factory.mktemp("study")
    changes = settings(folder)
    path = write(
        folder,
        generators=[{"label": "splats", "generator": SPLATS}, TOKENS],
        objectives=["awm", {"label": "quick", "objective": "awm", "lr": 0.02}],
        seeds=[0, 1],
        marks=1,
        figure="low",
        train=changes["train"] | {"rewards": LOW},
        evaluation=changes["evaluation"] | {"rewards": LOW},
    )
    assert compare(path, quiet) == folder / "study" / "study.md"
    return folder / "study"


def test_the_page_has_the_start_first_and_a_row_for_each_objective(done: Path) -> None:
    page = (done / "study.md").read_text()
    splats, tokens = page.split("## splats")[1].split("## TokenToy")
    for section, rows in ((splats, ["start", "awm", "quick"]), (tokens.split("## How")[0], ["start"])):
        lines = [line for line in section.splitlines() if line.startswith("|")]
        assert [line.split(" | ")[0] for line in lines] == ["| objective", "| ---", *(f"| {row}" for row in rows)]
        assert len({line.count("|") for line in lines}) == 1
    assert "Not for this generator, which lacks what they need: awm, quick." in tokens
    for said in (
        "rl3d compare",
        "Machine: ",
        f"torch {torch.__version__}",
        "2 prompts of prompts.txt",
        "minutes: 0.005",
    ):
        assert said in page
    assert "(splats.svg)" in splats and not (done / "TokenToy.svg").exists() and ".svg" not in tokens
    svg = ET.parse(done / "splats.svg").getroot()
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}polyline"))) == 2 * 4
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}polygon"))) == 2 * 4


def test_the_table_is_what_was_measured(done: Path) -> None:
    results = json.loads((done / "study.json").read_text())["generators"]["splats"]
    run = results["objectives"]["awm"]
    assert not list(done.rglob("checkpoints/*"))
    assert run["seeds"] == [0, 1] and run["iterations"] == run["curve"][-1]["iteration"]
    ends, start = [], json.loads((done / "splats" / "start.json").read_text())
    for seed in (0, 1):
        folder = done / "splats" / "awm" / f"seed-{seed}"
        ends.append(json.loads((folder / "marks" / f"{run['iterations']:06d}.json").read_text()))
        seconds = [json.loads(line)["seconds"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert len(seconds) == run["iterations"]
        assert run["minutes"][seed] == pytest.approx(sum(seconds) / 60)
    low = torch.tensor([end["in_domain"]["low"] for end in ends], dtype=torch.float64)
    expected = mean_of_seeds(low)
    estimate = run["curve"][-1]["in_domain"]["low"]
    assert (estimate["mean"], estimate["error"], estimate["prompts"]) == pytest.approx(tuple(expected))
    assert f"| {expected.mean:.3f} ± {expected.error:.3f} |" in (done / "study.md").read_text()
    judged = torch.tensor([end["out_of_domain"]["judge"] for end in ends], dtype=torch.float64).mean()
    begun = torch.tensor(start["out_of_domain"]["judge"], dtype=torch.float64).mean()
    assert run["forgetting"]["mean"] == pytest.approx((begun - judged).item())
    assert run["readings"] == 0


def test_a_study_that_is_done_is_not_done_again(done: Path) -> None:
    weights = list(done.glob("splats/*/seed-0/marks/*.safetensors"))
    assert weights
    for file in weights:  # not needed once they are measured
        file.unlink()
    kept = [path for path in done.rglob("*") if path.is_file() and path.parent != done]
    times = {path: path.stat().st_mtime_ns for path in kept}
    said: list[str] = []
    compare(done.parent / "study.yaml", said.append)
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    assert not [line for line in said if "training" in line]
    assert {path for path in done.rglob("*") if path.is_file() and path.parent != done} == set(kept)


def test_a_killed_study_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    reward = "tests.rl3d.test_study:Breaking"
    changes = settings(tmp_path)
    common: dict[str, Any] = {
        "generators": [SPLATS],
        "objectives": ["awm"],
        "figure": "low",
        "train": changes["train"] | {"rewards": reward, "save_every": 3},
        "evaluation": changes["evaluation"] | {"rewards": LOW},
    }
    whole, cut, run = tmp_path / "study", tmp_path / "cut", Path("SplatFlow/awm/seed-0")

    def stop_after_the_pilot(line: str) -> None:
        if "s an iteration" in line:
            raise RuntimeError("killed")

    path = write(tmp_path, **common)
    with pytest.raises(RuntimeError, match="killed"):
        compare(path, stop_after_the_pilot)
    record = json.loads((whole / "settings.json").read_text())
    assert record["seconds"].keys() == {"SplatFlow/awm"}
    iterations = 10
    record["seconds"]["SplatFlow/awm"] = 60 * 0.005 / iterations  # as if the pilot had measured this
    cut.mkdir()
    for folder in (whole, cut):
        (folder / "settings.json").write_text(json.dumps(record))
    compare(path, quiet)
    assert len((whole / run / "metrics.jsonl").read_text().splitlines()) == iterations

    path = write(tmp_path, out=str(cut), **common)
    Breaking.left = 9  # the check before the run has one call, each iteration one
    with pytest.raises(RuntimeError, match="killed"):
        compare(path, quiet)
    made = len((cut / run / "metrics.jsonl").read_text().splitlines())
    assert 5 < made < iterations and made % 3, "past the first mark, and after a checkpoint"
    assert not (cut / "study.md").exists()
    said: list[str] = []
    compare(path, said.append)
    assert sum("training" in line for line in said) == 1
    marks = sorted(file.name for file in (whole / run / "marks").glob("*.safetensors"))
    assert len(marks) == 2
    for name in marks:
        first, again = (read_tensors(place / run / "marks" / name)[0] for place in (whole, cut))
        assert first.keys() == again.keys()
        assert all(torch.equal(first[key], again[key]) for key in first)
        figures = [(place / run / "marks" / name).with_suffix(".json").read_text() for place in (whole, cut)]
        assert figures[0] == figures[1]


def test_runs_have_the_same_time_and_not_the_same_iterations(tmp_path: Path) -> None:
    slow = {"label": "slow", "objective": "grpo", "rewards": "tests.rl3d.test_study:Slow"}
    watched = {"objective": "grpo", "guard": "warn", "guard_every": 1000, "kl_limit": 0.0}
    path = write(tmp_path, objectives=[watched, slow], minutes=0.02, marks=1)
    compare(path, quiet)
    record = json.loads((tmp_path / "study" / "settings.json").read_text())
    runs = json.loads((tmp_path / "study" / "study.json").read_text())["generators"]["TokenToy"]["objectives"]
    for label, run in runs.items():
        seconds = record["seconds"][f"TokenToy/{label}"]
        assert run["pilot_seconds"] == seconds
        assert run["iterations"] == round(60 * 0.02 / seconds)
    assert record["seconds"]["TokenToy/slow"] > 0.3
    assert runs["grpo"]["iterations"] > runs["slow"]["iterations"]
    assert 0.01 < runs["slow"]["minutes"][0] < 0.06  # 0.02 on a machine with nothing beside it
    assert not list((tmp_path / "study").glob(".pilot-*"))
    # The guard's time does not count, and its alarms are on the page.
    (alarm,) = runs["grpo"]["alarms"]
    page = (tmp_path / "study" / "study.md").read_text()
    assert "the KL to the start" in alarm["alarm"]
    assert f"- grpo, seed 0, iteration {runs['grpo']['iterations']}: {alarm['alarm']}" in page
    assert "| 1 of 1 readings |" in page


def test_a_study_may_grow_but_not_change(tmp_path: Path, capsys) -> None:
    compare(write(tmp_path), quiet)
    train = settings(tmp_path)["train"]
    for changes, message in (
        ({"minutes": 1}, "study.minutes was 0.005 when the study"),
        ({"objectives": [{"objective": "grpo", "lr": 0.5}]}, "runs.TokenToy/grpo.objective.lr was 3e-05"),
        ({"train": train | {"group_size": 6}}, "runs.TokenToy/grpo.group_size was 4 when"),
    ):
        assert main(["compare", str(write(tmp_path, **changes))]) == 2
        assert message in capsys.readouterr().err
    path = write(tmp_path)
    (tmp_path / "prompts.txt").write_text("a red cube\na green ball\n")
    with pytest.raises(FileError, match=r"prompts was .* put it back, or name another out"):
        compare(path, quiet)
    said: list[str] = []
    compare(write(tmp_path, seeds=[0, 1], objectives=["grpo", "reinforce"], share=0.5), said.append)
    assert [line.split(":")[0] for line in said if "training" in line] == [
        "TokenToy/reinforce seed 0",
        "TokenToy/grpo seed 1",
        "TokenToy/reinforce seed 1",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minuts": 1}, "there is no setting 'minuts': did you mean 'minutes'?"),
        ({"minutes": "ten"}, "minutes = 'ten' does not fit"),
        ({"minutes": 0}, "--minutes must be above 0, got 0"),
        ({"share": 2.0}, "--share must be at most 1"),
        ({"seeds": [0, 0]}, "seeds: must be a list of different whole numbers"),
        ({"seeds": [True]}, "seeds: must be a list of different whole numbers"),
        ({"generators": []}, "generators: must be a list with at least one entry"),
        ({"generators": ["part-flw"]}, "generators: unknown generator 'part-flw', did you mean 'part-flow'?"),
        ({"generators": [{"generator": TOKENS, "checkpont": "a"}]}, "generators: there is no setting 'checkpont'"),
        ({"generators": [{"checkpoint": "none.safetensors"}]}, "generators: none.safetensors: no such file"),
        ({"objectives": ["grop"]}, "objectives: unknown objective 'grop', did you mean 'grpo'?"),
        ({"objectives": ["grpo", "grpo"]}, "objectives: 'grpo' is there twice: give each a label"),
        ({"objectives": [{"objective": "grpo", "label": "../x"}]}, "objectives: the label '../x' names a folder"),
        ({"objectives": [{"objective": "grpo", "beta": 1}]}, "objectives: grpo: there is no setting 'beta'"),
        ({"objectives": [{"objective": "grpo", "lr": "fast"}]}, "objectives: grpo: lr = 'fast'"),
        ({"objectives": [{"objective": "grpo", "group_size": 1}]}, "grpo: --group-size must be at least 2"),
        ({"objectives": ["awm"]}, "objectives: awm: objective 'awm' needs a generator with matching"),
        ({"train": {"seed": 1}}, "train: there is no setting 'seed'"),
        ({"train": {"group_sise": 1}}, "train: there is no setting 'group_sise': did you mean 'group_size'?"),
        ({"train": {"rewards": "stabilty=1"}}, "train: unknown reward 'stabilty', did you mean 'stability'?"),
        ({"train": {"guard": "stop"}}, "train: guard must be off or warn"),
        ({"train": {"prompts": "none.txt"}}, "train: none.txt: cannot read prompts"),
        ({"train": {"adapter": "a=1"}}, "train: there is no setting 'adapter'"),
        ({"objectives": [{"objective": "grpo", "device": "cuda"}]}, "objectives: grpo: there is no setting 'device'"),
        (
            {"objectives": ["grpo", {"objective": "grpo", "label": "gated", "gates": "alignment=stability"}]},
            "TokenToy/gated: gates name 'alignment', which is none of the rewards (red)",
        ),
        (
            {"objectives": [{"objective": "grpo", "guard": "warn", "held_out": RED}]},
            "train: reward 'red' is given twice",
        ),
        ({"figure": "category"}, "figure: TokenToy has no category on the in-domain prompts"),
        ({"figure": "blue"}, "figure: 'blue' is not measured: choose one of red, red_success_rate, judge"),
        ({"evaluation": {"in_domain": {}}}, "evaluation.out_of_domain is missing"),
        ({"evaluation": {"in_domain": {"kinds": "x"}, "out_of_domain": {}}}, "in_domain: --kinds names 'x'"),
        ({"evaluation": {"rewards": "rd", "in_domain": {}, "out_of_domain": {}}}, "evaluation: unknown reward 'rd'"),
    ],
)
def test_a_study_file_that_does_not_fit_is_refused_in_one_line(changes, message, tmp_path: Path, capsys) -> None:
    path = write(tmp_path, **changes)
    assert main(["compare", str(path)]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    (line,) = errors.splitlines()
    assert line.startswith(f"rl3d: {path}: ") and message in line
    assert not (tmp_path / "study").exists()


def test_a_file_that_is_no_study_and_a_folder_that_is_in_use_are_refused(tmp_path: Path, capsys) -> None:
    path = tmp_path / "list.yaml"
    assert main(["compare", str(path)]) == 2
    assert "cannot read the study (No such file or directory); name a YAML file" in capsys.readouterr().err
    path.write_text("- 1\n")
    assert main(["compare", str(path)]) == 2
    assert "must have keys with values" in capsys.readouterr().err
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.txt").write_text("mine")
    assert main(["compare", str(write(tmp_path))]) == 2
    assert "holds something else than a study: name another out" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "study").iterdir()] == ["thesis.txt"]


def test_too_few_minutes_for_the_marks_are_refused(tmp_path: Path) -> None:
    slow = settings(tmp_path)["train"] | {"rewards": "tests.rl3d.test_study:Slow"}
    with pytest.raises(
        FileError, match=r"minutes: 0.005 are enough for [0-3] iterations of .*, fewer than the 9 marks"
    ):
        compare(write(tmp_path, train=slow, marks=9), quiet)


def test_the_studies_of_the_docs_can_be_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    section = Path("docs/training.md").read_text().split("## A study")[1].split("\n## ")[0]
    shown = tmp_path / "shown.yaml"
    shown.write_text(section.split("```yaml\n")[1].split("```")[0])
    study = read_study(shown)
    assert [contender.label for contender in study.objectives] == ["awm", "awm-wide"]
    for generator, count in (("part-flow", 13), ("part-tokens", 8)):
        study = read_study(Path(f"docs/studies/{generator}.yaml"))
        assert [start.label for start in study.generators] == [generator]
        assert len(study.objectives) == count and study.seeds == (0, 1, 2)


def test_reached_lies_on_the_line_between_two_points() -> None:
    points = [(0.0, 0.2), (2.0, 0.4), (4.0, 0.3), (8.0, 0.7)]
    assert reached(points, 0.3) == pytest.approx(1.0)
    assert reached(points, 0.5) == pytest.approx(6.0)
    assert reached(points, 0.35) == pytest.approx(4.5)  # it fell below once more
    assert reached(points, 0.8) is None and reached(points[:3], 0.35) is None


def test_figures_that_one_domain_lacks_have_no_panel(done: Path) -> None:
    found = json.loads((done / "study.json").read_text())["generators"]["splats"]
    assert curves(found, "low").count("out-of-domain") == 2
    for kept in (found["start"], *(c for run in found["objectives"].values() for c in run["curve"])):
        del kept["out_of_domain"]["low"]
    assert curves(found, "low").count("out-of-domain") == 1


def test_the_error_over_seeds_and_prompts_is_that_of_the_mean() -> None:
    rng = torch.Generator().manual_seed(0)
    means, variances = [], []
    for _ in range(4000):
        seeds, prompts, rest = (torch.randn(shape, generator=rng) for shape in ((3, 1), (1, 16), (3, 16)))
        found = mean_of_seeds(0.1 * seeds + 0.5 * prompts + 0.3 * rest)
        means.append(found.mean)
        variances.append(found.error**2)
    exact = 0.1**2 / 3 + 0.5**2 / 16 + 0.3**2 / 48
    assert torch.tensor(means).var().item() == pytest.approx(exact, rel=0.1)
    assert torch.tensor(variances).mean().item() == pytest.approx(exact, rel=0.1)


def test_one_seed_has_the_error_of_its_prompts() -> None:
    values = torch.tensor([[0.1, 0.5, torch.nan, 0.9]])
    assert mean_of_seeds(values) == mean_and_error(values[0])
