"""Export: an asset, or a file of Gaussians or triangles, to the format of the target's suffix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from scenes.files import FileError, read_bytes
from scenes.files.meshes import MESHES, convert_mesh, load_glb, write_mesh
from scenes.files.robots import ROBOTS, write_robot
from scenes.files.splats import SILENT, WRITERS, Axes, read_gaussians, splat_format, write_gaussians
from scenes.files.usd import write_usd

if TYPE_CHECKING:
    import trimesh

    from scenes.gaussians import Gaussians
    from scenes.mesh import Mesh

USD = (".usda", ".usdc")
SPLATS = tuple(suffix for suffix in WRITERS if suffix not in USD)
PICTURES = (".mp4", ".webp", ".png")
NERFSTUDIO = ".nerfstudio"
TARGETS = (*SPLATS, *USD, *MESHES, *ROBOTS, *PICTURES, NERFSTUDIO)


@dataclass(frozen=True)
class Source:
    """The files at the given path: splats, a mesh, or of an asset's folder both."""

    path: Path
    splats: Path | None
    mesh: Path | None
    axes: Axes

    def scene(self) -> Gaussians:
        """The splats, z up."""
        assert self.splats is not None
        return read_gaussians(self.splats, self.axes)


@dataclass(frozen=True)
class Options:
    """How meshes are made; see ``export``."""

    united: bool = False
    texture: int = 0
    max_faces: int = 0


