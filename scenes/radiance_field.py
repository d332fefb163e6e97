"""Radiance fields: density (1/metre) and colour at points of space, without view direction.

Mildenhall et al., NeRF, 2020. The field of a part asset is soft at its surfaces, so that gradients
flow. The others are made by generators or fitted to images: voxels, tri-planes (Chan et al., EG3D,
2022), hash grids (Mueller et al., Instant NGP, 2022), and the networks whose weights Shap-E
generates (Jun and Nichol, 2023).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scenes.parts import Parts

F = TypeVar("F", bound="TensorField")


@runtime_checkable
class RadianceField(Protocol):
    """What a volume renderer needs of a scene, or of a batch of scenes."""

    @property
    def batch_shape(self) -> torch.Size: ...

    @property
    def bounds(self) -> tuple[Float[Tensor, "*b 3"], Float[Tensor, "*b 3"]]:
        """Lowest and highest corner (detached) of a box. The density is 0 outside it."""
        ...

    def query(self, points: Float[Tensor, "*b k 3"]) -> tuple[Float[Tensor, "*b k"], Float[Tensor, "*b k 3"]]:
        """Density in 1/metre and sRGB colour at k points of each scene."""
        ...


class TensorField(RadianceField):
    """Base of fields that are dataclasses of tensors: they can be moved, detached and indexed."""

    def to(self: F, device: torch.device | str) -> F:
        return self._map(lambda t: t.to(device), lambda module: module.to(device))

    def detach(self: F) -> F:
        """The same field without gradients. Decoders that are not an ``nn.Module`` are kept
        unchanged."""
        return self._map(torch.Tensor.detach, lambda module: module.requires_grad_(False))

    def __getitem__(self: F, index: int | slice | Tensor) -> F:
        """Select scenes along the batch dimensions."""
        if not self.batch_shape:
            raise IndexError("a single field has no batch dimension to index")
        return self._map(lambda t: t[index])

    def _map(self: F, tensor: Callable[[Tensor], Tensor], module: Callable[[nn.Module], nn.Module] | None = None) -> F:
        """Every tensor, and a copy of every module, replaced."""

        def mapped(value: Any) -> Any:
            if isinstance(value, Tensor):
                return tensor(value)
            if isinstance(value, Parts):
                return value._map(tensor)
            if isinstance(value, tuple):
                return tuple(map(mapped, value))
            return module(copy.deepcopy(value)) if module and isinstance(value, nn.Module) else value

        values = {f.name: mapped(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return type(self)(**values)


@dataclass(frozen=True)
class PartField(TensorField):
    """The union of an asset's parts (leading batch dimensions as in ``parts``)."""

    parts: Parts
    density: float = 200.0
    """Density inside a part, in 1/metre: 3 cm of it let under 1 % of the light through."""
    softness: float = 0.005
    """Metres over which the density falls to 1/e outside a surface. Larger values are easier to
    optimise, smaller ones look sharper."""

    @property
    def batch_shape(self) -> torch.Size:
        return self.parts.existence.shape[:-1]

    @property
    def bounds(self) -> tuple[Float[Tensor, "*b 3"], Float[Tensor, "*b 3"]]:
        """The box of the existing parts, with a margin in which the density falls to a thousandth.
        A single point if there are none."""
        surface, exists = self.parts.detach().surface_grid(3), self.parts.exists[..., None, None, None]
        margin = 7 * self.softness
        low = torch.where(exists, surface, torch.inf).flatten(-4, -2).amin(-2) - margin
        high = torch.where(exists, surface, -torch.inf).flatten(-4, -2).amax(-2) + margin
        return torch.where(low.isfinite(), low, 0.0), torch.where(high.isfinite(), high, 0.0)

    def query(self, points: Float[Tensor, "*b k 3"]) -> tuple[Float[Tensor, "*b k"], Float[Tensor, "*b k 3"]]:
        """Density and sRGB colour at k world points of each asset. Where parts overlap, colours are
        averaged by density."""
        parts = self.parts
        places = points.unsqueeze(-3).expand(*points.shape[:-2], parts.count, *points.shape[-2:])
        distance = parts.distance(places)
        inside = torch.sigmoid(-distance / self.softness)
        # As in Parts.gaussians: a part fades as its existence falls to 0, and an absent one is not
        # there at all.
        weight = inside * (torch.sigmoid(10 * parts.existence) * parts.exists).unsqueeze(-1)
        total = weight.sum(-2)
        colors = (weight.unsqueeze(-1) * parts.colors_at(places)).sum(-3) / total.clamp_min(1e-12).unsqueeze(-1)
        # Soft union: 1 - prod(1 - w), so that overlaps are no denser than either part.
        return self.density * (1 - (1 - weight).clamp_min(1e-12).log().sum(-2).exp()), colors


