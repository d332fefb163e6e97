"""The viewer from the outside: what a browser gets and shows, and the errors for wrong paths."""

import contextlib
import io
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
import yaml
from PIL import Image
from viser.transforms import SO3

from rl3d.assets import GeneratedAsset
from rl3d.generators.load import BUILT_IN, PRETRAINED, TUNED
from rl3d.viewer.first_sight import markup, shown_first
from rl3d.viewer.library import find_entries
from rl3d.viewer.page import CARDS, _formats
from rl3d.viewer.server import serve
from rl3d.viewer.stage import Stage, covariances, draw, visible
from rl3d.viewer.studio import Origin, Studio
from rl3d.viewer.subjects import DRAFT_GAUSSIANS, Subject, card
from scenes.cameras import orbit
from scenes.files import FileError
from scenes.files.glb import write_glb
from scenes.files.ply import write_ply
from scenes.files.splat import write_splat
from scenes.files.tensors import write_tensors
from scenes.parts import Parts
from tests.rl3d.toys import SplatBalls, SplatOptions, TokenToy
from tests.rl3d.viewer.browser import CHROMIUM, Page, open_page

PROMPT = "a red box under a green ball"


def asset() -> Parts:
    vectors = torch.zeros(2, 19)
    vectors[:, 0] = vectors[:, 10] = vectors[:, 14] = 1
    vectors[0, 1:3], vectors[1, 1:3] = 0.1, 1.0
    vectors[0, 6], vectors[1, 6] = 0.3, 0.8
    vectors[0, 7:10], vectors[1, 7:10] = float(np.log(0.3)), float(np.log(0.2))
    vectors[0, 16], vectors[1, 17] = 0.9, 0.6
    return Parts.from_vectors(vectors)


@pytest.fixture
def folder(tmp_path):
    """An asset's folder, a .splat and a .glb."""
    parts = asset()
    (tmp_path / "box").mkdir()
    write_ply(tmp_path / "box/scene.ply", parts.gaussians(2048))
    write_glb(tmp_path / "box/mesh.glb", parts)
    (tmp_path / "box/card.json").write_text(json.dumps({"prompt": PROMPT}))
    ball = Parts.from_vectors(parts.vectors()[1:])
    write_splat(tmp_path / "other.splat", ball.gaussians(512))
    write_glb(tmp_path / "third.glb", parts)
    (tmp_path / "notes.txt").write_text("not shown")
    return tmp_path


def test_entries_are_found_at_a_path(folder):
    assert [entry.name for entry in find_entries(folder)] == ["box", "other.splat", "third.glb"]
    (entry,) = find_entries(folder / "box")
    assert (entry.splats, entry.mesh, entry.prompt()) == (folder / "box/scene.ply", folder / "box/mesh.glb", PROMPT)
    assert find_entries(folder / "third.glb")[0].prompt() == ""
    (folder / "box/card.json").write_text('{"rewards": {"a": {"value": 1%s}, "b": {"value": 0.5}}}' % ("0" * 400))
    assert entry.rewards() == {"b": 0.5}, "what is no float is left out"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "there is no such file or folder"),
        ("notes.txt", "the viewer shows .ply, .splat, .*and .glb files"),
        ("empty", "it holds no scene.ply or mesh.glb"),
        ("damaged", "it is not JSON"),
        ("broken.glb", "it is not a valid .glb file"),
        ("broken.ply", "it is not a .ply file"),
    ],
)
def test_wrong_paths_say_so_and_serve_nothing(folder, name, message):
    (folder / "empty").mkdir()
    (folder / "damaged").mkdir()
    write_ply(folder / "damaged/scene.ply", asset().gaussians(8))
    (folder / "damaged/card.json").write_text("{")
    (folder / "broken.glb").write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 4000, 8, b"JSON") + b"{")
    (folder / "broken.ply").write_bytes(b"solid")
    with pytest.raises(FileError, match=message) as error:
        serve(folder / name, block=False)
    assert str(folder / name) in str(error.value) and "\n" not in str(error.value)


