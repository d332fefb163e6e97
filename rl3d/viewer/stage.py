"""The 3D view of a browser's page: one subject, or two side by side, shown in the chosen way.

The browser draws splats and meshes. Normals and depth are drawn here each time the browser's camera
moves, by the renderer that also draws the views of the rewards."""

from __future__ import annotations

import colorsys
import math
import threading
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import renderers
from rewards.physics.simulate import Recording
from rl3d.viewer.subjects import Subject
from scenes.cameras import Cameras, pinhole
from scenes.files.glb import parts_to_glb
from scenes.gaussians import Gaussians, matrix_to_quaternion, rotations, transformed

if TYPE_CHECKING:
    import viser

FOV_DEG = 35.0
DRAWN = ("normals", "depth")
"""Ways that are rendered here; the browser renders the others."""
PIXELS = 640
"""Maximum height of those images."""
PIXEL = 0.0038
"""Width of a pixel over the radius of what is shown, in a new page 640 pixels high."""
_TO_Z_UP = (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0)
"""Turns glTF's y up into z up: a quarter turn about x (wxyz)."""
_HEAT = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]) / 255
"""Viridis at five values: dark violet is 0, yellow is 1."""


def heat(values: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 3"]:
    """Colours of values in [0, 1]."""
    places = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(values, places, _HEAT[:, i]) for i in range(3)], -1)


def distinct(count: int) -> Float[np.ndarray, "count 3"]:
    """Colours whose neighbours in the list differ clearly: hues by the golden angle."""
    return np.array([colorsys.hsv_to_rgb(i * 0.381966 % 1, 0.55 + 0.25 * (i % 2), 0.9) for i in range(count)]).reshape(
        count, 3
    )


