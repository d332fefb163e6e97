"""A headless Chromium, driven through the DevTools protocol: enough to open a page, click in it and
take its picture."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from PIL import Image
from websockets.sync.client import ClientConnection, connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
OPTIONS = (
    "--headless=new --no-sandbox --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --window-size=1000,640 --remote-debugging-port=0"
).split()


class Page:
    """One browser tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.ids = itertools.count(1)

    def call(self, method: str, **params) -> dict:
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:  # events are passed over
            reply = json.loads(self.socket.recv(timeout=60))
            if reply.get("id") == number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                return reply["result"]

    def open(self, url: str) -> None:
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        while json.loads(self.socket.recv(timeout=60)).get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)[
            "result"
        ].get("value")

    def click(self, text: str, kind: str = "button, label, [role=tab], [role=option], input") -> bool:
        """Click the first visible element with this text. False if there is none, or if it keeps
        moving."""
        place = self.evaluate(
            f"""new Promise(done => {{
            const reads = e => (e.innerText || e.value || '').trim() == {json.dumps(text)};
            const fits = e => reads(e) && e.getClientRects().length && !e.disabled;
            const found = [...document.querySelectorAll({json.dumps(kind)})].find(fits);
            if (!found) return done(null);
            found.scrollIntoView({{block: 'nearest'}});
            const centre = box => [box.x + box.width / 2, box.y + box.height / 2];
            const middle = () => centre(found.getBoundingClientRect());
            const end = performance.now() + 5000;
            const look = before => requestAnimationFrame(() => requestAnimationFrame(() => {{
                const now = middle();
                if (String(now) == String(before)) done(now);
                else if (performance.now() > end) done(null);
                else look(now);
            }}));
            look(middle());
            }})"""
        )
        if place:
            self.mouse("mouseMoved", *place)
            self.mouse("mousePressed", *place)
            self.mouse("mouseReleased", *place)
        return bool(place)

    def mouse(self, event: str, x: float, y: float) -> None:
        self.call(
            "Input.dispatchMouseEvent",
            type=event,
            x=x,
            y=y,
            button="none" if event == "mouseMoved" else "left",
            clickCount=1,
        )

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        """Press the mouse at one point of the page, move to another, and release."""
        self.mouse("mousePressed", *start)
        for i in range(1, steps + 1):
            x, y = (a + (b - a) * i / steps for a, b in zip(start, end, strict=True))
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
            time.sleep(0.03)
        self.mouse("mouseReleased", *end)

    def choose(self, label: str, option: str) -> bool:
        """Choose an option of the dropdown with this label."""
        if not self.click(label, "label"):
            return False
        return bool(self.wait(lambda: self.click(option, "[role=option]"), 5))

    def turn_to(self, tab: str) -> bool:
        """Open a tab of the panel, once it has stopped moving."""
        tabs = "[...document.querySelectorAll('[role=tab][aria-selected=true]')]"
        chosen = f"{tabs}.some(e => e.innerText.trim() == {json.dumps(tab)})"
        return bool(self.wait(lambda: self.evaluate(chosen) or (self.click(tab, "[role=tab]") and None)))

    def type(self, text: str) -> None:
        """Replace the text of the first visible, writable text area."""
        areas = "[...document.querySelectorAll('textarea')].filter(e => !e.disabled && e.getClientRects().length)"
        self.evaluate(f"{areas}.slice(0, 1).forEach(e => {{ e.focus(); e.select(); }})")
        self.call("Input.insertText", text=text)

    def reads(self, text: str) -> bool:
        """Whether the page shows this text."""
        return bool(self.evaluate(f"document.body.innerText.includes({json.dumps(text)})"))

    def picture(self) -> np.ndarray:
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def wait(self, found, seconds: float = 100.0):
        """The first true value of ``found()``, or its last value when time is up."""
        end = time.monotonic() + seconds
        while not (value := found()) and time.monotonic() < end:
            time.sleep(0.3)
        return value


@contextlib.contextmanager
def open_page(url: str, folder: Path, *options: str) -> Iterator[Page]:
    """A tab at ``url``. The browser keeps its profile and its downloads in ``folder``, and ends
    with the context."""
    assert CHROMIUM
    process = subprocess.Popen(
        [CHROMIUM, *OPTIONS, *options, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    try:
        port_file = folder / "DevToolsActivePort"
        end = time.monotonic() + 30
        while not (port_file.exists() and port_file.read_text().strip()):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the browser did not start")
            time.sleep(0.1)
        port = port_file.read_text().split()[0]
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as reply:
            tab = next(target for target in json.load(reply) if target["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
            page = Page(socket)
            page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "downloads"))
            page.open(url)
            yield page
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
