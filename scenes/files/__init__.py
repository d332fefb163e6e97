"""Reading and writing scene files: 3DGS .ply, .splat and .glb. What every format shares is here;
each format has its own module."""

from scenes.files.atomic import FileError, atomic_write, make_folder, read_bytes

__all__ = ["FileError", "atomic_write", "make_folder", "read_bytes"]
