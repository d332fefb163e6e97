"""What a run leaves behind: metrics, curves, sheets; lines after the checkpoint are dropped."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rl3d.training.logging import RunLog
from scenes.files import FileError
from tests.rl3d.toys import SplatFlow


def test_metrics_go_to_the_file_and_to_tensorboard(tmp_path) -> None:
    log = RunLog(tmp_path, 0)
    for i in (1, 2):
        log.metrics({"iteration": i, "stability": 0.5 * i})
    log.guard({"iteration": 2, "alarms": []})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"iteration": 1, "stability": 0.5}, {"iteration": 2, "stability": 1.0}]
    assert json.loads((tmp_path / "guard.jsonl").read_text()) == {"iteration": 2, "alarms": []}
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("stability")] == [(1, 0.5), (2, 1.0)]


def test_lines_after_the_checkpoint_are_dropped(tmp_path) -> None:
    lines = [json.dumps({"iteration": i}) + "\n" for i in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"iterat')  # killed while it wrote
    RunLog(tmp_path, 2).close()
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(lines[:2])


def test_a_damaged_line_is_named(tmp_path) -> None:
    (tmp_path / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(FileError, match=r"metrics\.jsonl: one of its lines is not one iteration's numbers"):
        RunLog(tmp_path, 0)


def test_other_ranks_write_nothing(tmp_path) -> None:
    log = RunLog(tmp_path, 0, writes=False)
    log.metrics({"iteration": 1})
    log.guard({"iteration": 1})
    log.sheet(SplatFlow(), ["a red cube"], 0)
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_the_sheet_shows_the_first_prompts(tmp_path) -> None:
    log = RunLog(tmp_path, 0)
    log.sheet(SplatFlow(), [f"a cube {i}" for i in range(14)], 7)
    log.close()
    with Image.open(tmp_path / "samples/000007.png") as image:
        assert image.width > 6 * 192 and image.height > 2 * 192
