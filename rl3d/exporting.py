"""Export: an asset, or a file of Gaussians or triangles, to the format that the target's suffix
names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scenes.files import FileError
from scenes.files.atomic import reason
from scenes.files.meshes import MESHES, convert_mesh, load_glb, write_mesh
from scenes.files.robots import ROBOTS, write_robot
from scenes.files.splats import SILENT, WRITERS, Axes, read_gaussians, splat_format, write_gaussians

if TYPE_CHECKING:
    import trimesh

    from scenes.gaussians import Gaussians
    from scenes.mesh import Mesh

PICTURES = (".mp4", ".webp", ".png")
NERFSTUDIO = ".nerfstudio"
TARGETS = (*WRITERS, *MESHES, *ROBOTS, *PICTURES, NERFSTUDIO)


def export(
    path: str | Path, to: str | Path, *, united: bool = False, texture: int = 0, max_faces: int = 0, axes: Axes = "z-up"
) -> Path:
    """Write ``path`` (an asset folder, or a file of Gaussians or a .glb mesh) to ``to``, whose
    suffix names the format; returns ``to``.

    Splats: .ply, .splat, .spz, .sog, .splat.glb. Meshes: .glb, .obj, and .stl and .3mf for
    printing. Both at once: .usda, .usdc. Bodies for simulators: .xml (MJCF), .urdf, with their
    meshes in a folder beside them. Pictures: a turntable as .mp4 or .webp, a poster as .png. A
    folder for nerfstudio's viewer: .nerfstudio (``rl3d.viewer.nerfstudio_run``). Splats without a
    mesh become one by way of their rendered depth (``renderers.surface``).

    Of meshes, ``united`` makes one solid without inner walls of the parts; ``texture`` bakes the
    colours, shaded as the splats are, and the normals of a finer surface that the mesh stands for
    into textures of so many texels a side; ``max_faces`` is the most triangles that a mesh made
    from splats may have. ``axes`` says which way is up in a file of splats whose format does not.
    """
    path, to = Path(path), Path(to)
    kind = next((suffix for suffix in TARGETS if to.name.lower().endswith(suffix)), None)
    if kind is None:
        raise FileError(f"cannot export to {to}: the suffix must be one of {', '.join(TARGETS)}")
    if to.name.lower() == kind:
        raise FileError(f"cannot export to {to}: that is a suffix alone; give the file a name before it")
    if (united or texture or max_faces) and kind not in MESHES:
        raise FileError(f"cannot export to {to}: united, texture and max_faces are for meshes ({', '.join(MESHES)})")
    if texture and not 16 <= texture <= 8192:
        raise FileError(f"cannot export to {to}: a texture has 16 to 8192 texels a side, not {texture}")
    splats, mesh = _sources(path)
    if axes != "z-up" and (path.is_dir() or splats is None):
        raise FileError(f"cannot export {path} as {axes}: axes is for files of splats ({', '.join(SILENT)})")
    if united and mesh is None:
        raise FileError(f"cannot export {path}: united joins the parts of an asset, and splats have none")
    if max_faces and mesh is not None:
        raise FileError(
            f"cannot export {path}: max_faces is for meshes "
            "made from "
            "splats, "
            "and here "
            "is a mesh "
            "already; give "
            "its scene.ply"
        )
    if kind in (".usda", ".usdc") and (splats or mesh):
        from scenes.files.usd import write_usd

        write_usd(to, read_gaussians(splats, axes) if splats else None, load_glb(mesh, _bytes(mesh)) if mesh else None)
    elif kind in (*WRITERS, NERFSTUDIO):
        if splats is None:
            why = (
                "the folder has no scene.ply"
                if path.is_dir()
                else "it is a mesh; give an asset folder that has a scene.ply"
            )
            raise FileError(f"cannot export {path} to splats: {why}")
        if kind == NERFSTUDIO:
            from rl3d.viewer.nerfstudio_run import write_run

            write_run(to, read_gaussians(splats, axes))
        else:
            write_gaussians(to, read_gaussians(splats, axes))
    elif kind in PICTURES:
        if splats is None:
            raise FileError(
                f"cannot draw {path}: it has no splats; give an asset folder that has a scene.ply, or a file of splats"
            )
        _draw(path, read_gaussians(splats, axes), to)
    elif kind in ROBOTS:
        if mesh is None:
            raise FileError(
                f"cannot export {path} to {kind}: it has no parts; give an asset folder that has a mesh.glb"
            )
        shapes = _shapes(mesh)
        try:
            write_robot(to, *shapes)
        except ValueError as error:
            raise FileError(f"cannot export {mesh} as a body: {error}") from error
    elif mesh is not None and not (united or texture):
        convert_mesh(mesh, to)
    elif mesh is not None:
        write_mesh(to, _solid(mesh, united, texture))
    elif splats is not None:
        write_mesh(to, _surface(splats, read_gaussians(splats, axes), kind, texture, max_faces))
    else:
        raise FileError(f"cannot export {path}: the folder has no mesh.glb and no scene.ply")
    return to


def _draw(path: Path, scene: Gaussians, to: Path) -> None:
    """A turn around splats, or a poster with the prompt and the rewards of the asset's card."""
    from rl3d.pictures import poster, save_image, turntable

    if to.suffix.lower() != ".png":
        turntable(to, scene, frames=72, size=384)
        return
    save_image(to, poster(scene, *label(path)))


