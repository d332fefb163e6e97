"""OpenUSD files (.usda, .usdc): Gaussians as a ParticleField3DGaussianSplat, triangles as meshes, z
up, in metres.

Needs ``usd-core`` (``pip install "rl3d[usd]"``). usd_reader.py reads them, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scenes.files import usd_reader
from scenes.files.atomic import FileError, atomic_write, reason
from scenes.files.glb import Y_UP, linear_light
from scenes.files.ply import check_writable, checked
from scenes.files.usd_reader import KIND
from scenes.gaussians import SH_C0, Gaussians, transformed

if TYPE_CHECKING:
    import trimesh

_TO_Z_UP = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def write_usd(path: str | Path, scene: Gaussians | None, mesh: trimesh.Scene | None = None) -> None:
    """Write an asset: its splats, its mesh (y up, as in a .glb), or both. With both, the mesh is
    the proxy that is shown where splats are not supported."""
    Gf, Sdf, Usd, UsdGeom, UsdVol, Vt = _pxr(path)
    if scene is not None:
        check_writable(path, scene)
    with atomic_write(path) as temporary:
        layer = Sdf.Layer.CreateAnonymous(temporary.suffix)
        stage = Usd.Stage.Open(layer)
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, "/asset")
        stage.SetDefaultPrim(root.GetPrim())
        both = scene is not None and mesh is not None
        if scene is not None:
            _define_splats(
                UsdVol.ParticleField3DGaussianSplat.Define(stage, "/asset/splats"), scene, Gf, Vt, UsdGeom, both
            )
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
    # OpenUSD stores the imaginary part first in memory.
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
    from trimesh.visual.color import uv_to_color

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
        # Display colours are linear light, as a .glb's are. A texture is looked up at the vertices.
        plain = mesh.visual.kind == "texture"  # otherwise vertices have their own colours, or trimesh's grey
        texture = getattr(mesh.visual.material, "baseColorTexture", None) if plain else None
        color = mesh.visual.material.main_color[None] if plain else mesh.visual.vertex_colors
        linear = np.asarray(color)[:, :3] / 255.0
        if texture is not None and mesh.visual.uv is not None:
            linear = linear * linear_light(uv_to_color(mesh.visual.uv, texture)[:, :3] / 255.0)
        if len(linear) and (linear == linear[:1]).all():
            prim.CreateDisplayColorPrimvar(UsdGeom.Tokens.constant).Set(
                _vectors(Vt, torch.from_numpy(linear[:1].astype(np.float32)))
            )
        else:
            prim.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(
                _vectors(Vt, torch.from_numpy(linear.astype(np.float32)))
            )


def read_usd(path: str | Path) -> Gaussians:
    """Read the Gaussians of a file, z up. Prims with a transform are refused, because nothing is
    composed here."""
    _pxr(path)
    try:
        size = Path(path).stat().st_size
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise FileError(f"cannot read {path}: {reason(error)}") from error
    with tempfile.TemporaryDirectory() as folder:
        result, seconds = Path(folder) / "result.npz", 30 + size // 1_000_000
        command = [sys.executable, str(Path(usd_reader.__file__)), str(Path(path).absolute()), str(result)]
        try:
            subprocess.run(
                command,
                timeout=seconds,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            found = dict(np.load(result, allow_pickle=False))
        except subprocess.TimeoutExpired as error:
            raise FileError(
                f"cannot read {path}: OpenUSD did not finish reading it in {seconds} s; it seems damaged"
            ) from error
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            raise FileError(
                f"cannot read {path}: OpenUSD crashed; the file is damaged, or larger than the memory"
            ) from error
    if "refused" in found:
        raise FileError(f"cannot read {path}: {found['refused']}")
    scene = Gaussians.concatenate([_scene(found, i) for i in range(int(found["count"]))])
    if found["up"] != "Z" or found["unit"] != 1.0:
        scene = transformed(scene, torch.eye(3) if found["up"] == "Z" else _TO_Z_UP, scale=float(found["unit"]))
    return checked(path, scene)


def _scene(found: dict[str, np.ndarray], i: int) -> Gaussians:
    names = ("positions", "orientations", "scales", "opacities", "harmonics")
    means, quats, scales, opacities, harmonics = (torch.from_numpy(found[f"{i}/{name}"]) for name in names)
    rest = harmonics[:, 1:].contiguous() if harmonics.shape[1] > 1 else None
    return Gaussians(means, quats.roll(1, -1), scales, opacities.squeeze(-1), 0.5 + SH_C0 * harmonics[:, 0], rest)


def _vectors(Vt: Any, values: torch.Tensor) -> Any:
    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(values.float().numpy()))


def _pxr(path: str | Path) -> tuple[Any, ...]:
    try:
        from pxr import Gf, Sdf, Usd, UsdGeom, UsdVol, Vt
    except ImportError as error:
        raise FileError(f'cannot open {path}: USD files need usd-core: pip install "rl3d[usd]"') from error
    if not hasattr(UsdVol, KIND):
        raise FileError(f"cannot open {path}: this usd-core knows no Gaussians ({KIND}); install 26.3 or newer")
    return Gf, Sdf, Usd, UsdGeom, UsdVol, Vt