def test_the_prompt_box_has_the_generators_that_belong_to_the_page(tmp_path):
    assert Studio().generators == {name: Origin(built.tuned) for name, built in BUILT_IN.items()}
    (tmp_path / "metrics.jsonl").touch()
    for settings, start in (
        ({}, Origin(PRETRAINED)),
        ({"checkpoint": str(TUNED)}, Origin(TUNED)),
        ({"checkpoint": str(tmp_path / "gone.safetensors"), "generator": "part-flow"}, None),
        ({"checkpoint": None, "generator": "mine:Own"}, Origin(None, "mine:Own")),
        ({"checkpoint": 5, "generator": "part-flow"}, None),
        ({"checkpoint": None, "generator": [5]}, None),
    ):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
        wanted = {"this run": Origin(tmp_path)} | ({"its start": start} if start else {})
        assert Studio(tmp_path).generators == wanted
    with pytest.raises(ValueError, match="unknown generator 'part-flw', did you mean 'part-flow'"):
        Studio(generator="part-flw")


def make(studio: Studio, name: str) -> list[GeneratedAsset]:
    return studio.make("a tower", 1, 3, name, lambda done: None, lambda asset: None)


def test_a_run_chooses_no_code(tmp_path, monkeypatch):
    """A folder may name any importable code, in its settings and in its weights."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "foreign.py").write_text("from tests.rl3d.toys import TokenToy\n\n\nclass Own(TokenToy):\n    pass\n")
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").touch()
    (run / "config.yaml").write_text(yaml.safe_dump({"checkpoint": None, "generator": "foreign:Own"}))
    network = TokenToy().network.state_dict()
    header = {"kind": "generator", "generator": "foreign:Own", "config": {"spread": 0.3}}
    write_tensors(run / "generator.safetensors", network, header)
    for name in ("this run", "its start"):
        for generator in (None, "part-flow"):
            studio = Studio(run, generator)
            assert (name in studio.generators) == (generator is None)
        with pytest.raises(FileError, match="code of a user, foreign:Own; add --generator foreign:Own") as error:
            make(Studio(run), name)
        assert "\n" not in str(error.value)
    assert "foreign" not in sys.modules
    trusting = Studio(run, "foreign:Own")
    assert list(trusting.generators) == ["this run", "its start"]
    for name in trusting.generators:
        (made,) = make(trusting, name)
        assert made.generator == "foreign:Own"
    # The weights of a run may change while it is viewed.
    write_tensors(run / "generator.safetensors", network, {**header, "generator": "foreign:Other"})
    os.utime(run / "generator.safetensors", ns=(1, 1))
    with pytest.raises(FileError, match="add --generator foreign:Other"):
        make(trusting, "this run")


def test_an_address_of_another_machine_is_refused(folder):
    with pytest.raises(FileError, match=r"cannot serve on 203\.0\.113\.7"):
        serve(folder, host="203.0.113.7", block=False)


def test_covariances_are_those_of_the_renderer():
    from renderers.splat_torch import covariances as reference

    quats = torch.nn.functional.normalize(torch.randn(50, 4), dim=-1)
    scales = torch.rand(50, 3)
    torch.testing.assert_close(covariances(quats, scales), reference(quats, scales))


def test_splats_are_as_large_as_viser_wants_them():
    scene = asset().gaussians(3000)
    scene = replace(scene, scales=0.01 * scene.scales, opacities=torch.linspace(0.06, 1, scene.count))
    pixel = 0.003
    turned = visible(scene, pixel).sort(-1, descending=True).values[:, :2] / pixel
    turned[:, 0] /= 2  # a flat one seen from 60 degrees aside
    covariance = turned.square() + 0.3
    assert (scene.opacities * covariance.prod(-1)).min() >= 0.25 - 1e-5
    large = replace(scene, scales=100 * scene.scales)
    assert torch.equal(visible(large, pixel)[-100:], large.scales[-100:]), "what is large enough stays"


def test_a_browser_can_fetch_the_page_from_loopback(folder):
    viewer = serve(folder, port=0, block=False)
    try:
        assert viewer.url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(viewer.url, timeout=10) as reply:
            assert reply.status == 200 and b"<html" in reply.read().lower()
    finally:
        viewer.stop()
    with pytest.raises(OSError):
        urllib.request.urlopen(viewer.url, timeout=2)


def test_empty_scenes_have_no_first_picture(folder, monkeypatch):
    splats = Parts.gaussians(asset(), 256)
    bounds = np.array([[-0.3, -0.3, 0], [0.3, 0.3, 1]])
    shown = markup(splats, bounds)
    assert "data:image/webp" in shown
    assert markup(splats.select(torch.zeros(0, dtype=torch.long)), bounds) == ""
    assert markup(replace(splats, means=splats.means + 1e20), bounds) == ""
    # viser draws no harmonics, and neither does the picture.
    assert markup(replace(splats, sh_rest=torch.ones(splats.count, 3, 3)), bounds) == shown
    with shown_first(shown) as served:
        assert served is not None and shown in (Path(served.name) / "index.html").read_text(encoding="utf-8")
    for change in ({"page": "<div>"}, {"file": "app.js"}):  # for another build of viser, its own page is served
        build = folder / "viser" / "client/build"
        build.mkdir(parents=True, exist_ok=True)
        (build / "index.html").write_text(change.get("page", "<body>"))
        (build / change.get("file", "index.html")).touch()
        monkeypatch.setattr("viser.__file__", str(folder / "viser/__init__.py"))
        with shown_first(shown) as served:
            assert served is None


def test_an_end_by_a_service_manager_leaves_nothing(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("tmp")
    command = [sys.executable, "-m", "rl3d", "view", str(folder / "box"), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(place)}
    ) as process:
        assert process.stdout is not None
        while "Ctrl-C ends" not in process.stdout.readline():
            assert process.poll() is None
        assert list(place.glob("rl3d-*"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not list(place.glob("rl3d-*"))


def test_captures_are_turned_upright(folder):
    (entry,) = find_entries(folder / "other.splat", "y-down")
    low, high = Subject.read(entry).bounds
    assert low[1] > 0.4 and abs(high[2]) < 0.4, "the ball 0.8 m above the ground lies 0.8 m before it"
    assert [e.axes for e in find_entries(folder, "y-up")] == ["z-up", "y-up", "z-up"]
    for path in ("box", "third.glb"):
        with pytest.raises(FileError, match="axes is for files of splats"):
            find_entries(folder / path, "y-up")


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


FIRST_SIGHT = "!!document.getElementById('first-sight')"


class Colours:
    """The red and green pixels of a page. The panel and viser's notices have neither colour."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def count(self) -> tuple[int, int]:
        r, g, b = self.page.picture()[:, :620].astype(int).transpose(2, 0, 1)
        return int(((r > 80) & (r > 3 * g) & (r > 3 * b)).sum()), int(((g > 60) & (g > 2 * r) & (g > 2 * b)).sum())

    def wait(self, red: bool, green: bool) -> None:
        """Wait until the red and green parts of the asset are visible, or are not."""

        def right() -> bool:
            if self.page.evaluate(FIRST_SIGHT):
                return False
            seen = self.count()
            return (seen[0] > 3000 if red else seen[0] == 0) and (seen[1] > 300 if green else seen[1] == 0)

        assert self.page.wait(right, 60), f"{self.count()} red and green pixels, wanted {red} and {green}"


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Fraction of the pixels of the scene that changed visibly."""
    return float((np.abs(a.astype(int) - b)[:, :620] > 40).any(-1).mean())


@needs_browser
def test_a_picture_stands_where_the_splats_will(folder, tmp_path_factory):
    viewer = serve(folder / "box", port=0, block=False)
    try:
        with open_page("about:blank", tmp_path_factory.mktemp("profile")) as page:
            # viser connects in a worker. Without one the page stays as it is before it connects.
            page.call(
                "Page.addScriptToEvaluateOnNewDocument",
                source="window.Worker = class { postMessage() {} terminate() {} }",
            )
            page.open(viewer.url)
            assert page.wait(lambda: Colours(page).count()[0] > 3000, 20)
            sight = page.picture()
            assert page.evaluate(FIRST_SIGHT)
            page.drag((300, 300), (320, 300))
            assert not page.evaluate(FIRST_SIGHT), "a hand does not take it away"
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            Colours(page).wait(red=True, green=True)
            assert difference(page.picture(), sight) < 0.005
    finally:
        viewer.stop()


@needs_browser
def test_a_browser_looks_at_assets_in_every_way(folder, tmp_path_factory, capfd):
    viewer = serve(folder, port=0, block=False)
    profile = tmp_path_factory.mktemp("profile")
    try:
        with open_page(viewer.url, profile) as page:
            colours = Colours(page)
            colours.wait(red=True, green=True)
            assert page.wait(lambda: page.reads(PROMPT))
            splats = page.picture()
            for way in ("mesh", "wireframe", "parts", "normals", "depth", "per part: connected"):
                before = page.picture()
                assert page.choose("show", way)
                assert page.wait(lambda before=before: difference(page.picture(), before) > 0.01, 20), (
                    f"nothing changes for {way!r}"
                )
            assert page.choose("show", "splats")
            assert page.wait(lambda: difference(page.picture(), splats) < 0.005, 20), "the splats do not come back"
            page.drag((300, 300), (420, 300))
            assert page.wait(lambda: difference(page.picture(), splats) > 0.01, 20), "the camera does not turn"

            assert page.click("drop")
            assert page.wait(lambda: page.reads("it stood: tilted by")), "the simulation does not end"
            assert page.click("put back")
            assert page.wait(lambda: not page.reads("put back"))

            assert page.click("download", "button")
            files = profile / "downloads"
            assert page.wait(lambda: files.is_dir() and [f for f in files.iterdir() if f.suffix == ".glb"]), (
                "no file arrives"
            )
            assert page.wait(lambda: (files / "box.glb").read_bytes() == (folder / "box/mesh.glb").read_bytes(), 10)

            assert page.click("drop")
            assert page.choose("asset", "other.splat")  # while the other still falls
            colours.wait(red=False, green=True)
            assert page.wait(lambda: not page.reads("put back"), 5) and not page.reads("tilted by")
            assert page.choose("beside it", "box")
            colours.wait(red=True, green=True)
            fetched = page.evaluate("performance.getEntriesByType('resource').map(e => e.name).join(' ')")
            assert "://" not in fetched.replace(viewer.url, ""), f"the page reaches out: {fetched}"
    finally:
        viewer.stop()
    assert "Traceback" not in "".join(capfd.readouterr())


@needs_browser
def test_two_browsers_generate_and_one_leaves_in_the_middle(folder, tmp_path_factory, capfd, monkeypatch):
    make = Studio.make

    def slowly(*arguments):
        time.sleep(3)  # otherwise it may finish between two checks of the page
        return make(*arguments)

    monkeypatch.setattr(Studio, "make", slowly)
    viewer = serve(folder, port=0, block=False)
    profile = tmp_path_factory.mktemp("first")
    try:
        with open_page(viewer.url, profile) as first:
            Colours(first).wait(red=True, green=True)
            with open_page(viewer.url, tmp_path_factory.mktemp("second")) as second:
                assert second.turn_to("make")
                second.type("a blue lighthouse")
                assert second.wait(lambda: second.click("generate"))
                assert second.wait(lambda: second.evaluate("document.querySelectorAll('[role=progressbar]').length")), (
                    "no progress bar"
                )
            assert first.wait(lambda: len(viewer.pages) == 1, 30), "the browser that left is still counted"
            assert first.turn_to("make")
            first.type("a green ball")
            assert first.choose("generator", "both, side by side")
            assert first.click("generate")
            Colours(first).wait(red=False, green=True)
            assert first.turn_to("gallery")
            assert first.wait(lambda: first.reads("a green ball · part-flow · seed 0") and first.reads("1 to 5 of 5"))
            assert first.turn_to("look")
            assert first.wait(lambda: first.click("drop"))
            assert first.wait(lambda: first.reads("tilted by")), "the simulation does not end"
            assert first.click("download", "button")
            made = "downloads/a-green-ball---part-flow---seed-0.glb"
            assert first.wait(lambda: (profile / made).is_file(), 20), "what was made does not arrive"
            assert first.wait(lambda: trimesh.load_scene(profile / made).geometry)
            assert first.choose("of", "a green ball · part-tokens · seed 0")
            assert first.click("download", "button")
            assert first.wait(lambda: (profile / made.replace("part-flow", "part-tokens")).is_file(), 20), (
                "the other one does not arrive"
            )
            assert first.turn_to("make")
            first.type(" ")
            assert first.wait(lambda: first.click("generate"))
            assert first.wait(lambda: first.reads("the prompt is empty")), "an empty prompt is not refused"
    finally:
        viewer.stop()
    assert "Traceback" not in "".join(capfd.readouterr())


@needs_browser
def test_an_asset_is_seen_while_it_grows(folder, tmp_path_factory, monkeypatch):
    stream, seen = TokenToy.stream, threading.Event()

    def waits(*arguments, **options):
        for rollout in stream(*arguments, **{**options, "seeds": [3]}):  # red, red, blue, red
            yield rollout
            assert seen.wait(100)

    monkeypatch.setattr(TokenToy, "stream", waits)
    viewer = serve(folder, port=0, block=False, generator="tests.rl3d.toys:TokenToy")
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            assert page.wait(lambda: len(viewer.pages) == 1)
            (shown,) = viewer.pages.values()
            assert page.turn_to("make")
            page.type("a tower")
            assert page.click("generate")
            assert page.turn_to("look")
            assert page.wait(lambda: [f.subject.parts.count for f in shown.stage.figures] == [1]), "nothing grows"
            Colours(page).wait(red=True, green=False)
            assert shown.stage.figures[0].subject.splats.count <= DRAFT_GAUSSIANS
            # The controls belong to what was shown before.
            assert not page.reads(PROMPT) and not page.click("drop") and not page.click("download", "button")
            for way in ("mesh", "per part: connected"):
                shown.way.value = way
                shown._show_as()
            shown._drop()
            assert list(shown.stage.figures[0].shown) == ["splats"] and shown.stage.way == "splats"
            assert "a tower · seed 0" not in shown.entries
            seen.set()
            assert page.turn_to("gallery")
            assert page.wait(lambda: page.reads("a tower · seed 0")), "it is not kept"
            assert [f.subject.parts.count for f in shown.stage.figures] == [4]
            assert page.turn_to("look") and page.wait(lambda: page.click("drop"))
            assert page.wait(lambda: page.reads("tilted by"))
    finally:
        seen.set()
        viewer.stop()


@needs_browser
@pytest.mark.parametrize("path", ["box", None])
def test_an_asset_that_fails_is_taken_away(folder, path, tmp_path_factory, monkeypatch):
    stream, seen = TokenToy.stream, threading.Event()

    def fails(*arguments, **options):
        yield next(stream(*arguments, **{**options, "seeds": [3]}))
        assert seen.wait(100)
        raise OSError("the disk is full")

    monkeypatch.setattr(TokenToy, "stream", fails)
    viewer = serve(path and folder / path, port=0, block=False, generator="tests.rl3d.toys:TokenToy")
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            assert page.wait(lambda: len(viewer.pages) == 1)
            (shown,) = viewer.pages.values()
            assert page.turn_to("make")
            assert page.click("generate")
            assert page.wait(lambda: shown.growing), "nothing grows"
            Colours(page).wait(red=True, green=False)
            seen.set()
            assert page.wait(lambda: page.reads("the disk is full"))
            Colours(page).wait(red=path is not None, green=path is not None)
            assert len(shown.stage.figures) == (path is not None)
            assert page.turn_to("look")
            assert page.wait(lambda: page.reads(PROMPT if path else "nothing here yet"))
            assert bool(page.click("drop")) == (path is not None)
    finally:
        seen.set()
        viewer.stop()


@needs_browser
def test_nothing_is_made_for_a_browser_that_left(folder, tmp_path_factory, monkeypatch, capfd):
    stream, seen, drawn, ended = TokenToy.stream, threading.Event(), [], threading.Event()

    def waits(*arguments, **options):
        try:
            for rollout in stream(*arguments, **{**options, "seeds": [3]}):
                drawn.append(rollout)
                yield rollout
                assert seen.wait(100)
        finally:
            ended.set()

    monkeypatch.setattr(TokenToy, "stream", waits)
    viewer = serve(folder, port=0, block=False, generator="tests.rl3d.toys:TokenToy")
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            assert page.wait(lambda: len(viewer.pages) == 1)
            (left,) = viewer.pages.values()
            assert page.turn_to("make")
            assert page.click("generate")
            assert page.wait(lambda: left.growing), "nothing grows"
        end = time.monotonic() + 30
        while viewer.pages and time.monotonic() < end:
            time.sleep(0.1)
        seen.set()
        assert ended.wait(30) and len(drawn) == 2, "the next part finds that the browser has left"
        assert make(left.studio, "tests.rl3d.toys:TokenToy"), "others are served"
    finally:
        seen.set()
        viewer.stop()
    assert "Traceback" not in "".join(capfd.readouterr())


@needs_browser
def test_a_foreign_run_is_shown_as_text(tmp_path, tmp_path_factory):
    """viser puts HTML in markdown into the page as it is."""
    script = "<img src=x onerror='window.ran=1'>"
    run = tmp_path / f"a run {script}"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"iterations": script}))
    (run / "metrics.jsonl").write_text(json.dumps({"iteration": 1, script: 0.5}) + "\n")
    viewer = serve(run, port=0, block=False)
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            assert page.wait(lambda: page.reads(f"a run {script}: 1 iterations"))
            assert page.wait(lambda: page.evaluate("document.querySelectorAll('svg polyline').length"))
            assert page.reads(script) and not page.evaluate("'ran' in window")
    finally:
        viewer.stop()


@needs_browser
def test_a_browser_follows_a_training_run(tmp_path, tmp_path_factory):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"iterations": 30, "checkpoint": None, "generator": ""}))
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 1, "stability": 0.5, "kl": 0.0}\n')
    (tmp_path / "samples").mkdir()
    viewer = serve(tmp_path, port=0, block=False)
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            assert page.wait(lambda: page.reads("1 of 30 iterations"))
            Image.new("RGB", (300, 300), (250, 0, 0)).save(tmp_path / "samples/000002.png")
            with (tmp_path / "metrics.jsonl").open("a") as file:
                file.write('{"iteration": 2, "stability": 0.6, "kl": 0.1}\n{"iteration": 3, "stab')
            assert page.wait(lambda: page.reads("2 of 30 iterations") and page.reads("iteration 2"), 20), (
                "the page does not follow"
            )
            assert page.evaluate("document.querySelectorAll('svg polyline').length") >= 4
    finally:
        viewer.stop()


@needs_browser
def test_fine_splats_are_seen(tmp_path, tmp_path_factory):
    """viser skips Gaussians that are smaller than a pixel, as those of a scan are."""
    scene = asset().gaussians(20_000)
    write_ply(tmp_path / "fine.ply", replace(scene, scales=0.1 * scene.scales))
    viewer = serve(tmp_path / "fine.ply", port=0, block=False)
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            assert page.wait(lambda: min(Colours(page).count()) > 300, 60)
    finally:
        viewer.stop()


@needs_browser
def test_splats_fall_apart(tmp_path, tmp_path_factory):
    """An asset without parts: a ball that floats falls, the one that stands does not."""
    asset = SplatBalls().generate(["a red ball"], seeds=[0], options=SplatOptions(spread=0.0))
    write_ply(tmp_path / "balls.ply", asset.gaussians()[0])
    viewer = serve(tmp_path / "balls.ply", port=0, block=False)
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            Colours(page).wait(red=True, green=False)
            (figure,) = next(iter(viewer.pages.values())).stage.figures
            assert len(figure.bodies) == 1
            assert page.click("drop")
            assert page.wait(lambda: page.reads("tilted by"), 60), "the simulation does not end"
            large, small = (
                SO3(np.asarray(body.wxyz)).as_matrix() @ centre + body.position
                for body, centre in zip(figure.bodies, ((0, 0, 0.3), (0.6, 0, 0.7)), strict=True)
            )
            assert abs(large[2] - 0.3) < 0.06 and abs(small[2] - 0.08) < 0.03, "both lie on the ground"
            assert page.click("put back")
            assert page.wait(lambda: figure.bodies[1].position[2] == 0)
    finally:
        viewer.stop()


@needs_browser
def test_many_assets_are_browsed_without_growing(tmp_path, tmp_path_factory):
    scene = asset().gaussians(2000)
    for i in range(120):
        write_ply(tmp_path / f"{i:03d}.ply", scene)

    def resident() -> float:  # MiB
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

    viewer = serve(tmp_path, port=0, block=False)
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            Colours(page).wait(red=True, green=True)
            (served,) = viewer.pages.values()

            def browse(first: int, last: int) -> None:
                for i in range(first, last):
                    served.turn_page(i // CARDS)
                    served.show([served._subject(f"{i:03d}.ply")])

            browse(0, 40)
            before = resident()
            browse(40, 120)
            assert resident() - before < 20, "80 assets of 0.5 MB are not let go"
            assert page.turn_to("gallery")
            assert page.wait(lambda: page.reads("115 to 120 of 120"), 30)
    finally:
        viewer.stop()


def test_a_pair_is_seen_as_by_two_linked_cameras(folder):
    """From every camera position, two equal assets show the same side."""
    stage = Stage.__new__(Stage)
    subject = Subject.read(find_entries(folder / "box")[0])
    stage.figures = [Still(subject), Still(subject)]
    stage.client = SimpleNamespace(atomic=contextlib.nullcontext)
    for azimuth in (0.3, 2.0, 4.4):
        eye = np.array([3 * math.cos(azimuth), 3 * math.sin(azimuth), 1.2])
        stage._arrange(eye)
        seen = []
        for figure in stage.figures:
            rotation, position = figure.placed
            towards = rotation.T @ (eye - rotation @ subject.bounds.mean(0) - position)
            seen.append(towards / np.linalg.norm(towards))
        np.testing.assert_allclose(seen[0], seen[1], atol=1e-6)
        centres = [figure.placed[0] @ subject.bounds.mean(0) + figure.placed[1] for figure in stage.figures]
        assert np.linalg.norm(centres[0] - centres[1]) > np.linalg.norm((subject.bounds[1] - subject.bounds[0])[:2])


class Still:
    """A figure without a browser."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.placed = np.eye(3), np.zeros(3)

    def place(self, rotation: np.ndarray, position: np.ndarray) -> None:
        self.placed = rotation, position


