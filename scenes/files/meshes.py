"""Mesh files by their suffix, written by trimesh: .glb and .obj for engines and editors, .stl and
.3mf for printers."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scenes.files.atomic import FileError, atomic_write, read_bytes
from scenes.files.glb import Y_UP, chunks, placed_nodes, write_mesh_glb
from scenes.mesh import Mesh

if TYPE_CHECKING:
    import trimesh

MESHES = (".glb", ".obj", ".stl", ".3mf")
_FARTHEST = 1e6  # metres
_MOST = 10_000_000
_MOST_PIXELS = 1 << 26
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

    A .glb is copied byte by byte. An .obj uses metres and y up too, with its colours in an .mtl
    file beside it. Printers take z up and millimetres: an .stl is one mesh without colours, a .3mf
    keeps the parts apart.
    """
    path = Path(path)
    data = read_bytes(source)
    if data[:4] != b"glTF":
        raise FileError(f"cannot export {source}: it is not a .glb file (it does not start with 'glTF')")
    kind = path.suffix.lower()
    if kind == ".glb":
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
        return
    scene = load_glb(source, data)
    if kind == ".obj":
        from trimesh.exchange.obj import export_obj

        text, beside = export_obj(scene, include_normals=True, return_texture=True, mtl_name=f"{path.stem}.mtl")
        # A texture is named after its material: as it is, two exports into one folder would share
        # it. A .png of the .obj's name alone would be the asset's poster.
        several = sum(Path(name).suffix != ".mtl" for name in beside) > 1
        renamed = {
            name: path.stem
            + ("" if Path(name).suffix == ".mtl" else f"_{Path(name).stem}" if several else "_texture")
            + Path(name).suffix
            for name in beside
        }
        for name, content in list(beside.items()):
            for was, now in renamed.items():
                if Path(name).suffix == ".mtl" and isinstance(content, bytes):
                    beside[name] = content = content.replace(was.encode(), now.encode())
        for name, content in ((renamed[name], content) for name, content in beside.items()):
            with atomic_write(path.with_name(name)) as temporary:
                temporary.write_bytes(content if isinstance(content, bytes) else str(content).encode())
        out = text.encode()
    else:
        scene.apply_transform(_MILLIMETRES @ Y_UP.T)
        made = scene.to_mesh().export(file_type="stl") if kind == ".stl" else scene.export(file_type="3mf")
        assert isinstance(made, bytes)
        out = made
    with atomic_write(path) as temporary:
        temporary.write_bytes(out)


def load_glb(path: Path, data: bytes) -> trimesh.Scene:
    """The triangles of a .glb file, from its bytes: every mesh in its place, none twice. Lines and
    points are left out. FileError if there are no triangles."""
    import trimesh

    try:
        _check(data)
        scene = trimesh.Scene()
        with np.errstate(all="ignore"):  # numbers out of range are refused below
            nested = trimesh.load_scene(trimesh.util.wrap_as_stream(data), file_type="glb")
            for node in nested.graph.nodes_geometry:
                place, name = nested.graph[node]
                shape = nested.geometry[name]
                if not isinstance(shape, trimesh.Trimesh) or not len(shape.faces):
                    continue
                if not 0 <= shape.faces.min() <= shape.faces.max() < len(shape.vertices):
                    raise ValueError("its triangles refer to vertices that do not exist")
                shape = shape.copy().apply_transform(place)
                numbers = [shape.vertices, shape.vertex_normals, getattr(shape.visual, "uv", None)]
                if not all((np.abs(values) <= _FARTHEST).all() for values in numbers if values is not None):
                    raise ValueError(
                        f"it has values that are not finite, or vertices more than {_FARTHEST / 1000:g} km away"
                    )
                material = getattr(shape.visual, "material", None)
                for factor in ("metallicFactor", "roughnessFactor"):
                    if (value := getattr(material, factor, None)) is not None and not 0 <= value <= 1:
                        raise ValueError(f"one of its materials has a {factor} that is not in [0, 1]")
                scene.add_geometry(shape, geom_name=str(name))
    except Exception as error:  # trimesh reports a damaged file by whatever its parser stumbled over
        raise FileError(f"cannot read {path}: it is not a valid .glb file ({error or type(error).__name__})") from error
    if not scene.geometry:
        raise FileError(f"cannot read {path}: it holds no mesh")
    return scene


def _check(data: bytes) -> None:
    """Refuse what trimesh does not check: nodes that refer to each other, sizes that would fill the
    memory, and features that it silently ignores, which would give another mesh."""
    from PIL import Image

    tree, binary = chunks(data)
    accessors, views, meshes = (tree.get(name, []) for name in ("accessors", "bufferViews", "meshes"))
    sizes = [accessor["count"] for accessor in accessors]
    if not all(type(size) is int and 0 <= size <= len(data) for size in sizes):
        raise ValueError("one of its attributes has more entries than the file has bytes")
    if sum(sizes) > len(data) + _MOST or sum(view["byteLength"] for view in views) > 4 * len(data):
        raise ValueError("its attributes have more entries than the file has bytes")
    drawn = 0
    for node, _ in placed_nodes(tree):
        for primitive in meshes[node["mesh"]]["primitives"] if "mesh" in node else ():
            used = [*primitive["attributes"].values(), *([primitive["indices"]] if "indices" in primitive else [])]
            drawn += sum(sizes[index] for index in used)
            if drawn > 10 * _MOST:
                raise ValueError("its nodes repeat more triangles than fit into the memory")
            if "KHR_draco_mesh_compression" in primitive.get("extensions", {}):
                raise ValueError("it is compressed by Draco; save it uncompressed")
            if any("sparse" in accessors[index] for index in used):
                raise ValueError("some of its attributes are stored sparsely; save them whole")
            positions = accessors[primitive["attributes"]["POSITION"]]
            if positions["type"] != "VEC3" or positions.get("normalized"):
                raise ValueError("its vertices are not three floats each; save them unquantised")
    for image in tree.get("images", []):
        if "bufferView" in image:
            view = views[image["bufferView"]]
            start = view.get("byteOffset", 0)
            with Image.open(io.BytesIO(binary[start : start + view["byteLength"]])) as opened:
                if opened.width * opened.height > _MOST_PIXELS:
                    raise ValueError(f"one of its images has {opened.width} x {opened.height} pixels")
                opened.load()
