"""Meshes as .glb files for Blender, game engines and simulators.

Part assets have one closed mesh and one material per part; any other mesh can be written too.
Khronos, glTF 2.0: y is up, an asset faces +z, lengths are metres, and material factors are linear
light (our colours are sRGB).
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from scenes.files.atomic import FileError, atomic_write
from scenes.files.trees import parse_json
from scenes.mesh import Mesh
from scenes.parts import COLOR, MAX_PARTS, PART_SIZES, SHAPE_SIZE, VECTOR_SIZE, Parts
from scenes.parts.tessellation import mesh_faces

if TYPE_CHECKING:
    import trimesh

CREASE_ANGLE_DEG = 30.0
"""Degrees. Faces that meet at a larger angle get a sharp edge; below it the surface is shaded
smooth."""
MAX_JSON = 1 << 26
Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Turns our z up into glTF's y up."""
PLASTIC = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
"""The material of baked textures, whose colours show the finish already."""
PATTERN_TEXELS = 256
"""Width and height of the texture of a part with a pattern."""
PART = "rl3d_part"
"""The key in a node's extras for the numbers of its part (``Parts.vectors``). Other programs ignore
it."""


def parts_to_trimesh(parts: Parts, per_octant: int = 5) -> trimesh.Scene:
    """One asset's existing parts as a z-up scene: a node ``part_07`` for slot 7, each a watertight
    mesh with its colour and finish as PBR material. A part with a pattern has a texture instead of
    the colour.

    Each mesh has the volume of its part. Flat faces between points of a round surface hold less, so
    all points are moved outwards from the part's z axis, by half a percent for a ball.
    """
    import trimesh  # here, so that reading splats does not wait for it

    if parts.existence.dim() != 1:
        raise ValueError("parts_to_trimesh works on a single asset; index the batch first")
    parts = parts.detach()
    (vertices, faces), volumes = parts.meshes(per_octant), parts.masses()[0]
    scene = trimesh.Scene()
    for slot in parts.exists.nonzero().flatten().tolist():
        name = f"part_{slot:02d}"
        mesh = trimesh.Trimesh(vertices[slot].double().cpu().numpy(), faces.cpu().numpy(), process=False)
        centre, axis = (t[slot].double().cpu().numpy() for t in (parts.centres, parts.rotations[..., 2]))
        offset = mesh.vertices - centre
        along = (offset @ axis)[:, None] * axis
        if mesh.volume > 0:
            mesh.vertices = centre + along + math.sqrt(float(volumes[slot]) / mesh.volume) * (offset - along)
        mesh.visual = trimesh.visual.TextureVisuals(material=_material(parts[slot : slot + 1], name))
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    return scene


def write_glb(path: str | Path, parts: Parts, per_octant: int = 5) -> None:
    """Write one asset. Vertices are doubled along sharp edges, which have two normals. Merged by
    position, every part is watertight.

    Every node also stores its part's numbers, from which ``read_parts`` makes the asset again.
    """
    for name in (field.name for field in dataclasses.fields(parts) if field.name != "existence"):
        if not getattr(parts, name)[parts.exists].isfinite().all():
            raise FileError(f"cannot write {path}: the asset has parts whose {name} are not finite numbers")
    if not parts.exists.any():
        raise FileError(f"cannot write {path}: the asset has no parts, so there is no mesh")
    data = parts_to_glb(parts, per_octant)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def parts_to_glb(parts: Parts, per_octant: int = 5) -> bytes:
    """What ``write_glb`` writes."""
    import trimesh

    smooth = trimesh.Scene()
    corners = _corner_uvs(per_octant)
    for name, mesh in parts_to_trimesh(parts, per_octant).geometry.items():
        material = mesh.visual.material
        mesh = trimesh.graph.smooth_shade(mesh, angle=math.radians(CREASE_ANGLE_DEG), facet_minarea=None)
        if material.baseColorTexture is not None:
            order = mesh.metadata.get("original_components")
            mesh, uvs = _with_uvs(mesh, corners if order is None else corners[np.hstack(order)])
        else:
            uvs = None
        mesh.visual = trimesh.visual.TextureVisuals(uv=uvs, material=material)
        smooth.add_geometry(mesh.apply_transform(Y_UP), node_name=name, geom_name=name)
    factors = {
        f"part_{slot:02d}": [1.0] * 4 if patterned else _factor(color)
        for slot, (patterned, color) in enumerate(
            zip((parts.pattern >= 0).tolist(), parts.colors.detach().double().cpu().numpy(), strict=True)
        )
    }
    numbers = {
        f"part_{slot:02d}": vector for slot, vector in enumerate(parts.detach().vectors().double().cpu().tolist())
    }

    def complete(tree: dict) -> None:
        for material in tree["materials"]:
            material["pbrMetallicRoughness"]["baseColorFactor"] = factors[material["name"]]
        for node in tree["nodes"]:
            if node.get("name") in numbers:
                node["extras"] = {PART: numbers[node["name"]]}

    return trimesh.exchange.gltf.export_glb(smooth, include_normals=True, tree_postprocessor=complete)


