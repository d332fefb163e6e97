"""Assets on disk: the folder that ``generate`` leaves behind, and the card that says how it was
made."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rl3d.generators.sde import Sampling
from rl3d.pictures import preview, save_image, turntable
from scenes.files import FileError, atomic_write
from scenes.files.glb import write_glb
from scenes.files.ply import write_ply
from scenes.files.trees import parse_json
from scenes.parts import Parts

FINAL_GAUSSIANS = 16384
"""Gaussians of an asset that is kept; training looks at fewer."""
HASHED = ("scene.ply", "mesh.glb")
"""Files of an asset that come out the same to the bit when it is made again."""
INSET = 0.45
"""How far they are moved inwards, so that the silhouettes are those of the mesh
(``Parts.gaussians``)."""


def environment() -> dict[str, str | int]:
    """What the last bit of an asset may hang on, besides weights and seeds."""
    try:
        own = importlib.metadata.version("rl3d")
    except importlib.metadata.PackageNotFoundError:
        own = "source"
    packages = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "mujoco", "trimesh")}
    machine = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "rl3d": own,
        "python": platform.python_version(),
        **packages,
        "machine": machine,
        "threads": torch.get_num_threads(),
    }


@dataclass(frozen=True)
class Asset:
    """One generated asset: its parts, what it was asked to be and how it scored."""

    prompt: str
    parts: Parts
    seed: int
    sampling: Sampling
    source: dict[str, str]
    rewards: dict[str, dict[str, Any]]
    first_seed: int
    """Of the candidates that were made at once with it: sums are rounded otherwise in batches of
    another size."""
    candidates: int
    device: str = "cpu"

    def card(self, files: dict[str, str]) -> dict[str, Any]:
        """What card.json says: enough to make the asset again to the bit, and the hashes (SHA-256)
        to tell whether it is."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "batch": {"seed": self.first_seed, "count": self.candidates},
            "device": self.device,
            "generator": {"name": "part-flow", **self.source},
            "sampling": asdict(self.sampling),
            "parts": int(self.parts.exists.sum()),
            "gaussians": FINAL_GAUSSIANS,
            "inset": INSET,
            "rewards": self.rewards,
            "cameras": {
                "preview": {"azimuth_deg": 35.0, "elevation_deg": 20.0},
                "turntable": {"frames": 48, "elevation_deg": 20.0},
            },
            "software": environment(),
            "files": files,
        }

    def save(self, folder: Path) -> Path:
        """Write scene.ply, mesh.glb, preview.png, turntable.mp4 and, last, card.json into
        ``folder``."""
        if not self.parts.exists.any():
            raise ValueError(f"{self.prompt!r} with seed {self.seed} came out without any part: try another seed")
        # A folder with a card is complete: the old card goes first and the new one comes last.
        (folder / "card.json").unlink(missing_ok=True)
        scene = self.parts.gaussians(FINAL_GAUSSIANS, inset=INSET).detach()
        write_ply(folder / "scene.ply", scene)
        write_glb(folder / "mesh.glb", self.parts)
        save_image(folder / "preview.png", preview(scene))
        turntable(folder / "turntable.mp4", scene)
        with atomic_write(folder / "card.json") as temporary:
            files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in HASHED}
            temporary.write_text(json.dumps(self.card(files), indent=2) + "\n")
        return folder


def read_card(path: Path) -> dict[str, Any]:
    """The card of an asset's folder; a FileError with one line if it cannot be read."""
    path = path / "card.json" if path.is_dir() else path
    try:
        card = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}; give an asset's folder or its card.json") from error
    except ValueError as error:
        raise FileError(f"cannot read {path}: it is not JSON ({error})") from error
    if not isinstance(card, dict):
        raise FileError(f"cannot read {path}: it is not an asset's card")
    return card
