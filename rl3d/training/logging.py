"""What a run leaves behind beside its checkpoints: metrics, TensorBoard curves, contact sheets and
the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from rl3d.generators.base import Generator
from rl3d.pictures import Picture, previews, render_sheet, save_image
from rl3d.report import report
from scenes.files import FileError, atomic_write
from scenes.files.trees import parse_json

SHEET_PROMPTS = 12


class RunLog:
    """Writes into the folder of a run, which exists; nothing without ``writes``.

    Lines of iterations after ``iteration`` are dropped: the run goes on from there.
    """

    def __init__(self, out: Path, iteration: int, writes: bool = True) -> None:
        self.out, self._writer = out, None
        if not writes:
            return
        from torch.utils.tensorboard import SummaryWriter

        _trim(out / "metrics.jsonl", iteration)
        _trim(out / "guard.jsonl", iteration)
        self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=iteration + 1)

    def metrics(self, values: dict[str, float]) -> None:
        """One iteration's figures, ``iteration`` among them."""
        self._append("metrics.jsonl", values)
        writer = self._writer
        for name, value in values.items() if writer else ():
            if writer and name != "iteration":
                writer.add_scalar(name, value, int(values["iteration"]))

    def guard(self, values: dict[str, Any]) -> None:
        """One reading of the guard."""
        self._append("guard.jsonl", values)

    def sheet(self, policy: Generator, prompts: list[str], iteration: int) -> None:
        """Contact sheet of fixed prompts with fixed seeds."""
        if self._writer is None:
            return
        prompts = prompts[:SHEET_PROMPTS]
        asset = policy.generate(prompts, seeds=list(range(len(prompts))))
        with torch.no_grad():
            images = previews(asset.gaussians(6144), 192)
        pictures = [Picture(image, caption) for image, caption in zip(images, prompts, strict=True)]
        rows = [pictures[i : i + 6] for i in range(0, len(pictures), 6)]
        picture = render_sheet(rows, title=f"iteration {iteration}", size=192)
        save_image(self.out / "samples" / f"{iteration:06d}.png", picture)

    def report(self) -> None:
        """Bring report.html up to date."""
        report(self.out)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _append(self, name: str, values: dict[str, Any]) -> None:
        if self._writer is None:
            return
        with (self.out / name).open("a") as file:
            file.write(json.dumps(values) + "\n")


def _trim(path: Path, iteration: int) -> None:
    """Drop the lines of iterations after ``iteration``, and half a line at the end."""
    if not path.exists():
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines(True)
        kept = [line for line in lines if line.endswith("\n") and parse_json(line)["iteration"] <= iteration]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path}: one of its lines is not one iteration's numbers; mend it or remove the file"
        ) from error
    with atomic_write(path) as temporary:
        temporary.write_text("".join(kept))
