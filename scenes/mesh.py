"""Triangle meshes, batched: what the mesh renderers draw and what surface extraction returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_PICTURES = ("texture", "normal_map")


@dataclass(frozen=True)
class Mesh:
    """A mesh, or a batch of meshes, of V vertices and F triangles.

    Fields share the leading batch dimensions. A mesh smaller than others of its batch is padded
    with the face (0, 0, 0), which draws nothing. A texture is multiplied with the vertex colours.
    """

    vertices: Float[Tensor, "*batch v 3"]
    faces: Int[Tensor, "*batch f 3"]
    """Indices of vertices, counter-clockwise seen from outside."""
    colors: Float[Tensor, "*batch v 3"] | None = None
    """sRGB in [0, 1]; None is white."""
    normals: Float[Tensor, "*batch v 3"] | None = None
    """Unit normals of a smooth surface; None shades each triangle flat."""
    uvs: Float[Tensor, "*batch v 2"] | None = None
    """Texture coordinates: (0, 0) is the lower left corner of the texture, (1, 1) its upper
    right."""
    texture: Float[Tensor, "*batch th tw 3"] | None = None
    """sRGB in [0, 1], the top row first."""
    tangents: Float[Tensor, "*batch v 4"] | None = None
    """Unit direction in which the first texture coordinate grows, then the sign of the bitangent, 1
    or -1; see ``tangent_frame``."""
    normal_map: Float[Tensor, "*batch nh nw 3"] | None = None
    """Unit normals of a finer surface, in the frame of tangent, bitangent and normal; the top row
    first."""

    def __post_init__(self) -> None:
        *batch, v, three = self.vertices.shape
        if three != 3 or self.faces.shape[:-2] != tuple(batch) or self.faces.shape[-1] != 3:
            raise ValueError(
                f"Mesh.vertices (..., v, 3) and faces (..., f, 3) disagree: "
                f"{tuple(self.vertices.shape)} and {tuple(self.faces.shape)}"
            )
        for name, width in (("colors", 3), ("normals", 3), ("uvs", 2), ("tangents", 4)):
            value = getattr(self, name)
            if value is not None and value.shape != (*batch, v, width):
                raise ValueError(
                    f"Mesh.{name} must have shape {(*batch, v, width)} to match vertices, got {tuple(value.shape)}"
                )
        if (self.uvs is None) != (self.texture is None):
            raise ValueError("a textured mesh needs both uvs and texture")
        if self.normal_map is not None and (self.uvs is None or self.normals is None or self.tangents is None):
            raise ValueError("a mesh with a normal map needs uvs, normals and tangents")
        for name in _PICTURES:
            value = getattr(self, name)
            if value is not None and (value.ndim != len(batch) + 3 or value.shape[:-3] != tuple(batch)):
                raise ValueError(
                    f"Mesh.{name} must have shape (..., h, w, 3) with batch {tuple(batch)}, got {tuple(value.shape)}"
                )
        if self.faces.numel() and not (self.faces.min() >= 0 and self.faces.max() < max(1, v)):
            raise ValueError(
                f"Mesh.faces must hold indices of {v} vertices, got {int(self.faces.min())} to {int(self.faces.max())}"
            )

    @property
    def batch_shape(self) -> torch.Size:
        return self.vertices.shape[:-2]

    @property
    def device(self) -> torch.device:
        return self.vertices.device

    def _map(self, fn: Callable[[Tensor], Tensor]) -> Mesh:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Mesh(**{name: None if t is None else fn(t) for name, t in fields.items()})  # type: ignore[arg-type]

    def to(self, target: torch.device | str | torch.dtype) -> Mesh:
        """Move to another device, or convert the numbers (not the indices) to another type."""
        return self._map(lambda t: t if isinstance(target, torch.dtype) and not t.is_floating_point() else t.to(target))

    def detach(self) -> Mesh:
        return self._map(torch.Tensor.detach)

    def __getitem__(self, index) -> Mesh:
        """Select meshes along the batch dimensions."""
        if not self.batch_shape:
            raise IndexError("a single mesh has no batch dimension to index")
        return self._map(lambda t: t[index])

    @staticmethod
    def stack(meshes: list[Mesh]) -> Mesh:
        """Batch single meshes that have the same fields and pictures of one size. Smaller ones are
        padded."""

        def padded(name: str) -> Tensor | None:
            values = [getattr(m, name) for m in meshes]
            if values[0] is None:
                return None
            if name in _PICTURES:
                return torch.stack(values)
            most = max(len(t) for t in values)
            return torch.stack([torch.cat([t, t.new_zeros(most - len(t), t.shape[1])]) for t in values])

        return Mesh(**{f.name: padded(f.name) for f in dataclasses.fields(Mesh)})  # type: ignore[arg-type]


def tangent_frame(normals: Float[Tensor, "*k 3"], tangents: Float[Tensor, "*k 4"]) -> Float[Tensor, "*k 3 3"]:
    """Tangent, bitangent and normal as the columns of a matrix, from normals and tangents
    interpolated between vertices.

    The bitangent, along which the second texture coordinate grows (upwards), is normal x tangent
    times the tangents' fourth number: the convention of glTF 2.0 and MikkTSpace. As in their
    shaders, the columns are unit vectors but need not be perpendicular.
    """
    normal, tangent = (torch.nn.functional.normalize(t, dim=-1, eps=1e-20) for t in (normals, tangents[..., :3]))
    bitangent = torch.linalg.cross(normal, tangent) * tangents[..., 3:]
    return torch.stack([tangent, torch.nn.functional.normalize(bitangent, dim=-1, eps=1e-20), normal], -1)