def _material(part: Parts, name: str) -> trimesh.visual.material.PBRMaterial:
    """The material of one part (1,)."""
    import trimesh
    from PIL import Image

    finish = {"metallicFactor": float(part.metallic), "roughnessFactor": float(part.roughness)}
    color, other = (t[0].double().cpu().numpy() for t in (part.colors, part.second_colors))
    if part.pattern < 0:
        # trimesh keeps factors as bytes, too coarse for dark linear colours: the exact ones are set
        # in parts_to_glb.
        return trimesh.visual.material.PBRMaterial(name=name, baseColorFactor=_factor(color), **finish)
    second = part.in_second_color(part.surface_texels(PATTERN_TEXELS)).view(PATTERN_TEXELS, PATTERN_TEXELS)
    picture = Image.fromarray(second.byte().cpu().numpy(), mode="P")
    picture.putpalette(np.round(255 * np.stack([color, other]).clip(0, 1)).astype(np.uint8).tobytes())
    return trimesh.visual.material.PBRMaterial(
        name=name, baseColorFactor=[255] * 4, baseColorTexture=picture.convert("RGB"), **finish
    )


def _corner_uvs(per_octant: int) -> Float[np.ndarray, "f 3 2"]:
    """Texture coordinates of the corners of a part's faces (``Parts.meshes``), for the texture of
    ``Parts.surface_texels``. (0, 0) is the lower left corner of the texture."""
    rings, around = 4 * per_octant + 1, 8 * per_octant
    faces = mesh_faces(rings, around).numpy()
    last = 1 + (rings - 2) * around
    ring = np.where(faces == 0, 0, np.where(faces == last, rings - 1, 1 + (faces - 1) // around))
    column = ((faces - 1) % around).astype(np.float64)
    pole = (faces == 0) | (faces == last)
    # Beyond the last column the first one comes again.
    wraps = ((column == around - 1) & ~pole).any(1, keepdims=True)
    column = np.where(wraps & (column == 0), around, column)
    # A pole has no column of its own: it takes the middle of its face.
    middle = np.where(pole, 0, column).sum(1, keepdims=True) / 2
    column = np.where(pole, middle, column)
    # Half a texel is left at the poles, where the texture would be repeated.
    row = (0.5 + ring / (rings - 1) * (PATTERN_TEXELS - 1)) / PATTERN_TEXELS
    return np.stack([column / around, 1 - row], -1)


def _with_uvs(
    mesh: trimesh.Trimesh, corners: Float[np.ndarray, "f 3 2"]
) -> tuple[trimesh.Trimesh, Float[np.ndarray, "v 2"]]:
    """The mesh, and the texture coordinates of its vertices. Vertices whose faces have different
    ones are doubled."""
    import trimesh

    keys = np.column_stack([mesh.faces.reshape(-1), np.round(corners.reshape(-1, 2) * 1e6)])
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    vertex = mesh.faces.reshape(-1)[first]
    normals = mesh.vertex_normals[vertex]
    doubled = trimesh.Trimesh(mesh.vertices[vertex], index.reshape(-1, 3), vertex_normals=normals, process=False)
    return doubled, corners.reshape(-1, 2)[first]


def write_mesh_glb(path: str | Path, mesh: Mesh) -> None:
    """Write one mesh, z up. Its texture becomes the base colour and its normal map is kept; without
    a texture, vertex colours are written (8 bits of linear light each)."""
    import trimesh

    mesh = mesh.detach()
    if mesh.batch_shape:
        raise ValueError("write_mesh_glb works on a single mesh; index the batch first")
    if not len(mesh.faces):
        raise FileError(f"cannot write {path}: the mesh has no faces")
    normals = None
    if mesh.normals is not None:  # unit ones: where triangles without area leave none, any will do
        normals = torch.nn.functional.normalize(mesh.normals.double(), dim=-1, eps=1e-12)
        normals = (
            torch.where(normals.norm(dim=-1, keepdim=True) > 0, normals, normals.new_tensor([0.0, 0.0, 1.0]))
            .cpu()
            .numpy()
        )
    shape = trimesh.Trimesh(
        mesh.vertices.double().cpu().numpy(), mesh.faces.cpu().numpy(), vertex_normals=normals, process=False
    )
    if mesh.texture is not None and mesh.uvs is not None:
        from PIL import Image

        pictures = {"baseColorTexture": mesh.texture} | (
            {} if mesh.normal_map is None else {"normalTexture": (mesh.normal_map + 1) / 2}
        )
        images = {
            name: Image.fromarray((255 * t.clamp(0, 1)).round().byte().cpu().numpy()) for name, t in pictures.items()
        }
        material = trimesh.visual.material.PBRMaterial(
            name="baked", baseColorFactor=[255, 255, 255, 255], **images, **PLASTIC
        )
        shape.visual = trimesh.visual.TextureVisuals(uv=mesh.uvs.double().cpu().numpy(), material=material)
    elif mesh.colors is not None:
        linear = linear_light(mesh.colors.double().clamp(0, 1).cpu().numpy())
        shape.visual = trimesh.visual.ColorVisuals(shape, vertex_colors=np.round(255 * linear).astype(np.uint8))
    if mesh.tangents is not None:
        turn = torch.from_numpy(Y_UP[:3, :3].T)
        shape.vertex_attributes["_TANGENT"] = (
            torch.cat([mesh.tangents[:, :3].double() @ turn, mesh.tangents[:, 3:]], -1).cpu().numpy()
        )
    shape.apply_transform(Y_UP)

    def name_tangents(tree: dict) -> None:  # trimesh takes them for an attribute that glTF does not know
        attributes = tree["meshes"][0]["primitives"][0]["attributes"]
        if "_TANGENT" in attributes:
            attributes["TANGENT"] = attributes.pop("_TANGENT")

    data = trimesh.exchange.gltf.export_glb(
        trimesh.Scene(shape), include_normals=True, tree_postprocessor=name_tangents
    )
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON tree and the binary chunk."""
    if len(data) < 20 or data[:4] != b"glTF":
        raise ValueError("it is not a .glb file (it does not start with 'glTF')")
    version, length, size, kind = struct.unpack_from("<II I4s", data, 4)
    if version != 2 or kind != b"JSON":
        raise ValueError(f"it is version {version} of glTF; 2 can be read")
    if length > len(data) or 20 + size > length or size > MAX_JSON:
        raise ValueError("it is cut off")
    tree = parse_json(data[20 : 20 + size])
    if not isinstance(tree, dict):
        raise ValueError("its JSON is not that of a .glb file")
    binary = b""
    if length >= 28 + size:
        chunk, kind = struct.unpack_from("<I4s", data, 20 + size)
        if kind == b"BIN\0":
            binary = data[28 + size : 28 + size + chunk]
            if len(binary) < chunk:
                raise ValueError("it is cut off")
    return tree, binary


def placed_nodes(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Float[np.ndarray, "4 4"]]]:
    """Every node of the scene with its transform; ValueError if the nodes do not form a tree."""
    nodes = tree.get("nodes", [])
    waiting = deque((i, np.eye(4)) for i in tree.get("scenes", [{}])[tree.get("scene", 0)].get("nodes", []))
    seen = 0
    while waiting:
        index, parent = waiting.popleft()
        seen += 1
        if type(index) is not int or index < 0:
            raise ValueError("its nodes do not form a tree")
        node = nodes[index]
        children = node.get("children", [])
        if seen + len(waiting) + len(children) > len(nodes):
            raise ValueError("its nodes do not form a tree")
        with np.errstate(over="ignore", invalid="ignore"):
            world = parent @ _local(node)
        if not np.isfinite(world).all():
            raise ValueError("one of its nodes has a transform that is not finite")
        waiting.extend((child, world) for child in children)
        yield node, world


def _local(node: dict[str, Any]) -> Float[np.ndarray, "4 4"]:
    if "matrix" in node:
        matrix = np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    else:
        x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1]), dtype=np.float64)
        rotation = np.array([
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ])  # fmt: skip
        matrix = np.eye(4)
        matrix[:3, :3] = rotation * np.array(node.get("scale", [1, 1, 1]), dtype=np.float64)
        matrix[:3, 3] = np.array(node.get("translation", [0, 0, 0]), dtype=np.float64)
    return matrix


def linear_light(color: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values (IEC 61966-2-1)."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def srgb(light: np.ndarray) -> np.ndarray:
    """sRGB values of linear light, the inverse of ``linear_light``."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def read_parts(path: str | Path, data: bytes) -> Parts | None:
    """The parts of a .glb file that ``write_glb`` made, from its bytes; None for other files."""
    nodes = chunks(data)[0].get("nodes", [])
    numbers = [_numbers(node) for node in nodes if isinstance(node, dict)]
    found = [vector for vector in numbers if vector is not None]
    if not found:
        return None
    if len(found) > MAX_PARTS:
        raise FileError(f"cannot read {path}: it names {len(found)} parts, an asset has at most {MAX_PARTS}")
    try:
        vectors = torch.tensor(found, dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        vectors = torch.full((1,), torch.nan)
    if vectors.dim() != 2 or vectors.shape[1] not in PART_SIZES or not vectors.isfinite().all():
        raise FileError(f"cannot read {path}: its parts are not {VECTOR_SIZE} (or {SHAPE_SIZE}) finite numbers each")
    return Parts.from_vectors(vectors)


def _numbers(node: dict[str, Any]) -> Any:
    """The numbers of the part of a node, unchecked; None for other nodes."""
    extras = node.get("extras")
    return extras.get(PART) if isinstance(extras, dict) else None


def base_colors(data: bytes) -> dict[str, np.ndarray]:
    """sRGB base colour of every material of a .glb file, by name. (trimesh rounds them to bytes of
    linear light.) A part with a pattern has its first colour, which the material does not store."""
    tree, _ = chunks(data)
    numbers = {node.get("name"): _numbers(node) for node in tree.get("nodes", []) if isinstance(node, dict)}
    found = {}
    for material in tree.get("materials", []):
        part = numbers.get(material.get("name"))
        if part is not None and "baseColorTexture" in material.get("pbrMetallicRoughness", {}):
            color = np.array(part[COLOR], dtype=np.float64)
            if color.shape != (3,) or not np.isfinite(color).all():
                raise ValueError("one of its parts has an invalid colour")
            found[str(material.get("name", ""))] = color.clip(0, 1)
            continue
        factor = np.array(
            material.get("pbrMetallicRoughness", {}).get("baseColorFactor", [1, 1, 1, 1]), dtype=np.float64
        )
        if factor.shape != (4,) or not np.isfinite(factor).all():
            raise ValueError("one of its materials has an invalid colour")
        found[str(material.get("name", ""))] = srgb(factor[:3].clip(0, 1))
    return found


def _factor(color: Float[np.ndarray, "3"]) -> list[float]:
    """Linear RGBA of an sRGB colour."""
    return [*linear_light(color).tolist(), 1.0]