def label(path: Path) -> tuple[str, list[tuple[str, str]]]:
    """The prompt and the rewards that the card of an asset's folder names, as far as a poster holds
    them; of anything else the name."""
    title, facts = path.resolve().name, []
    if (path / "card.json").is_file():
        from rl3d.assets import read_card

        card = read_card(path)
        title = str(card.get("prompt", title))
        rewards = card.get("rewards")
        for name, reward in rewards.items() if isinstance(rewards, dict) else ():
            value = reward.get("value") if isinstance(reward, dict) else None
            facts += [(name[:40], f"{value:.2f}")] if isinstance(value, (int, float)) and abs(value) < 1e6 else []
    return title[:400], facts[:8]


def _shapes(path: Path) -> tuple[list[trimesh.Trimesh], np.ndarray]:
    """The meshes of a .glb file, z up and with their vertices merged, and their sRGB colours (n,
    3)."""
    from scenes.files.glb import Y_UP, base_colors

    data = _bytes(path)
    scene = load_glb(path, data)
    try:
        named = base_colors(data)
    except (ValueError, TypeError, AttributeError) as error:
        raise FileError(f"cannot read {path}: its materials are not those of a .glb file ({error})") from error
    shapes, colors = [], []
    for shape in scene.dump():
        name = getattr(getattr(shape.visual, "material", None), "name", None)
        shapes.append(shape.apply_transform(Y_UP.T))
        shapes[-1].merge_vertices(merge_norm=True, merge_tex=True)
        colors.append(named.get(str(name), np.full(3, 0.7)))
    return shapes, np.array(colors)


def _solid(path: Path, united: bool, texture: int) -> Mesh:
    """The parts of a .glb file as one mesh."""
    from scenes.files.glb import read_parts
    from scenes.solids import joined

    shapes = _shapes(path)
    parts = read_parts(path, _bytes(path)) if texture else None
    try:
        mesh = joined(*shapes, united=united)
        if not texture:
            return mesh
        from renderers.baking import bake, exact_of_parts
        from scenes.parts import shaded

        exact = exact_of_parts(parts) if parts is not None and parts.exists.any() else None
        return bake(mesh, lambda positions, normals, tint: shaded(tint, normals), texture, exact)
    except ValueError as error:
        raise FileError(f"cannot export {path} as one solid: {error}") from error


def _surface(path: Path, scene: Gaussians, kind: str, texture: int, max_faces: int) -> Mesh:
    """A mesh around splats."""
    from renderers.surface import extract, rig, simplified

    dense = extract(scene)
    if not len(dense.faces):
        raise FileError(f"cannot export {path} to {kind}: its splats show no surface")
    surface = simplified(dense, max_faces) if max_faces else dense
    if not texture:
        return surface
    from renderers.baking import bake, exact_of_mesh, paint_from_views

    return bake(surface, paint_from_views(scene, rig(scene, 32, 512)), texture, exact_of_mesh(dense))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {reason(error)}") from error


def _sources(path: Path) -> tuple[Path | None, Path | None]:
    """The files of splats and of triangles at ``path``."""
    if not path.exists():
        raise FileError(f"cannot export {path}: there is no such file or folder")
    if path.is_dir():
        splats, mesh = path / "scene.ply", path / "mesh.glb"
        return splats if splats.is_file() else None, mesh if mesh.is_file() else None
    if splat_format(path):
        return path, None
    if path.suffix.lower() == ".glb":
        return None, path
    raise FileError(f"cannot export {path}: give an asset folder, or a {', '.join([*WRITERS, '.glb'])} file")
