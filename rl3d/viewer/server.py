"""Serves assets to a browser with viser: splats, the mesh, and the prompt. It listens on the loopback interface unless told otherwise."""

from __future__ import annotations

import math
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.viewer.library import Entry, find_entries
from scenes.files import FileError
from scenes.files.aside import reason
from scenes.files.meshes import load_glb
from scenes.files.splats import read_gaussians
from scenes.gaussians import Gaussians

if TYPE_CHECKING:
    import viser

FOV_DEG = 35.0
_TO_Z_UP = (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0)
"""A glTF file is y-up; a quarter turn about x (wxyz) stands it up again."""


@dataclass(frozen=True)
class Viewer:
    """A running viewer."""

    server: viser.ViserServer
    url: str

    def stop(self) -> None:
        self.server.stop()


def serve(path: str | Path, *, host: str = "127.0.0.1", port: int = 8080, block: bool = True) -> Viewer:
    """Show the asset, or the assets, at ``path``; with ``block`` until the user presses Ctrl-C.

    If the port is taken the next free one is used, and 0 takes any: ``Viewer.url`` says which.
    """
    entries = find_entries(path)
    entries[0].prompt()  # a damaged first asset is reported before anything listens
    page = _Page(entries)
    page.load(entries[0])
    _check_bindable(host)
    import viser  # here: the import takes a second that a wrong path should not cost

    server = viser.ViserServer(host=host, port=port, label="rl3d", verbose=False)
    page.build(server)
    viewer = Viewer(server, f"http://{f'[{host}]' if ':' in host else host}:{server.get_port()}")
    if block:
        print(f"viewing {path} at {viewer.url} (Ctrl-C ends)", flush=True)
        try:
            server.sleep_forever()
        except KeyboardInterrupt:
            viewer.stop()
    return viewer


class _Page:
    """The scene and the controls of one server, shared by all browsers that look at it."""

    def __init__(self, entries: list[Entry]) -> None:
        names = [entry.name for entry in entries]
        self.entries = {
            name if names.count(name) == 1 else f"{name} ({i})": entry for i, (name, entry) in enumerate(zip(names, entries, strict=True))
        }
        self.loaded: tuple[str, Gaussians | None, bytes | None, np.ndarray] | None = None
        self.lock = threading.Lock()  # callbacks run in a pool of threads

    def load(self, entry: Entry) -> None:
        """Read everything of an entry before any of it is shown."""
        splats = read_gaussians(entry.splats) if entry.splats else None
        mesh, bounds = _read_glb(entry.mesh) if entry.mesh else (None, np.array([[0.0, 0, 0], [1, 1, 1]]))
        if splats is not None and splats.count:
            # Quantiles: a few stray Gaussians far away must not make the asset small.
            bounds = np.quantile(splats.means.numpy(), (0.01, 0.99), axis=0)
        self.loaded = entry.prompt(), splats, mesh, bounds

    def build(self, server: viser.ViserServer) -> None:
        self.server = server
        server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        server.scene.set_up_direction("+z")
        server.scene.configure_environment_map(hdri=None)  # the others are fetched from the internet
        server.scene.configure_default_lights(cast_shadow=False)
        server.scene.add_light_ambient("/ambient", intensity=1.5)  # stands in for the map: without either, shadows are black
        names = tuple(self.entries)
        self.choice = server.gui.add_dropdown("asset", names, initial_value=names[0], visible=len(names) > 1)
        self.prompt = server.gui.add_text("prompt", "", multiline=True, disabled=True)
        self.mesh_shown = server.gui.add_checkbox("mesh", False, hint="show the mesh instead of the splats")
        self.handles: dict[str, viser.SceneNodeHandle] = {}
        self.choice.on_update(lambda _: self._choose())
        self.mesh_shown.on_update(lambda _: self._toggle())
        self._show()

    def _choose(self) -> None:
        with self.lock:
            try:
                self.load(self.entries[self.choice.value])
            except FileError as error:
                self._say(str(error))
                return
            self._show()

    def _say(self, text: str) -> None:
        self.prompt.value, self.prompt.visible = text, bool(text)

    def _show(self) -> None:
        assert self.loaded
        prompt, splats, mesh, bounds = self.loaded
        with self.server.atomic():
            for handle in self.handles.values():
                handle.remove()
            self.handles.clear()
            if splats is not None:
                self.handles["splats"] = _add_splats(self.server, splats)
            if mesh is not None:
                self.handles["mesh"] = self.server.scene.add_glb("/mesh", mesh, wxyz=_TO_Z_UP, cast_shadow=False)
            self.mesh_shown.visible = len(self.handles) == 2
            self._toggle()
            self._say(prompt)
            _aim(self.server, bounds)

    def _toggle(self) -> None:
        for name, handle in self.handles.items():
            handle.visible = len(self.handles) == 1 or (name == "mesh") == self.mesh_shown.value


def _add_splats(server: viser.ViserServer, scene: Gaussians) -> viser.SceneNodeHandle:
    # viser sends covariances as float16, in which those of an asset's small flat Gaussians are denormal: they travel enlarged.
    enlarge = 100.0 / max(float(scene.scales.max()), 1e-6) if scene.count else 1.0
    return server.scene.add_gaussian_splats(
        "/splats",
        centers=scene.means.numpy() * np.float32(enlarge),
        covariances=covariances(scene.quats, scene.scales * enlarge).numpy(),
        rgbs=scene.colors.numpy(),
        opacities=scene.opacities.unsqueeze(-1).numpy(),
        scale=1 / enlarge,
    )


def covariances(quats: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """R S S R^T of unit quaternions and standard deviations."""
    w, x, y, z = quats.unbind(-1)
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    half = torch.stack([torch.stack(row, -1) for row in rows], -2) * scales.unsqueeze(-2)
    return half @ half.transpose(-1, -2)


def _aim(server: viser.ViserServer, bounds: Float[np.ndarray, "2 3"]) -> None:
    """Where a browser starts, and returns to by "reset view": the preview's side, far enough to see all."""
    centre, radius = bounds.mean(0), max(float(np.linalg.norm(bounds[1] - bounds[0])) / 2, 1e-3)
    azimuth, elevation = math.radians(35), math.radians(20)
    direction = np.array([math.cos(elevation) * math.sin(azimuth), -math.cos(elevation) * math.cos(azimuth), math.sin(elevation)])
    camera = server.initial_camera
    camera.fov = math.radians(FOV_DEG)
    camera.look_at = centre
    camera.position = centre + direction * 1.15 * radius / math.sin(math.radians(FOV_DEG / 2))


def _read_glb(path: Path) -> tuple[bytes, np.ndarray]:
    """The file's bytes, and its z-up bounds."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {reason(error)}") from error
    low, high = load_glb(path, data).bounds
    return data, np.array([[low[0], -high[2], low[1]], [high[0], -low[2], high[1]]])


def _check_bindable(host: str) -> None:
    """viser waits for ever on an address that is not this machine's."""
    try:
        family = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise FileError(f"cannot serve on {host}: {reason(error)}; 127.0.0.1 is this machine alone, 0.0.0.0 the whole network") from error
