"""Files of Gaussians in any format, chosen by suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from scenes.files.atomic import FileError
from scenes.files.ply import read_ply, write_ply
from scenes.files.sog import read_sog, write_sog
from scenes.files.splat import read_splat, write_splat
from scenes.files.splat_glb import holds_splats, read_splat_glb, write_splat_glb
from scenes.files.spz import read_spz, write_spz
from scenes.files.usd import read_usd, write_usd
from scenes.gaussians import Gaussians, transformed

READERS = {".ply": read_ply, ".splat": read_splat, ".spz": read_spz, ".sog": read_sog, ".splat.glb": read_splat_glb}
READERS |= dict.fromkeys((".usda", ".usdc"), read_usd)
WRITERS = {
    ".ply": write_ply,
    ".splat": write_splat,
    ".spz": write_spz,
    ".sog": write_sog,
    ".splat.glb": write_splat_glb,
}
WRITERS |= dict.fromkeys((".usda", ".usdc"), write_usd)

Axes = Literal["z-up", "y-up", "y-down"]
"""The up axis of a file that does not store it. rl3d writes z-up; photogrammetry captures are
mostly y-down."""
SILENT = (".ply", ".splat", ".spz", ".sog")
"""The formats that do not store their up axis."""
_TO_Z_UP = {"y-up": [[1, 0, 0], [0, 0, -1], [0, 1, 0]], "y-down": [[1, 0, 0], [0, 0, 1], [0, -1, 0]]}


def splat_format(path: str | Path) -> str:
    """The format of a file, by its name and, for a .glb, by whether it holds Gaussians. An empty
    text for none."""
    path = Path(path)
    if path.name.lower().endswith(".splat.glb") or (path.suffix.lower() == ".glb" and holds_splats(path)):
        return ".splat.glb"
    return path.suffix.lower() if path.suffix.lower() in READERS else ""


def read_gaussians(path: str | Path, axes: Axes = "z-up") -> Gaussians:
    """Read one scene, z up, from a .ply, .splat, .spz, .sog, .glb, .usda or .usdc file. A .glb of a
    mesh is refused.

    ``axes`` is the up axis of a file in the first four formats (of a .spz, in the .ply that it was
    made from).
    """
    if not (kind := splat_format(path)):
        raise FileError(f"cannot read {path}: Gaussians come from {', '.join(READERS)} files")
    scene = READERS[kind](path)
    if axes == "z-up":
        return scene
    if kind not in SILENT:
        raise FileError(f"cannot read {path} as {axes}: a {kind} file stores its up axis; do not give one")
    return transformed(scene, torch.tensor(_TO_Z_UP[axes], dtype=torch.float32))


def write_gaussians(path: str | Path, scene: Gaussians) -> None:
    """Write one scene to a .ply, .splat, .spz, .sog, .splat.glb, .usda or .usdc file."""
    if not (kind := splat_format(path)):
        raise FileError(f"cannot write {path}: Gaussians go to {', '.join(WRITERS)} files")
    WRITERS[kind](path, scene)
