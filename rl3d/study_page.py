"""The page of a study: curves, tables, and how everything was measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rl3d.charts import Band, Points, picture

DOMAINS = {"in_domain": "in-domain", "out_of_domain": "out-of-domain"}
FORGETTING = "judge"
"""No objective trains on the judge, so that its loss shows what was forgotten."""
UNEQUAL = 0.1
"""The page names runs whose training time differs from the study's by more than this fraction."""
_PARTS = "number of parts"
Results = dict[str, Any]


def curves(generator: Results, figure: str) -> str:
    """An SVG picture of the main figure and the judge over training time, a line an objective."""
    panels: dict[str, dict[str, Points]] = {}
    bands: dict[str, dict[str, Band]] = {}
    for name in dict.fromkeys([figure, FORGETTING]):
        for key, domain in DOMAINS.items():
            title = f"{_words(name)}, {domain}"
            panels[title], bands[title] = {}, {}
            if name not in generator["start"][key]:  # no prompt of the domain has it
                continue
            for label, run in generator["objectives"].items():
                begun = {**generator["start"][key][name], "seeds_error": 0.0}
                points = [(0.0, begun)] + [(float(f"{c['minutes']:.3g}"), c[key][name]) for c in run["curve"]]
                panels[title][label] = [(x, e["mean"]) for x, e in points]
                if len(run["seeds"]) > 1:
                    ends = [(x, e["mean"], e["seeds_error"]) for x, e in points]
                    bands[title][label] = [(x, mean - error, mean + error) for x, mean, error in ends]
    return picture({t: c for t, c in panels.items() if c}, "minutes of training", bands=bands)


def page(results: Results) -> str:
    """The page as Markdown."""
    figure, share = _words(results["figure"]), f"{100 * results['share']:g} %"
    several = (
        min((len(r["seeds"]) for g in results["generators"].values() for r in g["objectives"].values()), default=0) > 1
    )
    lines = [
        "# Objectives at equal training time",
        "",
        "Every run of a generator starts from the same weights. "
        f"It was planned for {results['minutes']:g} min of training. The main figure is {figure}: higher is better.",
    ]
    for label, generator in results["generators"].items():
        lines += ["", f"## {label}", ""]
        if generator["objectives"]:
            lines += [f"![Curves of {label}: {figure} and judge over minutes of training]({label}.svg)", ""]
            band = ", with the standard error over seeds" if several else ""
            lines += [f"Each line is the mean over seeds{band}. All begin with the weights of the start.", ""]
        lines += [*_table(generator, results["figure"], share), ""]
        if generator["target"] is None and generator["objectives"]:
            lines += ["No objective has gained more than twice the error: there is no share of a gain to reach.", ""]
        elif generator["objectives"]:
            lines += [f"{share} of the largest gain is a {figure} of {generator['target']:.3f}, in-domain.", ""]
        lines += [*_notes(generator, results)]
    return "\n".join([*lines, *_measured(results, share, several)]) + "\n"


def _table(generator: Results, figure: str, share: str) -> list[str]:
    """A row for the start and one for each objective, after the last mark."""
    words = _words(figure)
    head = ["objective", "seeds", "iterations", "seconds an iteration", "minutes"]
    head += [f"{words}, {domain}" for domain in DOMAINS.values()]
    head += ["gain", "judge", "diversity (m)", "parts", "forgetting", f"minutes to {share} of the gain", "alarms"]
    rows = [["start", *["–"] * 4, *_figures(generator["start"], figure, None), *["–"] * 3]]
    for label, run in generator["objectives"].items():
        minutes = sum(run["minutes"]) / len(run["minutes"])
        begin = [label, str(len(run["seeds"])), str(run["iterations"]), f"{run['seconds']:.2f}", f"{minutes:.3g}"]
        reached, none = run["minutes_to_share"], "–" if generator["target"] is None else "not reached"
        end = [_cell(run["forgetting"], sign="+"), none if reached is None else f"{reached:.3g}"]
        end.append(f"{run['alarmed']} of {run['readings']} readings" if run["readings"] else "–")
        rows.append([*begin, *_figures(run["curve"][-1], figure, run["gain"]), *end])
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _figures(found: Results, figure: str, gain: Results | None) -> list[str]:
    inside = found["in_domain"]
    cells = [*(_cell(found[key].get(figure)) for key in DOMAINS), _cell(gain, sign="+")]
    return cells + [_cell(inside.get(name)) for name in ("judge", "diversity")] + [_cell(inside.get(_PARTS), digits=1)]


