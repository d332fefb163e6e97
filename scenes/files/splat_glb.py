"""Gaussians as .glb files: points of a glTF 2.0 mesh with the attributes of KHR_gaussian_splatting
(Khronos, 2025).

A viewer that does not know the extension shows coloured points. Numbers are stored unchanged
(float32). The node that holds them turns our z up into glTF's y up. Scales are linear, as in the
ratified extension; its drafts had logarithms.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from scenes.files.atomic import FileError, atomic_write, read_bytes
from scenes.files.glb import MAX_JSON, Y_UP, chunks, linear_light, placed_nodes
from scenes.files.ply import check_writable, checked
from scenes.gaussians import SH_C0, Gaussians, transformed

EXTENSION = "KHR_gaussian_splatting"
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_HARMONICS = (1, 3, 5, 7)  # of each degree


def write_splat_glb(path: str | Path, scene: Gaussians) -> None:
    """Write one scene."""
    check_writable(path, scene)
    scene = scene.detach().to("cpu", torch.float64)
    if not scene.count:  # glTF has no empty lists: a scene without a mesh
        _write(
            path,
            {
                "asset": {"version": "2.0", "generator": "rl3d"},
                "extensionsUsed": [EXTENSION],
                "scene": 0,
                "scenes": [{}],
            },
            b"",
        )
        return
    quats = torch.nn.functional.normalize(scene.quats, dim=-1, eps=1e-300)
    quats[quats.norm(dim=-1) == 0] = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    columns: dict[str, np.ndarray] = {
        "POSITION": scene.means.numpy(),
        f"{EXTENSION}:ROTATION": quats.roll(-1, -1).numpy(),
        f"{EXTENSION}:SCALE": scene.scales.numpy(),
        f"{EXTENSION}:OPACITY": scene.opacities.clamp(0, 1).numpy(),
        f"{EXTENSION}:SH_DEGREE_0_COEF_0": ((scene.colors - 0.5) / SH_C0).numpy(),
    }
    if scene.sh_rest is not None:
        for (degree, i), values in zip(_coefficients(scene.sh_degree), scene.sh_rest.unbind(1), strict=True):
            columns[f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{i}"] = values.numpy()
    points = np.concatenate(
        [linear_light(scene.colors.clamp(0, 1).numpy()), scene.opacities.clamp(0, 1)[:, None].numpy()], -1
    )
    buffers = {name: values.astype("<f4") for name, values in columns.items()}
    buffers["COLOR_0"] = np.round(255 * points).astype("<u1")
    views, accessors, start = [], [], 0
    for name, values in buffers.items():
        views.append({"buffer": 0, "byteOffset": start, "byteLength": values.nbytes, "target": 34962})
        kind = {"componentType": 5126} if values.dtype == "<f4" else {"componentType": 5121, "normalized": True}
        shape = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
        accessors.append({"bufferView": len(views) - 1, "count": scene.count, "type": shape, **kind})
        if name == "POSITION":
            accessors[-1] |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        start += values.nbytes
    primitive = {
        "attributes": {name: i for i, name in enumerate(buffers)},
        "mode": 0,
        "extensions": {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
    }
    half = math.sqrt(0.5)
    tree = {
        "asset": {"version": "2.0", "generator": "rl3d"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "splats", "mesh": 0, "rotation": [-half, 0.0, 0.0, half]}],
        "meshes": [{"name": "splats", "primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": start}],
    }
    _write(path, tree, b"".join(values.tobytes() for values in buffers.values()))


def read_splat_glb(path: str | Path) -> Gaussians:
    """Read the Gaussians of all nodes of the scene with their nodes' transforms, z up."""
    data = read_bytes(path)
    try:
        tree, binary = chunks(data)
        if EXTENSION not in tree.get("extensionsUsed", []):
            raise ValueError(f"it is a .glb file without Gaussians ({EXTENSION})")
        found = [_scene(tree, binary, primitive, world) for primitive, world in _primitives(tree)]
    except FileError:
        raise
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        MemoryError,
    ) as error:
        text = (
            str(error).splitlines()[0]
            if isinstance(error, ValueError) and str(error)
            else f"damaged ({type(error).__name__})"
        )
        raise FileError(f"cannot read {path}: {text}") from error
    return checked(path, Gaussians.concatenate(found))


