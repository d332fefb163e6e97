"""Assets of raw Gaussians and of radiance fields: ``scenes.asset.Asset`` without parts.

Their meshes come from surface extraction, their rigid bodies from a convex decomposition of the
mesh. Both are computed at the first call and kept: selecting scenes, moving them to a device and
detaching them computes nothing again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from renderers.decomposition import decomposed
from renderers.distill import gaussians_of_mesh
from renderers.surface import extract
from scenes.asset import INSET, Convex, Pose
from scenes.gaussians import Gaussians, rotations, transformed
from scenes.mesh import Mesh
from scenes.radiance_field import RadianceField, TensorField

RESOLUTION = 96
"""Voxels along the longest side: about 1 cm for an asset of 1 m. Legs of 1.5 cm stay whole."""
VIEWS = 24
TRUNCATION, SMOOTHING = 2.0, 0.5
"""In voxels. Less than what ``extract`` uses by default, so that thin parts keep their volume."""
MIN_FRACTION = 2e-5
"""Smallest fraction of the surface area that a separate piece must have: specks of 3 mm on an asset
of 1 m are noise, larger floaters stay."""


class _Solid:
    """The mesh and the bodies of one scene, each computed once."""

    def __init__(self, scene: Gaussians | TensorField) -> None:
        self.scene = scene.detach()

    def to(self, device: torch.device | str) -> _Solid:
        """Itself if its mesh, which is on the CPU, is there already, or if it does not move."""
        place = self.scene.device if isinstance(self.scene, Gaussians) else self.scene.bounds[0].device
        stays = "mesh" in vars(self) or place == torch.empty(0, device=device).device
        return self if stays else _Solid(self.scene.to(device))

    @functools.cached_property
    def mesh(self) -> Mesh:
        scene = self.scene
        if not _finite(scene):
            scene = Gaussians.concatenate([])
        mesh = extract(
            scene,
            resolution=RESOLUTION,
            views=VIEWS,
            truncation=TRUNCATION,
            smoothing=SMOOTHING,
            min_fraction=MIN_FRACTION,
        )
        return mesh.to("cpu")

    @functools.cached_property
    def bodies(self) -> list[Convex]:
        return self._decomposition[0]

    def body_of(self, points: Tensor) -> Int[Tensor, "n"]:
        """The body that is nearest to each point (n, 3); -1 if there is none."""
        from scipy.spatial import cKDTree

        body = self._decomposition[1]
        solid = np.flatnonzero(body >= 0)
        if not len(solid):
            return torch.full((len(points),), -1)
        _, nearest = cKDTree(self.mesh.vertices.numpy()[solid]).query(points.detach().cpu().numpy())
        return torch.from_numpy(body[solid][nearest])

    @functools.cached_property
    def _decomposition(self) -> tuple[list[Convex], np.ndarray]:
        return decomposed(self.mesh)


@dataclass(frozen=True, init=False)
class SplatAsset:
    """Scenes of raw Gaussians (B, N).

    ``meshes`` and ``bodies`` take 0.9 s per scene in the mean, 1.7 s at most, on one core (``python
    -m benchmarks.assets``). They have no gradient. A scene that is empty or that holds a number
    which is not finite has a mesh without faces and no bodies.
    """

    scene: Gaussians
    parts = None
    motion = None

    def __init__(self, scene: Gaussians, _solids: Sequence[_Solid] | None = None) -> None:
        if len(scene.batch_shape) != 1:
            raise ValueError(f"an asset is a batch of scenes (B, N), got Gaussians {tuple(scene.means.shape[:-1])}")
        object.__setattr__(self, "scene", scene)
        solids = [_Solid(scene[b]) for b in range(len(scene.means))] if _solids is None else _solids
        object.__setattr__(self, "_solids", tuple(solids))

    @staticmethod
    def of(scenes: Sequence[Gaussians]) -> SplatAsset:
        """Single scenes as a batch. Smaller ones are padded with Gaussians of opacity 0."""
        return SplatAsset(Gaussians.stack(list(scenes)))

    @classmethod
    def concatenate(cls, assets: Sequence[SplatAsset]) -> SplatAsset:
        """Several batches as one, padded as by ``of``. Meshes and bodies are kept."""
        scenes = [asset.scene[b] for asset in assets for b in range(len(asset))]
        return cls(Gaussians.stack(scenes), [solid for asset in assets for solid in asset._solids])

    @property
    def device(self) -> torch.device:
        return self.scene.device

    def __len__(self) -> int:
        return len(self._solids)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> SplatAsset:
        chosen = _chosen(index, len(self))
        return SplatAsset(self.scene[chosen], [self._solids[b] for b in chosen])

    def gaussians(self, count: int = 3072, *, fine: bool = False) -> Gaussians:
        """The Gaussians as they are, with their gradients. ``count`` and ``fine`` do not apply."""
        return self.scene

    def meshes(self) -> list[Mesh]:
        return [solid.mesh for solid in self._solids]

    def bodies(self) -> list[list[Convex]]:
        return [list(solid.bodies) for solid in self._solids]

    def moved(self, poses: Sequence[Mapping[int, Pose]]) -> SplatAsset:
        """Each Gaussian moves with the body whose surface is nearest. Harmonics turn with it."""
        return SplatAsset(_moved(self.scene, self._solids, poses))

    def to(self, device: torch.device | str) -> SplatAsset:
        return SplatAsset(self.scene.to(device), [solid.to(device) for solid in self._solids])

    def detach(self) -> SplatAsset:
        return SplatAsset(self.scene.detach(), self._solids)


@dataclass(frozen=True, init=False)
class FieldAsset:
    """Scenes that are radiance fields, one field each.

    ``meshes`` and ``bodies`` behave as those of ``SplatAsset``. The mesh is a level of the density.
    """

    fields: tuple[TensorField, ...]
    parts = None
    motion = None

    def __init__(self, fields: Sequence[TensorField], _solids: Sequence[_Solid] | None = None) -> None:
        if not fields:
            raise ValueError("an asset of fields needs at least one field")
        for field in fields:
            if field.batch_shape:
                raise ValueError(f"an asset takes single fields, got a batch {tuple(field.batch_shape)}: FieldAsset.of")
        object.__setattr__(self, "fields", tuple(fields))
        object.__setattr__(self, "_solids", tuple(map(_Solid, fields) if _solids is None else _solids))

    @staticmethod
    def of(field: TensorField) -> FieldAsset:
        """The B scenes of a batched field."""
        if len(field.batch_shape) != 1:
            raise ValueError(f"an asset is a batch of scenes (B,), got a field {tuple(field.batch_shape)}")
        return FieldAsset([field[b] for b in range(field.batch_shape[0])])

    @classmethod
    def concatenate(cls, assets: Sequence[FieldAsset]) -> FieldAsset:
        """Several batches as one. Meshes and bodies are kept."""
        fields = [field for asset in assets for field in asset.fields]
        return cls(fields, [solid for asset in assets for solid in asset._solids])

    @property
    def device(self) -> torch.device:
        return self.fields[0].bounds[0].device

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> FieldAsset:
        chosen = _chosen(index, len(self))
        return FieldAsset([self.fields[b] for b in chosen], [self._solids[b] for b in chosen])

    def gaussians(self, count: int = 3072, *, fine: bool = False) -> Gaussians:
        """``count`` flat Gaussians on each field's surface, at the same places each time.

        Means and colours have gradients to the field. A mean moves along the surface's normal, as
        the density's level does (the implicit function theorem). Sizes, orientations and opacities
        have no gradient. ``fine`` insets the Gaussians by ``scenes.asset.INSET``. An empty field
        gives Gaussians of opacity 0.
        """
        scenes = [_gaussians(f, s.mesh, count, INSET if fine else 0.0) for f, s in zip(self.fields, self._solids)]
        return Gaussians.stack(scenes)

    def meshes(self) -> list[Mesh]:
        return [solid.mesh for solid in self._solids]

    def bodies(self) -> list[list[Convex]]:
        return [list(solid.bodies) for solid in self._solids]

    def moved(self, poses: Sequence[Mapping[int, Pose]]) -> SplatAsset:
        """Its Gaussians, moved: a field itself cannot be taken apart."""
        return SplatAsset(_moved(self.gaussians(fine=True), self._solids, poses))

    def to(self, device: torch.device | str) -> FieldAsset:
        return FieldAsset([field.to(device) for field in self.fields], [solid.to(device) for solid in self._solids])

    def detach(self) -> FieldAsset:
        return FieldAsset([field.detach() for field in self.fields], self._solids)


def _chosen(index: slice | Sequence[int] | Tensor, count: int) -> list[int]:
    """The numbers of the chosen scenes."""
    numbers = torch.arange(count)[index.cpu() if isinstance(index, Tensor) else index]
    if numbers.dim() != 1:
        raise IndexError(f"select scenes by a slice or by several indices, got {index!r}: an asset stays a batch")
    return numbers.tolist()


def _finite(scene: Gaussians | RadianceField) -> bool:
    values = vars(scene).values() if isinstance(scene, Gaussians) else scene.bounds
    return all(bool(t.isfinite().all()) for t in values if isinstance(t, Tensor))


def _gaussians(field: TensorField, mesh: Mesh, count: int, inset: float) -> Gaussians:
    """Gaussians on the surface of one field, with gradients to it."""
    device = field.bounds[0].device
    if not len(mesh.faces):
        zeros, ones = torch.zeros(count, 3, device=device), torch.ones(count, 4, device=device)
        return Gaussians(zeros, ones, zeros + 1e-3, zeros[:, 0], zeros)
    flat = gaussians_of_mesh(mesh.to(device), count, torch.Generator().manual_seed(0))
    normals = rotations(flat.quats)[..., 2]
    means = flat.means
    density, colors = field.query(means)
    if density.requires_grad:
        points = means.clone().requires_grad_()
        (slope,) = torch.autograd.grad(field.query(points)[0].sum(), points)
        # The density falls along the outward normal. Where it hardly does, the place of the surface
        # is undetermined.
        fall = -(slope * normals).sum(-1)
        steady = fall > 0.01 * fall.median()
        shift = torch.where(steady, (density - density.detach()) / fall.clamp_min(1e-12), 0.0)
        means = means + shift.unsqueeze(-1) * normals
    means = means - inset * flat.scales[:, :1] * normals
    return Gaussians(means, flat.quats, flat.scales, flat.opacities, colors)


def _moved(scene: Gaussians, solids: Sequence[_Solid], poses: Sequence[Mapping[int, Pose]]) -> Gaussians:
    if len(poses) != len(solids):
        raise ValueError(f"poses are needed for each of the {len(solids)} scenes, got {len(poses)}")
    return Gaussians.stack([_moved_scene(scene[b], solids[b], moves) for b, moves in enumerate(poses)])


def _moved_scene(scene: Gaussians, solid: _Solid, moves: Mapping[int, Pose]) -> Gaussians:
    if not moves:
        return scene
    body = solid.body_of(scene.means).to(scene.device)
    for label, pose in moves.items():
        chosen = (body == label).nonzero().squeeze(-1)
        rotation, translation = torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation)
        scene = scene.replaced(chosen, transformed(scene.select(chosen), rotation, translation))
    return scene