class Figure:
    """One subject in a browser's scene. Each of its bodies (parts that touch) has a frame, so that
    it can fall apart.

    The bodies of an asset without parts are known only when it is dropped: until then it is one
    body (``split``)."""

    def __init__(self, client: viser.ClientHandle, root: str, subject: Subject, pixel: float) -> None:
        self.client, self.root, self.subject, self.pixel = client, root, subject, pixel
        parts = subject.parts
        labels = parts.components() if parts is not None else torch.zeros(0, dtype=torch.long)
        names = list(dict.fromkeys(x for x in labels.tolist() if x >= 0)) or [0]
        self.body_of_part = np.array([names.index(x) for x in labels.tolist()], int)
        self.frame = client.scene.add_frame(root, show_axes=False)
        self.bodies = [client.scene.add_frame(f"{root}/{k}", show_axes=False) for k in range(len(names))]
        self.body_of_splats: np.ndarray | None = None
        self.shown: dict[str, list[viser.SceneNodeHandle]] = {}
        self.placed = np.eye(3), np.zeros(3)

    def ways(self) -> list[str]:
        """The ways in which it can be shown."""
        subject = self.subject
        ways = ["splats"] if subject.splats is not None else []
        ways += ["mesh", "wireframe"] if subject.glb is not None else []
        ways += ["parts"] if subject.parts is not None and subject.glb is not None else []
        return ways + (list(DRAWN) if subject.splats is not None else [])

    def show(self, way: str, tints: Float[np.ndarray, "p 3"] | None = None) -> None:
        """Show it in one way. ``tints`` are the colours of the parts for the way "parts"; by
        default they are distinct."""
        if way == "parts":  # its colours change
            for handle in self.shown.pop(way, ()):
                handle.remove()
        if way not in self.shown and way not in DRAWN:
            self.shown[way] = self._add(way, tints)
        for name, handles in self.shown.items():
            for handle in handles:
                handle.visible = name == way

    def _add(self, way: str, tints: Float[np.ndarray, "p 3"] | None) -> list[viser.SceneNodeHandle]:
        subject, scene, parts = self.subject, self.client.scene, self.subject.parts
        several = len(self.bodies) > 1
        if way == "splats":
            assert subject.splats is not None
            groups = [subject.splats]
            if several:
                body = self._body_of_splats()
                groups = [subject.splats.select(torch.from_numpy(body == k)) for k in range(len(self.bodies))]
            return [
                add_splats(scene, f"{self.root}/{k}/splats", group, self.pixel)
                for k, group in enumerate(groups)
                if group.count
            ]
        if way == "wireframe":
            return [
                scene.add_mesh_simple(
                    f"{self.root}/{self._body(i)}/wire{i}", v, f.astype(np.uint32), wireframe=True, color=(30, 64, 120)
                )
                for i, (v, f) in enumerate(subject.pieces())
            ]
        if way == "mesh" and (parts is None or not several):
            assert subject.glb is not None
            return [scene.add_glb(f"{self.root}/0/mesh", subject.glb, wxyz=_TO_Z_UP, cast_shadow=False)]
        assert parts is not None
        if way == "parts":
            colors = distinct(parts.count) if tints is None else tints
            parts = parts.plain(torch.from_numpy(colors).to(parts.colors))
        bodies = [parts[torch.from_numpy(self.body_of_part == k)] for k in range(len(self.bodies))]
        return [
            scene.add_glb(f"{self.root}/{k}/{way}", parts_to_glb(body), wxyz=_TO_Z_UP, cast_shadow=False)
            for k, body in enumerate(bodies)
        ]

    def split(self, bodies: list[int]) -> None:
        """Give an asset without parts a frame for each of its bodies (numbers of ``Convex.body``),
        and show its splats in these frames."""
        if self.subject.parts is not None or len(bodies) == len(self.bodies):
            return
        self.body_of_splats = self.subject.body_of_splats(bodies)
        add = self.client.scene.add_frame
        self.bodies += [add(f"{self.root}/{k}", show_axes=False) for k in range(len(self.bodies), len(bodies))]
        for handle in self.shown.pop("splats", ()):
            handle.remove()
        self.show("splats")

    def can_fall(self, way: str) -> bool:
        """Whether its bodies are seen to move in a way of showing it."""
        whole = self.subject.parts is None and len(self.bodies) > 1
        return way == "splats" if whole else way in ("splats", "mesh", "wireframe", "parts")

    def _body_of_splats(self) -> np.ndarray:
        """The body of each Gaussian."""
        if self.body_of_splats is None:
            self.body_of_splats = self.body_of_part[self.subject.part_of_splats()]
        return self.body_of_splats

    def _body(self, piece: int) -> int:
        return int(self.body_of_part[piece]) if piece < len(self.body_of_part) else 0

    def place(self, rotation: Float[np.ndarray, "3 3"], position: Float[np.ndarray, "3"]) -> None:
        """Turn and move the whole asset."""
        self.placed = rotation, position
        self.frame.wxyz, self.frame.position = _wxyz(rotation), position

    def pose(self, recording: Recording | None, frame: int = 0) -> None:
        """Move its bodies to a frame of a recording, or without one back to their start."""
        for k, body in enumerate(self.bodies):
            body.wxyz = _wxyz(recording.rotations[frame, k]) if recording else (1.0, 0.0, 0.0, 0.0)
            body.position = recording.positions[frame, k] if recording else np.zeros(3)

    def splats(self) -> Gaussians | None:
        """Its splats at its present place."""
        if self.subject.splats is None:
            return None
        rotation, position = self.placed
        if (rotation == np.eye(3)).all() and not position.any():
            return self.subject.splats
        return transformed(self.subject.splats, torch.from_numpy(rotation), torch.from_numpy(position))

    def remove(self) -> None:
        self.frame.remove()


