"""``rl3d report``: one page with everything of a run, which fetches nothing. Also for runs that are
still going on, and with names that are not HTML."""

import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from PIL import Image

from rl3d.report import report
from scenes.files import FileError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "a <run> & more"
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"iterations": 40, "rewards": "<b>shiny</b>=1", "sampling": {"steps": 8}})
    )
    iterations = [
        {
            "iteration": i,
            "shiny": i / 40,
            "shiny_success_rate": 0.5,
            "parts": 7.5,
            "kl": 0.01,
            "seconds": 3.0,
            "rollout_s": 1.0,
            "update_s": 2.0,
        }
        for i in range(1, 31)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in iterations))
    for i in range(0, 60, 10):
        Image.new("RGB", (40, 20), (4 * i, 0, 0)).save(folder / "samples" / f"{i:06d}.png")
    return folder


class Page(HTMLParser):
    """The tags, which must be closed in order, the fetched addresses, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "data")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_report_is_one_complete_page(run):
    text = report(run).read_text()
    page = Page(text)
    assert (
        page.open == []
        and all(source.startswith("data:image/webp") for source in page.sources)
        and len(page.sources) == 4
    )
    assert "http" not in text.replace("http-equiv", "") and "url(" not in text and "<script" not in text
    for expected in (
        "a <run> & more",
        "30 of 40 iterations, 1.5 minutes",
        "<b>shiny</b>=1",
        "iteration 0",
        "iteration 50",
        "steps 8",
    ):
        assert expected in page.text
    assert re.search(r"shiny0\.05\d*0\.7\d*", page.text), "first and last tenth"
    points = [line.split() for line in re.findall(r'points="([^"]+)"', text)]
    assert {len(p) for p in points} == {30}
    heights = [float(p.split(",")[1]) for p in points[0]]
    assert heights == sorted(heights, reverse=True) and heights[0] > heights[-1], "the reward rises"


def test_every_metric_of_the_policy_has_a_chart_of_its_own(run):
    names = ("loss", "approx_kl", "kl", "clip_fraction", "ratio_deviation", "grad_norm", "entropy")
    metrics = [{"iteration": i, "shiny": 0.5, **dict.fromkeys(names, i / 10)} for i in range(1, 5)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    figures = re.findall(r"<strong>([^<]+)</strong>.*?<figcaption>(.*?)</figcaption>", report(run).read_text())
    legends = {title: re.findall(r"</i>([^<]+)</span>", legend) for title, legend in figures}
    assert legends == {
        "Rewards": ["shiny"],
        "KL to the reference policy": ["kl"],
        "Approximate KL to the sampling policy": ["approx_kl"],
        "Clip fraction": ["clip_fraction"],
        "Deviation of the importance ratio from 1": ["ratio_deviation"],
        "Gradient norm": ["grad_norm"],
        "Entropy": ["entropy"],
        "Loss": ["loss"],
    }


def test_a_run_that_goes_on_may_end_in_half_a_line(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 31, "shi')
    assert "30 of 40 iterations" in report(run).read_text()


def test_the_report_includes_an_evaluation(run, tmp_path):
    table = {
        "before": {"shiny": [0.5, 0.01, 64]},
        "after": {"shiny": [0.6, 0.01, 64]},
        "difference": {"shiny": [0.1, 0.02, 64]},
    }
    (tmp_path / "table.json").write_text(json.dumps({"table": table}))
    assert "+0.100 ± 0.020" in report(run, tmp_path).read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", None, "give the folder of a training run"),
        ("config.yaml", "a: [", "config.yaml: it is not YAML"),
        ("config.yaml", "!!python/object/apply:os.getcwd []", "config.yaml: it is not YAML"),
        ("config.yaml", "a: &a [x, x]\nb: [*a, *a]", "config.yaml: it is not YAML"),
        ("config.yaml", "a: " + 5000 * "[", "config.yaml: it is not YAML"),
        ("config.yaml", "a: 2020-13-45", "config.yaml: it is not YAML"),
        ("metrics.jsonl", '{"iteration": 1}\n{"kl": 1}\n{"iteration": 3}\n', "metrics.jsonl: line 2 does not hold"),
        (
            "metrics.jsonl",
            '{"iteration": 1}\n{"iteration": 1e300}\n{"iteration": 3}\n',
            "metrics.jsonl: line 2 does not hold",
        ),
        (
            "metrics.jsonl",
            '{"iteration": 1}\n{"kl": 1' + 400 * "0" + '}\n{"iteration": 3}\n',
            "metrics.jsonl: line 2 does not hold",
        ),
        (
            "metrics.jsonl",
            '{"iteration": 1}\n' + 50_000 * "[" + '\n{"iteration": 3}\n',
            "metrics.jsonl: line 2 does not hold",
        ),
        ("metrics.jsonl", '{"iteration": 1}\n[]\n{"iteration": 3}\n', "metrics.jsonl: line 2 does not hold"),
        ("samples/000000.png", "no image", "not a readable image"),
    ],
)
def test_damage_is_reported_in_one_line(run, name, content, message):
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_text(content)
    if name == "samples/000000.png":
        (run / "samples" / "readme.png").write_text("not a sheet of ours, whose names are numbers")
    with pytest.raises(FileError, match=message) as error:
        report(run)
    assert "\n" not in str(error.value) and not (run / "report.html").exists()


def test_pictures_that_are_damaged_or_too_large_are_refused(run):
    whole = (run / "samples" / "000000.png").read_bytes()
    at = whole.index(b"IDAT")
    huge = whole[:16] + (60_000).to_bytes(4, "big") * 2 + whole[24:]
    for data in (
        whole[:at] + b"??AT" + whole[at + 4 :],
        huge[:29] + zlib.crc32(huge[12:29]).to_bytes(4, "big") + huge[33:],
    ):
        (run / "samples" / "000000.png").write_bytes(data)
        with pytest.raises(FileError, match="is not a readable image"):
            report(run)


def test_extreme_numbers_and_names_are_left_out_of_the_page(run):
    """Values that are too large to draw are left out of the curves. Half a character is
    replaced."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 31, "shiny": 1e308, "kl": -1e308, "\\ud800": 1}\n')
    assert "31 of 40 iterations" in report(run).read_text()


def test_a_damaged_guard_file_is_left_out(run):
    for line in (
        '{"alarms": []}',
        '{"iteration": 1' + 400 * "0" + ', "alarms": []}',
        "[" * 50_000,
        '{"iteration": 1, "alarms": 3}',
    ):
        (run / "guard.jsonl").write_text(line + "\n")
        assert "The guard" not in report(run).read_text()
    (run / "guard.jsonl").write_text('{"iteration": 1, "shiny": 0.5, "alarms": ["<less>"]}\n')
    assert "iteration 1: &lt;less&gt;" in report(run).read_text()
