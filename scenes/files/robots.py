"""Assets as bodies for robotics simulators: MJCF (.xml) and URDF (.urdf), z up, in metres, with one
collision mesh per part.

The meshes are .stl files in a folder beside the file. Mass and inertia are those of the union of
the parts, so overlaps are not counted twice. Formats:
https://mujoco.readthedocs.io/en/stable/XMLreference.html, https://wiki.ros.org/urdf/XML.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as XML

import numpy as np
from jaxtyping import Float

from scenes.files.atomic import FileError, atomic_write, atomic_write_folder

if TYPE_CHECKING:
    import trimesh

ROBOTS = (".xml", ".urdf")
DENSITY = 500.0
"""kg/m^3, a light wood. The simulator of the rewards uses the same."""


def write_robot(
    path: str | Path, shapes: list[trimesh.Trimesh], colors: Float[np.ndarray, "n 3"], density: float = DENSITY
) -> None:
    """Write closed z-up meshes, with one sRGB colour each, as one free rigid body. Simulators
    collide the convex hull of each mesh."""
    from scenes.solids import joined

    path = Path(path)
    if not shapes:
        raise FileError(f"cannot write {path}: the asset has no parts")
    solid = _whole(joined(shapes, colors, united=True))
    with np.errstate(all="ignore"):
        mass, centre = density * float(solid.volume), np.asarray(solid.center_mass)
    if not mass > 0:
        raise FileError(f"cannot write {path}: the asset is flat, and has no mass")
    inertia = density * np.asarray(solid.moment_inertia)
    folder = f"{path.stem}_{path.suffix[1:].lower()}_parts"
    names = [f"part_{i:02d}" for i in range(len(shapes))]
    with atomic_write_folder(path.parent / folder, _is_ours, "the meshes of a body that rl3d wrote") as temporary:
        for name, shape in zip(names, shapes, strict=True):
            data = shape.export(file_type="stl")
            assert isinstance(data, bytes)
            (temporary / f"{name}.stl").write_bytes(data)
    tree = (_mjcf if path.suffix.lower() == ".xml" else _urdf)(path.stem, folder, names, colors, mass, centre, inertia)
    XML.indent(tree)
    with atomic_write(path) as temporary:
        temporary.write_bytes(XML.tostring(tree, encoding="utf-8", xml_declaration=True) + b"\n")


def _is_ours(folder: Path) -> bool:
    return all(re.fullmatch(r"part_\d+\.stl", file.name) for file in folder.iterdir())


def _whole(mesh) -> trimesh.Trimesh:
    """The union with its vertices merged: closed, so that its volume is one."""
    import trimesh

    whole = trimesh.Trimesh(mesh.vertices.double().numpy(), mesh.faces.numpy(), process=False)
    whole.merge_vertices(merge_norm=True, merge_tex=True)
    return whole


def _mjcf(
    name: str, folder: str, names: list[str], colors: np.ndarray, mass: float, centre: np.ndarray, inertia: np.ndarray
) -> XML.Element:
    root = XML.Element("mujoco", model=name)
    XML.SubElement(root, "compiler", meshdir=folder)
    assets = XML.SubElement(root, "asset")
    body = XML.SubElement(XML.SubElement(root, "worldbody"), "body", name=name)
    XML.SubElement(body, "freejoint")
    full = [inertia[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
    XML.SubElement(body, "inertial", mass=_text(mass), pos=_text(*centre), fullinertia=_text(*full))
    for part, color in zip(names, colors, strict=True):
        XML.SubElement(assets, "mesh", name=part, file=f"{part}.stl")
        XML.SubElement(body, "geom", type="mesh", mesh=part, rgba=_text(*color, 1.0))
    return root


def _urdf(
    name: str, folder: str, names: list[str], colors: np.ndarray, mass: float, centre: np.ndarray, inertia: np.ndarray
) -> XML.Element:
    root = XML.Element("robot", name=name)
    # MuJoCo's own element, without which it drops the folder from the meshes' names; others pass
    # over it.
    XML.SubElement(XML.SubElement(root, "mujoco"), "compiler", strippath="false", discardvisual="false")
    link = XML.SubElement(root, "link", name=name)
    inertial = XML.SubElement(link, "inertial")
    XML.SubElement(inertial, "origin", xyz=_text(*centre))
    XML.SubElement(inertial, "mass", value=_text(mass))
    six = {f"i{a}{b}": _text(inertia[i, j]) for (i, a), (j, b) in _pairs("xyz")}
    XML.SubElement(inertial, "inertia", six)
    for part, color in zip(names, colors, strict=True):
        for kind in ("visual", "collision"):
            element = XML.SubElement(link, kind, name=f"{part}_{kind}")
            XML.SubElement(XML.SubElement(element, "geometry"), "mesh", filename=f"{folder}/{part}.stl")
            if kind == "visual":
                XML.SubElement(XML.SubElement(element, "material", name=part), "color", rgba=_text(*color, 1.0))
    return root


def _pairs(axes: str) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    named = list(enumerate(axes))
    return [(a, b) for a in named for b in named[a[0] :]]


def _text(*numbers: float) -> str:
    return " ".join(f"{number:.8g}" for number in numbers)
