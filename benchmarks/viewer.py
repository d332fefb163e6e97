"""How fast the viewer shows splats: ``python -m benchmarks.viewer`` (needs Chromium; it renders in
software where there is no GPU).

``--picture FILE`` saves docs/images/viewer.png's screenshot instead.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rl3d.generate import GenerateConfig, generate
from rl3d.viewer.page import CARDS
from rl3d.viewer.server import serve
from scenes.files.ply import write_ply
from scenes.gaussians import Gaussians
from tests.rl3d.viewer.browser import open_page

WINDOW = "--window-size=1280,800"


def red(image: Image.Image) -> int:
    """Pixels of the scene that are red."""
    r, g, b = np.asarray(image.convert("RGB")).astype(int).transpose(2, 0, 1)
    return int(((r > 80) & (r > 2 * g) & (r > 2 * b)).sum())


def ball(count: int) -> Gaussians:
    """Red splats on a sphere."""
    rng = torch.Generator().manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng), dim=-1) * 0.4 + torch.tensor(
        [0, 0, 0.5]
    )
    quats = torch.nn.functional.normalize(torch.randn(count, 4, generator=rng), dim=-1)
    color = torch.tensor([0.9, 0.05, 0.05]).expand(count, 3).clone()
    return Gaussians(means, quats, torch.full((count, 3), 0.3 / count**0.5), torch.full((count,), 0.9), color)


GONE = """new MutationObserver(() => {
    if (document.getElementById('first-sight')) window.seen = true;
    else if (window.seen) window.drawn ||= performance.timeOrigin + performance.now();
}).observe(document, {childList: true, subtree: true})"""
"""When the first sight has gone, since the browser has drawn splats for half a second."""


def first_splats(path: Path) -> tuple[float, float, float]:
    """Seconds from the navigation until a frame shows the picture of the splats, until the page's
    program has connected, and until the browser has drawn the splats themselves."""
    viewer = serve(path, port=0, block=False)
    connected: list[float] = []
    viewer.server.on_client_connect(lambda _: connected.append(time.time()))
    try:
        with tempfile.TemporaryDirectory() as folder, open_page("about:blank", Path(folder), WINDOW) as page:
            page.call("Page.addScriptToEvaluateOnNewDocument", source=GONE)
            page.call("Page.startScreencast", format="jpeg", everyNthFrame=1)
            start, pictured = time.time(), 0.0
            page.call("Page.navigate", url=viewer.url)
            while not pictured and time.time() < start + 60:
                event = json.loads(page.socket.recv(timeout=60))
                if event.get("method") == "Page.screencastFrame":
                    now, frame = time.time() - start, event["params"]
                    answer = {
                        "id": next(page.ids),
                        "method": "Page.screencastFrameAck",
                        "params": {"sessionId": frame["sessionId"]},
                    }
                    page.socket.send(json.dumps(answer))
                    if red(Image.open(io.BytesIO(base64.b64decode(frame["data"])))) > 3000:
                        pictured = now
            page.call("Page.stopScreencast")  # encoding frames would take the time that the browser needs to draw them
            drawn = page.wait(lambda: page.evaluate("window.drawn"), 60)
            if not (pictured and drawn and red(Image.fromarray(page.picture())) > 3000):
                raise RuntimeError("no splats within a minute")
            return pictured, connected[0] - start, drawn / 1000 - start
    finally:
        viewer.stop()


def browse(folder: Path, count: int) -> list[tuple[int, float, float]]:
    """Megabytes of the server and of the page's heap after so many assets of a folder have been
    shown."""
    viewer = serve(folder, port=0, block=False)
    rows = []
    try:
        with tempfile.TemporaryDirectory() as profile, open_page(viewer.url, Path(profile), WINDOW) as page:
            page.wait(lambda: viewer.pages and red(Image.fromarray(page.picture())) > 3000)
            (served,) = viewer.pages.values()
            for i, name in enumerate(list(served.entries)[:count], 1):
                served.turn_page((i - 1) // CARDS)
                served.show([served._subject(name)])
                if i in (count // 10, count // 2, count):
                    time.sleep(1)  # wait for what is on its way
                    page.call("HeapProfiler.collectGarbage")
                    heap = page.call("Runtime.getHeapUsage")["usedSize"] / 2**20
                    pages = int(Path("/proc/self/statm").read_text().split()[1])
                    rows.append((i, pages * os.sysconf("SC_PAGESIZE") / 2**20, heap))
    finally:
        viewer.stop()
    return rows


def picture(path: Path) -> None:
    """The page with a generated asset before and after reinforcement learning."""
    viewer = serve(port=0, block=False)
    try:
        with tempfile.TemporaryDirectory() as profile, open_page(viewer.url, Path(profile), WINDOW) as page:
            assert page.turn_to("make")
            page.type("a white snowman with a black hat")
            assert page.choose("generator", "both, side by side")
            assert page.click("generate") and page.turn_to("gallery")
            assert page.wait(lambda: page.reads("1 to 2 of 2"), 120) and page.turn_to("look")
            page.evaluate("document.querySelectorAll('.mantine-Notification-closeButton').forEach(e => e.click())")
            time.sleep(4)  # the last frames are drawn
            image = Image.fromarray(page.picture())
            image.crop((80, 0, *image.size)).convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(
                path, optimize=True
            )
    finally:
        viewer.stop()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--picture", type=Path)
    arguments.add_argument("--assets", type=int, default=1000)
    options = arguments.parse_args()
    if options.picture:
        picture(options.picture)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        generate("a red armchair with white legs", GenerateConfig(out=folder / "armchair"))
        write_ply(folder / "ball.ply", ball(200_000))
        print("seconds from the navigation until       picture  connected  splats drawn")
        for name, path in (
            ("an asset, 16,384 splats", folder / "armchair"),
            ("a file of 200,000 splats", folder / "ball.ply"),
        ):
            for _ in range(3):
                print(f"{name:40} {'  '.join(f'{t:8.2f}' for t in first_splats(path))}", flush=True)
        many = folder / "many"
        scene = ball(2000)
        for i in range(options.assets):
            write_ply(many / f"{i:04d}.ply", scene)
        print("\nassets shown   server, MiB   page's heap, MiB")
        for count, server, heap in browse(many, options.assets):
            print(f"{count:12,} {server:13.0f} {heap:18.1f}", flush=True)


if __name__ == "__main__":
    main()