class Stage:
    """What one browser sees."""

    def __init__(self, client: viser.ClientHandle) -> None:
        self.client = client
        self.figures: list[Figure] = []
        self.way = "splats"
        self.ended = threading.Event()
        self._drawing, self._moved = threading.Lock(), False
        self._playing = 0
        self._changing = threading.RLock()
        """Held while figures are changed or moved: a playing fall, a moved camera and a new choice
        run in different threads."""
        client.camera.on_update(lambda _: self._camera_moved())

    def set(self, subjects: list[Subject], *, aim: bool = True) -> None:
        """Show one subject, or two with linked cameras, instead of the present ones."""
        with self._changing, self.client.atomic():
            self._playing += 1
            for figure in self.figures:
                figure.remove()
            pixel = PIXEL * radius_of(subjects) if subjects else 0.0
            sides = zip(("left", "right"), subjects, strict=False)
            self.figures = [Figure(self.client, f"/{side}", subject, pixel) for side, subject in sides]
            self._arrange()
        if aim and subjects:
            self.aim()

    def ways(self) -> list[str]:
        """The ways in which all subjects can be shown."""
        first, *others = [figure.ways() for figure in self.figures] or [[]]
        return [way for way in first if all(way in other for other in others)]

    def show_as(self, way: str, tints: list[Float[np.ndarray, "p 3"]] | None = None) -> None:
        self.way = way
        with self._changing, self.client.atomic():
            for i, figure in enumerate(self.figures):
                figure.show(way, tints[i] if tints else None)
            if way not in DRAWN:
                self.client.scene.set_background_image(None)
        self._draw()

    def aim(self) -> None:
        """Move the camera to the direction of a preview, at a distance that shows everything."""
        subjects = [figure.subject for figure in self.figures]
        centre, radius = sphere_of(subjects[0].bounds)[0], radius_of(subjects)
        position = start_position(centre, radius)
        camera = self.client.camera
        with self.client.atomic():
            camera.fov = math.radians(FOV_DEG)
            camera.up_direction = (0.0, 0.0, 1.0)
            camera.position = position
            camera.look_at = centre
        with self._changing:
            self._arrange(position)

    def play(self, recordings: list[Recording]) -> bool:
        """Play the fall of every figure. Returns False if it ends early, because something else is
        shown or the browser has left."""
        with self._changing:
            self._playing += 1
            turn = self._playing
        frames, fps = max(len(r.positions) for r in recordings), recordings[0].fps
        for t in range(frames):
            if self.ended.wait(1 / fps):
                return False
            with self._changing, self.client.atomic():
                if self._playing != turn:
                    return False
                for figure, recording in zip(self.figures, recordings, strict=True):
                    figure.pose(recording, min(t, len(recording.positions) - 1))
        return True

    def split(self, recordings: list[Recording]) -> None:
        """Prepare the figures for their recordings."""
        with self._changing, self.client.atomic():
            for figure, recording in zip(self.figures, recordings, strict=True):
                figure.split(recording.bodies)

    def can_fall(self) -> bool:
        """Whether a fall can be seen in the present way."""
        return all(figure.can_fall(self.way) for figure in self.figures)

    def put_back(self) -> None:
        """Move every body back to its start."""
        with self._changing, self.client.atomic():
            self._playing += 1
            for figure in self.figures:
                figure.pose(None)

    def _camera_moved(self) -> None:
        with self._changing:
            self._arrange()
        self._draw()

    def _arrange(self, position: Float[np.ndarray, "3"] | None = None) -> None:
        """Place two figures left and right of their midpoint, as the camera sees it, and turn each
        so that both are seen from the same direction, as by two linked cameras."""
        if len(self.figures) != 2:
            return
        eye = np.asarray(self.client.camera.position if position is None else position, float)
        centres = [figure.subject.bounds.mean(0) for figure in self.figures]
        spread = 0.6 * max(float(np.linalg.norm((f.subject.bounds[1] - f.subject.bounds[0])[:2])) for f in self.figures)
        towards = (centres[0] - eye) * (1, 1, 0)
        distance = float(np.linalg.norm(towards))
        if distance < 1e-6:
            return
        right = np.array([towards[1], -towards[0], 0.0]) / distance
        with self.client.atomic():
            for figure, centre, side in zip(self.figures, centres, (-1, 1), strict=True):
                angle = -side * math.atan2(spread, distance)
                turn = np.array(
                    [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]]
                )
                middle = centres[0] * (1, 1, 0) + side * spread * right
                figure.place(turn, middle - turn @ (centre * (1, 1, 0)))

    def _draw(self) -> None:
        """Draw the normals or the depth as the camera sees them. If the camera moves meanwhile,
        draw once more, for its last position only."""
        self._moved = True
        while self._moved and self.way in DRAWN and self._drawing.acquire(blocking=False):
            try:
                self._moved = False
                scenes = [splats for figure in self.figures if (splats := figure.splats()) is not None]
                if scenes and self.client.camera.image_height:
                    picture = draw(Gaussians.concatenate(scenes), camera_of(self.client.camera), self.way)
                    if self.way in DRAWN:
                        self.client.scene.set_background_image(picture, format="jpeg", jpeg_quality=90)
            finally:
                self._drawing.release()


