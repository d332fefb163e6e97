"""Processes that share a training: what they exchange, and how they end."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rl3d.training.process_group import ProcessGroup, check_processes, together


def _exchange(folder: Path, group: ProcessGroup) -> Iterator[list[float]]:
    with group.main_first():
        if group.main:
            time.sleep(0.5)
            (folder / "written").write_text("7")
        read = float((folder / "written").read_text())
    mine, theirs = torch.tensor([[1.0, 5.0]]) * (1 + group.rank), torch.tensor([group.rank, 10.0 * group.rank])
    group.mean([mine])
    group.broadcast([theirs], 1)
    found = torch.tensor([0.0 if group.main else read])
    group.broadcast([found], 1)
    yield [*mine[0].tolist(), *theirs.tolist(), float(found)]


def test_processes_exchange_tensors_and_wait_for_the_main_one(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    (tmp_path / "one").mkdir()
    assert list(together(_exchange, tmp_path / "one", 1)) == [[1.0, 5.0, 0.0, 0.0, 0.0]]
    assert list(together(_exchange, tmp_path, 2)) == [[1.5, 7.5, 1.0, 10.0, 7.0]]
    assert torch.get_num_threads() == threads


SCRIPT = """
import os, sys, time, torch
from rl3d.training.process_group import together

def train(config, group):
    group.mean([torch.zeros(1)])
    if not group.main:
        print(os.getpid(), file=open(config, "w"), flush=True)
        {worker}
    group.mean([torch.zeros(1)])
    yield 1

if __name__ == "__main__":
    for _ in together(train, sys.argv[1], 2):
        print("done", flush=True)
"""


def _run(worker: str, tmp_path: Path, first: str = "") -> subprocess.Popen:
    script = tmp_path / "script.py"
    script.write_text(first + SCRIPT.format(worker=worker))
    command = [sys.executable, str(script), str(tmp_path / "pid")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


BEFORE = "import os\nif __name__ == '__mp_main__': os._exit(3)\n"
"""Ends the other process before it meets the main one."""


@pytest.mark.parametrize(("worker", "first"), [("os._exit(3)", ""), ("pass", BEFORE)])
def test_a_process_that_dies_ends_the_training_with_one_line(worker: str, first: str, tmp_path: Path) -> None:
    main = _run(worker, tmp_path, first)
    out, error = main.communicate(timeout=120)
    assert main.returncode and "done" not in out
    assert "a process of the training ended with code 3" in error.strip().split("\n")[-1]


def test_no_process_outlives_the_main_one(tmp_path: Path) -> None:
    main = _run("time.sleep(100)", tmp_path)
    ends = time.monotonic() + 120
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < ends:
        time.sleep(0.1)
    worker = Path("/proc") / (tmp_path / "pid").read_text().strip()
    assert worker.exists()
    main.kill()
    main.wait()
    while worker.exists() and "Z" not in (worker / "stat").read_text().split()[2] and time.monotonic() < ends:
        time.sleep(0.1)
    assert not worker.exists() or "Z" in (worker / "stat").read_text().split()[2]


def test_a_batch_is_shared_equally() -> None:
    check_processes(2, 64)
    with pytest.raises(ValueError, match="--batch 9 must be a multiple of --processes 2"):
        check_processes(2, 9)
