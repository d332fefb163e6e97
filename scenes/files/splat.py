""".splat files: 32 bytes per Gaussian (position and scales as float32; colour, opacity and
quaternion as bytes), without harmonics.

The layout is that of Kevin Kwok's viewer, https://github.com/antimatter15/splat. gsplat, SuperSplat
and Babylon.js read it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scenes.files.atomic import FileError, atomic_write, read_bytes
from scenes.files.ply import check_writable, checked
from scenes.gaussians import Gaussians

_ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])


def write_splat(path: str | Path, scene: Gaussians) -> None:
    """Write one scene. The format clips colours to [0, 1] and has no view-dependent harmonics, so
    these are left out."""
    check_writable(path, scene)
    scene = scene.detach().to("cpu", torch.float64)
    rows = np.empty(scene.count, _ROW)
    rows["means"], rows["scales"] = scene.means, scene.scales
    rgba = torch.cat([scene.colors, scene.opacities.unsqueeze(-1)], -1)
    rows["rgba"] = (rgba * 255).round().clamp(0, 255)
    quats = torch.nn.functional.normalize(scene.quats, dim=-1, eps=1e-30)
    rows["quats"] = (quats * 128 + 128).round().clamp(0, 255)
    with atomic_write(path) as temporary:
        temporary.write_bytes(rows.tobytes())


def read_splat(path: str | Path) -> Gaussians:
    """Read one scene."""
    data = read_bytes(path)
    if len(data) % _ROW.itemsize:
        raise FileError(
            f"cannot read {path}: {len(data)} bytes are not a whole number of {_ROW.itemsize}-byte splats; "
            "the file is cut off"
        )
    rows = np.frombuffer(data, _ROW)
    floats = {name: torch.from_numpy(rows[name].astype(np.float32)) for name in ("means", "scales", "rgba", "quats")}
    rgba = floats["rgba"] / 255
    return checked(
        path, Gaussians(floats["means"], (floats["quats"] - 128) / 128, floats["scales"], rgba[:, 3], rgba[:, :3])
    )