def draw(scene: Gaussians, camera: Cameras, way: str) -> np.ndarray:
    """Normals ((n + 1) / 2, in world axes) or depth (near yellow, far violet) of splats on white,
    as bytes (h, w, 3)."""
    with torch.no_grad():
        views = renderers.render(scene.detach(), camera, outputs=("normal",) if way == "normals" else ())
    alpha = views.alpha[0].numpy()
    if way == "normals":
        assert views.normal is not None
        normal = views.normal[0].numpy()
        length = np.linalg.norm(normal, axis=-1, keepdims=True)
        color = normal / np.maximum(length, 1e-6) / 2 + 0.5
    else:
        depth = views.depth[0, ..., 0].numpy()
        seen = depth[alpha[..., 0] > 0.5]
        near, far = np.quantile(seen, (0.01, 0.99)) if seen.size else (0.0, 1.0)
        color = heat(np.clip((far - depth) / max(far - near, 1e-6), 0, 1))
    return np.round(255 * (alpha * color + 1 - alpha)).clip(0, 255).astype(np.uint8)


def camera_of(camera: viser.CameraHandle) -> Cameras:
    """A browser's camera as ``Cameras``, at most ``PIXELS`` high."""
    height = min(camera.image_height, PIXELS)
    width = max(1, round(height * camera.aspect))
    from viser.transforms import SO3

    rotation = SO3(np.asarray(camera.wxyz, float)).as_matrix().T
    view = torch.eye(4)
    view[:3, :3] = torch.from_numpy(rotation)
    view[:3, 3] = torch.from_numpy(-rotation @ np.asarray(camera.position, float))
    return pinhole(view[None], math.degrees(camera.fov), width, height)


def start_position(centre: Float[np.ndarray, "3"], radius: float) -> Float[np.ndarray, "3"]:
    """Start position of a camera: in the direction of a preview, far enough to see everything."""
    azimuth, elevation = math.radians(35), math.radians(20)
    direction = np.array(
        [math.cos(elevation) * math.sin(azimuth), -math.cos(elevation) * math.cos(azimuth), math.sin(elevation)]
    )
    return centre + direction * 1.15 * radius / math.sin(math.radians(FOV_DEG / 2))


def sphere_of(bounds: Float[np.ndarray, "2 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and radius of a sphere around bounds."""
    return bounds.mean(0), max(float(np.linalg.norm(bounds[1] - bounds[0])) / 2, 1e-3)


def radius_of(subjects: list[Subject]) -> float:
    """Radius of a sphere around one subject, or around two side by side."""
    return max(sphere_of(subject.bounds)[1] for subject in subjects) * (1 if len(subjects) == 1 else 1.35)


def add_splats(scene: viser.SceneApi, name: str, splats: Gaussians, pixel: float) -> viser.SceneNodeHandle:
    scales = visible(splats, pixel)
    # viser sends covariances as float16. Those of small flat Gaussians would be denormal, so they
    # are sent enlarged.
    enlarge = 100.0 / max(float(scales.max()), 1e-6) if splats.count else 1.0
    return scene.add_gaussian_splats(
        name,
        centers=splats.means.numpy() * np.float32(enlarge),
        covariances=covariances(splats.quats, scales * enlarge).numpy(),
        rgbs=splats.colors.numpy(),
        opacities=splats.opacities.unsqueeze(-1).numpy(),
        scale=1 / enlarge,
    )


def visible(splats: Gaussians, pixel: float) -> Float[Tensor, "n 3"]:
    """Scales whose two larger axes are raised until the splat is drawn, for pixels of ``pixel``
    metres.

    viser skips a splat if opacity * det(covariance in pixels + 0.3 I) is below 1/4, so a scan of
    many fine Gaussians would be an empty page. A flat splat that is turned by 60 degrees has the
    covariance diag(s, s / 4): the least s solves (s + 0.3) (s / 4 + 0.3) opacity = 1/4."""
    opacity = splats.opacities.clamp_min(0.05).unsqueeze(-1)
    least = pixel * ((0.81 + 4 / opacity).sqrt() / 2 - 0.75).clamp_min(0).sqrt()
    second = splats.scales.topk(2).values[:, 1:]
    return torch.where(splats.scales >= second, splats.scales.maximum(least), splats.scales)


def covariances(quats: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """R S S R^T of quaternions and standard deviations."""
    half = rotations(quats) * scales.unsqueeze(-2)
    return half @ half.transpose(-1, -2)


def _wxyz(rotation: Float[np.ndarray, "3 3"]) -> np.ndarray:
    return matrix_to_quaternion(torch.from_numpy(np.ascontiguousarray(rotation))).numpy()
