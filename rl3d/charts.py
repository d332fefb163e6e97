"""Curves as SVG, which fetches nothing: a run's metrics as HTML figures, or a picture of several
charts."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

_HEIGHT = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 26
_COLORS = ("#2a6fdb", "#d2622a", "#2f9e63", "#9a4fc4", "#b8902a", "#5a6270")
_SMOOTHING = 0.95
_LARGEST = 1e30
"""Larger values are not drawn."""
Points = list[tuple[float, float]]
Band = list[tuple[float, float, float]]
"""Each x with the lowest and the highest value."""


def charts(metrics: list[dict[str, float]], width: int = 620) -> str:
    """The curves of a run as HTML figures. ``metrics`` has one entry an iteration; text is sized
    for a chart of ``width`` pixels."""
    return "".join(_figure(*group, metrics, width) for group in _groups(metrics))


def picture(
    panels: dict[str, dict[str, Points]],
    unit: str,
    columns: int = 2,
    width: int = 420,
    bands: dict[str, dict[str, Band]] | None = None,
) -> str:
    """An SVG file: a chart for each title, with the same curves in all. ``unit`` is that of the
    x axis. A curve may have a band, under the same title and name."""
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    across, step = columns * width, 50 + 8 * max(map(len, names), default=0)
    row = max((across - _LEFT) // step, 1)
    height, top = _HEIGHT + 24, 8 + 18 * -(-len(names) // row)
    parts = []
    for i, name in enumerate(names):
        x, y = _LEFT + i % row * step, 18 + i // row * 18
        parts.append(f'<line x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}" {_stroke(i)} stroke-width="2"/>')
        parts.append(f'<text x="{x + 30}" y="{y}" fill="{_COLORS[i % len(_COLORS)]}">{html.escape(name)}</text>')
    for i, (title, curves) in enumerate(panels.items()):
        heading = f'<text x="{_LEFT}" y="18" font-weight="bold">{html.escape(title)}</text>'
        chart = _chart(curves, {}, unit, width, (bands or {}).get(title, {}))
        x, y = i % columns * width, top + i // columns * height
        parts.append(f'<g transform="translate({x} {y})">{heading}<g transform="translate(0 20)">{chart}</g></g>')
    down = top + -(-len(panels) // columns) * height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" font-family="sans-serif" '
        f'font-size="12" fill="#6e6e74"><rect width="{across}" height="{down}" fill="white"/>{"".join(parts)}</svg>\n'
    )


_POLICY = ("loss", "approx_kl", "clip_fraction", "ratio_deviation", "grad_norm", "entropy", "redrawn")
_TIMES = ("rollout_s", "reward_s", "update_s")
_SUCCESS = "_success_rate"


def _groups(metrics: list[dict[str, float]]) -> list[tuple[str, list[str]]]:
    """Titles of the charts, each with the names of its curves."""
    names = list(dict.fromkeys(name for m in metrics for name in m))
    success = [n for n in names if n.endswith(_SUCCESS)]
    weights = [n for n in names if n.endswith("_weight")]
    rewards = [n.removesuffix(_SUCCESS) for n in success]
    other = {*success, *rewards, *weights, *_POLICY, *_TIMES, "iteration", "seconds", "parts", "kl"}
    rewards += [n for n in names if n not in other and not n.endswith("_failed")]
    groups = [
        ("Rewards", rewards),
        ("Success rates", success),
        ("Weights that change", weights),
        ("Parts of an asset", ["parts"]),
        ("KL to the reference policy", ["kl"]),
        ("Approximate KL to the sampling policy", ["approx_kl"]),
        ("Clip fraction", ["clip_fraction"]),
        ("Deviation of the importance ratio from 1", ["ratio_deviation"]),
        ("Gradient norm", ["grad_norm"]),
        ("Entropy", ["entropy"]),
        ("Groups redrawn", ["redrawn"]),
        ("Loss", ["loss"]),
        ("Seconds an iteration", list(_TIMES)),
    ]
    found = [(title, [n for n in wanted if n in names]) for title, wanted in groups]
    return [(title, wanted) for title, wanted in found if wanted]


def _figure(title: str, names: Sequence[str], metrics: list[dict[str, float]], width: int) -> str:
    """A chart: a faint line through every value, and a bold line for their moving average."""
    curves = {
        name: [(m["iteration"], m[name]) for m in metrics if abs(m.get(name, math.nan)) < _LARGEST] for name in names
    }
    smooth = {name: _smoothed(points) for name, points in curves.items()}
    inside = _chart(smooth, curves, "iterations", width)
    if not inside:
        return ""
    mark = "display:inline-block;width:.8rem;margin-right:.35rem;vertical-align:middle;border-top:.2rem "
    legend = "".join(
        f'<span style="margin-right:1rem"><i style="{mark}{"dashed" if i >= len(_COLORS) else "solid"} '
        f'{_COLORS[i % len(_COLORS)]}"></i>{html.escape(n)}</span>'
        for i, n in enumerate(curves)
    )
    svg = f'<svg viewBox="0 0 {width} {_HEIGHT}" font-size="12" fill="#6e6e74" role="img">{inside}</svg>'
    heading = f"<strong>{html.escape(title)}</strong>"
    return f'<figure style="margin:0 0 12px">{heading}{svg}<figcaption>{legend}</figcaption></figure>'


def _stroke(number: int) -> str:
    """Colour of a curve, and dashes where the colours begin again."""
    dashes = f' stroke-dasharray="{max(6 // (number // len(_COLORS)), 1)} 3"' if number >= len(_COLORS) else ""
    return f'stroke="{_COLORS[number % len(_COLORS)]}"{dashes}'


def _chart(
    curves: dict[str, Points], faint: dict[str, Points], unit: str, width: int, bands: dict[str, Band] | None = None
) -> str:
    """Axes, faint lines, bands and bold lines as SVG elements; none if all values are 0."""
    bands = bands or {}
    points = [*faint.values()] or [*curves.values()]
    values = sorted(y for curve in points for _, y in curve)
    if not any(values):
        return ""
    # The most extreme 2 % of the values do not decide the range. The bold lines always fit.
    cut = len(values) // 100
    inner = [values[cut], values[-1 - cut], *(y for curve in curves.values() for _, y in curve)]
    inner += [y for band in bands.values() for _, *ends in band for y in ends]
    ticks = _ticks(min(inner), max(inner))
    low, high, last = ticks[0], ticks[-1], max(x for curve in points for x, _ in curve)

    def place(points: Points) -> str:
        across, up = (width - _LEFT - _RIGHT) / (last or 1), (_HEIGHT - _TOP - _BOTTOM) / (high - low)
        return " ".join(
            f"{_LEFT + x * across:.1f},{_HEIGHT - _BOTTOM - (min(max(y, low), high) - low) * up:.1f}" for x, y in points
        )

    parts = []
    for tick in ticks:
        (y,) = {point.split(",")[1] for point in place([(0, tick)]).split()}
        parts.append(f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y}" y2="{y}" stroke="#e4e4ea"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{tick:.4g}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">0</text>')
    parts.append(f'<text x="{width - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{last:g} {unit}</text>')
    for i, name in enumerate(curves):
        if band := bands.get(name):
            outline = [(x, y) for x, y, _ in band] + [(x, y) for x, _, y in reversed(band)]
            color = _COLORS[i % len(_COLORS)]
            parts.append(f'<polygon points="{place(outline)}" fill="{color}" fill-opacity=".12"/>')
    for lines, style in ((faint, 'stroke-opacity=".18"'), (curves, 'stroke-width="2"')):
        for i, curve in enumerate(lines.values()):
            parts.append(f'<polyline points="{place(curve)}" fill="none" {_stroke(i)} {style}/>')
    return "".join(parts)


def _smoothed(points: Points) -> Points:
    """Exponential moving average with bias correction."""
    out, total, weight = [], 0.0, 0.0
    for x, y in points:
        total, weight = _SMOOTHING * total + (1 - _SMOOTHING) * y, _SMOOTHING * weight + 1 - _SMOOTHING
        out.append((x, total / weight))
    return out


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about a fifth of the range apart, that enclose the range."""
    span = max(high - low, 5e-3 * max(abs(low), abs(high)), 1e-9)  # four digits tell the ticks apart
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next(k for k in (1, 2, 5, 10) if k * step >= span / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [k * step for k in range(first, max(last, first + 1) + 1)]
