"""``rl3d export PATH --to FILE``: convert an asset, splats or a mesh to the format of the file's
suffix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.cli.options import parse
from rl3d.configs import at_least
from scenes.files.splats import Axes


@dataclass(frozen=True)
class ExportConfig:
    """Settings of ``rl3d export``."""

    path: tyro.conf.Positional[Path]
    """Folder of an asset, a file of splats (.ply, .splat, .spz, .sog, .splat.glb, .usda, .usdc), or
    a mesh (.glb)."""
    to: Path
    """File to write. Splats: .ply, .splat, .spz, .sog, .splat.glb. Meshes: .glb, .obj, .stl, .3mf.
    Both: .usda, .usdc. A body for simulators: .xml (MJCF), .urdf. A turntable: .mp4, .webp. A
    poster: .png. A folder for nerfstudio's viewer: .nerfstudio."""
    united: bool = False
    """Join the parts of an asset to one solid without inner walls."""
    texture: int = 0
    """Bake the shaded colours, and for a .glb also the normals, into textures with this number of
    texels per side. 0: no texture."""
    max_faces: int = 0
    """Maximum number of triangles of a mesh made from splats. 0: no limit."""
    axes: Axes = "z-up"
    """Which way is up in a .ply, .splat, .spz or .sog file: the format does not store it. Captures
    from photographs are mostly y-down."""

    def __post_init__(self) -> None:
        at_least(self, texture=0, max_faces=0)


def run(arguments: list[str]) -> None:
    config = parse(ExportConfig, "export", __doc__, arguments)
    from rl3d.export import export

    meshes = {"united": config.united, "texture": config.texture, "max_faces": config.max_faces}
    print(export(config.path, config.to, **meshes, axes=config.axes))
