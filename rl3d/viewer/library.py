"""What there is to look at under a path: asset folders (scene.ply, mesh.glb, card.json) and single files of splats or meshes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rl3d.assets import read_card
from scenes.files import FileError
from scenes.files.splats import READERS, splat_format


@dataclass(frozen=True)
class Entry:
    """One thing to look at; it has splats, a mesh or both."""

    name: str
    splats: Path | None = None
    mesh: Path | None = None
    card: Path | None = None

    def prompt(self) -> str:
        """The prompt that made the asset, or an empty text."""
        if self.card is None:
            return ""
        prompt = read_card(self.card).get("prompt", "")
        return prompt if isinstance(prompt, str) else ""


def find_entries(path: str | Path) -> list[Entry]:
    """Everything that can be shown at ``path``, by name; a FileError if that is nothing."""
    path = Path(path)
    if not path.exists():
        raise FileError(f"cannot view {path}: there is no such file or folder")
    found = _entry(path)
    if found:
        return [found]
    if not path.is_dir():
        raise FileError(f"cannot view {path}: the viewer shows {', '.join(READERS)} and .glb files, and folders of them")
    try:
        children = sorted(child for child in path.iterdir() if not child.name.startswith("."))  # a dot starts what is still being written
    except OSError as error:
        raise FileError(f"cannot view {path}: {error.strerror}") from error
    entries = [entry for child in children if (entry := _entry(child))]
    if not entries:
        raise FileError(
            f"cannot view {path}: it holds no scene.ply or mesh.glb, no folder with one, and no {', '.join(READERS)} or .glb file"
        )
    return entries


def _entry(path: Path) -> Entry | None:
    if path.is_dir():
        splats, mesh, card = (file if (file := path / name).is_file() else None for name in ("scene.ply", "mesh.glb", "card.json"))
        return Entry(path.resolve().name, splats, mesh, card) if splats or mesh else None
    if splat_format(path):
        return Entry(path.name, splats=path)
    return Entry(path.name, mesh=path) if path.suffix.lower() == ".glb" else None
