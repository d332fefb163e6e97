"""The files of a library: assets of parts and their captions in a folder.

An asset is a folder of ``rl3d generate`` (mesh.glb with card.json), another .glb that rl3d has
written, or a .safetensors file of ``write_asset``. Its caption is the one in the folder's
captions.csv or captions.jsonl (fields ``file`` and ``caption``), else its own (the prompt on the
card, the caption in the .safetensors), else the words of its name.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

from scenes.files import FileError
from scenes.files.assets import MESH
from scenes.files.atomic import reason
from scenes.files.trees import parse_json

CARD = "card.json"
SIDECARS = ("captions.csv", "captions.jsonl")
_LARGEST_CARD = 1 << 20


def read_captions(folder: Path) -> dict[str, str]:
    """Captions by file name relative to ``folder``, from its captions.csv or captions.jsonl. Empty
    if there is none; FileError naming the first wrong line."""
    there = [folder / name for name in SIDECARS if (folder / name).is_file()]
    if not there:
        return {}
    if len(there) > 1:
        raise FileError(f"{folder}: has both {' and '.join(SIDECARS)}: remove one of them")
    (path,) = there
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise FileError(f"cannot read {path}: {why}") from error
    found = {}
    for number, row in _rows(path, text):
        file, caption = (row.get(name) for name in ("file", "caption")) if isinstance(row, dict) else (None, None)
        if not (isinstance(file, str) and isinstance(caption, str) and file.strip() and caption.strip()):
            raise FileError(f"{path}: line {number} has no file with a caption: write both, or remove the line")
        found[Path(file.strip()).as_posix()] = caption.strip()
    return found


def _rows(path: Path, text: str) -> Iterator[tuple[int, object]]:
    """Line numbers and their rows."""
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text))
        try:
            if not {"file", "caption"} <= set(reader.fieldnames or ()):
                raise FileError(f"{path}: line 1 does not name the columns: begin with the line file,caption")
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise FileError(f"cannot read {path}: line {reader.line_num + 1}: {error}") from error
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, parse_json(line)
            except ValueError as error:
                raise FileError(f"{path}: line {number} is not JSON") from error


def find_files(folder: Path) -> Iterator[tuple[str, str]]:
    """The asset files under ``folder``, sorted, by their name relative to it, and a stamp that
    changes with the file or with the card beside it.

    Names that start with a dot are skipped: a file that is still being written has one. FileError
    if the folder cannot be read.
    """

    def failed(error: OSError) -> None:
        raise FileError(f"cannot read library {folder}: {reason(error)}") from error

    if not folder.is_dir():
        why = "it is a file; name a folder" if folder.exists() else "there is no such folder"
        raise FileError(f"cannot read library {folder}: {why}")
    for place, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        has_card = CARD in names and MESH in names
        for name in [MESH] if has_card else sorted(names):
            if not name.startswith(".") and name.lower().endswith((".glb", ".safetensors")):
                path = Path(place, name)
                stamp = _stamp(path) + (f"+{_stamp(path.with_name(CARD))}" if has_card else "")
                yield path.relative_to(folder).as_posix(), stamp


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:  # a broken link; reading the file then says so
        return "-"
    return f"{found.st_size}.{found.st_mtime_ns}"


def own_caption(path: Path, inside: str) -> str:
    """The caption of an asset that no sidecar names: the prompt on its card, ``inside``, or the
    words of its name."""
    card = path.with_name(CARD)
    if path.name == MESH and card.is_file() and card.stat().st_size < _LARGEST_CARD:
        try:
            prompt = parse_json(card.read_bytes()).get("prompt")
        except (OSError, ValueError, AttributeError) as error:
            raise FileError(f"cannot read {card}: it is not an asset's card") from error
        if isinstance(prompt, str) and prompt.strip():
            return prompt.strip()
    name = path.resolve().parent.name if path.stem in ("mesh", "scene") else path.stem
    words = re.sub(r"\d+$", "", re.sub(r"[\W_]+", " ", name).strip()).strip()
    return inside or words or name
