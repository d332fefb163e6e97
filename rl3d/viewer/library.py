"""What can be shown at a path: folders of assets (scene.ply, mesh.glb, card.json), and single files
of splats or meshes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl3d.assets import read_card
from rl3d.runs import is_run
from scenes.files import FileError
from scenes.files.splats import READERS, SILENT, Axes, splat_format


@dataclass(frozen=True)
class Entry:
    """An asset on disk: splats, a mesh or both."""

    name: str
    path: Path
    splats: Path | None = None
    mesh: Path | None = None
    card: Path | None = None
    picture: Path | None = None
    axes: Axes = "z-up"
    """Which way is up in its splats."""

    def prompt(self) -> str:
        """The prompt on the card, or an empty text."""
        prompt = self._card().get("prompt", "")
        return prompt if isinstance(prompt, str) else ""

    def rewards(self) -> dict[str, float]:
        """The rewards on the card, by name."""
        rewards = self._card().get("rewards")
        found = (
            {n: r.get("value") for n, r in rewards.items() if isinstance(r, dict)} if isinstance(rewards, dict) else {}
        )
        return {n: float(v) for n, v in found.items() if isinstance(v, (int, float)) and abs(v) < 1e300}

    def files(self) -> list[Path]:
        """The entry's own files. Of a folder, those that ``rl3d generate`` writes."""
        if not self.path.is_dir():
            return [self.path]
        return [
            f
            for name in ("scene.ply", "mesh.glb", "preview.png", "turntable.mp4", "card.json")
            if (f := self.path / name).is_file()
        ]

    def _card(self) -> dict[str, Any]:
        if self.card is None:
            return {}
        return read_card(self.card)


def find_entries(path: str | Path, axes: Axes = "z-up") -> list[Entry]:
    """Everything that can be shown at ``path``, sorted by name. FileError if there is nothing.

    ``axes`` says which way is up in files of splats whose format does not store it.
    """
    path = Path(path)
    if not path.exists():
        raise FileError(f"cannot view {path}: there is no such file or folder")
    found = _entry(path, axes)
    if found:
        if found.axes != axes:
            raise FileError(f"cannot view {path} as {axes}: axes is for files of splats ({', '.join(SILENT)})")
        return [found]
    if not path.is_dir():
        raise FileError(
            f"cannot view {path}: the viewer shows {', '.join(READERS)} and .glb files, folders of them, "
            "and training runs"
        )
    try:
        # The name of a file that is still being written starts with a dot.
        children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    except OSError as error:
        raise FileError(f"cannot view {path}: {error.strerror}") from error
    entries = [entry for child in children if (entry := _entry(child, axes))]
    if axes != "z-up" and not any(entry.axes == axes for entry in entries):
        raise FileError(f"cannot view {path} as {axes}: there are no files of splats ({', '.join(SILENT)}) in it")
    if not entries and not is_run(path):
        raise FileError(
            f"cannot view {path}: it holds no scene.ply or mesh.glb, no folder with one, no "
            f"{', '.join(READERS)} or .glb file, and no run"
        )
    return entries


def _entry(path: Path, axes: Axes) -> Entry | None:
    if path.is_dir():
        names = ("scene.ply", "mesh.glb", "card.json", "preview.png")
        splats, mesh, card, picture = (file if (file := path / name).is_file() else None for name in names)
        return Entry(path.resolve().name, path, splats, mesh, card, picture) if splats or mesh else None
    if kind := splat_format(path):
        return Entry(path.name, path, splats=path, axes=axes if kind in SILENT else "z-up")
    return Entry(path.name, path, mesh=path) if path.suffix.lower() == ".glb" else None
