"""What fuzz.py begins with: for every reader small whole files of different kinds, how one is read,
unpacked and packed."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import trimesh
import yaml
import zstandard
from PIL import Image
from pxr import Gf, Sdf, Usd, UsdGeom, UsdVol, Vt

import rewards
import rl3d
from rewards.image.preference import KIND, PreferenceHead, load_head
from rl3d import preferences
from rl3d.checkpoints import load_tensors, save_tensors
from rl3d.export import export, label
from rl3d.generators.load import load_generator
from rl3d.generators.part_flow import PartFlowConfig, PartFlowNetwork
from rl3d.generators.sde import Sampling
from rl3d.pictures import poster
from rl3d.preferences import Pair, append_pair
from rl3d.replay import recipe
from rl3d.report import report
from rl3d.training.config import TrainConfig, as_saved, saved_config
from rl3d.viewer.library import find_entries
from scenes.asset import PartAsset
from scenes.files import glb, splats, usd_reader
from scenes.gaussians import Gaussians
from scenes.mesh import Mesh
from scenes.parts import CENTRE_X, EXISTENCE, EXPONENTS, LOG_HALF_SIZE, ROTATION, UPRIGHT, VECTOR_SIZE, Parts

Pieces = dict[str, bytes]
OURS = tuple(f"{Path(module.__file__ or '').parent}/" for module in (glb, rewards, rl3d))
RUN = ("config.yaml", "metrics.jsonl", "samples/000010.png", "table.json", "guard.jsonl")
MARK = b"\n=====\n"
DEGREES = (0, 3, 8, 15)


def scene(n: int, k: int = 0) -> Gaussians:
    rng = torch.Generator().manual_seed(n + k)
    draw = lambda *shape: torch.randn(*shape, generator=rng)  # noqa: E731
    quats = torch.nn.functional.normalize(draw(n, 4), dim=-1)
    return Gaussians(
        draw(n, 3),
        quats,
        (draw(n, 3) - 4).exp(),
        draw(n).sigmoid(),
        draw(n, 3).sigmoid(),
        0.2 * draw(n, k, 3) if k else None,
    )


def written(folder: Path, suffix: str) -> Iterator[bytes]:
    for one in [scene(n, k) for n, k in [(0, 0), (1, 0), (9, 0), (9, 3), (9, 8), (9, 15)]]:
        splats.write_gaussians(folder / f"a{suffix}", one)
        yield (folder / f"a{suffix}").read_bytes()


def ply(folder: Path) -> list[bytes]:
    """Ours, and one with big-endian doubles, Windows' line ends, cameras before the vertices and
    faces after them."""
    columns = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3 label".split()
    header = [
        "ply",
        "format binary_big_endian 1.0",
        "comment by us",
        "element camera 2",
        "property uchar a",
        "element vertex 3",
    ]
    header += [f"property double {name}" for name in columns] + [
        "element face 1",
        "property list uchar int i",
        "end_header",
        "",
    ]
    rows = np.random.default_rng(0).normal(size=(3, len(columns)))
    return [
        *written(folder, ".ply"),
        "\r\n".join(header).encode() + b"ab" + rows.astype(">f8").tobytes() + b"\3" + bytes(12),
    ]


def spz(folder: Path) -> list[bytes]:
    """Version 3, and the same as 2 and as 4."""
    files = list(written(folder, ".spz"))
    for data in files[1:]:
        body = zlib.decompress(data, wbits=31)
        n, degree = body[8], body[12]
        starts = np.cumsum([16, *(n * width for width in (9, 1, 3, 3, 4, 3 * DEGREES[degree]))])
        columns = [body[a:b] for a, b in pairwise(starts) if b > a]
        old = [*columns[:4], bytes(range(3 * n)), *columns[5:]]
        files.append(zlib.compress(struct.pack("<4sIIBBBB", b"NGSP", 2, n, degree, 12, 0, 0) + b"".join(old), wbits=31))
        head = (
            struct.pack("<4sIIBBBBI12x", b"NGSP", 4, n, degree, 12, 2, len(columns), 40)
            + b"whatever"
            + bytes(16 * len(columns))
        )
        files.append(pack_spz({"head": head, **{str(i): column for i, column in enumerate(columns)}}))
    return files


def unpack_spz(data: bytes) -> Pieces:
    if data[:4] != b"NGSP":
        return {"body": zlib.decompress(data, wbits=31)}
    place, sizes = struct.unpack_from("<I", data, 16)[0], []
    for i in range(data[15]):
        sizes.append(struct.unpack_from("<Q", data, place + 16 * i)[0])
    starts = np.cumsum([place + 16 * len(sizes), *sizes])
    streams = {str(i): zstandard.decompress(data[a:b]) for i, (a, b) in enumerate(pairwise(starts))}
    return {"head": data[: place + 16 * len(sizes)], **streams}


def pack_spz(pieces: Pieces) -> bytes:
    if "body" in pieces:
        return zlib.compress(pieces["body"], wbits=31)
    streams = {name: zstandard.compress(data) for name, data in pieces.items() if name != "head"}
    head = bytearray(pieces["head"])
    for i, (name, data) in enumerate(streams.items()):
        if len(head) >= 16 * (len(streams) - i):
            struct.pack_into("<QQ", head, len(head) - 16 * (len(streams) - i), len(data), len(pieces[name]))
    return bytes(head) + b"".join(streams.values())


def unpack_sog(data: bytes) -> Pieces:
    """Images as their size and pixels."""
    pieces = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            pieces[name] = archive.read(name)
            if name.endswith(".webp"):
                image = Image.open(io.BytesIO(pieces[name])).convert("RGBA")
                pieces[name] = struct.pack("<HH", *image.size) + image.tobytes()
    return pieces


def pack_sog(pieces: Pieces) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if len(pieces) % 2 else zipfile.ZIP_STORED) as archive:
        for name, data in pieces.items():
            if (
                name.endswith(".webp")
                and len(data) > 4
                and 0 < (size := (w := data[0] + 256 * data[1]) * (h := data[2] + 256 * data[3])) < 10**6
                and max(w, h) < 16384
            ):
                image = io.BytesIO()
                Image.frombytes("RGBA", (w, h), data[4 : 4 + 4 * size].ljust(4 * size, b"\xff")).save(
                    image, "WEBP", lossless=True, exact=True
                )
                data = image.getvalue()
            archive.writestr(name, data)
    return out.getvalue()


def unpack_glb(data: bytes) -> Pieces:
    size = struct.unpack_from("<I", data, 12)[0]
    return {"tree": data[20 : 20 + size], "binary": data[28 + size :]}


def pack_glb(pieces: Pieces) -> bytes:
    chunks = [
        (b"JSON", pieces["tree"] + b" " * (-len(pieces["tree"]) % 4)),
        (b"BIN\0", pieces["binary"] + bytes(-len(pieces["binary"]) % 4)),
    ]
    body = b"".join(struct.pack("<I4s", len(data), kind) + data for kind, data in chunks if data)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def splat_glb(folder: Path) -> list[bytes]:
    """Ours; quantised and strided; and twice in a tree of nodes with matrices."""
    files = list(written(folder, ".splat.glb"))
    tree, binary = unpack_glb(files[2]).values()
    two = json.loads(tree)
    two["nodes"] = [{"children": [1, 2], "scale": [2, 2, 2]}, {"mesh": 0, "translation": [1, 2, 3]}]
    two["nodes"] += [{"mesh": 0, "matrix": [0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 5, 6, 7, 1]}]
    files.append(pack_glb({"tree": json.dumps(two).encode(), "binary": binary}))
    small = json.loads(tree)
    for accessor, kind, stride in zip(
        small["accessors"], (5122, 5120, 5121, 5123, 5120), (12, 4, 3, 2, 8), strict=False
    ):
        accessor |= {"componentType": kind, "normalized": True, "byteOffset": 0}
        small["bufferViews"][accessor["bufferView"]]["byteStride"] = stride
    files.append(pack_glb({"tree": json.dumps(small).encode(), "binary": binary}))
    return files


def mesh_glb(folder: Path) -> list[bytes]:
    """Parts; one with a texture; one with vertex colours; nodes in nodes and one mesh twice;
    sparse, quantised, strips, points, a JPEG."""
    vectors = torch.zeros(2, VECTOR_SIZE)
    vectors[:, EXISTENCE], vectors[:, EXPONENTS], vectors[:, ROTATION] = 1.0, 1.0, torch.tensor(UPRIGHT)
    vectors[:, LOG_HALF_SIZE], vectors[:, CENTRE_X] = -1.5, torch.tensor([0.0, 0.1])
    path = folder / "a.glb"
    glb.write_glb(path, Parts.from_vectors(vectors), per_octant=1)
    files = [path.read_bytes()]
    box = trimesh.creation.box()
    plain = Mesh(torch.tensor(box.vertices).float(), torch.tensor(box.faces))
    rng = torch.Generator().manual_seed(0)
    for fields in (
        {"uvs": torch.rand(8, 2, generator=rng), "texture": torch.rand(8, 8, 3, generator=rng)},
        {"colors": torch.rand(8, 3)},
    ):
        glb.write_mesh_glb(path, Mesh(plain.vertices, plain.faces, **fields))
        files.append(path.read_bytes())
    nested = trimesh.Scene()
    nested.add_geometry(box, node_name="a", transform=np.diag([2.0, 2, 2, 1]))
    nested.add_geometry(
        box,
        node_name="b",
        parent_node_name="a",
        geom_name="again",
        transform=trimesh.transformations.rotation_matrix(1, [1, 0, 0]),
    )
    nested.add_geometry(trimesh.PointCloud(box.vertices, colors=np.full((8, 4), 9, np.uint8)))
    nested.add_geometry(trimesh.load_path(box.vertices[:3]))
    files.append(nested.export(file_type="glb"))
    corners = box.vertices.astype("<f4").tobytes()
    short = np.round(box.vertices * 60000).astype("<i2").tobytes()
    indices, picture = box.faces.astype("<u2").tobytes(), io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "JPEG")
    blocks = [
        corners,
        short,
        indices,
        np.array([0, 5], "<u2").tobytes(),
        np.full((2, 3), 0.7, "<f4").tobytes(),
        picture.getvalue(),
    ]
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    sparse = {"count": 2, "indices": {"bufferView": 3, "componentType": 5123}, "values": {"bufferView": 4}}
    tree = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_mesh_quantization"],
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [
            {"children": [2], "mesh": 0},
            {"mesh": 1, "scale": [0.1, 0.1, 0.1]},
            {"mesh": 1, "matrix": np.eye(4).ravel().tolist()},
        ],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0}, "indices": 2, "material": 0}]},
            {"primitives": [
                {"attributes": {"POSITION": 1}, "indices": 2, "mode": 5, "material": 1},
                {"attributes": {"POSITION": 0}, "mode": 0},
            ]},
        ],
        "accessors": [
            {"bufferView": 0, "count": 8, "type": "VEC3", "componentType": 5126},
            {"bufferView": 1, "count": 8, "type": "VEC3", "componentType": 5122},
            {"bufferView": 2, "count": 36, "type": "SCALAR", "componentType": 5123},
            {"count": 8, "type": "VEC3", "componentType": 5126, "sparse": sparse},
        ],
        "materials": [
            {
                "name": "a", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}},
                "alphaMode": "MASK", "alphaCutoff": 0.5,
            },
            {
                "name": "b", "pbrMetallicRoughness": {"baseColorFactor": [1, 0.5, 0, 1]},
                "emissiveFactor": [1, 0, 0], "doubleSided": True,
            },
        ],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 5, "mimeType": "image/jpeg"}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": a, "byteLength": len(b)} for a, b in zip(starts, blocks, strict=False)
        ],
        "buffers": [{"byteLength": starts[-1]}],
    }  # fmt: skip
    return [*files, pack_glb({"tree": json.dumps(tree).encode(), "binary": b"".join(blocks)})]


def usd(suffix: str) -> Callable[[Path], list[bytes]]:
    """Ours, with and without a mesh; from another program: halves, samples over time, variants,
    references that must stay unread."""

    def make(folder: Path) -> list[bytes]:
        files = list(written(folder, suffix))
        usual = splats.read_gaussians(folder / f"a{suffix}")
        splats.write_usd(folder / f"b{suffix}", usual, trimesh.Scene(trimesh.creation.box()))
        layer = Sdf.Layer.CreateAnonymous(suffix)
        stage = Usd.Stage.Open(layer)
        UsdGeom.SetStageUpAxis(stage, "Y")
        prim = UsdVol.ParticleField3DGaussianSplat.Define(stage, "/a/b/c")
        half = usual.means.half().numpy()
        for name, value in (("positions", half), ("scales", np.abs(half))):
            prim.GetPrim().CreateAttribute(f"{name}h", Sdf.ValueTypeNames.Half3Array).Set(
                Vt.Vec3hArray.FromNumpy(value)
            )
        quats = usual.quats.numpy()
        prim.CreateOrientationsAttr(Vt.QuatfArray.FromNumpy(quats))
        prim.CreateOpacitiesAttr(Vt.FloatArray.FromNumpy(usual.opacities.numpy())).Set(Vt.FloatArray(9, 0.5), 2.0)
        prim.CreateRadianceSphericalHarmonicsDegreeAttr(0)
        prim.CreateRadianceSphericalHarmonicsCoefficientsAttr(Vt.Vec3fArray.FromNumpy(usual.colors.numpy()))
        prim.GetPrim().GetVariantSets().AddVariantSet("kind").AddVariant("one")
        prim.GetPrim().SetCustomDataByKey("words", Vt.StringArray(["a", "b"]))
        UsdGeom.Xform.Define(stage, "/a").GetPrim().CreateAttribute("m", Sdf.ValueTypeNames.Matrix4d).Set(
            Gf.Matrix4d(1)
        )
        del prim, stage  # which would look for what is referred to
        layer.GetPrimAtPath("/a/b/c").referenceList.Prepend(Sdf.Reference("./a.usda", "/asset"))
        layer.subLayerPaths.append("nowhere.usda")
        layer.Export(str(folder / f"c{suffix}"))
        return files + [(folder / f"{name}{suffix}").read_bytes() for name in "bc"]

    return make


def card(folder: Path) -> list[bytes]:
    """As generate writes it."""
    reward = {"value": 0.5, "verdict": True, "version": "1"}
    made = {
        "prompt": "a red armchair with white legs", "seed": 3, "batch": {"seed": 0, "count": 4}, "device": "cpu",
        "generator": {"name": "part-flow", "weights": "part_flow.safetensors", "sha256": "0" * 64},
        "sampling": asdict(Sampling()),
        "parts": 7, "gaussians": 16384, "inset": 0.45, "rewards": {"stability": reward, "connected": reward},
        "cameras": {"preview": {"azimuth_deg": 35.0, "elevation_deg": 20.0}},
        "software": {"torch": "2.13.0", "threads": 2},
        "files": {"scene.ply": "0" * 64, "mesh.glb": "0" * 64},
    }  # fmt: skip
    return [
        json.dumps(made).encode(),
        json.dumps({**made, "prompt": "ein roter Sessel, 赤い肘掛け椅子 " * 20}).encode(),
    ]


def checkpoint(folder: Path) -> list[bytes]:
    """Weights, as float32 and float16."""
    config = PartFlowConfig(8, 1, 1)
    weights = PartFlowNetwork(config).state_dict()
    header = {"kind": "generator", "generator": "part-flow", "config": asdict(config), "step": 3}
    files = []
    for tensors in (weights, {k: v.half() for k, v in weights.items()}):
        save_tensors(folder / "a.safetensors", tensors, header)
        files.append((folder / "a.safetensors").read_bytes())
    return files


def unpack_tensors(data: bytes) -> Pieces:
    size = struct.unpack_from("<Q", data)[0]
    return {"header": data[8 : 8 + size], "body": data[8 + size :]}


def pack_tensors(pieces: Pieces) -> bytes:
    return struct.pack("<Q", len(pieces["header"])) + pieces["header"] + pieces["body"]


def run(folder: Path) -> list[bytes]:
    """Settings as YAML and as JSON (which is YAML), metrics, a sheet, an evaluation's table, and
    what a guard saw."""
    settings = as_saved(TrainConfig())
    line = {
        "iteration": 1,
        "stability": 0.5,
        "stability_success_rate": 0.4,
        "parts": 7.0,
        "kl": 0.01,
        "seconds": 3.0,
        "rollout_s": 1.0,
        "nan": 0.0,
    }
    metrics = (
        "\n".join(json.dumps({**line, "iteration": i, "stability": i / 9, "nan": float("nan")}) for i in range(1, 6))
        + "\n"
    )
    rows = {"shiny": [0.5, 0.01, 64], "dull": [0.1, 0.2, 64]}
    sheet = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(sheet, "PNG")
    rest = [
        metrics.encode(),
        sheet.getvalue(),
        json.dumps({"table": {"before": rows, "after": rows, "difference": rows}}).encode(),
    ]
    rest.append(
        "".join(json.dumps({"iteration": i, "shiny": 0.5, "alarms": ["less"] * i}) + "\n" for i in range(3)).encode()
    )
    return [MARK.join([config.encode(), *rest]) for config in (yaml.safe_dump(settings), json.dumps(settings))]


def unpack_run(data: bytes) -> Pieces:
    return dict(zip(RUN, data.split(MARK), strict=True))


def pairs(folder: Path) -> list[bytes]:
    """Two choices between assets."""
    rng = torch.Generator().manual_seed(0)
    left, right = (PartAsset(Parts.from_vectors(torch.rand(1, n, 19, generator=rng) + 0.1)) for n in (1, 3))
    path = folder / "pairs.jsonl"
    for choice in ("left", "equal"):
        append_pair(path, Pair("a chair", left, right, choice))
    return [path.read_bytes()]


def preference(folder: Path) -> list[bytes]:
    """A reward learnt from choices, of few features."""
    save_tensors(folder / "a.safetensors", dict(PreferenceHead(6, 4).state_dict()), {"kind": KIND, "pairs": 9})
    return [(folder / "a.safetensors").read_bytes()]


def read_scene(path: Path) -> None:
    found = splats.read_gaussians(path)
    tensors = [t for t in vars(found).values() if t is not None]
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in tensors), "numbers that are not finite"
    assert (found.scales >= 0).all() and (found.opacities >= 0).all() and (found.opacities <= 1).all(), (
        "scales or opacities out of range"
    )
    assert (found.quats.norm(dim=-1) - 1).abs().lt(1e-4).all(), "quaternions that are not of length 1"


def read_usd(path: Path) -> None:
    """With OpenUSD's process forked off ours, which takes a hundredth of the time of a new one."""

    def run(command: list[str], *, timeout: float, **_: Any) -> None:
        if not (child := os.fork()):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            signal.setitimer(signal.ITIMER_PROF, timeout)
            usd_reader.main(*command[2:])
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == -signal.SIGPROF:
            raise subprocess.TimeoutExpired(command, timeout)
        if code:
            raise subprocess.CalledProcessError(code, command)

    with mock.patch("subprocess.run", run):
        read_scene(path)


