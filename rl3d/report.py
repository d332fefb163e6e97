"""One page about a training run: curves, sheets, tables and settings in a single HTML file that
fetches nothing."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from scenes.files import FileError, atomic_write
from scenes.files.trees import parse_json, parse_yaml

SHEETS = 4
"""Sheets shown, evenly spaced from the first to the last."""
_HEIGHT = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 26
_COLORS = ("#2a6fdb", "#d2622a", "#2f9e63", "#9a4fc4", "#b8902a", "#5a6270")
_SMOOTHING = 0.95
_MOST_ROUNDS, _LARGEST, _MOST_PIXELS = 1e9, 1e30, 1 << 26
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1e; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); gap: 1rem 2rem; }
figure { margin: 0; } figcaption { color: #6e6e74; } img, svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; } td, th { padding: .15rem .9rem .15rem 0; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; } th { border-bottom: 1px solid #d0d0d6; }
"""


def report(run: str | Path, evaluation: str | Path | None = None) -> Path:
    """Write report.html into a run's folder, with the table and sheet of an evaluation's folder
    where one is given; returns its path."""
    run = Path(run)
    settings, metrics = read_run(run)
    sheets = sorted(path for path in (run / "samples").glob("*.png") if path.stem.isdecimal())
    shown = (
        [sheets[round(i * (len(sheets) - 1) / max(1, SHEETS - 1))] for i in range(SHEETS)]
        if len(sheets) > SHEETS
        else sheets
    )
    rounds = f"{len(metrics)} of {settings.get('iterations', '?')} rounds"
    minutes = sum(m.get("seconds", 0) for m in metrics) / 60
    pieces = [f"<h1>{html.escape(run.resolve().name)}</h1><p>{html.escape(rounds)}, {minutes:.1f} minutes.</p>"]
    if metrics:
        note = "Rounds draw the prompts whose samples differ most: what is learnt shows on held-out prompts (rl3d evaluate), less so here."
        pieces += [
            "<h2>Curves</h2>",
            f"<p>{note}</p>",
            f'<div class="charts">{charts(metrics)}</div>',
        ]
        pieces += ["<h2>First and last tenth of the rounds</h2>", _summary(metrics)]
    pieces += _guard(run)
    if evaluation is not None:
        pieces += ["<h2>Held-out prompts</h2>", *_evaluation(Path(evaluation))]
    if shown:
        pieces.append("<h2>The same prompts and seeds as the training went</h2>")
        pieces += [picture(path, f"round {int(path.stem)}") for path in shown]
    rows = [(key, _value(value)) for key, value in settings.items()]
    pieces += ["<h2>Settings</h2>", _table(("setting", "value"), rows)]
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(run.resolve().name)}</title>'
    page += f"<style>{_STYLE}</style><body>{''.join(pieces)}</body></html>\n"
    with atomic_write(run / "report.html") as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return run / "report.html"


