"""3DGS .ply files: one vertex per Gaussian, with log scales, logit opacities and colours as
spherical harmonics.

The layout is that of Kerbl et al.'s reference code (scene/gaussian_model.py, save_ply). The .ply
format is Turk's Polygon File Format, 1994.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from scenes.files.atomic import FileError, atomic_write, reason
from scenes.gaussians import SH_C0, Gaussians

MAX_HEADER = 1 << 16
_BELOW = {3: 0, 8: 3, 15: 8}
"""Numbers of harmonics above the constant one at degrees 1, 2, 3, and at the degree below each."""
MIN_SCALE, MIN_OPACITY = 1e-12, 1e-6
"""Smallest scale written, and smallest distance of an opacity to 0 and to 1. Closer values would
have an infinite log or logit, which viewers cannot draw."""

_TYPES = {
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
}
_GROUPS = {
    "means": ["x", "y", "z"],
    "normals": ["nx", "ny", "nz"],
    "f_dc": [f"f_dc_{i}" for i in range(3)],
    "f_rest": [f"f_rest_{i}" for i in range(45)],
    "opacities": ["opacity"],
    "scales": [f"scale_{i}" for i in range(3)],
    "quats": [f"rot_{i}" for i in range(4)],
}
_NEEDED = ("means", "f_dc", "opacities", "scales", "quats")


def write_ply(path: str | Path, scene: Gaussians) -> None:
    """Write one scene. All 62 columns are written, with zeros where the scene has no values,
    because readers with a fixed layout (the reference viewer, Unity's importer) accept no other
    file. ``read_ply`` drops harmonics that are all zero."""
    check_writable(path, scene)
    scene = scene.detach().to("cpu", torch.float64)
    n = scene.count
    rest = np.zeros((n, 3, 15))
    if scene.sh_rest is not None:
        rest[..., : scene.sh_rest.shape[1]] = scene.sh_rest.transpose(1, 2)
    groups = {
        "means": scene.means,
        "normals": np.zeros((n, 3)),
        "f_dc": (scene.colors - 0.5) / SH_C0,
        "f_rest": rest.reshape(n, 45),
        "opacities": scene.opacities.clamp(MIN_OPACITY, 1 - MIN_OPACITY).logit().unsqueeze(-1),
        "scales": scene.scales.clamp_min(MIN_SCALE).log(),
        "quats": scene.quats,
    }
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    header += [f"property float {name}" for columns in _GROUPS.values() for name in columns] + ["end_header", ""]
    rows = np.concatenate([np.asarray(groups[name]) for name in _GROUPS], 1).astype("<f4")
    with atomic_write(path) as temporary:
        temporary.write_bytes("\n".join(header).encode() + rows.tobytes())


def read_ply(path: str | Path) -> Gaussians:
    """Read one scene from a binary .ply. Columns may have any order and types. Normals, harmonics
    and unknown columns are optional."""
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(MAX_HEADER)
            dtype, count, start = _parse_header(path, head)
            if start + count * dtype.itemsize > size:
                there = max(0, size - start) // dtype.itemsize
                raise FileError(
                    f"cannot read {path}: its header says {count} Gaussians but only {there} are there; "
                    "the file is cut off"
                )
            file.seek(start)
            table = np.fromfile(file, dtype, count)
    except OSError as error:
        raise FileError(f"cannot read {path}: {reason(error)}") from error
    if len(table) < count:
        raise FileError(
            f"cannot read {path}: its header says {count} Gaussians but only {len(table)} are there; "
            "the file is cut off"
        )

    group = {name: torch.from_numpy(_columns(table, _GROUPS[name])) for name in _NEEDED}
    scene = Gaussians(
        means=group["means"],
        quats=group["quats"],
        scales=group["scales"].exp(),
        opacities=group["opacities"].squeeze(-1).sigmoid(),
        colors=0.5 + SH_C0 * group["f_dc"],
        sh_rest=_sh_rest(path, table),
    )
    return checked(path, scene)


def check_writable(path: str | Path, scene: Gaussians) -> None:
    """Raise for scenes that no file can hold: batches (ValueError), and values that are not finite
    (FileError)."""
    if scene.batch_shape:
        raise ValueError(f"a file holds one scene, got a batch of shape {tuple(scene.batch_shape)}; index it first")
    _refuse_non_finite(f"cannot write {path}", scene)


def checked(path: str | Path, scene: Gaussians) -> Gaussians:
    """``scene``, just read, with unit quaternions. FileError if a value is not finite or is out of
    its range."""
    _refuse_non_finite(f"cannot read {path}", scene)
    rounding = 1e-3
    for what, wrong in (
        ("negative scales", scene.scales < 0),
        ("opacities that are not between 0 and 1", (scene.opacities < -rounding) | (scene.opacities > 1 + rounding)),
    ):
        if wrong.any():
            rows = int(wrong.reshape(scene.count, -1).any(1).sum())
            raise FileError(f"cannot read {path}: {rows} of {scene.count} Gaussians have {what}")
    # In float64: a quaternion of length 1e-30 is still a rotation. A zero quaternion stands for the
    # identity.
    quats = scene.quats.double()
    length = quats.norm(dim=-1, keepdim=True)
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    quats = torch.where(length > 0, quats / length, identity).float()
    return Gaussians(scene.means, quats, scene.scales, scene.opacities.clamp(0, 1), scene.colors, scene.sh_rest)


def _refuse_non_finite(what: str, scene: Gaussians) -> None:
    for name in ("means", "quats", "scales", "opacities", "colors", "sh_rest"):
        values = getattr(scene, name)
        if values is not None and not values.isfinite().all():
            rows = int((~values.isfinite()).reshape(scene.count, -1).any(1).sum())
            raise FileError(f"{what}: {rows} of {scene.count} Gaussians have {name} that are not finite numbers")


def _parse_header(path: Path, head: bytes) -> tuple[np.dtype, int, int]:
    """Row type of the vertices, their number, and their offset in the file."""
    if not re.match(rb"ply\r?\n", head):
        raise FileError(f"cannot read {path}: it is not a .ply file (it does not start with 'ply')")
    end = re.search(rb"\nend_header\r?\n", head)
    if not end:
        raise FileError(f"cannot read {path}: its header has no end; the file is damaged or cut off")
    lines = head[: end.start()].decode("ascii", "replace").splitlines()
    order = ""
    start, row, count = end.end(), 0, -1
    fields: list[tuple[str, str]] = []
    element = ""
    for line in lines[1:]:
        words = line.split()
        match words:
            case [] | ["comment" | "obj_info", *_]:
                continue
            case ["format", "binary_little_endian", _]:
                order = "<"
            case ["format", "binary_big_endian", _]:
                order = ">"
            case ["format", "ascii", _]:
                raise FileError(f"cannot read {path}: it is a text .ply; save it as binary_little_endian")
            case ["element", name, number] if number.isascii() and number.isdigit() and len(number) <= 12:
                if element != "vertex":  # elements before the vertices are skipped
                    start += row * max(count, 0)
                    row, count = 0, int(number)
                elif name == "vertex":
                    raise FileError(f"cannot read {path}: its header names the vertices twice")
                else:
                    break  # elements after the vertices are not needed
                element = name
            case ["property", "list", *_] if element:
                raise FileError(
                    f"cannot read {path}: {element} has a list where Gaussians have numbers; it looks like a mesh"
                )
            case ["property", kind, name] if kind in _TYPES and element:
                row += np.dtype(_TYPES[kind]).itemsize
                if element == "vertex":
                    fields.append((name, _TYPES[kind]))
            case _:
                raise FileError(f"cannot read {path}: its header has a line that is not understood: {line[:60]!r}")
    names = [name for name, _ in fields]
    if "packed_position" in names:
        raise FileError(
            f"cannot read {path}: it is a compressed .ply; save it uncompressed (SuperSplat: export as PLY)"
        )
    if not order or element != "vertex":
        raise FileError(f"cannot read {path}: its header names no {'vertices' if order else 'format'}")
    if len(set(names)) < len(names):
        raise FileError(f"cannot read {path}: its header names a column twice")
    missing = [name for group in _NEEDED for name in _GROUPS[group] if name not in names]
    if missing:
        named = ", ".join(missing[:4]) + " ..." * (len(missing) > 4)
        raise FileError(f"cannot read {path}: it has no {named}; it is not a file of Gaussians")
    return np.dtype([(name, order + kind) for name, kind in fields]), count, start


def _sh_rest(path: Path, table: np.ndarray) -> torch.Tensor | None:
    """Harmonics of degrees 1 and up (n, k, 3), or None. Trailing degrees that are zero everywhere
    are dropped."""
    columns = table.dtype.names or ()
    found = sum(bool(re.fullmatch(r"f_rest_\d+", name)) for name in columns)
    k = found // 3
    names = [f"f_rest_{i}" for i in range(found)]
    if found % 3 or k not in (0, *_BELOW) or not set(names) <= set(columns):
        raise FileError(
            f"cannot read {path}: {found} f_rest columns, where harmonics of degree 0, 1, 2, 3 have 0, 9, 24, 45"
        )
    rest = _columns(table, names).reshape(len(table), 3, k)
    with np.errstate(invalid="ignore"):  # values that are not numbers are refused by name later
        while k and not rest[..., _BELOW[k] : k].any():
            k = _BELOW[k]
    return torch.from_numpy(rest[..., :k]).transpose(1, 2).contiguous() if k else None


def _columns(table: np.ndarray, names: list[str]) -> np.ndarray:
    out = np.empty((len(table), len(names)), np.float32)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a double too large becomes infinite, which is refused by name later
        for i, name in enumerate(names):
            out[:, i] = table[name]
    return out
