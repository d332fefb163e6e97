"""``rl3d export PATH --to FILE``: convert an asset, splats or a mesh to the format that the file's
suffix names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rl3d.cli.options import parse as parse_options
from rl3d.configs import at_least
from scenes.files.splats import Axes


@dataclass(frozen=True)
class ExportConfig:
    """Settings of ``rl3d export``."""

    path: tyro.conf.Positional[Path]
    """An asset's folder, a file of splats (.ply, .splat, .spz, .sog, .splat.glb), or a mesh
    (.glb)."""
    to: Path
    """File to write: .ply, .splat, .spz, .sog, .splat.glb (splats); .glb, .obj, .stl, .3mf
    (meshes); .usda, .usdc (both); .xml (MJCF), .urdf (a body for simulators); .mp4, .webp (a
    turntable), .png (a poster); .nerfstudio (a folder for nerfstudio's viewer)."""
    united: bool = False
    """Of an asset's parts, make one solid without inner walls."""
    texture: int = 0
    """Bake the colours, shaded as the splats are, into a texture of so many texels a side, and for
    a .glb the normals."""
    max_faces: int = 0
    """The most triangles that a mesh made from splats may have; 0 is no limit."""
    axes: Axes = "z-up"
    """Which way is up in a .ply, .splat, .spz or .sog file, which do not say it; captures of
    photographs are mostly y-down."""

    def __post_init__(self) -> None:
        at_least(self, texture=0, max_faces=0)


def run(arguments: list[str]) -> None:
    config = parse_options(ExportConfig, "export", __doc__, arguments)
    from rl3d.exporting import export

    print(
        export(
            config.path,
            config.to,
            united=config.united,
            texture=config.texture,
            max_faces=config.max_faces,
            axes=config.axes,
        )
    )
