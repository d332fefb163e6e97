"""What the folder of a training run holds. The viewer and the report read runs through this file;
it needs none of the training code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scenes.files import FileError
from scenes.files.trees import parse_json, parse_yaml

_MOST_ITERATIONS = 1e9


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training run."""
    return (folder / "config.yaml").is_file() and (folder / "metrics.jsonl").is_file()


def read_run(run: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The settings of a run and the metrics of its iterations so far.

    The last line of metrics.jsonl may be cut short: the run was killed, or is being written.
    FileError with one line if the folder is no run, or if one of its files is damaged.
    """
    settings = read_settings(run)
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    metrics = []
    for number, line in enumerate(lines, 1):
        try:
            values = {name: float(value) for name, value in parse_json(line).items()}
            if not 0 <= values["iteration"] < _MOST_ITERATIONS:
                raise ValueError("iteration")
            metrics.append(values)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            if number == len(lines):
                break
            raise FileError(f"cannot read {path}: line {number} does not hold one iteration's numbers") from error
    return settings, metrics


def read_settings(run: Path) -> dict[str, Any]:
    """The settings of a run as plain values; FileError with one line if there are none."""
    path = run / "config.yaml"
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}; give the folder of a training run") from error
    except ValueError as error:
        raise FileError(f"cannot read {path}: it is not YAML") from error
    if not isinstance(settings, dict):
        raise FileError(f"cannot read {path}: it holds no settings")
    return settings


def progress_text(settings: dict[str, Any], metrics: list[dict[str, float]]) -> str:
    """How far a run is, for people. The settings may hold anything."""
    total = settings.get("iterations")
    known = type(total) is int and 0 <= total < _MOST_ITERATIONS
    return f"{len(metrics)} of {total} iterations" if known else f"{len(metrics)} iterations"


def sheets_of(run: Path) -> list[Path]:
    """The contact sheets of a run, in order. A sheet is named by its iteration."""
    return sorted(path for path in (run / "samples").glob("*.png") if path.stem.isdecimal())


def progress_of(run: Path) -> tuple[int, int]:
    """The size of metrics.jsonl in bytes and the number of sheets. Whoever follows a run reads it
    again when one of them changes."""
    try:
        return (run / "metrics.jsonl").stat().st_size, len(sheets_of(run))
    except OSError:
        return 0, len(sheets_of(run))
