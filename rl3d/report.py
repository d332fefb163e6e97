"""A training run as one HTML page that fetches nothing: curves, sheets, tables and settings."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from rl3d.charts import charts
from rl3d.runs import progress_text, read_run, sheets_of
from rl3d.tables import cells, read_table
from scenes.files import FileError, atomic_write
from scenes.files.trees import parse_json

SHEETS = 4
"""Sheets shown, evenly spaced from the first to the last."""
_MOST_PIXELS = 1 << 26
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1e; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); gap: 1rem 2rem; }
figure { margin: 0; } figcaption { color: #6e6e74; } img, svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; }
td, th { padding: .15rem .9rem .15rem 0; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; } th { border-bottom: 1px solid #d0d0d6; }
"""
_NOTE = (
    "An iteration draws the prompts whose samples differ most. Progress therefore shows best on held-out prompts "
    "(rl3d evaluate), and less in these curves."
)


def report(run: str | Path, evaluation: str | Path | None = None) -> Path:
    """Write report.html into the folder of a run and return its path. ``evaluation`` is a folder
    that ``rl3d evaluate`` wrote: its table and its sheet are added.

    FileError with one line if a file of the run or of the evaluation is missing or damaged.
    """
    run = Path(run)
    settings, metrics = read_run(run)
    name = html.escape(run.resolve().name)
    minutes = sum(m.get("seconds", 0) for m in metrics) / 60
    pieces = [f"<h1>{name}</h1><p>{progress_text(settings, metrics)}, {minutes:.1f} minutes.</p>"]
    if metrics:
        pieces += ["<h2>Curves</h2>", f"<p>{_NOTE}</p>", f'<div class="charts">{charts(metrics)}</div>']
        pieces += ["<h2>First and last tenth of the iterations</h2>", _summary(metrics)]
    pieces += _guard(run)
    if evaluation is not None:
        pieces += ["<h2>Held-out prompts</h2>", *_evaluation(Path(evaluation))]
    if sheets := _some(sheets_of(run)):
        pieces.append("<h2>The same prompts and seeds during training</h2>")
        pieces += [picture(path, f"iteration {int(path.stem)}") for path in sheets]
    rows = [(key, _value(value)) for key, value in settings.items()]
    pieces += ["<h2>Settings</h2>", _table(("setting", "value"), rows)]
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
    page += f"<style>{_STYLE}</style><body>{''.join(pieces)}</body></html>\n"
    with atomic_write(run / "report.html") as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return run / "report.html"


def _some(sheets: list[Path]) -> list[Path]:
    """At most ``SHEETS`` of them, the first and the last included."""
    if len(sheets) <= SHEETS:
        return sheets
    return [sheets[round(i * (len(sheets) - 1) / (SHEETS - 1))] for i in range(SHEETS)]


def _summary(metrics: list[dict[str, float]]) -> str:
    tenth = max(1, len(metrics) // 10)
    names = [n for n in metrics[-1] if n not in ("iteration",)]

    def mean(some: list[dict[str, float]], name: str) -> float:
        values = [m[name] for m in some if name in m]
        return sum(values) / len(values) if values else math.nan

    rows = [(n, f"{mean(metrics[:tenth], n):.4g}", f"{mean(metrics[-tenth:], n):.4g}") for n in names]
    return _table(("figure", "first", "last"), rows)


def _guard(run: Path) -> list[str]:
    """The guard's first and last reading, and its alarms."""
    readings = []
    try:
        for line in (run / "guard.jsonl").read_text(encoding="utf-8").splitlines():
            found = parse_json(line)
            values = {str(k): float(v) for k, v in found.items() if k != "alarms"}
            readings.append((values["iteration"], values, [str(a) for a in found["alarms"]]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        pass  # there is no guard, or its last line is being written
    if not readings:
        return []
    (begin, first, _), (end, last, _) = readings[0], readings[-1]
    rows = [(n, f"{first[n]:.4g}", f"{last[n]:.4g}") for n in last if n != "iteration" and n in first]
    alarms = [f"iteration {iteration:g}: {alarm}" for iteration, _, found in readings for alarm in found]
    listed = "".join(f"<li>{html.escape(alarm)}</li>" for alarm in alarms) or "<li>no alarm</li>"
    return [
        "<h2>The guard: prompts, seeds, cameras and rewards outside the training</h2>",
        _table(("figure", f"iteration {begin:g}", f"iteration {end:g}"), rows),
        f"<ul>{listed}</ul>",
    ]


def _evaluation(folder: Path) -> list[str]:
    table = read_table(folder)
    rows = [(name, *row) for name, row in cells(table).items()]
    sheet = folder / "sheet.png"
    pieces = [_table(("figure", *table, "prompts"), rows)]
    return pieces + ([picture(sheet, "before and after")] if sheet.is_file() else [])


def picture(path: Path, caption: str) -> str:
    """An image file as an HTML figure with the image inside; FileError if it cannot be read."""
    try:
        # From memory: PIL reads as many bytes of a file as its header asks for.
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError("too large")
            out = io.BytesIO()
            image.convert("RGB").save(out, "WEBP", quality=88)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FileError(f"cannot report with {path}: it is not a readable image") from error
    data, text = base64.b64encode(out.getvalue()).decode(), html.escape(caption)
    image = f'<img src="data:image/webp;base64,{data}" alt="{text}" style="max-width:100%">'
    return f'<figure style="margin:0">{image}<figcaption>{text}</figcaption></figure>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line('th', head)}{''.join(line('td', row) for row in rows)}</table>"


def _value(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