def _cell(estimate: Results | None, digits: int = 3, sign: str = "") -> str:
    if estimate is None:
        return "–"
    return f"{estimate['mean']:{sign}.{digits}f} ± {estimate['error']:.{digits}f}"


def _notes(generator: Results, results: Results) -> Iterator[str]:
    """What a reader must know of single objectives: settings, unequal times, alarms."""
    if generator["left_out"]:
        yield f"Not for this generator, which lacks what they need: {', '.join(generator['left_out'])}.\n"
    wanted = results["minutes"]
    for label, run in generator["objectives"].items():
        missing = [seed for seed in results["seeds"] if seed not in run["seeds"]]
        if missing:
            yield f"{label}: not done yet: seeds {', '.join(map(str, missing))}.\n"
        for seed, minutes in zip(run["seeds"], run["minutes"], strict=True):
            if abs(minutes / wanted - 1) > UNEQUAL:
                yield f"{label}, seed {seed}: trained for {minutes:.3g} min, not {wanted:g}: the speed changed.\n"
    if generator["objectives"]:
        yield "Settings:\n"
    for label, run in generator["objectives"].items():
        found = {key: value for key, value in run["settings"].items() if value is not None}
        shown = [f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in found.items()]
        yield f"- {label}: objective {run['objective']}, {', '.join(shown)}"
    if any(run["alarms"] for run in generator["objectives"].values()):
        yield "\nAlarms of the guard:\n"
    for label, run in generator["objectives"].items():
        for alarm in run["alarms"]:
            yield f"- {label}, seed {alarm['seed']}, iteration {alarm['iteration']}: {alarm['alarm']}"


def _measured(results: Results, share: str, several: bool) -> list[str]:
    evaluation = results["evaluation"]
    errors = "over seeds and prompts" if several else "over prompts, because there is one seed"
    lines = ["", "## How it was measured", "", "```sh", results["command"], "```", ""]
    lines += [f"Begun {results['began']}, page written {results['written']}.", ""]
    lines += [f"- Machine: {machine}." for machine in results["machines"]]
    if len(results["machines"]) > 1:
        lines.append("- The machine changed: training times before and after do not compare.")
    for key, domain in DOMAINS.items():
        lines.append(f"- {domain.capitalize()}: {results['prompts'][key]}, {evaluation[key]['samples']} samples each.")
    lines += [
        f"- Samples have the same seeds for all weights (seed {evaluation['seed']}).",
        f"- Errors are standard errors {errors}. All rows share the prompts, so compare their gains.",
        "- Gain: of the main figure since the start, in-domain, paired by prompt.",
        "- Minutes are training time: evaluations, checkpoints and the guard do not count. A pilot "
        "measured the seconds of an iteration, and so how many iterations a run has.",
        "- Measured are the averaged weights, in the table those after the last iteration.",
        "- Judge: probability that an asset fits its prompt, by a scorer that no reward uses; in-domain.",
        "- Diversity: chamfer distance in metres between samples of a prompt; in-domain. Parts: their "
        "mean number; in-domain.",
        "- Forgetting: how much the judge's probability fell out-of-domain since the start, paired "
        "by prompt. Below 0 it rose.",
        f"- Minutes to {share} of the gain: from when the mean curve stayed above that share of the largest gain "
        "that an objective had at its end, on straight lines between marks.",
        "- Alarms: readings of the guard that raised one.",
        "",
        "All figures: [study.json](study.json). The study file:",
        "",
        "```yaml",
        results["settings"].strip(),
        "```",
    ]
    return lines


def _words(figure: str) -> str:
    return figure.replace("_", " ")
