"""A generated asset, the folder that it is saved in, and the card with the recipe of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from rl3d.pictures import preview, save_image, turntable
from rl3d.retrieval import Example
from scenes.asset import INSET, Asset
from scenes.files import FileError, atomic_write
from scenes.files.glb import parts_to_glb, write_glb, write_mesh_glb
from scenes.files.ply import write_ply
from scenes.files.trees import parse_json
from scenes.gaussians import Gaussians
from scenes.mesh import Mesh

FINAL_GAUSSIANS = 16384
"""Gaussians of a saved asset, where its generator makes surfaces. Training samples fewer."""
HASHED = ("scene.ply", "mesh.glb")
"""The files of an asset that a replay reproduces to the bit."""


def environment() -> dict[str, str | int]:
    """Besides weights and seeds, the last bits of an asset may depend on these."""
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
class GeneratedAsset:
    """One asset with its prompt, its seed, its generator and its rewards."""

    prompt: str
    asset: Asset
    """A batch of one scene, on the CPU."""
    seed: int
    generator: str
    """Name of the generator, or ``module:Class``."""
    options: Any
    """The sampling options: an instance of the generator's own dataclass."""
    source: dict[str, str]
    """File name and hash of the weights; empty if the generator has none."""
    rewards: dict[str, dict[str, Any]]
    """By name: value in [0, 1], version, and verdict where the reward gives one."""
    first_seed: int
    """The first seed of the batch that the asset was sampled in. Rounding depends on batch size."""
    candidates: int
    """Size of that batch. Its seeds are consecutive."""
    device: str = "cpu"
    examples: Sequence[Example] = ()
    """What the generator looked at, from a library."""
    given: Example | None = None
    """The parts that the asset begins with, where it was completed."""

    def __post_init__(self) -> None:
        if len(self.asset) != 1:
            raise ValueError(f"a generated asset is one scene, got a batch of {len(self.asset)}")

    @cached_property
    def splats(self) -> Gaussians:
        """The Gaussians (n,) of scene.ply. ValueError with one line if the asset is empty."""
        parts = self.asset.parts
        if parts is not None and not parts.exists.any():
            raise ValueError(f"{self.prompt!r} with seed {self.seed} has no parts: try another seed")
        scene = self.asset.gaussians(FINAL_GAUSSIANS, fine=True)[0].detach()
        if parts is None:  # a batch is padded with Gaussians that nobody sees
            scene = scene.select(scene.opacities > 0)
        if not scene.count:
            raise ValueError(f"{self.prompt!r} with seed {self.seed} is empty: try another seed")
        return scene

    @cached_property
    def mesh(self) -> Mesh:
        """The mesh of an asset without parts. ValueError with one line if it has no faces."""
        (mesh,) = self.asset.meshes()
        if not len(mesh.faces):
            raise ValueError(f"{self.prompt!r} with seed {self.seed} has no surface: try another seed")
        return mesh

    def write_glb(self, path: Path) -> None:
        """Write mesh.glb: a node a part where there are parts, else the whole mesh."""
        parts = self.asset.parts
        if parts is not None:
            write_glb(path, parts[0])
        else:
            write_mesh_glb(path, self.mesh)

    def glb(self) -> bytes:
        """The bytes of mesh.glb."""
        if self.asset.parts is not None:
            return parts_to_glb(self.asset.parts[0])
        with tempfile.TemporaryDirectory() as folder:
            self.write_glb(Path(folder) / "mesh.glb")
            return (Path(folder) / "mesh.glb").read_bytes()

    def card(self, files: dict[str, str]) -> dict[str, Any]:
        """The content of card.json: what a replay needs, and the SHA-256 of ``files`` by name."""
        parts = self.asset.parts
        examples = [_example_rows(example) for example in self.examples]
        shape = {} if parts is None else {"parts": int(parts.exists.sum()), "inset": INSET}
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "batch": {"seed": self.first_seed, "count": self.candidates},
            "device": self.device,
            "generator": {"name": self.generator, **self.source},
            "sampling": asdict(self.options),
            "gaussians": self.splats.count,
            **shape,
            **({"examples": examples} if examples else {}),
            **({"given": _example_rows(self.given)} if self.given else {}),
            "rewards": self.rewards,
            "cameras": {
                "preview": {"azimuth_deg": 35.0, "elevation_deg": 20.0},
                "turntable": {"frames": 48, "elevation_deg": 20.0},
            },
            "software": environment(),
            "files": files,
        }

    def save(self, folder: Path) -> Path:
        """Write scene.ply, mesh.glb, preview.png, turntable.mp4 and card.json into ``folder``.

        ValueError with one line, before anything is written, if the asset is empty.
        """
        scene = self.splats
        if self.asset.parts is None:
            _ = self.mesh
        # The card is removed first and written last, so a folder with a card is complete.
        (folder / "card.json").unlink(missing_ok=True)
        write_ply(folder / "scene.ply", scene)
        self.write_glb(folder / "mesh.glb")
        save_image(folder / "preview.png", preview(scene))
        turntable(folder / "turntable.mp4", scene)
        with atomic_write(folder / "card.json") as temporary:
            files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in HASHED}
            temporary.write_text(json.dumps(self.card(files), indent=2) + "\n")
        return folder


def check_apart(out: Path | None, original: Path) -> None:
    """FileError if ``out`` is the folder of the asset ``original``, which may be one of its
    files."""
    if out is not None and out.resolve() == (original if original.is_dir() else original.parent).resolve():
        raise FileError(f"cannot write to {out}: it holds the original asset; name another folder with --out")


def _example_rows(example: Example) -> dict[str, Any]:
    return {"file": example.file, "caption": example.caption, "parts": example.vectors.tolist()}


def read_card(path: Path) -> dict[str, Any]:
    """The card in an asset's folder, or in a file; FileError with one line if it cannot be read."""
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
