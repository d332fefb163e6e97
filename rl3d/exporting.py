"""Export: an asset, or a file of Gaussians, to the format that the target's suffix names."""

from __future__ import annotations

import shutil
from pathlib import Path

from scenes.files import FileError, write_aside
from scenes.files.glb import write_mesh_glb
from scenes.files.splats import READERS, WRITERS, read_gaussians, write_gaussians

TARGETS = (*WRITERS, ".glb")


def export(path: str | Path, to: str | Path) -> Path:
    """Write ``path`` (an asset folder, or a .ply, .splat or .glb file) to ``to`` (.ply, .splat or .glb); returns ``to``.

    Splats without a mesh beside them become one by way of their rendered depth (``renderers.surface``).
    """
    path, to = Path(path), Path(to)
    kind = to.suffix.lower()
    if kind not in TARGETS:
        raise FileError(f"cannot export to {to}: the suffix must be one of {', '.join(TARGETS)}")
    if not path.exists():
        raise FileError(f"cannot export {path}: there is no such file or folder")
    splats = path if path.suffix.lower() in READERS and path.is_file() else path / "scene.ply"
    if kind == ".glb" and splats.is_file() and not (path / "mesh.glb").is_file():
        from renderers.surface import extract

        surface = extract(read_gaussians(splats))
        if not len(surface.faces):
            raise FileError(f"cannot export {splats} to .glb: its splats show no surface")
        write_mesh_glb(to, surface)
    elif kind == ".glb":
        _copy(_source(path, "mesh.glb", (".glb",)), to)
    else:
        write_gaussians(to, read_gaussians(_source(path, "scene.ply", tuple(READERS))))
    return to


def _source(path: Path, name: str, suffixes: tuple[str, ...]) -> Path:
    """The file to read: ``path`` itself, or the one called ``name`` in the asset folder ``path``."""
    if path.is_dir():
        if not (path / name).is_file():
            raise FileError(f"cannot export {path}: the folder has no {name}")
        return path / name
    if path.suffix.lower() in suffixes:
        return path
    if path.suffix.lower() == ".glb":
        raise FileError(f"cannot export {path} to splats: it is a mesh; give an asset folder that has a scene.ply")
    raise FileError(f"cannot export {path}: give an asset folder, or a {', '.join(TARGETS)} file")


def _copy(source: Path, to: Path) -> None:
    with source.open("rb") as file:
        if file.read(4) != b"glTF":
            raise FileError(f"cannot export {source}: it is not a .glb file (it does not start with 'glTF')")
        file.seek(0)
        with write_aside(to) as temporary, temporary.open("wb") as out:
            shutil.copyfileobj(file, out)
