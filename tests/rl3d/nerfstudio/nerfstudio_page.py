"""Opens nerfstudio's page on an asset in a headless Chromium and looks whether the asset is in the
picture:

    python -m tests.rl3d.nerfstudio.nerfstudio_page assets/chair --save docs/images/nerfstudio.png

``rl3d view ASSET --viewer nerfstudio`` is started as a user would, and stopped at the end. The
page's pixels are compared with our renderer's image from where the page's camera starts. The exit
code says whether they agree."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from renderers import render
from rl3d.nerfstudio.run import START_FOV_DEG, extent, start
from scenes.cameras import Cameras, look_at
from scenes.files.splats import read_gaussians
from scenes.gaussians import Gaussians
from tests.rl3d.viewer.browser import CHROMIUM, Page, open_page

CANVAS = """(() => {
    const box = document.querySelector('canvas')?.getBoundingClientRect();
    return box && [box.x, box.y, box.right, box.bottom].map(Math.round);
})()"""
NOTICES = "document.querySelectorAll('.mantine-Notification-closeButton').forEach(e => e.click())"
LINE = 24 / 255
"""A pixel agrees if no channel differs more. The page is sent as JPEG and scaled up."""


@contextlib.contextmanager
def viewing(asset: Path) -> Iterator[str]:
    """Runs ``rl3d view ASSET --viewer nerfstudio`` in a process of its own. Yields its address once
    it answers."""
    command = [sys.executable, "-m", "rl3d", "view", str(asset), "--viewer", "nerfstudio", "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        try:
            end = time.monotonic() + 180
            url = None
            while url is None or not _answers(url):
                log.seek(0)
                text = log.read()
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the viewer did not start:\n{text}")
                url = next(iter(re.findall(r"viewing .* at (http://\S+)", text)), None)
                time.sleep(0.5)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def expected(scene: Gaussians, width: int, height: int) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Our image of the scene from the page's first camera, and its opacity."""
    low, high = extent(scene)
    focal = height / 2 / math.tan(math.radians(START_FOV_DEG / 2))
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    viewmat = look_at(start(low, high), (low + high) / 2)
    views = render(scene, Cameras(viewmat.unsqueeze(0), K.unsqueeze(0), width, height))
    return views.rgb[0].clamp(0, 1).numpy(), views.alpha[0, ..., 0].numpy()


def agreement(scene: Gaussians, page: Page) -> tuple[float, float]:
    """Fractions of the pixels of the asset, and of those beside it, that agree with our image."""
    page.evaluate(NOTICES)
    canvas = page.evaluate(CANVAS)
    if not canvas:
        return 0.0, 0.0
    left, top, right, bottom = canvas
    ours, alpha = expected(scene, right - left, bottom - top)
    same = (np.abs(page.picture()[top:bottom, left:right] / 255 - ours) < LINE).all(-1)
    return float(same[alpha > 0.99].mean()), float(same[alpha < 0.01].mean())


def look(asset: Path, save: Path | None) -> bool:
    """Whether the page shows the asset at the right place."""
    scene = read_gaussians(asset / "scene.ply" if asset.is_dir() else asset)
    with viewing(asset) as url, tempfile.TemporaryDirectory() as profile, open_page(url, Path(profile)) as page:
        page.call("Emulation.setDeviceMetricsOverride", width=1200, height=720, deviceScaleFactor=1, mobile=False)
        began = time.monotonic()
        found = page.wait(lambda: min(fractions := agreement(scene, page)) > 0.9 and fractions, 90)
        inside, outside = found or agreement(scene, page)
        seconds = time.monotonic() - began
        print(
            f"{url}: {inside:.1%} of the asset's pixels and {outside:.1%} of those beside it agree, after "
            f"{seconds:.0f} s"
        )
        picture = page.picture()
    if save:
        Image.fromarray(picture).quantize(256).save(save, optimize=True)
        print(f"{save}: {save.stat().st_size // 1024} KB")
    return bool(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("asset", type=Path, help="an asset's folder, or a file of splats")
    parser.add_argument("--save", type=Path, help="where the page's picture goes")
    options = parser.parse_args()
    if not CHROMIUM:
        sys.exit("there is no Chromium on this machine")
    sys.exit(0 if look(options.asset, options.save) else 1)
