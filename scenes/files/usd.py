"""OpenUSD files (.usda, .usdc): Gaussians as a ParticleField3DGaussianSplat, triangles as meshes, z up, in metres.

Needs ``usd-core`` (``pip install "rl3d[usd]"``). A file is read without composition: what it refers to is never opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scenes.files.aside import FileError, write_aside
from scenes.files.glb import Y_UP
from scenes.files.ply import check_writable, checked
from scenes.gaussians import SH_C0, Gaussians, transformed

if TYPE_CHECKING:
    import trimesh

_HARMONICS = (0, 3, 8, 15)
_KIND = "ParticleField3DGaussianSplat"
_TO_Z_UP = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def write_usd(path: str | Path, scene: Gaussians | None, mesh: trimesh.Scene | None = None) -> None:
    """Write an asset: its splats, its mesh (y up, as a .glb has it), or both. Of both, the mesh is the proxy that is shown where splats
    are not."""
    Gf, Sdf, Usd, UsdGeom, UsdVol, Vt = _pxr(path)
    if scene is not None:
        check_writable(path, scene)
    with write_aside(path) as temporary:
        layer = Sdf.Layer.CreateAnonymous(temporary.suffix)
        stage = Usd.Stage.Open(layer)
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, "/asset")
        stage.SetDefaultPrim(root.GetPrim())
        both = scene is not None and mesh is not None
        if scene is not None:
            _define_splats(UsdVol.ParticleField3DGaussianSplat.Define(stage, "/asset/splats"), scene, Gf, Vt, UsdGeom, both)
        if mesh is not None:
            _define_meshes(stage, mesh, Gf, Vt, UsdGeom, both)
        if not layer.Export(str(temporary)):
            raise FileError(f"cannot write {path}: OpenUSD refused it")


def _define_splats(splats: Any, scene: Gaussians, Gf: Any, Vt: Any, UsdGeom: Any, both: bool) -> None:
    scene = scene.detach().to("cpu")
    n = scene.count
    base = ((scene.colors - 0.5) / SH_C0).unsqueeze(1)
    harmonics = base if scene.sh_rest is None else torch.cat([base, scene.sh_rest], 1)
    quats = torch.nn.functional.normalize(scene.quats.double(), dim=-1, eps=1e-300)
    quats[quats.norm(dim=-1) == 0] = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    splats.CreatePositionsAttr(_vectors(Vt, scene.means))
    splats.CreateScalesAttr(_vectors(Vt, scene.scales))
    # OpenUSD keeps the imaginary part first in memory.
    splats.CreateOrientationsAttr(Vt.QuatfArray.FromNumpy(np.ascontiguousarray(quats.roll(-1, -1).float().numpy())))
    splats.CreateOpacitiesAttr(Vt.FloatArray.FromNumpy(np.ascontiguousarray(scene.opacities.numpy())))
    splats.CreateRadianceSphericalHarmonicsDegreeAttr(scene.sh_degree)
    splats.CreateRadianceSphericalHarmonicsCoefficientsAttr(_vectors(Vt, harmonics.reshape(-1, 3)))
    if n:
        reach = 3 * scene.scales.amax(-1, keepdim=True)
        corners = torch.stack([(scene.means - reach).amin(0), (scene.means + reach).amax(0)])
        splats.CreateExtentAttr(_vectors(Vt, corners))
    if both:
        splats.CreatePurposeAttr(UsdGeom.Tokens.render)


def _define_meshes(stage: Any, scene: trimesh.Scene, Gf: Any, Vt: Any, UsdGeom: Any, both: bool) -> None:
    group = UsdGeom.Scope.Define(stage, "/asset/mesh")
    if both:
        UsdGeom.Imageable(group).CreatePurposeAttr(UsdGeom.Tokens.proxy)
    for i, mesh in enumerate(scene.dump()):
        shape = mesh.copy().apply_transform(Y_UP.T)
        prim = UsdGeom.Mesh.Define(stage, f"/asset/mesh/part_{i:02d}")
        prim.CreatePointsAttr(_vectors(Vt, torch.from_numpy(shape.vertices.astype(np.float32))))
        prim.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(shape.faces), 3, np.int32)))
        prim.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(shape.faces.reshape(-1), np.int32)))
        prim.CreateExtentAttr(_vectors(Vt, torch.from_numpy(shape.bounds.astype(np.float32))))
        prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        # Display colours are linear light, as a .glb's are.
        color = mesh.visual.vertex_colors if mesh.visual.kind == "vertex" else mesh.visual.material.main_color[None]
        linear = np.asarray(color)[:, :3] / 255.0
        if len(linear) and (linear == linear[:1]).all():
            prim.CreateDisplayColorPrimvar(UsdGeom.Tokens.constant).Set(_vectors(Vt, torch.from_numpy(linear[:1].astype(np.float32))))
        else:
            prim.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(_vectors(Vt, torch.from_numpy(linear.astype(np.float32))))


def read_usd(path: str | Path) -> Gaussians:
    """Read the Gaussians of a file, z up; prims that move theirs are refused, for nothing is composed here."""
    _, Sdf, *_ = _pxr(path)
    from pxr import Tf

    if not Path(path).is_file():
        raise FileError(f"cannot read {path}: there is no such file")
    try:
        layer = Sdf.Layer.OpenAsAnonymous(str(path))
        if layer is None:
            raise ValueError("it is not a USD file")
        found: list[Any] = []
        layer.Traverse(Sdf.Path.absoluteRootPath, found.append)
        prims = [spec for p in found if p.IsPrimPath() and (spec := layer.GetPrimAtPath(p)) and spec.typeName == _KIND and spec.active]
        if not prims:
            raise ValueError(f"it is a USD file without Gaussians ({_KIND})")
        scenes = [_read_splats(prim) for prim in prims]
        root = layer.pseudoRoot
        up, unit = (root.GetInfo(key) if root.HasInfo(key) else usual for key, usual in (("upAxis", "Y"), ("metersPerUnit", 0.01)))
        if up not in ("Y", "Z") or not float(unit) > 0:
            raise ValueError(f"its up axis is {up!r} and its unit {unit} m; Y or Z and a positive unit can be read")
    except Tf.ErrorException as error:
        raise FileError(f"cannot read {path}: it is not a USD file, or damaged") from error
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise FileError(f"cannot read {path}: {str(error).splitlines()[0] if str(error) else 'damaged'}") from error
    scene = Gaussians.concatenate(scenes)
    if up != "Z" or unit != 1.0:
        scene = transformed(scene, torch.eye(3) if up == "Z" else _TO_Z_UP, scale=float(unit))
    return checked(path, scene)


def _read_splats(prim: Any) -> Gaussians:
    parent = prim
    while parent and parent.path.IsPrimPath():
        order = parent.attributes.get("xformOpOrder")
        if order is not None and order.default:
            raise ValueError(f"its prim {parent.path} is moved by a transform; save it with the transform applied")
        parent = parent.nameParent

    def column(name: str, width: int) -> torch.Tensor:
        attribute = prim.attributes.get(name) or prim.attributes.get(f"{name}h")
        if attribute is None or attribute.default is None:
            raise ValueError(f"its prim {prim.path} has no {name}")
        return torch.from_numpy(np.array(attribute.default, dtype=np.float32).reshape(-1, width))

    means = column("positions", 3)
    n = len(means)
    degree = prim.attributes.get("radiance:sphericalHarmonicsDegree")
    degree = 3 if degree is None or degree.default is None else int(degree.default)
    if not 0 <= degree < len(_HARMONICS):
        raise ValueError(f"its prim {prim.path} has harmonics of degree {degree}; up to 3 can be read")
    k = 1 + _HARMONICS[degree]
    quats, scales, opacities = column("orientations", 4), column("scales", 3), column("opacities", 1)
    harmonics = column("radiance:sphericalHarmonicsCoefficients", 3)
    if (len(quats), len(scales), len(opacities)) != (n, n, n) or len(harmonics) < n * k:
        raise ValueError(f"its prim {prim.path} has {n} positions, and other numbers of the rest")
    harmonics = harmonics[: n * k].view(n, k, 3)
    rest = harmonics[:, 1:].contiguous() if degree else None
    return Gaussians(means, quats.roll(1, -1), scales, opacities.squeeze(-1), 0.5 + SH_C0 * harmonics[:, 0], rest)


def _vectors(Vt: Any, values: torch.Tensor) -> Any:
    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(values.float().numpy()))


def _pxr(path: str | Path) -> tuple[Any, ...]:
    try:
        from pxr import Gf, Sdf, Usd, UsdGeom, UsdVol, Vt
    except ImportError as error:
        raise FileError(f'cannot open {path}: USD files need usd-core: pip install "rl3d[usd]"') from error
    if not hasattr(UsdVol, _KIND):
        raise FileError(f"cannot open {path}: this usd-core knows no Gaussians ({_KIND}); install 26.3 or newer")
    return Gf, Sdf, Usd, UsdGeom, UsdVol, Vt