def read_run(run: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The settings of a run and the metrics of its rounds so far; FileError if it is none."""
    try:
        settings = parse_yaml((run / "config.yaml").read_text(encoding="utf-8"))
        lines = (run / "metrics.jsonl").read_bytes().splitlines() if (run / "metrics.jsonl").exists() else []
    except OSError as error:
        raise FileError(
            f"cannot report on {run}: {error.strerror} (config.yaml); give the folder of a training run"
        ) from error
    except ValueError as error:
        raise FileError(f"cannot report on {run}: its config.yaml is not YAML") from error
    metrics = []
    for number, line in enumerate(lines, 1):
        try:
            values = {name: float(value) for name, value in parse_json(line).items()}
            if not 0 <= values["iteration"] < _MOST_ROUNDS:
                raise ValueError("iteration")
            metrics.append(values)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            if number == len(lines):
                break  # a run that was killed, or goes on as we read, may end in half a line
            raise FileError(
                f"cannot report on {run}: line {number} of its metrics.jsonl is not one round's numbers"
            ) from error
    if not isinstance(settings, dict):
        raise FileError(f"cannot report on {run}: its config.yaml holds no settings")
    return settings, metrics


def charts(metrics: list[dict[str, float]], width: int = 620) -> str:
    """The curves of a run's rounds, as HTML figures; ``width`` in pixels is what their texts are
    sized for."""
    return "".join(_figure(*group, metrics, width) for group in _groups(metrics))


def _groups(metrics: list[dict[str, float]]) -> list[tuple[str, list[str]]]:
    """Titles and names of the curves that share a chart."""
    names = list(dict.fromkeys(name for m in metrics for name in m))
    shares = [n for n in names if n.endswith("_share")]
    rewards = [n.removesuffix("_share") for n in shares]
    other = {
        *shares,
        *rewards,
        "iteration",
        "seconds",
        "rollout_s",
        "reward_s",
        "update_s",
        "parts",
        "kl",
        "ratio_error",
        "clipped",
    }
    weights = [n for n in names if n.endswith("_weight")]
    rewards += [n for n in names if n not in other and n not in weights and not n.endswith("_failed")]
    groups = [
        ("Rewards, graded", rewards),
        ("Share of good verdicts", shares),
        ("Weights of constraints", weights),
        ("Parts of an asset", ["parts"]),
        ("KL to the reference", ["kl"]),
        ("Seconds a round", ["rollout_s", "reward_s", "update_s"]),
    ]
    found = [(title, [n for n in wanted if n in names]) for title, wanted in groups]
    return [(title, wanted) for title, wanted in found if wanted]


def _figure(title: str, names: Sequence[str], metrics: list[dict[str, float]], width: int) -> str:
    """A chart: every round's value faint, their moving average bold."""
    curves = {
        name: [(m["iteration"], m[name]) for m in metrics if abs(m.get(name, math.nan)) < _LARGEST] for name in names
    }
    smooth = {name: _smoothed(points) for name, points in curves.items()}
    values = sorted(y for points in curves.values() for _, y in points)
    if not values:
        return ""
    # All but the most extreme two in a hundred decide the range; the averages always fit.
    cut = len(values) // 100
    inner = [values[cut], values[-1 - cut], *(y for points in smooth.values() for _, y in points)]
    ticks = _ticks(min(inner), max(inner))
    low, high, last = ticks[0], ticks[-1], max(x for points in curves.values() for x, _ in points)

    def place(points: list[tuple[float, float]]) -> str:
        across, up = (width - _LEFT - _RIGHT) / max(last, 1), (_HEIGHT - _TOP - _BOTTOM) / (high - low)
        return " ".join(
            f"{_LEFT + x * across:.1f},{_HEIGHT - _BOTTOM - (min(max(y, low), high) - low) * up:.1f}" for x, y in points
        )

    parts = []
    for tick in ticks:
        (y,) = {point.split(",")[1] for point in place([(0, tick)]).split()}
        parts.append(f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y}" y2="{y}" stroke="#e4e4ea"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{tick:.4g}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">0</text>')
    parts.append(f'<text x="{width - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{last:g} rounds</text>')
    for points, color in zip(curves.values(), _COLORS, strict=False):
        parts.append(f'<polyline points="{place(points)}" fill="none" stroke="{color}" stroke-opacity=".18"/>')
    for points, color in zip(smooth.values(), _COLORS, strict=False):
        parts.append(f'<polyline points="{place(points)}" fill="none" stroke="{color}" stroke-width="2"/>')
    mark = "display:inline-block;width:.8rem;height:.2rem;margin-right:.35rem;vertical-align:middle;background:"
    legend = "".join(
        f'<span style="margin-right:1rem"><i style="{mark}{c}"></i>{html.escape(n)}</span>'
        for n, c in zip(curves, _COLORS, strict=False)
    )
    svg = f'<svg viewBox="0 0 {width} {_HEIGHT}" font-size="12" fill="#6e6e74" role="img">{"".join(parts)}</svg>'
    return f'<figure style="margin:0 0 12px"><strong>{html.escape(title)}</strong>{svg}<figcaption>{legend}</figcaption></figure>'


def _smoothed(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Exponential moving average, without the bias of its start."""
    out, total, weight = [], 0.0, 0.0
    for x, y in points:
        total, weight = _SMOOTHING * total + (1 - _SMOOTHING) * y, _SMOOTHING * weight + 1 - _SMOOTHING
        out.append((x, total / weight))
    return out


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers about a fifth of the range apart, that hold it."""
    span = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-9)
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next(k for k in (1, 2, 5, 10) if k * step >= span / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [k * step for k in range(first, max(last, first + 1) + 1)]


def _summary(metrics: list[dict[str, float]]) -> str:
    tenth = max(1, len(metrics) // 10)
    names = [n for n in metrics[-1] if n not in ("iteration",)]

    def mean(some: list[dict[str, float]], name: str) -> float:
        values = [m[name] for m in some if name in m]
        return sum(values) / len(values) if values else math.nan

    rows = [(n, f"{mean(metrics[:tenth], n):.4g}", f"{mean(metrics[-tenth:], n):.4g}") for n in names]
    return _table(("figure", "first", "last"), rows)


def _guard(run: Path) -> list[str]:
    """What the guard measured first and last, and its alarms."""
    readings = []
    try:
        for line in (run / "guard.jsonl").read_text(encoding="utf-8").splitlines():
            found = parse_json(line)
            values = {str(k): float(v) for k, v in found.items() if k != "alarms"}
            readings.append((values["iteration"], values, [str(a) for a in found["alarms"]]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        pass  # no guard, or a line that is being written
    if not readings:
        return []
    (begin, first, _), (end, last, _) = readings[0], readings[-1]
    rows = [(n, f"{first[n]:.4g}", f"{last[n]:.4g}") for n in last if n != "iteration" and n in first]
    alarms = [f"round {iteration:g}: {alarm}" for iteration, _, found in readings for alarm in found]
    listed = "".join(f"<li>{html.escape(alarm)}</li>" for alarm in alarms) or "<li>no alarm</li>"
    return [
        "<h2>The guard: prompts, seeds, cameras and rewards that are not trained on</h2>",
        _table(("figure", f"round {begin:g}", f"round {end:g}"), rows),
        f"<ul>{listed}</ul>",
    ]


def _evaluation(folder: Path) -> list[str]:
    try:
        table = parse_json((folder / "table.json").read_text(encoding="utf-8"))["table"]
        rows = []
        for name, (_, _, prompts) in table["before"].items():
            cells = [
                f"{t[name][0]:{'+' if column == 'difference' else ''}.3f} ± {t[name][1]:.3f}"
                for column, t in table.items()
            ]
            rows.append((name, *cells, str(prompts)))
        found = [_table(("figure", *table, "prompts"), rows)]
    except OSError as error:
        raise FileError(
            f"cannot report on {folder}: {error.strerror} (table.json); give the folder that rl3d evaluate wrote"
        ) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise FileError(f"cannot report on {folder}: its table.json is not that of rl3d evaluate") from error
    return found + ([picture(folder / "sheet.png", "before and after")] if (folder / "sheet.png").is_file() else [])


def picture(path: Path, caption: str) -> str:
    """An image file as an HTML figure that holds it."""
    try:
        # From memory: asked for more bytes than there are, a file would try to hold them all.
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError("too large")
            out = io.BytesIO()
            image.convert("RGB").save(out, "WEBP", quality=88)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FileError(f"cannot report with {path}: it is not an image that can be read") from error
    data, text = base64.b64encode(out.getvalue()).decode(), html.escape(caption)
    image = f'<img src="data:image/webp;base64,{data}" alt="{text}" style="max-width:100%">'
    return f'<figure style="margin:0">{image}<figcaption>{text}</figcaption></figure>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line('th', head)}{''.join(line('td', row) for row in rows)}</table>"


def _value(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
