"""Files of Gaussians by their suffix, for commands that take whatever the user has."""

from __future__ import annotations

from pathlib import Path

from scenes.files.aside import FileError
from scenes.files.ply import read_ply, write_ply
from scenes.files.splat import read_splat, write_splat
from scenes.gaussians import Gaussians

READERS = {".ply": read_ply, ".splat": read_splat}
WRITERS = {".ply": write_ply, ".splat": write_splat}


def read_gaussians(path: str | Path) -> Gaussians:
    """Read one scene from a .ply or .splat file."""
    reader = READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise FileError(f"cannot read {path}: Gaussians come from {' or '.join(READERS)} files")
    return reader(path)


def write_gaussians(path: str | Path, scene: Gaussians) -> None:
    """Write one scene to a .ply or .splat file."""
    writer = WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        raise FileError(f"cannot write {path}: Gaussians go to {' or '.join(WRITERS)} files")
    writer(path, scene)
