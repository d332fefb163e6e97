"""Serves assets to browsers with viser, by default on the loopback interface only. The page itself
is in page.py."""

from __future__ import annotations

import contextlib
import io
import math
import signal
import socket
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rl3d.runs import progress_of
from rl3d.viewer.first_sight import markup, shown_first
from rl3d.viewer.library import find_entries
from rl3d.viewer.page import Page
from rl3d.viewer.stage import FOV_DEG, sphere_of, start_position
from rl3d.viewer.studio import Studio
from rl3d.viewer.subjects import Subject
from scenes.files import FileError
from scenes.files.atomic import reason
from scenes.files.splats import Axes

if TYPE_CHECKING:
    import viser

FOLLOW_SECONDS = 1.0
"""How often the folder of a training run is checked."""


@dataclass(frozen=True)
class Viewer:
    """A running viewer."""

    server: viser.ViserServer
    url: str
    folder: tempfile.TemporaryDirectory[str] | None = None
    """The folder of the served page, if it is not viser's own page."""
    pages: dict[int, Page] = field(default_factory=dict)
    """The browsers that are connected, by viser's number."""
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        self.stopped.set()
        self.server.stop()
        if self.folder is not None:
            self.folder.cleanup()


def serve(
    path: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    block: bool = True,
    axes: Axes = "z-up",
    generator: str | None = None,
    adapter: str = "",
) -> Viewer:
    """Show the asset, the assets or the training run at ``path``, or only the prompt box. With
    ``block``, until Ctrl-C.

    ``generator`` replaces the shipped generators of the prompt box, and so does ``adapter``. If the
    port is taken, the next free one is used; 0 takes any. ``Viewer.url`` has the result. FileError
    or ValueError with one line, before anything is served, for a path or a generator that cannot be
    read.
    """
    found = find_entries(path, axes) if path is not None else []
    names = [entry.name for entry in found]
    entries = {
        name if names.count(name) == 1 else f"{name} ({i})": entry
        for i, (name, entry) in enumerate(zip(names, found, strict=True))
    }
    # The first asset is read before the server starts: damage is reported at once, and the first
    # browser does not wait.
    first = Subject.read(found[0]) if found else None
    studio = Studio(Path(path) if path is not None else None, generator, adapter)
    picture = markup(first.splats, first.bounds) if first is not None and first.splats is not None else ""
    with shown_first(picture) as folder:
        server, url = open_server(host, port)
    if first is not None:
        centre, radius = sphere_of(first.bounds)
        server.initial_camera.fov = math.radians(FOV_DEG)
        server.initial_camera.look_at = centre
        server.initial_camera.position = start_position(centre, radius)
    viewer = Viewer(server, url, folder)

    @server.on_client_connect
    def _(client: viser.ClientHandle) -> None:
        viewer.pages[client.client_id] = Page(client, entries, studio, first)

    @server.on_client_disconnect
    def _(client: viser.ClientHandle) -> None:
        if page := viewer.pages.pop(client.client_id, None):
            page.close()

    if studio.run:
        threading.Thread(target=_follow, args=(viewer, studio.run), daemon=True).start()
    if block:
        run_until_stopped(viewer, f"viewing {path or 'the prompt box'}")
    return viewer


def open_server(host: str, port: int) -> tuple[viser.ViserServer, str]:
    """A server with an empty, lit, white scene, and its address. FileError if it cannot listen on
    ``host``."""
    _check_bindable(host)
    import viser  # imported late: a wrong path is reported sooner

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its address, as we do
        server = viser.ViserServer(host=host, port=port, label="rl3d", verbose=False)
    server.gui.main_panel.dock_right()  # a floating panel would cover the asset
    server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="large")
    server.scene.set_up_direction("+z")
    server.scene.configure_environment_map(hdri=None)  # viser fetches its maps from the internet
    server.scene.configure_default_lights(cast_shadow=False)
    server.scene.add_light_ambient("/ambient", intensity=1.5)  # without a map, shadows would be black
    return server, f"http://{f'[{host}]' if ':' in host else host}:{server.get_port()}"


def run_until_stopped(viewer: Viewer, what: str) -> None:
    """Print the address and serve the page until Ctrl-C or SIGTERM."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(f"{what} at {viewer.url} (Ctrl-C ends)", flush=True)
        viewer.server.sleep_forever()
    except KeyboardInterrupt:
        viewer.stop()


def _follow(viewer: Viewer, run: Path) -> None:
    """Update every page when the run has written something."""
    last: tuple[int, ...] = progress_of(run)
    while not viewer.stopped.wait(FOLLOW_SECONDS):
        if (now := progress_of(run)) != last:
            last = now
            for page in list(viewer.pages.values()):
                try:
                    page.follow()
                except FileError:  # read while it was being written: try again
                    last = ()


def _check_bindable(host: str) -> None:
    """FileError for an address of another machine: viser would wait forever."""
    try:
        family = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise FileError(
            f"cannot serve on {host}: {reason(error)}; use 127.0.0.1 (this machine) or 0.0.0.0 (the network)"
        ) from error
