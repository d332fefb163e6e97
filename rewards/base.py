"""A reward is a callable that scores a batch of assets and states what it needs.

Rewards never render. They state their ``Needs``. The caller renders every set of views once and
gives all rewards the same ``Batch``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from renderers.base import Views
from rewards.pieces import Pieces, bodies_of
from rewards.text import TextFeatures, shared_encoder
from scenes.asset import Asset, Convex, PartAsset, part_bodies
from scenes.cameras import Cameras
from scenes.mesh import Mesh
from scenes.parts import DEFAULT_ROUGHNESS, Parts


@dataclass(frozen=True)
class Needs:
    """What a reward needs of an asset.

    Bodies, the mesh and views exist for every asset. Parts and frames do not: ``mix.check_needs``
    refuses a reward whose asset lacks them. ValueError for views without a size, or normals without
    views."""

    parts: bool = False
    """The asset's parts."""
    bodies: bool = False
    """Its rigid convex pieces, in the simulator."""
    mesh: bool = False
    """Its triangle mesh."""
    frames: bool = False
    """Its states at several times: the asset must have a motion."""
    cameras: int = 0
    """Number of views, evenly around the asset; 0: no images."""
    size: int = 0
    """Pixels a side of each view."""
    normals: bool = False
    """The views carry normals."""

    def __post_init__(self) -> None:
        if min(self.cameras, self.size) < 0 or (self.cameras > 0) != (self.size > 0):
            raise ValueError(
                f"a reward needs both cameras and a size, or neither; got cameras={self.cameras}, size={self.size}"
            )
        if self.normals and not self.cameras:
            raise ValueError("normals are seen in views: a reward that needs them needs cameras and a size")

    @property
    def rig(self) -> tuple[int, int]:
        """Number and size of the views, the key of ``Batch.shots``."""
        return self.cameras, self.size

    @staticmethod
    def rigs(rewards: Iterable[Reward]) -> dict[tuple[int, int], bool]:
        """The distinct sets of views that ``rewards`` look at, and whether they carry normals.

        Each set is rendered once. What a reward sees does not depend on the other rewards."""
        found: dict[tuple[int, int], bool] = {}
        for needs in (reward.needs for reward in rewards):
            if needs.cameras:
                found[needs.rig] = found.get(needs.rig, False) or needs.normals
        return found


@dataclass(frozen=True)
class Shots:
    """Rendered views (B, C, H, W, 3) of a batch on white, and their C cameras, the same for every
    asset."""

    views: Views
    cameras: Cameras


MOST_PARTS = 256
"""Maximum number of part slots of an asset. Rewards consider every pair of parts."""


@dataclass(frozen=True)
class Batch:
    """B assets as the rewards see them: the prompts, the asset (B scenes) and rendered views by
    their rig.

    Everything derived from the asset is computed once and shared by all rewards. ValueError if the
    asset has another number of scenes, or more than ``MOST_PARTS`` parts a scene."""

    prompts: list[str]
    asset: Asset | None = None
    shots: dict[tuple[int, int], Shots] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.asset is None:
            return
        if len(self.asset) != len(self.prompts):
            raise ValueError(f"{len(self.prompts)} prompts for an asset of {len(self.asset)} scenes")
        if self.asset.parts is not None and self.asset.parts.count > MOST_PARTS:
            raise ValueError(f"an asset of {self.asset.parts.count:,} parts: rewards look at {MOST_PARTS} at most")

    def __len__(self) -> int:
        return len(self.prompts)

    def need_asset(self) -> Asset:
        """The asset; ValueError without one."""
        if self.asset is None:
            raise ValueError("this reward looks at the asset, and the batch has none: pass Batch(prompts, asset)")
        return self.asset

    def need_parts(self) -> Parts:
        """The asset's parts (B, P); ValueError if it has none."""
        if self.asset is None or self.asset.parts is None:
            raise ValueError(
                "this reward looks at parts, and the batch has none: score it by views, bodies or the mesh"
            )
        return self.asset.parts

    def need_shots(self, needs: Needs) -> Shots:
        """The views that a reward asked for, with their cameras; ValueError without them."""
        if needs.rig not in self.shots:
            raise ValueError(
                f"this reward looks at {needs.cameras} views of {needs.size} pixels a side, and the batch has none"
            )
        return self.shots[needs.rig]

    def need_views(self, needs: Needs) -> Views:
        """The views that a reward asked for; ValueError without them."""
        return self.need_shots(needs).views

    @cached_property
    def text(self) -> TextFeatures:
        """The prompts' embeddings by the shared text encoder, on the CPU. ValueError for an empty
        prompt."""
        return shared_encoder().encode(self.prompts)

    @cached_property
    def meshes(self) -> list[Mesh]:
        """One triangle mesh a scene, detached, on the CPU."""
        return self.need_asset().detach().meshes()

    @cached_property
    def broken(self) -> Bool[Tensor, "b"]:
        """Scenes that cannot be scored: rewards give them 0 and count them as failed.

        Of parts, those with numbers that are not finite (a scene without parts is no failure). Of
        other assets, those without a finite surface."""
        if self.need_asset().parts is not None:
            return _broken_parts(self.need_parts()).any(-1)
        return torch.tensor([not len(mesh.faces) or not mesh.vertices.isfinite().all() for mesh in self.meshes])

    @cached_property
    def usable(self) -> Bool[Tensor, "b"]:
        """Scenes that have a piece and are not broken."""
        return self.pieces.exists.any(-1) & ~self.broken

    def per_part(self, values: Float[Tensor, "b p"]) -> Float[Tensor, "b p"] | None:
        """``values`` of the ``pieces`` as ``Scores.per_part``: 0 where a scene is not usable, None
        where the pieces are not parts."""
        if self.need_asset().parts is None:
            return None
        return (values * self.usable.unsqueeze(-1)).float().cpu()

    @cached_property
    def sound_parts(self) -> Parts:
        """The parts, detached, where those that are not finite count as absent."""
        return self.sound_parts_with_gradient.detach()

    @cached_property
    def sound_parts_with_gradient(self) -> Parts:
        """``sound_parts`` with gradient to the parts they come from."""
        parts = self.need_parts()
        bad = _broken_parts(parts)
        if not bad.any():
            return parts
        with torch.enable_grad():  # the first caller may have gradients off
            return Parts(**{name: _where(bad, value, getattr(parts, name)) for name, value in _ABSENT.items()})

    @cached_property
    def pieces(self) -> Pieces:
        """What could come apart: the sound parts, or the shells of the meshes."""
        if self.need_asset().parts is not None:
            return Pieces.of_parts(self.sound_parts)
        return Pieces.of_meshes(self.meshes)

    @cached_property
    def bodies(self) -> list[list[Convex]]:
        """The rigid convex pieces of each scene, as ``bodies_of``; none of a broken scene."""
        asset = self.need_asset()
        if not isinstance(asset, PartAsset):  # others may know better which of their parts move together
            found = zip(self.broken.tolist(), bodies_of(asset), strict=True)
            return [[] if broken else pieces for broken, pieces in found]
        labels = torch.where(self.broken.unsqueeze(-1), -1, self.pieces.components)
        return part_bodies(self.sound_parts, labels)


