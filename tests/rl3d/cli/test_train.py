"""``rl3d train`` as a user runs it: what a run leaves behind, and an interrupt in the middle that
loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from rl3d.cli import main

COMMON = [
    "--rewards",
    "connected=1",
    "--prompts-per-iteration",
    "2",
    "--group-size",
    "2",
    "--generator",
    "part-flow",
    "--sampling.steps",
    "3",
    "--timesteps-per-iteration",
    "2",
]


def _train(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rl3d", "train", "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_interrupted_run_resumes_and_leaves_what_it_should(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = _train(run, *COMMON, "--iterations", "400", "--save-every", "1000")
    metrics = run / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 2):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    (state,) = (run / "checkpoints").iterdir()
    made = int(state.stem.split("_")[1])
    assert made == len(metrics.read_text().splitlines())

    # The run's own settings come back; only the number of iterations is new.
    process = _train(run, "--iterations", str(made + 2), "--resume")
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(1, made + 3))
    assert all(0 <= line["connected"] <= 1 and line["kl"] >= 0 for line in lines)
    assert yaml.safe_load((run / "config.yaml").read_text())["rewards"] == "connected=1"
    assert list((run / "tensorboard").glob("events.*"))
    sheets = sorted((run / "samples").glob("*.png"))
    assert [int(s.stem) for s in sheets] == [0, made, made + 2]
    assert Image.open(sheets[0]).width > 500
    assert (run / "generator.safetensors").exists() and str(run / "generator.safetensors") in output.replace("\n", "")


def test_objectives_have_their_own_settings(tmp_path: Path) -> None:
    from rl3d.cli.train import read_arguments

    flow = ["--generator", "part-flow"]
    config, resume = read_arguments(["--out", str(tmp_path), *flow])
    assert (config.objective.name, config.objective.lr, config.sampling, resume) == ("awm", 1e-4, None, False)
    config, _ = read_arguments(["--generator", "part-tokens"])
    assert (config.objective.name, config.objective.lr, config.objective.clip) == ("grpo", 1e-4, 0.2)  # type: ignore[attr-defined]
    config, _ = read_arguments([*flow, "--objective", "grpo", "--clip", "1e-3", "--sampling.noise", "0.5"])
    assert (config.objective.name, config.objective.lr, config.objective.clip) == ("grpo", 3e-5, 1e-3)  # type: ignore[attr-defined]
    assert (config.sampling.noise, config.sampling.sde_type, config.sampling.steps) == (0.5, "cps", 8)
    config, _ = read_arguments(["--generator", "tests.rl3d.toys:TokenToy", "--objective", "grpo"])
    assert config.generator == "tests.rl3d.toys:TokenToy" and config.sampling is None


def test_a_resumed_run_keeps_its_settings(tmp_path: Path, capsys) -> None:
    from rl3d.cli.train import read_arguments
    from rl3d.training.config import save_config

    asked = ["--generator", "part-flow", "--objective", "grpo", "--lr", "2e-5", "--sampling.steps", "5"]
    first, _ = read_arguments(["--out", str(tmp_path), *asked])
    save_config(first)
    again, resume = read_arguments(["--out", str(tmp_path), "--resume", "--iterations", "7"])
    assert resume and again.objective == first.objective and again.sampling == first.sampling and again.iterations == 7
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "state_000007.safetensors").touch()
    assert main(["train", "--out", str(tmp_path), "--resume", "--iterations", "7"]) == 0
    assert "all 7 iterations are done; to go on, add a higher --iterations" in capsys.readouterr().out
    assert main(["train", "--out", str(tmp_path / "nowhere"), "--resume"]) == 2
    assert "there is no such folder to resume" in capsys.readouterr().err
    fresh, resume = read_arguments(["--out", str(tmp_path / "new"), "--generator", "part-flow", "--resume"])
    assert resume and fresh.objective.name == "awm"


def test_help_shows_the_settings_of_the_objective_that_is_named(capsys) -> None:
    for arguments, shown in (([], "AWM|noise levels at which"), (["--objective", "grpo"], "steps of each trajectory")):
        with pytest.raises(SystemExit):
            main(["train", "--generator", "part-flow", *arguments, "--help"])
        text = " ".join(capsys.readouterr().out.replace("│", " ").split()).lower()
        assert shown.split("|")[-1] in text and "--kl-weight" in text and "--sampling.steps" in text
