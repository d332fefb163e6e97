"""Files of Gaussians by their suffix, for commands that take whatever the user has."""

from __future__ import annotations

from pathlib import Path

from scenes.files.aside import FileError
from scenes.files.ply import read_ply, write_ply
from scenes.files.sog import read_sog, write_sog
from scenes.files.splat import read_splat, write_splat
from scenes.files.splat_glb import holds_splats, read_splat_glb, write_splat_glb
from scenes.files.spz import read_spz, write_spz
from scenes.files.usd import read_usd, write_usd
from scenes.gaussians import Gaussians

READERS = {".ply": read_ply, ".splat": read_splat, ".spz": read_spz, ".sog": read_sog, ".splat.glb": read_splat_glb}
READERS |= dict.fromkeys((".usda", ".usdc"), read_usd)
WRITERS = {".ply": write_ply, ".splat": write_splat, ".spz": write_spz, ".sog": write_sog, ".splat.glb": write_splat_glb}
WRITERS |= dict.fromkeys((".usda", ".usdc"), write_usd)


def splat_format(path: str | Path) -> str:
    """Which of the formats a file is of, by its name and, for a .glb, by whether it holds Gaussians; an empty text for none."""
    path = Path(path)
    if path.name.lower().endswith(".splat.glb") or (path.suffix.lower() == ".glb" and holds_splats(path)):
        return ".splat.glb"
    return path.suffix.lower() if path.suffix.lower() in READERS else ""


def read_gaussians(path: str | Path) -> Gaussians:
    """Read one scene from a .ply, .splat, .spz, .sog, .glb, .usda or .usdc file (a mesh's .glb is none of Gaussians)."""
    if not (kind := splat_format(path)):
        raise FileError(f"cannot read {path}: Gaussians come from {', '.join(READERS)} files")
    return READERS[kind](path)


def write_gaussians(path: str | Path, scene: Gaussians) -> None:
    """Write one scene to a .ply, .splat, .spz, .sog, .splat.glb, .usda or .usdc file."""
    if not (kind := splat_format(path)):
        raise FileError(f"cannot write {path}: Gaussians go to {', '.join(WRITERS)} files")
    WRITERS[kind](path, scene)