@dataclass(frozen=True)
class Scores:
    """One reward's result for B assets, on the CPU.

    A reward may also score each part, view or frame in [0, 1]: 1 good, 0 bad, NaN where there is
    none."""

    values: Float[Tensor, "b"]
    """Finite, in [0, 1]. An asset that could not be scored gets 0."""
    failed: int = 0
    """Number of assets that could not be scored."""
    verdict: Bool[Tensor, "b"] | None = None
    """Whether the asset meets the reward's criterion. Its mean is the success rate."""
    per_part: Float[Tensor, "b p"] | None = None
    per_view: Float[Tensor, "b c"] | None = None
    per_frame: Float[Tensor, "b t"] | None = None


FINER = ("per_part", "per_view", "per_frame")
"""The fields of ``Scores`` that are finer than the whole asset."""


@runtime_checkable
class Reward(Protocol):
    """Scores a batch.

    ``version`` changes whenever the same asset would score differently: it is written on every
    asset's card. A reward that needs parts or frames also has an attribute ``instead``: what to use
    for assets without them, "stability or push"."""

    name: str
    version: str
    needs: Needs

    def __call__(self, batch: Batch) -> Scores: ...


@runtime_checkable
class Differentiable(Reward, Protocol):
    """A reward whose gradient can train a generator directly, through the renderer (as DRaFT, Clark
    et al., 2024, for images)."""

    def values(self, batch: Batch) -> Float[Tensor, "b"]:
        """``Scores.values`` on the batch's device, with gradient to the asset's tensors, or to the
        colours and alphas of its views. They may be NaN for an asset that cannot be scored."""
        ...


class Function:
    """A user's plain function as a reward, under its own name. Its version is a hash of its
    source."""

    def __init__(self, function: Callable[[Batch], Scores | Tensor]) -> None:
        self.function = function
        self.name: str = function.__name__
        self.needs: Needs = getattr(function, "needs", Needs(cameras=4, size=64))
        self.version = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:8]

    def __call__(self, batch: Batch) -> Scores:
        result = self.function(batch)
        if isinstance(result, Scores):
            return result
        return Scores(torch.as_tensor(result, dtype=torch.float32).detach().cpu())


_ABSENT = {
    "existence": torch.tensor(-1.0),
    "exponents": torch.ones(2),
    "taper": torch.tensor(0.0),
    "centres": torch.zeros(3),
    "half_sizes": torch.ones(3),
    "rotations": torch.eye(3),
    "colors": torch.zeros(3),
    "metallic": torch.tensor(0.0),
    "roughness": torch.tensor(DEFAULT_ROUGHNESS),
    "patterns": -torch.ones(3),
    "second_colors": torch.zeros(3),
}


def _broken_parts(parts: Parts) -> Bool[Tensor, "b p"]:
    """Existing parts with a NaN or an infinity; a part whose existence is NaN counts. Absent parts
    may hold anything."""
    finite = parts.existence.isfinite()
    for name in _ABSENT:
        finite &= getattr(parts, name).reshape(*finite.shape, -1).isfinite().all(-1)
    return ~finite & ~(parts.existence <= 0)


def _where(mask: Bool[Tensor, "b p"], value: Tensor, field: Tensor) -> Tensor:
    return torch.where(mask.view(*mask.shape, *[1] * value.dim()), value.to(field), field)
