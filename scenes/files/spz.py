""".spz files: compressed columns of bytes, about a tenth of a .ply, with harmonics (Niantic,
https://github.com/nianticlabs/spz).

Versions 2 and 3 (gzip) and 4 (zstd) can be read. Version 3 is written, which older readers accept
too. The axes are right, up, back where a .ply has right, down, front, so y and z change sign. The
numbers are those that Niantic's own tool makes of our .ply.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from scenes.files.atomic import FileError, atomic_write, read_bytes
from scenes.files.ply import MIN_SCALE, check_writable, checked
from scenes.gaussians import SH_C0, Gaussians

MAX_GAUSSIANS = 10_000_000
"""Larger counts are refused, as by the reference reader: a gzip of zeros would fill the memory."""
_HEADER = struct.Struct("<4sIIBBBB")
_HEADER_4 = struct.Struct("<4sIIBBBBI12x")
_MAGIC = b"NGSP"
_HARMONICS = (0, 3, 8, 15)
_FRACTION_BITS = 12  # positions in steps of 0.24 mm, up to 2 km from the origin
_COLOR = 0.15  # how far a harmonic of 1 moves a colour byte, of its range
_HAS_EXTENSIONS = 2
# Signs that each number changes by when y and z do.
_FLIP = np.array([1.0, -1.0, -1.0])
_FLIP_SH = np.array([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1])


def write_spz(path: str | Path, scene: Gaussians) -> None:
    """Write one scene: positions to 0.12 mm, scales to 3 %, opacities to 1/510, colours to 0.004,
    harmonics to 4 or 5 bits."""
    check_writable(path, scene)
    scene = scene.detach().to("cpu", torch.float64)
    if scene.count > MAX_GAUSSIANS:
        raise FileError(
            f"cannot write {path}: a .spz file holds at most {MAX_GAUSSIANS} Gaussians, the scene has {scene.count}"
        )
    fixed = np.round(scene.means.numpy() * _FLIP * 2**_FRACTION_BITS).astype(np.int64)
    if scene.count and np.abs(fixed).max() >= 2**23:
        raise FileError(
            f"cannot write {path}: a .spz file reaches {2 ** (23 - _FRACTION_BITS)} m from the origin, "
            "and the scene goes farther"
        )
    columns = [
        (fixed[..., None] >> np.array([0, 8, 16]) & 0xFF).astype(np.uint8),
        _byte(scene.opacities.numpy() * 255),
        _byte(((scene.colors.numpy() - 0.5) / SH_C0 * _COLOR + 0.5) * 255),
        _byte((scene.scales.clamp_min(MIN_SCALE).log().numpy() + 10) * 16),
        _pack_quats(scene.quats.numpy()),
    ]
    if scene.sh_rest is not None:
        k = scene.sh_rest.shape[1]
        steps = np.where(np.arange(k) < 3, 8, 16)[:, None]  # degree 1 keeps 5 bits, the others 4
        q = np.round(scene.sh_rest.numpy() * _FLIP_SH[:k, None] * 128) + 128
        columns.append(_byte((q + steps // 2) // steps * steps))
    header = _HEADER.pack(_MAGIC, 3, scene.count, scene.sh_degree, _FRACTION_BITS, 0, 0)
    gzip = zlib.compressobj(wbits=31)
    with atomic_write(path) as temporary, temporary.open("wb") as out:
        for data in (header, *(column.tobytes() for column in columns)):
            out.write(gzip.compress(data))
        out.write(gzip.flush())


def read_spz(path: str | Path) -> Gaussians:
    """Read one scene."""
    data = read_bytes(path)
    version, n, degree, fraction_bits, columns = (
        _unpack_zstd(path, data) if data[:4] == _MAGIC else _unpack_gzip(path, data)
    )
    k = _HARMONICS[degree]
    place, opacity, color, scale, quat, sh = columns
    fixed = (place.reshape(n, 3, 3).astype(np.int64) << np.array([0, 8, 16])).sum(-1)
    fixed -= (fixed >> 23) << 24  # the sign
    quats = _unpack_smallest_three(quat) if version >= 3 else _unpack_first_three(quat)
    harmonics = (sh.reshape(n, k, 3) - 128.0) / 128 * _FLIP_SH[:k, None] if k else None
    tensors = [
        fixed * _FLIP / 2**fraction_bits,
        quats * [1, *_FLIP],
        np.exp(scale / 16.0 - 10),
        opacity[:, 0] / 255.0,
        0.5 + SH_C0 * (color / 255.0 - 0.5) / _COLOR,
        *([harmonics] if k else []),
    ]
    return checked(path, Gaussians(*(torch.from_numpy(t).float() for t in tensors)))


_Contents = tuple[int, int, int, int, list[np.ndarray]]
"""Version, count, degree, fraction bits, and the columns of bytes: positions, opacities, colours,
scales, rotations, harmonics."""


def _unpack_gzip(path: str | Path, data: bytes) -> _Contents:
    """Versions 2 and 3: one stream."""
    gzip = zlib.decompressobj(wbits=31)
    try:
        header = gzip.decompress(data, _HEADER.size)
        if len(header) < _HEADER.size or header[:4] != _MAGIC:
            raise FileError(
                f"cannot read {path}: it is not a .spz file (inside, it does not start with {_MAGIC.decode()!r})"
            )
        _, version, n, degree, fraction_bits, flags, _ = _HEADER.unpack(header)
        widths = _widths(path, version, (2, 3), n, degree, fraction_bits)
        if flags & _HAS_EXTENSIONS:
            raise FileError(f"cannot read {path}: it has extensions, which only version 4 of the format lets one skip")
        body = gzip.decompress(gzip.unconsumed_tail, max(1, n * sum(widths)))
    except zlib.error as error:
        raise FileError(f"cannot read {path}: it is not a .spz file, or damaged ({error})") from error
    if len(body) < n * sum(widths):
        room = len(body) // sum(widths)
        raise FileError(
            f"cannot read {path}: its header says {n} Gaussians but only {room} would fit; the file is cut off"
        )
    starts = np.cumsum([0, *widths[:-1]]) * n
    columns = [
        np.frombuffer(body, np.uint8, n * width, start).reshape(n, width)
        for width, start in zip(widths, starts, strict=True)
    ]
    return version, n, degree, fraction_bits, columns


def _unpack_zstd(path: str | Path, data: bytes) -> _Contents:
    """Version 4: a plain header, then one stream per column."""
    import zstandard

    if len(data) < _HEADER_4.size:
        raise FileError(f"cannot read {path}: it ends within its header; the file is cut off")
    _, version, n, degree, fraction_bits, _, streams, place = _HEADER_4.unpack_from(data)
    widths = [width for width in _widths(path, version, (4,), n, degree, fraction_bits) if width]
    if streams < len(widths) or place + 16 * streams > len(data):
        raise FileError(
            f"cannot read {path}: it has {streams} streams where {len(widths)} are needed, or ends before them"
        )
    start, columns = place + 16 * streams, []
    for i, width in enumerate(widths):
        packed, size = struct.unpack_from("<QQ", data, place + 16 * i)
        stream = data[start : start + packed]
        start += packed
        try:
            if size != n * width or len(stream) < packed or zstandard.frame_content_size(stream) not in (size, -1):
                raise FileError(
                    f"cannot read {path}: one of its streams is not of {n} Gaussians; the file is damaged or cut off"
                )
            body = zstandard.ZstdDecompressor().decompress(stream, max_output_size=max(1, size))
        except zstandard.ZstdError as error:
            raise FileError(
                f"cannot read {path}: one of its streams is damaged ({str(error).splitlines()[0]})"
            ) from error
        if len(body) != size:
            raise FileError(
                f"cannot read {path}: one of its streams is not of {n} Gaussians; the file is damaged or cut off"
            )
        columns.append(np.frombuffer(body, np.uint8).reshape(n, width))
    return version, n, degree, fraction_bits, columns + [np.zeros((n, 0), np.uint8)] * (6 - len(columns))


def _widths(
    path: str | Path, version: int, known: tuple[int, ...], n: int, degree: int, fraction_bits: int
) -> list[int]:
    """Bytes per Gaussian in each column. FileError for headers that cannot be read."""
    if version not in known:
        raise FileError(f"cannot read {path}: it is version {version} of the format; 2 to 4 can be read")
    if n > MAX_GAUSSIANS or degree >= len(_HARMONICS) or fraction_bits > 23:
        raise FileError(
            f"cannot read {path}: it says {n} Gaussians of degree {degree}; "
            f"at most {MAX_GAUSSIANS} of at most degree 3 can be read"
        )
    return [9, 1, 3, 3, 3 if version == 2 else 4, 3 * _HARMONICS[degree]]


def _byte(values: np.ndarray) -> np.ndarray:
    return np.round(values).clip(0, 255).astype(np.uint8)


def _pack_quats(quats: np.ndarray) -> np.ndarray:
    """(n, 4) bytes of quaternions wxyz: the index of the largest component (of xyzw), then a sign
    and 9 bits for each of the others."""
    q = np.roll(quats * [1, *_FLIP], -1, axis=-1)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    q = np.where(length > 0, q / np.maximum(length, 1e-300), [0.0, 0, 0, 1])
    largest = np.abs(q).argmax(-1)
    q *= np.where(np.take_along_axis(q, largest[:, None], -1) < 0, -1, 1)
    size = np.floor(511 * np.abs(q) / math.sqrt(0.5) + 0.5).clip(0, 511).astype(np.uint32)
    packed = largest.astype(np.uint32)
    for i in range(4):
        packed = np.where(largest == i, packed, packed << 10 | (q[:, i] < 0).astype(np.uint32) << 9 | size[:, i])
    return packed.astype("<u4").view(np.uint8).reshape(-1, 4)


def _unpack_smallest_three(data: np.ndarray) -> np.ndarray:
    packed = np.ascontiguousarray(data).view("<u4")[:, 0].astype(np.uint32)
    largest, q = packed >> 30, np.zeros((len(packed), 4))
    for i in reversed(range(4)):
        other = largest != i
        size = math.sqrt(0.5) * (packed & 511) / 511.0
        q[:, i] = np.where(other, np.where(packed >> 9 & 1, -size, size), 0)
        packed = np.where(other, packed >> 10, packed)
    rest = np.sqrt(np.maximum(0, 1 - (q**2).sum(-1)))
    np.put_along_axis(q, largest[:, None].astype(np.int64), rest[:, None], -1)
    return np.roll(q, 1, axis=-1)


def _unpack_first_three(data: np.ndarray) -> np.ndarray:
    xyz = data / 127.5 - 1
    return np.concatenate([np.sqrt(np.maximum(0, 1 - (xyz**2).sum(-1, keepdims=True))), xyz], -1)