def read_mesh(path: Path) -> None:
    """Exported to one of the formats in turn, whose numbers are finite."""
    kind, options = [
        (".obj", {}), (".stl", {}), (".3mf", {}), (".usda", {}), (".urdf", {}),
        (".obj", {"united": True}), (".glb", {"texture": 16}),
    ][zlib.crc32(path.read_bytes()) % 7]  # fmt: skip
    made = export(path, path.with_name(f"made{kind}"), **options)
    if kind in (".obj", ".stl", ".3mf"):
        assert np.isfinite(trimesh.load_scene(made).bounds).all(), "vertices that are not finite"


def read_card(path: Path) -> None:
    """For the poster, the viewer and to be made again."""
    (path.parent / "scene.ply").touch()
    poster(scene(3), *label(path.parent), size=48)
    find_entries(path.parent)[0].prompt()
    recipe(path)


def read_checkpoint(path: Path) -> None:
    weights = load_generator(path).network.state_dict()
    assert all(value.isfinite().all() for value in weights.values()), "weights that are not finite"
    load_tensors(path)


def read_pairs(path: Path) -> None:
    for pair in preferences.read_pairs(path):
        scenes = [side.gaussians(16) for side in (pair.left, pair.right)]
        assert all(scene.means.isfinite().all() for scene in scenes), "numbers that are not finite"
        assert pair.choice in ("left", "right", "equal")


