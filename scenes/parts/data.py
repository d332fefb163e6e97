"""The data of part assets: named tensors, and the vectors of 27 numbers that networks work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenes.parts.layout import (
    AXIS_X,
    AXIS_Y,
    CENTRE,
    COLOR,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    MAX_EXPONENT,
    MAX_HALF_SIZE,
    MAX_TAPER,
    METALLIC,
    MIN_EXPONENT,
    MIN_HALF_SIZE,
    PATTERN,
    PLAIN,
    ROTATION,
    ROUGHNESS,
    SECOND_COLOR,
    SHAPE_SIZE,
    TAPER,
    UPRIGHT,
    VECTOR_SIZE,
)

P = TypeVar("P", bound="PartData")


@dataclass(frozen=True)
class PartData:
    """P parts of an asset, or of a batch of assets. Lengths in metres, colours sRGB in [0, 1]."""

    existence: Float[Tensor, "*batch p"]
    """Above 0 for a part that is there."""
    exponents: Float[Tensor, "*batch p 2"]
    """North-south and east-west: 0.1 is box-like, 1 is round."""
    taper: Float[Tensor, "*batch p"]
    """t > 0 shrinks the top to (1 - t), t < 0 the bottom to (1 + t)."""
    centres: Float[Tensor, "*batch p 3"]
    half_sizes: Float[Tensor, "*batch p 3"]
    rotations: Float[Tensor, "*batch p 3 3"]
    """From part to world."""
    colors: Float[Tensor, "*batch p 3"]
    metallic: Float[Tensor, "*batch p"]
    """From 0, not metallic, to 1, bare metal."""
    roughness: Float[Tensor, "*batch p"]
    """From 0, glossy, to 1, matte."""
    patterns: Float[Tensor, "*batch p 3"]
    """Scores of stripes, spots and checks. The highest one counts if it is above 0."""
    second_colors: Float[Tensor, "*batch p 3"]
    """The other colour of the pattern."""

    @classmethod
    def from_vectors(cls: type[P], vectors: Float[Tensor, "*batch p n"]) -> P:
        """Decode the 27 numbers of each part (``scenes.parts.layout``). Out-of-range values are
        clamped.

        Vectors of 19 numbers, which older files and networks hold, get the default material.
        ValueError for any other size.
        """
        if vectors.shape[-1] == SHAPE_SIZE:
            vectors = torch.cat([vectors, vectors.new_tensor(PLAIN).expand(*vectors.shape[:-1], -1)], -1)
        if vectors.shape[-1] != VECTOR_SIZE:
            raise ValueError(f"a part is {VECTOR_SIZE} or {SHAPE_SIZE} numbers, got {vectors.shape[-1]}")
        x = torch.nn.functional.normalize(vectors[..., AXIS_X], dim=-1, eps=1e-6)
        y = vectors[..., AXIS_Y] - (x * vectors[..., AXIS_Y]).sum(-1, keepdim=True) * x
        y = torch.nn.functional.normalize(y, dim=-1, eps=1e-6)
        return cls(
            existence=vectors[..., EXISTENCE],
            exponents=vectors[..., EXPONENTS].clamp(MIN_EXPONENT, MAX_EXPONENT),
            taper=vectors[..., TAPER].clamp(-MAX_TAPER, MAX_TAPER),
            centres=vectors[..., CENTRE],
            half_sizes=vectors[..., LOG_HALF_SIZE].exp().clamp(MIN_HALF_SIZE, MAX_HALF_SIZE),
            rotations=torch.stack([x, y, torch.linalg.cross(x, y)], -1),
            colors=vectors[..., COLOR].clamp(0, 1),
            metallic=vectors[..., METALLIC].clamp(0, 1),
            roughness=vectors[..., ROUGHNESS].clamp(0, 1),
            patterns=vectors[..., PATTERN],
            second_colors=vectors[..., SECOND_COLOR].clamp(0, 1),
        )

    def vectors(self) -> Float[Tensor, "*batch p 27"]:
        """The 27 numbers of each part: the inverse of ``from_vectors`` for values in range."""
        rotation = torch.cat([self.rotations[..., 0], self.rotations[..., 1]], -1)
        columns = self.existence.unsqueeze(-1), self.exponents, self.taper.unsqueeze(-1), self.centres
        material = self.metallic.unsqueeze(-1), self.roughness.unsqueeze(-1), self.patterns, self.second_colors
        return torch.cat([*columns, self.half_sizes.log(), rotation, self.colors, *material], -1)

    @property
    def exists(self) -> Bool[Tensor, "*batch p"]:
        return self.existence > 0

    @property
    def count(self) -> int:
        """Number of part slots, absent ones included."""
        return self.existence.shape[-1]

    def _map(self: P, fn: Callable[[Tensor], Tensor]) -> P:
        return type(self)(**{f.name: fn(getattr(self, f.name)) for f in dataclasses.fields(self)})

    def __getitem__(self: P, index) -> P:
        """Select assets along the batch dimensions."""
        return self._map(lambda t: t[index])

    def detach(self: P) -> P:
        return self._map(torch.Tensor.detach)

    def to(self: P, device: torch.device | str) -> P:
        return self._map(lambda t: t.to(device))

    def double(self: P) -> P:
        """In double precision: geometry that must not depend on how a batch is laid out."""
        return self._map(torch.Tensor.double)

    def present(self: P) -> P:
        """The parts of a single asset that exist."""
        if self.existence.dim() != 1:
            raise ValueError("present() works on a single asset; index the batch first")
        mask = self.exists
        return self._map(lambda t: t[mask])

    @classmethod
    def stack(cls: type[P], assets: Sequence[PartData], slots: int | None = None) -> P:
        """Batch single assets. Each is padded with absent parts (existence -1) to ``slots``, by
        default to the size of the largest one."""
        most = max((asset.count for asset in assets), default=0) if slots is None else slots
        padded = [asset.padded(most) for asset in assets]
        return cls(**{f.name: torch.stack([getattr(p, f.name) for p in padded]) for f in dataclasses.fields(cls)})

    def padded(self: P, slots: int) -> P:
        """With absent parts at the end, up to ``slots`` in all. ValueError if there are more."""
        if self.count > slots:
            raise ValueError(f"an asset of {self.count} parts does not fit into {slots}")
        absent = self.centres.new_tensor([[-1.0, *[0.0] * (ROTATION.start - 1), *UPRIGHT, *[0.0] * 3, *PLAIN]])
        absent = type(self).from_vectors(absent)
        batch, missing = self.existence.shape[:-1], slots - self.count

        def joined(name: str) -> Tensor:
            pad: Tensor = getattr(absent, name)
            return torch.cat([getattr(self, name), pad.expand(*batch, missing, *pad.shape[1:])], len(batch))

        return type(self)(**{f.name: joined(f.name) for f in dataclasses.fields(self)})

    def to_world(self, local: Float[Tensor, "*batch p k 3"]) -> Float[Tensor, "*batch p k 3"]:
        """Points of each part's frame (metres, about its centre), in the world."""
        return local @ self.rotations.transpose(-1, -2) + self.centres.unsqueeze(-2)
