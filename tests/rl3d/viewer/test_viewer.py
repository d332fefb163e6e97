"""The viewer, from the outside: what a browser gets and shows, and what a wrong path says."""

import json
import struct
import urllib.request

import numpy as np
import pytest
import torch

from rl3d.viewer import serve
from rl3d.viewer.library import find_entries
from rl3d.viewer.server import covariances
from scenes.files import FileError
from scenes.files.glb import write_glb
from scenes.files.ply import write_ply
from scenes.files.splat import write_splat
from scenes.parts import Parts
from tests.rl3d.viewer.browser import CHROMIUM, open_page

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
    """One asset folder, and a .splat and a .glb beside it."""
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


def test_entries(folder):
    assert [entry.name for entry in find_entries(folder)] == ["box", "other.splat", "third.glb"]
    (entry,) = find_entries(folder / "box")
    assert (entry.splats, entry.mesh, entry.prompt()) == (folder / "box/scene.ply", folder / "box/mesh.glb", PROMPT)
    assert find_entries(folder / "third.glb")[0].prompt() == ""


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


def test_an_address_of_another_machine_is_refused(folder):
    with pytest.raises(FileError, match=r"cannot serve on 203\.0\.113\.7"):
        serve(folder, host="203.0.113.7", block=False)


def test_covariances_are_those_of_the_renderer():
    from renderers.splat_torch import covariances as reference

    quats = torch.nn.functional.normalize(torch.randn(50, 4), dim=-1)
    scales = torch.rand(50, 3)
    torch.testing.assert_close(covariances(quats, scales), reference(quats, scales))


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


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_splats_then_the_mesh_then_another_asset(folder, tmp_path_factory):
    def colours() -> tuple[int, int]:
        """Number of red and of green pixels: the panel and viser's notices have neither."""
        r, g, b = page.picture().astype(int).transpose(2, 0, 1)
        return int(((r > 80) & (r > 3 * g) & (r > 3 * b)).sum()), int(((g > 60) & (g > 2 * r) & (g > 2 * b)).sum())

    def shown() -> bool:
        red, green = colours()
        return red > 3000 and green > 300

    def click(label: str) -> None:
        find = f"[...document.querySelectorAll('label')].filter(e => e.innerText.trim() == '{label}')"
        page.evaluate(f"{find}.forEach(e => document.getElementById(e.htmlFor).click())")

    viewer = serve(folder, port=0, block=False)
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            assert page.wait(shown), f"no splats on the page: {colours()} red and green pixels"
            assert page.wait(lambda: page.evaluate("[...document.querySelectorAll('textarea')].some(e => e.value == '" + PROMPT + "')"))
            splats = page.picture()
            click("mesh")
            assert page.wait(lambda: shown() and (np.abs(page.picture().astype(int) - splats) > 40).any(-1).mean() > 0.01), (
                "the mesh does not show"
            )
            click("asset")
            choose = "[...document.querySelectorAll('[role=option]')].filter(e => e.innerText == 'other.splat').map(e => e.click()).length"
            assert page.wait(lambda: page.evaluate(choose)), "the list of assets does not open"
            assert page.wait(lambda: colours()[0] == 0 and colours()[1] > 300), (
                f"still {colours()} red and green pixels: the ball alone is green"
            )
            fetched = page.evaluate("performance.getEntriesByType('resource').map(e => e.name).join(' ')")
            assert "://" not in fetched.replace(viewer.url, ""), f"the page reaches out: {fetched}"
    finally:
        viewer.stop()