Decoder = Callable[[Float[Tensor, "*b k f"]], Float[Tensor, "*b k 4"]]
"""Maps features to four raw numbers: ``softplus`` makes the first a density, ``sigmoid`` the others
a colour."""


def _decoded(raw: Float[Tensor, "*b k 4"], inside: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return scale * torch.nn.functional.softplus(raw[..., 0]) * inside, torch.sigmoid(raw[..., 1:])


def _unit(points: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in [-1, 1] between the corners, and which points are inside."""
    unit = 2 * (points - low.unsqueeze(-2)) / (high - low).unsqueeze(-2) - 1
    return unit, (unit.abs() <= 1).all(-1)


class _Boxed(TensorField):
    """A field that fills the box between its two corners."""

    low: Float[Tensor, "*b 3"]
    high: Float[Tensor, "*b 3"]

    @property
    def bounds(self) -> tuple[Float[Tensor, "*b 3"], Float[Tensor, "*b 3"]]:
        return self.low.detach(), self.high.detach()


@dataclass(frozen=True)
class VoxelField(_Boxed):
    """Density and colour at the corners of a grid, interpolated between them (leading batch
    dimensions alike)."""

    density: Float[Tensor, "*b x y z"]
    """In 1/metre, not negative."""
    colors: Float[Tensor, "*b x y z 3"]
    """sRGB in [0, 1]."""
    low: Float[Tensor, "*b 3"]
    high: Float[Tensor, "*b 3"]

    @property
    def batch_shape(self) -> torch.Size:
        return self.density.shape[:-3]

    def query(self, points: Float[Tensor, "*b k 3"]) -> tuple[Float[Tensor, "*b k"], Float[Tensor, "*b k 3"]]:
        unit, inside = _unit(points, self.low, self.high)
        batch, k = self.batch_shape.numel(), points.shape[-2]
        grid = (
            torch.cat([self.density.unsqueeze(-1), self.colors], -1)
            .reshape(batch, *self.density.shape[-3:], 4)
            .permute(0, 4, 1, 2, 3)
        )
        places = unit.reshape(batch, k, 1, 1, 3).flip(-1).to(grid)
        values = torch.nn.functional.grid_sample(grid, places, align_corners=True, padding_mode="border").view(
            batch, 4, k
        )
        values = values.transpose(1, 2).reshape(*points.shape[:-1], 4)
        return values[..., 0] * inside, values[..., 1:]


@dataclass(frozen=True)
class TriPlaneField(_Boxed):
    """Features on the planes xy, xz and yz, summed at a point's three projections and decoded."""

    planes: Float[Tensor, "*b 3 f h w"]
    decoder: Decoder
    low: Float[Tensor, "*b 3"]
    high: Float[Tensor, "*b 3"]
    density: float = 100.0
    """Factor of the decoder's density, in 1/metre."""

    @property
    def batch_shape(self) -> torch.Size:
        return self.planes.shape[:-4]

    def query(self, points: Float[Tensor, "*b k 3"]) -> tuple[Float[Tensor, "*b k"], Float[Tensor, "*b k 3"]]:
        unit, inside = _unit(points, self.low, self.high)
        batch, k, f = self.batch_shape.numel(), points.shape[-2], self.planes.shape[-3]
        places = torch.stack([unit[..., [0, 1]], unit[..., [0, 2]], unit[..., [1, 2]]], -3).reshape(3 * batch, 1, k, 2)
        planes = self.planes.reshape(3 * batch, f, *self.planes.shape[-2:])
        found = torch.nn.functional.grid_sample(planes, places.to(planes), align_corners=True, padding_mode="border")
        features = found.view(batch, 3, f, k).sum(1).transpose(1, 2).reshape(*points.shape[:-1], f)
        return _decoded(self.decoder(features), inside, self.density)


@dataclass(frozen=True)
class HashField(_Boxed):
    """Features of several grids, from coarse to fine, concatenated and decoded. Grid corners share
    the rows of a table by hashing. A single scene."""

    tables: Float[Tensor, "levels rows f"]
    decoder: Decoder
    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]
    coarsest: int = 16
    """Cells along a side of the first level."""
    finest: int = 512
    """Cells along a side of the last level. The levels between grow by a constant factor."""
    density: float = 100.0
    """What the decoder's density is multiplied by, in 1/metre."""

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size()

    def query(self, points: Float[Tensor, "k 3"]) -> tuple[Float[Tensor, "k"], Float[Tensor, "k 3"]]:
        unit, inside = _unit(points, self.low, self.high)
        levels, rows, _ = self.tables.shape
        growth = math.exp(math.log(self.finest / self.coarsest) / max(1, levels - 1))
        corner = torch.tensor([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], device=points.device)
        # The paper's hash: coordinates times large primes, xored, modulo the table's size.
        primes = torch.tensor([1, 2_654_435_761, 805_459_861], device=points.device)
        found = []
        for level in range(levels):
            place = (unit.clamp(-1, 1) + 1) / 2 * math.floor(self.coarsest * growth**level)
            cell = place.detach().floor()
            vertices = (cell.long().unsqueeze(-2) + corner) * primes
            index = (vertices[..., 0] ^ vertices[..., 1] ^ vertices[..., 2]) % rows
            weight = (1 - (place.unsqueeze(-2) - (cell.unsqueeze(-2) + corner)).abs()).prod(-1)
            found.append((weight.unsqueeze(-1) * self.tables[level][index]).sum(-2))
        return _decoded(self.decoder(torch.cat(found, -1)), inside, self.density)


@dataclass(frozen=True)
class ShapEField(TensorField):
    """Shap-E's networks. The weights of the first layers are projected from a latent; the others
    are shared by all scenes.

    The box is [-1, 1] in each axis, z up. Density and colour are those of the fine NeRF without
    view direction, as Shap-E's own renderer draws them.
    """

    weights: tuple[Tensor, ...]
    """(out, in) of each layer, with the scenes' batch dimensions if projected from latents."""
    biases: tuple[Tensor, ...]
    """(out,) of each layer."""

    @property
    def batch_shape(self) -> torch.Size:
        return max((weight.shape[:-2] for weight in self.weights), key=len)

    def __getitem__(self, index: int | slice | Tensor) -> ShapEField:
        """Select scenes along the batch dimensions."""
        if not self.batch_shape:
            raise IndexError("a single field has no batch dimension to index")
        weights = tuple(weight[index] if weight.dim() > 2 else weight for weight in self.weights)
        return ShapEField(weights, self.biases)

    @staticmethod
    def from_latents(latents: Float[Tensor, "*b v d"], renderer: nn.Module) -> ShapEField:
        """Fields of latents (1024, 1024 for the published weights), with gradients to them.
        ``renderer`` is diffusers' ``ShapERenderer``. It is only read; nothing is copied into its
        network."""
        batch = latents.shape[:-2]
        projected = renderer.params_proj(latents.reshape(-1, *latents.shape[-2:]))  # type: ignore[operator]
        layers = list(renderer.mlp.mlp)  # type: ignore[arg-type, union-attr]
        names = [f"nerstf.mlp.{i}.weight" for i in range(len(layers))]
        weights = [
            projected[name].reshape(*batch, *layer.weight.shape) if name in projected else layer.weight
            for name, layer in zip(names, layers, strict=True)
        ]
        # Without a direction, the inputs that hold it are 0.
        for i in range(1, len(weights)):
            weights[i] = weights[i][..., : weights[i - 1].shape[-2]]
        return ShapEField(tuple(weights), tuple(layer.bias for layer in layers))

    @property
    def bounds(self) -> tuple[Float[Tensor, "*b 3"], Float[Tensor, "*b 3"]]:
        corner = self.biases[0].new_ones(*self.batch_shape, 3).detach()
        return -corner, corner

    def query(self, points: Float[Tensor, "*b k 3"]) -> tuple[Float[Tensor, "*b k"], Float[Tensor, "*b k 3"]]:
        frequencies = 2.0 ** torch.arange(15, dtype=points.dtype, device=points.device)
        angles = (points.unsqueeze(-2) * frequencies.unsqueeze(-1)).flatten(-2)
        h = torch.cat([points, angles.sin(), (angles + math.pi / 2).sin()], -1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = (torch.nn.functional.silu(h) if i else h) @ weight.transpose(-1, -2) + bias
        # Outputs: signed distance, density coarse and fine, then colour of the surface, of the
        # coarse and of the fine field.
        return torch.relu(h[..., 2]) * (points.abs() <= 1).all(-1), torch.sigmoid(h[..., 9:12])
