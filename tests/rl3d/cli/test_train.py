"""``rl3d train`` as a user runs it: what a run leaves behind, and an interrupt in the middle that
loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml
from PIL import Image

COMMON = [
    "--rewards",
    "connected=1",
    "--prompts-per-iteration",
    "2",
    "--group",
    "2",
    "--sampling.steps",
    "3",
    "--steps-per-update",
    "2",
    "--updates",
    "1",
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
    assert (run / "part_flow.safetensors").exists() and str(run / "part_flow.safetensors") in output.replace("\n", "")
