"""Safe access to files: errors are one line, and a file appears whole or not at all.

A file is written beside its place and then renamed, which is atomic in POSIX.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 600


class FileError(ValueError):
    """A file cannot be read or written. The message is one line: what, where, and what to do. The
    command line shows it unchanged.

    A message may quote anything from a file. It is cut in the middle, and characters that would
    break the line or steer a terminal are removed.
    """

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else " " for c in message.strip())
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}")


def reason(error: OSError) -> str:
    """The operating system's reason in one line, without the path, which our own message names."""
    return error.strerror or str(error).splitlines()[0] if str(error) else type(error).__name__


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; FileError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {reason(error)}") from error


def check_folder(path: Path) -> None:
    """FileError unless ``path`` is a folder that can be written to, or one that can be made. For
    the time before long work: nothing stays behind."""
    try:
        place = next(place for place in (path, *path.parents) if place.exists())
        if not place.is_dir():
            raise FileError(f"cannot write to {path}: {place} is a file; name a folder")
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise FileError(f"cannot write to {path}: {reason(error)}; choose another place or free this one") from error


def make_folder(path: Path) -> Path:
    """Make a folder and its parents before the work begins, or raise a FileError."""
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write to {path}: {reason(error)}; choose another place or free this one") from error
    return path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``. On success the file is flushed to disk and
    renamed to ``path``; otherwise it is removed.

    Missing parent folders are made. The temporary name keeps the suffix, because many writers
    choose their format by it.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))  # a link keeps being a link
    temporary = target.with_name(f".{target.stem[:100]}.{secrets.token_hex(4)}{target.suffix}")
    try:
        if target.is_dir():
            raise FileError(f"cannot write {path}: it is a folder; name a file")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Made here rather than by tempfile, whose files are private to the user whatever the
            # umask says.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            _flush(temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        _flush(target.parent)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) not in (
            temporary,
            target,
            target.parent,
            *target.parents,
        ):
            raise  # an error of the caller with another file
        raise FileError(f"cannot write {path}: {reason(error)}; choose another place or free this one") from error


@contextmanager
def atomic_write_folder(path: str | Path, is_ours: Callable[[Path], bool], what: str) -> Iterator[Path]:
    """Yield a new folder beside ``path``. On success it is renamed to ``path``; otherwise it is
    removed.

    An existing folder is replaced if it is empty or if ``is_ours`` returns True for it. Otherwise
    it stays, and a FileError says that it is not ``what``.
    """
    target = Path(path).resolve()
    try:
        if os.path.lexists(target) and not (target.is_dir() and (is_ours(target) or not any(target.iterdir()))):
            raise FileError(f"cannot write {path}: it exists and is not {what}; name another place")
        aside, old = (target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}") for _ in range(2))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.mkdir()
            yield aside
            if target.exists():
                os.replace(target, old)
            os.replace(aside, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            if old.exists() and not target.exists():
                os.replace(old, target)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise FileError(f"cannot write {path}: {reason(error)}; choose another place or free this one") from error


def _flush(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if (
            path.is_dir()
        ):  # Windows cannot open folders, and a write-only folder cannot be read: the rename itself is done
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
