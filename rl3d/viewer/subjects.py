"""What the viewer shows: an asset read from files or just generated, with everything that the ways
of showing it need."""

from __future__ import annotations

import base64
import html
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from rl3d.assets import FINAL_GAUSSIANS, GeneratedAsset
from rl3d.export import export
from rl3d.viewer.library import Entry
from scenes.asset import Asset, PartAsset, Pose
from scenes.files import FileError, read_bytes
from scenes.files.glb import Y_UP, read_parts
from scenes.files.meshes import load_glb
from scenes.files.ply import write_ply
from scenes.files.splats import read_gaussians
from scenes.gaussians import Gaussians
from scenes.parts import Parts

if TYPE_CHECKING:
    from PIL import Image

THUMBNAIL = 160
DRAFT_GAUSSIANS = 4096
"""Gaussians of an asset that is still growing."""


@dataclass(frozen=True)
class Subject:
    """Splats, a mesh or both."""

    name: str
    prompt: str
    rewards: dict[str, float]
    splats: Gaussians | None
    glb: bytes | None
    parts: Parts | None
    """The parts (p,), where they are known."""
    bounds: Float[np.ndarray, "2 3"]
    """Lowest and highest corner of what can be seen; metres, z up."""
    source: Entry | GeneratedAsset | Asset

    @staticmethod
    def read(entry: Entry) -> Subject:
        """Read all files of an entry; FileError with one line if one of them is damaged."""
        splats = read_gaussians(entry.splats, entry.axes) if entry.splats else None
        glb, parts, bounds = None, None, np.array([[0.0, 0, 0], [1, 1, 1]])
        if entry.mesh:
            glb = read_bytes(entry.mesh)
            low, high = load_glb(entry.mesh, glb).bounds
            bounds = np.array([[low[0], -high[2], low[1]], [high[0], -low[2], high[1]]])
            parts = read_parts(entry.mesh, glb)
        if splats is not None and splats.count:
            bounds = _bounds(splats)
        return Subject(entry.name, entry.prompt(), entry.rewards(), splats, glb, parts, bounds, entry)

    @staticmethod
    def of(made: GeneratedAsset, name: str) -> Subject:
        """A generated asset, as ``GeneratedAsset.save`` writes it. ValueError if it is empty."""
        splats, parts = made.splats, made.asset.parts
        rewards = {n: float(r["value"]) for n, r in made.rewards.items()}
        present = parts[0].present().detach() if parts is not None else None
        return Subject(name, made.prompt, rewards, splats, made.glb(), present, _bounds(splats), made)

    @staticmethod
    def seen(asset: Asset, name: str, *, draft: bool = False) -> Subject:
        """The splats and the parts of an asset of one scene that is not empty, without a mesh. A
        ``draft`` has fewer splats, and is made sooner."""
        splats = asset.gaussians(DRAFT_GAUSSIANS if draft else FINAL_GAUSSIANS, fine=not draft)[0].detach()
        splats = splats.select(splats.opacities > 0)
        parts = asset.parts[0].present().detach() if asset.parts is not None else None
        return Subject(name, "", {}, splats, None, parts, _bounds(splats), asset)

    @cached_property
    def asset(self) -> Asset | None:
        """The asset for the simulator; None for a mesh without parts and without splats."""
        if self.parts is not None:
            return PartAsset(self.parts[None])
        if isinstance(self.source, GeneratedAsset):
            return self.source.asset
        if self.splats is None:
            return None
        from renderers.assets import SplatAsset

        return SplatAsset.of([self.splats])

    def exported(self, suffix: str) -> bytes:
        """Its file in the format of a suffix."""
        with tempfile.TemporaryDirectory() as temporary:
            to = Path(temporary) / f"asset{suffix}"
            if isinstance(self.source, Entry):
                return export(self.source.path, to, axes=self.source.axes).read_bytes()
            assert isinstance(self.source, GeneratedAsset)
            write_ply(Path(temporary) / "scene.ply", self.source.splats)
            self.source.write_glb(Path(temporary) / "mesh.glb")
            rewards = {name: {"value": value} for name, value in self.rewards.items()}
            (Path(temporary) / "card.json").write_text(json.dumps({"prompt": self.prompt, "rewards": rewards}))
            return export(temporary, to).read_bytes()

    def packed(self) -> bytes:
        """A .zip of the asset's folder, or of the one file."""
        out = io.BytesIO()
        with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            if isinstance(self.source, Entry):
                files = self.source.files()
            else:
                assert isinstance(self.source, GeneratedAsset)
                files = sorted(self.source.save(Path(temporary)).iterdir())
            for file in files:
                archive.writestr(file.name, read_bytes(file))
        return out.getvalue()

    def pieces(self) -> list[tuple[Float[np.ndarray, "v 3"], np.ndarray]]:
        """Vertices, z up, and faces of every part, or of every mesh of a file."""
        if self.parts is not None:
            vertices, faces = self.parts.meshes(per_octant=5)
            return [(v.numpy(), faces.numpy()) for v in vertices]
        if self.glb is None:
            return []
        shapes = load_glb(Path(self.name), self.glb).dump()
        return [((np.asarray(s.vertices) @ Y_UP[:3, :3]).astype(np.float32), np.asarray(s.faces)) for s in shapes]

    def part_of_splats(self) -> Int[np.ndarray, "n"]:
        """The part that is nearest to each Gaussian."""
        assert self.parts is not None and self.splats is not None
        points = self.splats.means.expand(self.parts.count, -1, 3)
        return self.parts.distance(points).abs().argmin(0).numpy()

    def body_of_splats(self, bodies: list[int]) -> Int[np.ndarray, "n"]:
        """The place in ``bodies`` (numbers of ``Convex.body``) of the body that each Gaussian moves
        with, for assets without parts; 0 for a Gaussian that moves with none."""
        assert self.asset is not None and self.splats is not None
        from scipy.spatial import cKDTree

        # The asset decides which Gaussian belongs to which body: body k is moved by k metres.
        away = {body: Pose(np.eye(3), np.array([float(k), 0, 0])) for k, body in enumerate(bodies)}
        still = self.asset.gaussians(fine=True)[0].detach().means
        gone = self.asset.moved([away]).gaussians(fine=True)[0].detach().means
        moved_with = (gone - still)[:, 0].round().long().clamp(0, len(bodies) - 1)
        return moved_with.numpy()[cKDTree(still.numpy()).query(self.splats.means.numpy())[1]]