def test_normals_and_depth_are_the_renderers():
    scene = asset().gaussians(8192)
    camera = orbit(1, size=128, azimuth_deg=0, elevation_deg=0, target=(0, 0, 0.3))
    normals, depth = (draw(scene, camera, way) for way in ("normals", "depth"))
    assert (normals[0, 0] == 255).all() and (depth[0, 0] == 255).all()
    # The box's front faces -y, towards the camera.
    np.testing.assert_allclose(normals[64, 64] / 255 * 2 - 1, (0, -1, 0), atol=0.08)
    # The rim of the ball is farther than the box's front.
    assert depth[64, 64, 0] > depth[64 - 26, 64, 0]


def test_downloads_hold_what_the_folder_holds(folder):
    subject = Subject.read(find_entries(folder / "box")[0])
    with zipfile.ZipFile(io.BytesIO(subject.packed())) as archive:
        assert sorted(archive.namelist()) == ["card.json", "mesh.glb", "scene.ply"]
        assert archive.read("scene.ply") == (folder / "box/scene.ply").read_bytes()


@pytest.mark.parametrize("name", ["box", "other.splat", "third.glb"])
def test_everything_can_be_downloaded_as_what_is_offered(folder, name):
    subject = Subject.read(find_entries(folder / name)[0])
    for suffix in _formats(subject):
        if suffix not in (".zip", ".mp4"):
            assert subject.exported(suffix)


def test_what_a_card_says_is_shown_as_text():
    made = card("<script>alert(1)</script>", {"<b>": 0.5})
    assert "<script>" not in made and "<b>" not in made and "50%" in made
