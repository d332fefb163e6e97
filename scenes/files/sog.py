""".sog files: a zip of meta.json and lossless WebP images, a fifteenth of a .ply in size
(PlayCanvas, "The SOG format", version 2).

Each Gaussian is a pixel. Its position has 2 x 8 bits per axis of a logarithmic range. Scales and
base colour use codebooks of 256 values, harmonics a palette of up to 65,536 entries.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from scenes.files.atomic import FileError, atomic_write, reason
from scenes.files.ply import MIN_SCALE, check_writable, checked
from scenes.files.trees import parse_json
from scenes.gaussians import SH_C0, Gaussians

MAX_GAUSSIANS = 16_000_000
_MAX_META = 1 << 20
_PALETTE = 1 << 16
_HARMONICS = (0, 3, 8, 15)
_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def write_sog(path: str | Path, scene: Gaussians) -> None:
    """Write one scene. In scenes of up to 65,536 Gaussians each keeps its own harmonics, with 8
    bits per number. In larger ones, similar Gaussians share them."""
    check_writable(path, scene)
    scene = scene.detach().to("cpu", torch.float64)
    n = scene.count
    if n > MAX_GAUSSIANS:
        raise FileError(
            f"cannot write {path}: a .sog file holds at most {MAX_GAUSSIANS} Gaussians here, the scene has {n}"
        )
    width = max(4, 4 * math.ceil(math.sqrt(n) / 4))
    height = max(4, 4 * math.ceil(n / width / 4))
    files: dict[str, bytes] = {}

    def image(name: str, pixels: np.ndarray, width: int = width, height: int = height) -> None:
        """``pixels`` (k, 1 to 4) row by row. Missing channels are 0, and alpha is opaque."""
        full = np.zeros((height * width, 4), np.uint8)
        full[:, 3] = 255
        full[: len(pixels), : pixels.shape[1]] = pixels
        out = io.BytesIO()
        _pillow().fromarray(full.reshape(height, width, 4)).save(out, "WEBP", lossless=True, exact=True)
        files[name] = out.getvalue()

    logs = np.sign(scene.means.numpy()) * np.log1p(np.abs(scene.means.numpy()))
    low, high = (logs.min(0), logs.max(0)) if n else (np.zeros(3), np.zeros(3))
    steps = np.round(65535 * (logs - low) / np.where(high > low, high - low, 1)).astype(np.int64)
    image("means_l.webp", steps & 0xFF)
    image("means_u.webp", steps >> 8)
    quats = torch.nn.functional.normalize(scene.quats, dim=-1, eps=1e-300).numpy()
    quats = np.where(np.abs(quats).sum(-1, keepdims=True) > 0, quats, [1.0, 0, 0, 0])
    largest = np.abs(quats).argmax(-1)
    quats = quats * np.where(np.take_along_axis(quats, largest[:, None], -1) < 0, -1, 1)
    others = np.take_along_axis(quats, _OTHERS[largest], -1)
    image("quats.webp", np.concatenate([_byte(255 * (others * math.sqrt(0.5) + 0.5)), 252 + largest[:, None]], -1))
    scales, scale_labels = _codebook(scene.scales.clamp_min(MIN_SCALE).log().numpy())
    image("scales.webp", scale_labels)
    colors, color_labels = _codebook(((scene.colors - 0.5) / SH_C0).numpy())
    image("sh0.webp", np.concatenate([color_labels, _byte(255 * scene.opacities.numpy())[:, None]], -1))
    meta: dict[str, Any] = {
        "version": 2,
        "asset": {"generator": "rl3d"},
        "count": n,
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scales, "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": colors, "files": ["sh0.webp"]},
    }
    if scene.sh_rest is not None:
        k = scene.sh_rest.shape[1]
        palette, labels = _clustered(scene.sh_rest.numpy().reshape(n, 3 * k))
        book, entries = _codebook(palette)
        rows = max(1, math.ceil(len(palette) / 64))
        image("shN_centroids.webp", entries.reshape(-1, 3), 64 * k, rows)
        image("shN_labels.webp", np.stack([labels & 0xFF, labels >> 8], -1))
        files_n = ["shN_centroids.webp", "shN_labels.webp"]
        meta["shN"] = {"count": len(palette), "bands": scene.sh_degree, "codebook": book, "files": files_n}
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {"meta.json": json.dumps(meta).encode(), **files}.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def read_sog(path: str | Path) -> Gaussians:
    """Read one scene from a bundle. Nothing is unpacked to disk. Images larger than the Gaussian
    count allows are refused before they are decoded."""
    try:
        with zipfile.ZipFile(path) as archive:
            return checked(path, _read(Path(path), archive))
    except OSError as error:
        raise FileError(f"cannot read {path}: {reason(error)}") from error
    except FileError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise FileError(
            f"cannot read {path}: it is not a .sog file, or damaged ({' '.join(str(error).split()) or 'cut off'})"
        ) from error


def _read(path: Path, archive: zipfile.ZipFile) -> Gaussians:
    def member(name: str, limit: int) -> bytes:
        try:
            info = archive.getinfo(name)
        except KeyError:
            raise FileError(f"cannot read {path}: it has no {name}; it is not a .sog file, or damaged") from None
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileError(f"cannot read {path}: its {name} is packed in a way that .sog files are not")
        if info.file_size > limit:
            raise FileError(
                f"cannot read {path}: its {name} has {info.file_size} bytes, more than its Gaussians can need"
            )
        with archive.open(info) as file:
            return file.read(limit)

    try:
        meta = parse_json(member("meta.json", _MAX_META))
        if meta["version"] != 2:
            raise FileError(f"cannot read {path}: it is version {meta['version']!r} of the format; 2 can be read")
        n, bands = _whole(meta["count"], MAX_GAUSSIANS), _whole(meta["shN"]["bands"], 3) if "shN" in meta else 0
        means = _numbers(meta["means"]["mins"], 3), _numbers(meta["means"]["maxs"], 3)
        books = {name: _numbers(meta[name]["codebook"], 256) for name in ("scales", "sh0", *(["shN"] if bands else []))}
        palette = _whole(meta["shN"]["count"], _PALETTE) if bands else 0
        names = {
            name: [str(f) for f in meta[name]["files"]]
            for name in ("means", "scales", "quats", "sh0", *(["shN"] if bands else []))
        }
        counts = {name: len(files) for name, files in names.items()}
        if counts != {name: 2 if name in ("means", "shN") else 1 for name in names}:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"cannot read {path}: its meta.json is not that of a .sog file of version 2") from error

    def image(name: str, pixels: int) -> np.ndarray:
        """The first ``pixels`` pixels (k, 4) of an image, which may have some more."""
        data = member(name, 8 * pixels + (1 << 16))
        pillow = _pillow()
        try:
            with pillow.open(io.BytesIO(data), formats=("WEBP", "PNG")) as opened:
                size = opened.width * opened.height
                if not pixels <= size <= 2 * pixels + 1024:
                    raise FileError(f"cannot read {path}: its {name} has {size} pixels for {pixels} entries")
                return np.asarray(opened.convert("RGBA")).reshape(-1, 4)[:pixels]
        except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"cannot read {path}: its {name} is not an image that can be read") from error

    lower, upper = (image(name, n)[:, :3].astype(np.float64) for name in names["means"])
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # values that are not finite are refused by name, with all others
        logs = means[0] + (means[1] - means[0]) * (lower + 256 * upper) / 65535
    packed = image(names["quats"][0], n)
    largest = packed[:, 3].astype(np.int64) - 252
    if n and largest.min() < 0:
        raise FileError(f"cannot read {path}: its {names['quats'][0]} has alphas below 252, which name no component")
    others = (packed[:, :3] / 255.0 - 0.5) * math.sqrt(2)
    quats = np.zeros((n, 4))
    np.put_along_axis(quats, _OTHERS[largest], others, -1)
    np.put_along_axis(quats, largest[:, None], np.sqrt(np.maximum(0, 1 - (others**2).sum(-1, keepdims=True))), -1)
    base = image(names["sh0"][0], n)
    harmonics = None
    if bands:
        k = _HARMONICS[bands]
        entries = image(names["shN"][0], 64 * k * max(1, math.ceil(palette / 64)))[:, :3].reshape(-1, k, 3)
        labels = image(names["shN"][1], n)[:, :2].astype(np.int64) @ np.array([1, 256])
        if n and labels.max() >= max(1, palette):
            raise FileError(f"cannot read {path}: its harmonics name entry {labels.max()} of a palette of {palette}")
        harmonics = books["shN"][entries[labels]]
    with np.errstate(over="ignore", invalid="ignore"):
        tensors = [
            np.sign(logs) * np.expm1(np.abs(logs)),
            quats,
            np.exp(books["scales"][image(names["scales"][0], n)[:, :3]]),
            base[:, 3] / 255.0,
            0.5 + SH_C0 * books["sh0"][base[:, :3]],
            *([] if harmonics is None else [harmonics]),
        ]
        return Gaussians(*(torch.from_numpy(t).float() for t in tensors))


def _whole(value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise ValueError(value)
    return value


def _numbers(values: Any, count: int) -> Float[np.ndarray, "k"]:
    """An array of ``count`` finite numbers."""
    array = np.array(values, dtype=np.float64)
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ValueError(values)
    return array


def _byte(values: np.ndarray) -> np.ndarray:
    return np.round(values).clip(0, 255).astype(np.uint8)


def _codebook(values: Float[np.ndarray, "*n"]) -> tuple[list[float], UInt8[np.ndarray, "*n"]]:
    """256 sorted values, and for each number the index of the nearest one.

    Lloyd's algorithm in one dimension. It starts at the quantiles and at even steps in turn, so
    that both frequent and extreme values are covered.
    """
    if not values.size:
        return [0.0] * 256, np.zeros(values.shape, np.uint8)
    flat = np.sort(values, axis=None)
    book = np.sort(np.concatenate([np.quantile(flat, np.linspace(0, 1, 128)), np.linspace(flat[0], flat[-1], 128)]))
    total = np.concatenate([[0.0], np.cumsum(flat)])
    for _ in range(20):
        edges = np.concatenate([[0], np.searchsorted(flat, (book[1:] + book[:-1]) / 2), [len(flat)]])
        count = np.diff(edges)
        book = np.sort(np.where(count > 0, np.diff(total[edges]) / np.maximum(count, 1), book))
    return book.tolist(), np.searchsorted((book[1:] + book[:-1]) / 2, values).astype(np.uint8)


def _clustered(vectors: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "k d"], Int[np.ndarray, "n"]]:
    """At most 65,536 vectors, and for each Gaussian the index of its own. If there are more, groups
    are halved along their widest axis until the palette is full (median cut)."""
    n = len(vectors)
    if n <= _PALETTE:
        return vectors, np.arange(n)
    labels = np.zeros(n, np.int64)
    for level in range(16):
        groups = 1 << level
        count = np.bincount(labels, minlength=groups)[:, None]
        moments = [
            np.stack([np.bincount(labels, column**power, groups) for column in vectors.T], -1) / count
            for power in (1, 2)
        ]
        axis = (moments[1] - moments[0] ** 2).argmax(-1)
        order = np.lexsort((vectors[np.arange(n), axis[labels]], labels))
        start = np.cumsum(count[:, 0]) - count[:, 0]
        rank = np.empty(n, np.int64)
        rank[order] = np.arange(n) - start[labels[order]]
        labels = 2 * labels + (2 * rank >= count[labels, 0])
    count = np.bincount(labels, minlength=_PALETTE)[:, None]
    return np.stack([np.bincount(labels, column, _PALETTE) for column in vectors.T], -1) / count, labels


def _pillow():
    from PIL import Image

    return Image