def read_preference(path: Path) -> None:
    head, _ = load_head(path)
    assert all(value.isfinite().all() for value in head.state_dict().values()), "weights that are not finite"


def read_run(path: Path) -> None:
    pieces = path.read_bytes().split(MARK)
    (path.parent / "samples").mkdir()
    for name, data in zip(RUN, pieces, strict=False):
        (path.parent / name).write_bytes(data)
    page = report(path.parent, path.parent if len(pieces) > 3 else None)
    assert page.stat().st_size < 50 * path.stat().st_size + 100_000, "a page much larger than the run"
    saved_config(path.parent)


READERS: dict[str, tuple[Callable[[Path], list[bytes]], Callable[[Path], None]]] = {
    ".ply": (ply, read_scene),
    ".splat": (lambda folder: list(written(folder, ".splat")), read_scene),
    ".spz": (spz, read_scene),
    ".sog": (lambda folder: list(written(folder, ".sog")), read_scene),
    ".splat.glb": (splat_glb, read_scene),
    ".usda": (usd(".usda"), read_usd),
    ".usdc": (usd(".usdc"), read_usd),
    ".glb": (mesh_glb, read_mesh),
    "card.json": (card, read_card),
    ".safetensors": (checkpoint, read_checkpoint),
    "run": (run, read_run),
    "pairs.jsonl": (pairs, read_pairs),
    "preference.safetensors": (preference, read_preference),
}
PACKING: dict[str, tuple[Callable[[bytes], Pieces], Callable[[Pieces], bytes]]] = {
    ".spz": (unpack_spz, pack_spz),
    ".sog": (unpack_sog, pack_sog),
    ".splat.glb": (unpack_glb, pack_glb),
    ".glb": (unpack_glb, pack_glb),
    ".safetensors": (unpack_tensors, pack_tensors),
    "preference.safetensors": (unpack_tensors, pack_tensors),
    "run": (unpack_run, lambda pieces: MARK.join(pieces.values())),
}
