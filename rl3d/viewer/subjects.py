"""What is looked at, read from a file or just generated, with what every way of looking at it
needs."""

from __future__ import annotations

import base64
import html
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from rl3d.assets import FINAL_GAUSSIANS, INSET, Asset
from rl3d.exporting import export
from rl3d.viewer.library import Entry
from scenes.files import FileError
from scenes.files.atomic import reason
from scenes.files.glb import Y_UP, parts_to_glb, read_parts, write_glb
from scenes.files.meshes import load_glb
from scenes.files.ply import write_ply
from scenes.files.splats import read_gaussians
from scenes.gaussians import Gaussians
from scenes.parts import Parts

if TYPE_CHECKING:
    from PIL import Image

THUMBNAIL = 160


@dataclass(frozen=True)
class Subject:
    """Splats, a mesh or both; ``parts`` where they are known. ``bounds`` (low, high) are of what
    can be seen, in metres, z up."""

    name: str
    prompt: str
    rewards: dict[str, float]
    splats: Gaussians | None
    glb: bytes | None
    parts: Parts | None
    bounds: Float[np.ndarray, "2 3"]
    source: Entry | Asset

    @staticmethod
    def read(entry: Entry) -> Subject:
        """Everything of an entry, before any of it is shown; a FileError if a part of it is
        damaged."""
        splats = read_gaussians(entry.splats, entry.axes) if entry.splats else None
        glb, parts, bounds = None, None, np.array([[0.0, 0, 0], [1, 1, 1]])
        if entry.mesh:
            glb = _bytes(entry.mesh)
            low, high = load_glb(entry.mesh, glb).bounds
            bounds = np.array([[low[0], -high[2], low[1]], [high[0], -low[2], high[1]]])
            parts = read_parts(entry.mesh, glb)
        if splats is not None and splats.count:
            # Quantiles: a few stray Gaussians far away must not make the asset small.
            bounds = np.quantile(splats.means.numpy(), (0.01, 0.99), axis=0)
        return Subject(entry.name, entry.prompt(), entry.rewards(), splats, glb, parts, bounds, entry)

    @staticmethod
    def of(asset: Asset, name: str) -> Subject:
        """An asset as ``Asset.save`` would write it."""
        if not asset.parts.exists.any():
            raise ValueError(f"{asset.prompt!r} with seed {asset.seed} came out without any part: try another seed")
        splats = asset.parts.gaussians(FINAL_GAUSSIANS, inset=INSET).detach()
        bounds = np.quantile(splats.means.numpy(), (0.01, 0.99), axis=0)
        rewards = {n: float(r["value"]) for n, r in asset.rewards.items()}
        parts = asset.parts.present().detach()
        return Subject(name, asset.prompt, rewards, splats, parts_to_glb(asset.parts), parts, bounds, asset)

    def exported(self, suffix: str) -> bytes:
        """Its file in the format that a suffix names."""
        with tempfile.TemporaryDirectory() as temporary:
            to = Path(temporary) / f"asset{suffix}"
            if isinstance(self.source, Entry):
                return export(self.source.path, to, axes=self.source.axes).read_bytes()
            assert self.splats is not None
            write_ply(Path(temporary) / "scene.ply", self.splats)
            write_glb(Path(temporary) / "mesh.glb", self.source.parts)
            rewards = {name: {"value": value} for name, value in self.rewards.items()}
            (Path(temporary) / "card.json").write_text(json.dumps({"prompt": self.prompt, "rewards": rewards}))
            return export(temporary, to).read_bytes()

    def packed(self) -> bytes:
        """A .zip of the asset's folder, or of the one file."""
        out = io.BytesIO()
        with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            if isinstance(self.source, Asset):
                folder = self.source.save(Path(temporary))
                files = sorted(folder.iterdir())
            else:
                files = self.source.files()
            for file in files:
                archive.writestr(file.name, _bytes(file))
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

    def owners(self) -> np.ndarray | None:
        """Which part each Gaussian lies on, (n,), by distance; None where there are no parts or no
        splats."""
        if self.parts is None or self.splats is None:
            return None
        points = self.splats.means.expand(self.parts.count, -1, 3)
        return self.parts.distance(points).abs().argmin(0).numpy()


def card(title: str, rewards: dict[str, float], picture: str = "") -> str:
    """A gallery's card, or with no picture the caption of what is shown: a title, and every reward
    as a bar."""
    image = f'<img src="{picture}" style="width:96px;height:96px;border-radius:4px" alt="">' if picture else ""
    bars = "".join(
        '<div style="display:flex;align-items:center;gap:6px;margin:2px '
        '0"><span '
        'style="flex:0 0 '
        f'38%">{html.escape(name)}</span>'
        '<span style="flex:1;background:#8884;border-radius:3px"><span '
        f'style="display:block;width:{100 * min(max(value, 0), 1):.0f}%;'
        f'height:8px;border-radius:3px;background:#3b82f6"></span></span>'
        f'<span style="flex:0 0 2.6em;text-align:right">{value:.2f}</span></div>'
        for name, value in rewards.items()
    )
    text = f'<div style="flex:1;min-width:0"><div style="margin:2px 0;overflow-wrap:anywhere">{html.escape(title)}</div>{bars}</div>'
    return f'<div style="font-size:12px;padding:4px 10px;display:flex;gap:10px">{image}{text}</div>'


def data_url(image: Image.Image, kind: str = "jpeg") -> str:
    """An image as text that a page can hold."""
    out = io.BytesIO()
    image.convert("RGB").save(out, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def thumbnail(entry: Entry | Subject) -> Image.Image | None:
    """A small picture: the one beside the asset, or one drawn of its splats; None of a mesh
    alone."""
    from PIL import Image

    from rl3d.pictures import preview

    if isinstance(entry, Entry) and entry.picture:
        try:
            with Image.open(entry.picture) as image:
                image.draft("RGB", (THUMBNAIL, THUMBNAIL))
                return image.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise FileError(f"cannot read {entry.picture}: it is not an image that can be read") from error
    splats = (
        entry.splats
        if isinstance(entry, Subject)
        else read_gaussians(entry.splats, entry.axes)
        if entry.splats
        else None
    )
    return preview(splats, THUMBNAIL) if splats is not None else None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {reason(error)}") from error
