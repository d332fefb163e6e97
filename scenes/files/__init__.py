"""Reading and writing scene files: 3DGS .ply, .splat and .glb. What every format shares is here; each format has its own module."""

from scenes.files.aside import FileError, make_folder, write_aside

__all__ = ["FileError", "make_folder", "write_aside"]
