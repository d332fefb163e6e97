"""``python usd_reader.py FILE RESULT``: the Gaussians of an OpenUSD file as arrays in an .npz, or
the reason why it cannot be read.

scenes.files.usd runs this in its own process, because a damaged file may crash OpenUSD's parser or
keep it busy for minutes. A file is read without composition: files that it refers to are never
opened. Imports are few, to start fast.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import numpy as np

KIND = "ParticleField3DGaussianSplat"
_HARMONICS = (0, 3, 8, 15)


def read(path: str) -> dict[str, Any]:
    """The arrays of each prim of Gaussians, by ``number/name``, and the file's up axis and unit."""
    from pxr import Sdf, Tf

    try:
        layer = Sdf.Layer.OpenAsAnonymous(path)
    except Tf.ErrorException:
        layer = None
    if layer is None:
        raise ValueError("it is not a USD file, or damaged")
    places: list[Any] = []
    layer.Traverse(Sdf.Path.absoluteRootPath, places.append)
    prims = [
        spec
        for p in places
        if p.IsPrimPath() and (spec := layer.GetPrimAtPath(p)) and spec.typeName == KIND and spec.active
    ]
    if not prims:
        raise ValueError(f"it is a USD file without Gaussians ({KIND})")
    root = layer.pseudoRoot
    up, unit = (
        root.GetInfo(key) if root.HasInfo(key) else usual for key, usual in (("upAxis", "Y"), ("metersPerUnit", 0.01))
    )
    if up not in ("Y", "Z") or not 0 < float(unit) < 1e6:
        raise ValueError(f"its up axis is {up!r} and its unit {unit} m; Y or Z and a positive unit can be read")
    columns = {f"{i}/{name}": column for i, prim in enumerate(prims) for name, column in _columns(prim).items()}
    return {"count": len(prims), "up": up, "unit": float(unit), **columns}


def _columns(prim: Any) -> dict[str, np.ndarray]:
    parent = prim
    while parent and parent.path.IsPrimPath():
        order = parent.attributes.get("xformOpOrder")
        if order is not None and order.default:
            raise ValueError(f"its prim {parent.path} is moved by a transform; save it with the transform applied")
        parent = parent.nameParent

    def column(name: str, width: int) -> np.ndarray:
        attribute = prim.attributes.get(name) or prim.attributes.get(f"{name}h")
        if attribute is None or attribute.default is None:
            raise ValueError(f"its prim {prim.path} has no {name}")
        with np.errstate(over="ignore"):  # what becomes infinite is refused by name
            return np.array(attribute.default, dtype=np.float32).reshape(-1, width)

    positions = column("positions", 3)
    n = len(positions)
    degree = prim.attributes.get("radiance:sphericalHarmonicsDegree")
    degree = 3 if degree is None or degree.default is None else int(degree.default)
    if not 0 <= degree < len(_HARMONICS):
        raise ValueError(f"its prim {prim.path} has harmonics of degree {degree}; up to 3 can be read")
    k = 1 + _HARMONICS[degree]
    orientations, scales, opacities = column("orientations", 4), column("scales", 3), column("opacities", 1)
    harmonics = column("radiance:sphericalHarmonicsCoefficients", 3)
    if (len(orientations), len(scales), len(opacities)) != (n, n, n) or len(harmonics) < n * k:
        raise ValueError(f"its prim {prim.path} has {n} positions, but its other attributes have other counts")
    harmonics = harmonics[: n * k].reshape(n, k, 3)
    return {
        "positions": positions,
        "orientations": orientations,
        "scales": scales,
        "opacities": opacities,
        "harmonics": harmonics,
    }


def _limit_memory(path: str) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no limits, macOS not this one
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = (2 << 30) + 30 * os.path.getsize(path)
        resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(soft, most), hard))


def main(path: str, result: str) -> None:
    try:
        _limit_memory(path)
        found = read(path)
    except Exception as error:  # OpenUSD's bindings raise errors of many kinds for what a damaged file holds
        found = {"refused": str(error).strip().splitlines()[0] if str(error).strip() else "it is damaged"}
    np.savez(result, allow_pickle=False, **found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