def is_empty(asset: Asset) -> bool:
    """Whether there is nothing to see of a scene."""
    if asset.parts is not None:
        return not bool(asset.parts.exists.any())
    return not bool((asset.gaussians().opacities > 0).any())


def _bounds(splats: Gaussians) -> Float[np.ndarray, "2 3"]:
    """Quantiles, so that a few stray Gaussians do not enlarge them."""
    return np.quantile(splats.means.numpy(), (0.01, 0.99), axis=0)


def card(title: str, rewards: dict[str, float], picture: str = "") -> str:
    """A card of the gallery, or without a picture a caption: a title, and a bar for each reward."""
    image = f'<img src="{picture}" style="width:96px;height:96px;border-radius:4px" alt="">' if picture else ""
    bars = "".join(
        '<div style="display:flex;align-items:center;gap:6px;margin:2px 0">'
        f'<span style="flex:0 0 38%">{html.escape(name)}</span>'
        '<span style="flex:1;background:#8884;border-radius:3px"><span '
        f'style="display:block;width:{100 * min(max(value, 0), 1):.0f}%;'
        'height:8px;border-radius:3px;background:#3b82f6"></span></span>'
        f'<span style="flex:0 0 2.6em;text-align:right">{value:.2f}</span></div>'
        for name, value in rewards.items()
    )
    heading = f'<div style="margin:2px 0;overflow-wrap:anywhere">{html.escape(title)}</div>'
    text = f'<div style="flex:1;min-width:0">{heading}{bars}</div>'
    return f'<div style="font-size:12px;padding:4px 10px;display:flex;gap:10px">{image}{text}</div>'


def data_url(image: Image.Image, kind: str = "jpeg") -> str:
    """An image as a data URL."""
    out = io.BytesIO()
    image.convert("RGB").save(out, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def thumbnail(entry: Entry | Subject) -> Image.Image | None:
    """A small picture: the saved preview, or one drawn from the splats. None for a mesh alone."""
    from PIL import Image

    from rl3d.pictures import preview

    if isinstance(entry, Entry) and entry.picture:
        try:
            with Image.open(entry.picture) as image:
                image.draft("RGB", (THUMBNAIL, THUMBNAIL))
                return image.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise FileError(f"cannot read {entry.picture}: it is not a readable image") from error
    if isinstance(entry, Subject):
        splats = entry.splats
    else:
        splats = read_gaussians(entry.splats, entry.axes) if entry.splats else None
    return preview(splats, THUMBNAIL) if splats is not None else None
