"""Mesh files by their suffix, written by trimesh: .glb and .obj for engines and editors, .stl and .3mf for printers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scenes.files.aside import FileError, reason, write_aside
from scenes.files.glb import Y_UP, write_mesh_glb
from scenes.mesh import Mesh

if TYPE_CHECKING:
    import trimesh

MESHES = (".glb", ".obj", ".stl", ".3mf")
_MILLIMETRES = np.diag([1000.0, 1000.0, 1000.0, 1.0])


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write one mesh in the format of the suffix."""
    if Path(path).suffix.lower() == ".glb":
        write_mesh_glb(path, mesh)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_mesh_glb(Path(folder) / "mesh.glb", mesh)
        convert_mesh(Path(folder) / "mesh.glb", path)


def convert_mesh(source: Path, path: str | Path) -> None:
    """Write a .glb file in another format.

    A .glb stays as it is, byte by byte. An .obj has metres and y up too, and its colours in an .mtl file beside it. Printers take z up and
    millimetres: an .stl is one mesh without colours, a .3mf keeps the parts apart.
    """
    path = Path(path)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {source}: {reason(error)}") from error
    if data[:4] != b"glTF":
        raise FileError(f"cannot export {source}: it is not a .glb file (it does not start with 'glTF')")
    kind = path.suffix.lower()
    if kind == ".glb":
        with write_aside(path) as temporary:
            temporary.write_bytes(data)
        return
    scene = load_glb(source, data)
    if kind == ".obj":
        from trimesh.exchange.obj import export_obj

        text, beside = export_obj(scene, include_normals=True, return_texture=True, mtl_name=f"{path.stem}.mtl")
        # The texture is named after its material: as it is, two exports into one folder would share it.
        renamed = {name: f"{path.stem}{Path(name).suffix}" for name in beside}
        for name, content in list(beside.items()):
            for was, now in renamed.items():
                if Path(name).suffix == ".mtl" and isinstance(content, bytes):
                    beside[name] = content = content.replace(was.encode(), now.encode())
        for name, content in ((renamed[name], content) for name, content in beside.items()):
            with write_aside(path.with_name(name)) as temporary:
                temporary.write_bytes(content if isinstance(content, bytes) else str(content).encode())
        out = text.encode()
    else:
        scene.apply_transform(_MILLIMETRES @ Y_UP.T)
        made = scene.to_mesh().export(file_type="stl") if kind == ".stl" else scene.export(file_type="3mf")
        assert isinstance(made, bytes)
        out = made
    with write_aside(path) as temporary:
        temporary.write_bytes(out)


def load_glb(path: Path, data: bytes) -> trimesh.Scene:
    """The scene of a .glb file's bytes; a FileError if there is no mesh in it."""
    import trimesh

    try:
        scene = trimesh.load_scene(trimesh.util.wrap_as_stream(data), file_type="glb")
    except Exception as error:  # trimesh reports a damaged file by whatever its parser stumbled over
        raise FileError(
            f"cannot read {path}: it is not a valid .glb file ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    if scene.bounds is None:
        raise FileError(f"cannot read {path}: it holds no mesh")
    return scene