def holds_splats(path: str | Path) -> bool:
    """Whether a file is a .glb that declares Gaussians. Only its header is read."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(20)
            if len(head) < 20 or head[:4] != b"glTF":
                return False
            return EXTENSION.encode() in file.read(min(struct.unpack_from("<I", head, 12)[0], MAX_JSON))
    except OSError:
        return False


def _coefficients(degree: int) -> Iterator[tuple[int, int]]:
    return ((d, i) for d in range(1, degree + 1) for i in range(_HARMONICS[d]))


def _write(path: str | Path, tree: dict[str, Any], binary: bytes) -> None:
    text = json.dumps(tree, separators=(",", ":")).encode()
    chunks = [(b"JSON", text + b" " * (-len(text) % 4))]
    if binary:
        chunks.append((b"BIN\0", binary + b"\0" * (-len(binary) % 4)))
    body = b"".join(struct.pack("<I4s", len(data), kind) + data for kind, data in chunks)
    with atomic_write(path) as temporary:
        temporary.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


def _primitives(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Float[np.ndarray, "4 4"]]]:
    """Every primitive of Gaussians in the scene, with its node's transform to our world."""
    for node, world in placed_nodes(tree):
        if "mesh" in node:
            found = tree["meshes"][node["mesh"]]["primitives"]
            yield from (
                (primitive, Y_UP.T @ world) for primitive in found if EXTENSION in primitive.get("extensions", {})
            )


def _scene(tree: dict[str, Any], binary: bytes, primitive: dict[str, Any], world: np.ndarray) -> Gaussians:
    attributes = primitive["attributes"]
    count = tree["accessors"][attributes["POSITION"]]["count"]

    def column(name: str, width: int) -> torch.Tensor:
        return torch.from_numpy(_accessor(tree, binary, attributes[name], count, width))

    degree = next(d for d in (3, 2, 1, 0) if d == 0 or f"{EXTENSION}:SH_DEGREE_{d}_COEF_0" in attributes)
    rest = [column(f"{EXTENSION}:SH_DEGREE_{d}_COEF_{i}", 3) for d, i in _coefficients(degree)]
    scene = Gaussians(
        means=column("POSITION", 3),
        quats=column(f"{EXTENSION}:ROTATION", 4).roll(1, -1),
        scales=column(f"{EXTENSION}:SCALE", 3),
        opacities=column(f"{EXTENSION}:OPACITY", 1).squeeze(-1),
        colors=0.5 + SH_C0 * column(f"{EXTENSION}:SH_DEGREE_0_COEF_0", 3),
        sh_rest=torch.stack(rest, 1) if rest else None,
    )
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what overflows or vanishes is no rotation
        size = np.cbrt(abs(np.linalg.det(world[:3, :3])))
        rotation = world[:3, :3] / max(size, 1e-12)
        turns = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) and np.linalg.det(rotation) > 0
    if not turns:
        raise ValueError(
            "one of its nodes shears, mirrors or stretches its Gaussians, "
            "which stay Gaussians only where all axes scale alike"
        )
    if np.allclose(world, np.eye(4), atol=1e-6):
        return scene
    tensors = (torch.from_numpy(t).float() for t in (rotation, world[:3, 3]))
    return transformed(scene, *tensors, scale=float(size))


def _accessor(tree: dict[str, Any], binary: bytes, index: int, count: int, width: int) -> Float[np.ndarray, "n w"]:
    """The numbers of one accessor. Normalized integers become the fractions they stand for."""
    accessor = tree["accessors"][index]
    view = tree["bufferViews"][accessor["bufferView"]]
    dtype = np.dtype(_COMPONENTS[accessor["componentType"]])
    if (
        accessor["count"] != count
        or _WIDTHS[accessor["type"]] != width
        or "sparse" in accessor
        or view.get("buffer", 0) != 0
    ):
        raise ValueError(
            "its attributes do not match one another, or are stored in a way that cannot be read "
            "(sparse, or in other files)"
        )
    row = dtype.itemsize * width
    stride, start = view.get("byteStride", row), view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    numbers = (count, stride, start, view["byteLength"])
    if any(type(v) is not int or v < 0 for v in numbers) or stride < row or not count:
        raise ValueError("one of its attributes has an invalid size or offset")
    if start + (count - 1) * stride + row > min(len(binary), view.get("byteOffset", 0) + view["byteLength"]):
        raise ValueError(f"it says {count} Gaussians but holds fewer; it is cut off")
    values = np.ndarray((count, width), dtype, binary, start, (stride, dtype.itemsize)).astype(np.float32)
    if not accessor.get("normalized", False):
        return values
    return np.maximum(values / np.iinfo(dtype).max, -1.0)
