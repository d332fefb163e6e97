"""Reading and writing scene files. Each format has its own module; what all formats share is
exported here."""

from scenes.files.atomic import FileError, atomic_write, check_folder, make_folder, read_bytes

__all__ = ["FileError", "atomic_write", "check_folder", "make_folder", "read_bytes"]