def export(
    path: str | Path, to: str | Path, *, united: bool = False, texture: int = 0, max_faces: int = 0, axes: Axes = "z-up"
) -> Path:
    """Write ``path`` (an asset's folder, or a file of Gaussians or a .glb mesh) to ``to``, whose
    suffix names the format. Returns ``to``.

    - Splats: .ply, .splat, .spz, .sog, .splat.glb.
    - Meshes: .glb, .obj, and for printing .stl and .3mf. Splats without a mesh get one from their
      rendered depth (``renderers.surface``).
    - Both: .usda, .usdc.
    - Bodies for simulators, with their meshes in a folder beside them: .xml (MJCF), .urdf. Splats
      without parts become the convex pieces of their surface.
    - Pictures: .mp4 or .webp (a turntable), .png (a poster).
    - A folder for nerfstudio's viewer: .nerfstudio (``rl3d.nerfstudio``).

    Options of meshes: ``united`` joins the parts to one solid without inner walls. ``texture``
    bakes the shaded colours and the normals of the finer original surface into textures of so many
    texels a side (16 to 8192). ``max_faces`` limits the triangles of a mesh made from splats.

    ``axes`` says which way is up in a file of splats whose format does not store it. FileError
    with one line for everything that cannot be exported.
    """
    path, to = Path(path), Path(to)
    suffix = next((suffix for suffix in TARGETS if to.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise FileError(f"cannot export to {to}: the suffix must be one of {', '.join(TARGETS)}")
    if to.name.lower() == suffix:
        raise FileError(f"cannot export to {to}: that is a suffix alone; give the file a name before it")
    options = Options(united, texture, max_faces)
    if options != Options() and suffix not in MESHES:
        raise FileError(f"cannot export to {to}: united, texture and max_faces are for meshes ({', '.join(MESHES)})")
    if texture and not 16 <= texture <= 8192:
        raise FileError(f"cannot export to {to}: a texture has 16 to 8192 texels a side, not {texture}")
    source = _source(path, axes)
    _check(source, options)
    _WRITERS[suffix, _kind(source, suffix)](source, to, options)
    return to


Kind = Literal["splats", "mesh"]


def _kind(source: Source, suffix: str) -> Kind:
    """From which of its files a source is written: meshes and bodies from its mesh, all else from
    its splats. A mesh is made from splats if there is no other; USD holds whatever there is."""
    wants_mesh = suffix in MESHES or suffix in ROBOTS
    kind: Kind = "mesh" if source.mesh and (wants_mesh or not source.splats) else "splats"
    if (source.splats or source.mesh) and (suffix, kind) in _WRITERS:
        return kind
    raise FileError(_missing(source, suffix))


def _missing(source: Source, suffix: str) -> str:
    """Why a source has nothing for a suffix, and what to give instead."""
    if suffix in PICTURES:
        return f"cannot draw {source.path}: it has no splats; give an asset's folder with a scene.ply, or splats"
    if suffix in (*MESHES, *USD, *ROBOTS):
        return f"cannot export {source.path}: the folder has no mesh.glb and no scene.ply"
    if source.path.is_dir():
        return f"cannot export {source.path} to splats: the folder has no scene.ply"
    return f"cannot export {source.path} to splats: it is a mesh; give an asset's folder with a scene.ply"


def _check(source: Source, options: Options) -> None:
    """Refuse options that do not apply to a source."""
    path = source.path
    if source.axes != "z-up" and (path.is_dir() or source.splats is None):
        raise FileError(f"cannot export {path} as {source.axes}: axes is for files of splats ({', '.join(SILENT)})")
    if options.united and source.mesh is None:
        raise FileError(f"cannot export {path}: united joins the parts of an asset, and splats have none")
    if options.max_faces and source.mesh is not None:
        raise FileError(
            f"cannot export {path}: max_faces is for meshes made from splats, and here is a mesh already; "
            "give its scene.ply"
        )


def _write_splats(source: Source, to: Path, options: Options) -> None:
    write_gaussians(to, source.scene())


def _write_nerfstudio(source: Source, to: Path, options: Options) -> None:
    from rl3d.nerfstudio.run import write_run

    write_run(to, source.scene())


def _write_usd(source: Source, to: Path, options: Options) -> None:
    """Splats, a mesh, or both."""
    scene = source.scene() if source.splats else None
    write_usd(to, scene, load_glb(source.mesh, read_bytes(source.mesh)) if source.mesh else None)


def _write_turntable(source: Source, to: Path, options: Options) -> None:
    from rl3d.pictures import turntable

    turntable(to, source.scene(), frames=72, size=384)


def _write_poster(source: Source, to: Path, options: Options) -> None:
    """The splats with the prompt and the rewards of the asset's card."""
    from rl3d.pictures import poster, save_image

    save_image(to, poster(source.scene(), *label(source.path)))


def _write_body(source: Source, to: Path, options: Options) -> None:
    """One rigid body: the meshes of a .glb file, or the convex pieces of splats without parts."""
    from scenes.files.glb import read_parts

    parts = read_parts(source.mesh, read_bytes(source.mesh)) if source.mesh else None
    if source.splats and parts is None:
        shapes = _convex(source.splats, source.scene())
    else:
        assert source.mesh is not None
        shapes = _shapes(source.mesh)
    try:
        write_robot(to, *shapes)
    except ValueError as error:
        raise FileError(f"cannot export {source.mesh or source.splats} as a body: {error}") from error


def _write_mesh(source: Source, to: Path, options: Options) -> None:
    assert source.mesh is not None
    if options.united or options.texture:
        write_mesh(to, _solid(source.mesh, options.united, options.texture))
    else:
        convert_mesh(source.mesh, to)


def _write_surface(source: Source, to: Path, options: Options) -> None:
    """A mesh around splats."""
    from renderers.surface import extract, rig, simplified

    scene = source.scene()
    dense = extract(scene)
    if not len(dense.faces):
        raise FileError(f"cannot export {source.splats} to {to.suffix.lower()}: its splats show no surface")
    surface = simplified(dense, options.max_faces) if options.max_faces else dense
    if options.texture:
        from renderers.baking import bake, exact_of_mesh, paint_from_views

        paint = paint_from_views(scene, rig(scene, 32, 512))
        surface = bake(surface, paint, options.texture, exact_of_mesh(dense))
    write_mesh(to, surface)


Writer = Callable[[Source, Path, Options], None]
_WRITERS: dict[tuple[str, Kind], Writer] = {
    **{(suffix, "splats"): _write_splats for suffix in SPLATS},
    (NERFSTUDIO, "splats"): _write_nerfstudio,
    (".mp4", "splats"): _write_turntable,
    (".webp", "splats"): _write_turntable,
    (".png", "splats"): _write_poster,
    **{(suffix, "splats"): _write_usd for suffix in USD},
    **{(suffix, "mesh"): _write_usd for suffix in USD},
    **{(suffix, "splats"): _write_body for suffix in ROBOTS},
    **{(suffix, "mesh"): _write_body for suffix in ROBOTS},
    **{(suffix, "mesh"): _write_mesh for suffix in MESHES},
    **{(suffix, "splats"): _write_surface for suffix in MESHES},
}
"""What is written to a suffix, from splats or from a mesh. Other pairs cannot be exported."""


def label(path: Path) -> tuple[str, list[tuple[str, str]]]:
    """Title and rewards for a poster: the prompt and the values on the card of an asset's folder,
    cut to what fits. Without a card the title is the name of the file."""
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
    """The meshes of a .glb file, z up and with merged vertices, and their sRGB colours (n, 3)."""
    from scenes.files.glb import Y_UP, base_colors

    data = read_bytes(path)
    scene = load_glb(path, data)
    try:
        named = base_colors(data)
    except (ValueError, TypeError, AttributeError) as error:
        raise FileError(f"cannot read {path}: its materials are not valid glTF ({error})") from error
    shapes, colors = [], []
    for shape in scene.dump():
        name = getattr(getattr(shape.visual, "material", None), "name", None)
        shapes.append(shape.apply_transform(Y_UP.T))
        shapes[-1].merge_vertices(merge_norm=True, merge_tex=True)
        colors.append(named.get(str(name), np.full(3, 0.7)))
    return shapes, np.array(colors)


def _convex(path: Path, scene: Gaussians) -> tuple[list[trimesh.Trimesh], np.ndarray]:
    """The convex pieces of the surface of splats, z up, and their mean sRGB colours (n, 3)."""
    import trimesh
    from scipy.spatial import cKDTree

    from renderers.assets import SplatAsset

    hulls = [piece.hull for piece in SplatAsset.of([scene]).bodies()[0] if piece.hull is not None]
    if not hulls:
        raise FileError(f"cannot export {path} as a body: its splats show no surface")
    piece = np.repeat(np.arange(len(hulls)), [len(hull) for hull in hulls])
    nearest = piece[cKDTree(np.concatenate(hulls)).query(scene.means.numpy())[1]]
    colors, everywhere = scene.colors.double().numpy(), scene.colors.double().numpy().mean(0)
    found = [colors[nearest == i].mean(0) if (nearest == i).any() else everywhere for i in range(len(hulls))]
    return [trimesh.Trimesh(hull).convex_hull for hull in hulls], np.clip(found, 0, 1)


def _solid(path: Path, united: bool, texture: int) -> Mesh:
    """The parts of a .glb file as one mesh."""
    from scenes.files.glb import read_parts
    from scenes.solids import joined

    shapes = _shapes(path)
    parts = read_parts(path, read_bytes(path)) if texture else None
    try:
        mesh = joined(*shapes, united=united)
        if not texture:
            return mesh
        from renderers.baking import bake, exact_of_parts, paint_of_parts

        exact = exact_of_parts(parts) if parts is not None and parts.exists.any() else None
        return bake(mesh, paint_of_parts(parts), texture, exact)
    except ValueError as error:
        raise FileError(f"cannot export {path} as one solid: {error}") from error


def _source(path: Path, axes: Axes) -> Source:
    """The files of splats and of triangles at ``path``."""
    if not path.exists():
        raise FileError(f"cannot export {path}: there is no such file or folder")
    if path.is_dir():
        splats, mesh = path / "scene.ply", path / "mesh.glb"
        return Source(path, splats if splats.is_file() else None, mesh if mesh.is_file() else None, axes)
    if splat_format(path):
        return Source(path, path, None, axes)
    if path.suffix.lower() == ".glb":
        return Source(path, None, path, axes)
    raise FileError(f"cannot export {path}: give an asset's folder, or a {', '.join([*SPLATS, *USD, '.glb'])} file")
