"""Scenes of 3D Gaussians, batched: what every renderer draws and every file format stores.

Values are activated, as in gsplat: scales are standard deviations in metres, opacities lie in [0,
1], quaternions are wxyz. Reference: Kerbl et al., 3D Gaussian Splatting for Real-Time Radiance
Field Rendering, 2023."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic: colour = 0.5 + SH_C0 * f_dc."""


@dataclass(frozen=True)
class Gaussians:
    """A scene, or a batch of scenes, of N Gaussians.

    Fields share the leading batch dimensions. ``colors`` is sRGB, nominally in [0, 1]: the degree-0
    harmonic, converted to a colour. ``sh_rest`` holds the coefficients of degrees 1 to 3, or None
    for view-independent colours.
    """

    means: Float[Tensor, "*batch n 3"]
    quats: Float[Tensor, "*batch n 4"]
    scales: Float[Tensor, "*batch n 3"]
    opacities: Float[Tensor, "*batch n"]
    colors: Float[Tensor, "*batch n 3"]
    sh_rest: Float[Tensor, "*batch n k 3"] | None = None

    def __post_init__(self) -> None:
        *batch, n, three = self.means.shape
        wanted = {"quats": (*batch, n, 4), "scales": (*batch, n, 3), "opacities": (*batch, n), "colors": (*batch, n, 3)}
        if three != 3:
            raise ValueError(f"Gaussians.means must have shape (..., n, 3), got {tuple(self.means.shape)}")
        for name, shape in wanted.items():
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"Gaussians.{name} must have shape {shape} to match means, got {got}")
        if self.sh_rest is not None:
            k = self.sh_rest.shape[-2]
            if k not in (3, 8, 15) or self.sh_rest.shape != (*batch, n, k, 3):
                raise ValueError(
                    f"Gaussians.sh_rest must have shape (..., {n}, 3|8|15, 3), got {tuple(self.sh_rest.shape)}"
                )

    @property
    def batch_shape(self) -> torch.Size:
        return self.means.shape[:-2]

    @property
    def count(self) -> int:
        """Number of Gaussians in each scene."""
        return self.means.shape[-2]

    @property
    def sh_degree(self) -> int:
        return 0 if self.sh_rest is None else {3: 1, 8: 2, 15: 3}[self.sh_rest.shape[-2]]

    @property
    def device(self) -> torch.device:
        return self.means.device

    def _map(self, fn: Callable[[Tensor], Tensor]) -> Gaussians:
        rest = None if self.sh_rest is None else fn(self.sh_rest)
        return Gaussians(fn(self.means), fn(self.quats), fn(self.scales), fn(self.opacities), fn(self.colors), rest)

    def to(self, *args, **kwargs) -> Gaussians:
        return self._map(lambda t: t.to(*args, **kwargs))

    def detach(self) -> Gaussians:
        return self._map(torch.Tensor.detach)

    def __getitem__(self, index) -> Gaussians:
        """Select scenes along the batch dimensions."""
        if not self.batch_shape:
            raise IndexError("a single scene has no batch dimension to index")
        return self._map(lambda t: t[index])

    def select(self, mask: Tensor) -> Gaussians:
        """The Gaussians of one scene chosen by a mask or an index of shape (n,)."""
        if self.batch_shape:
            raise ValueError("select works on a single scene; index the batch first")
        return self._map(lambda t: t[mask])

    def replaced(self, index: Int[Tensor, "k"], others: Gaussians) -> Gaussians:
        """One scene with the Gaussians at ``index`` replaced by ``others`` (k,), of the same
        degree."""
        if self.batch_shape or others.sh_degree != self.sh_degree:
            raise ValueError("replaced works on a single scene and on Gaussians of its SH degree")

        def put(old: Tensor, new: Tensor) -> Tensor:
            return old.index_copy(0, index, new)

        rest = None if self.sh_rest is None or others.sh_rest is None else put(self.sh_rest, others.sh_rest)
        return Gaussians(
            put(self.means, others.means),
            put(self.quats, others.quats),
            put(self.scales, others.scales),
            put(self.opacities, others.opacities),
            put(self.colors, others.colors),
            rest,
        )

    @staticmethod
    def stack(scenes: list[Gaussians]) -> Gaussians:
        """Batch single scenes. Smaller ones are padded with Gaussians of opacity 0, and missing
        harmonics with zeros."""
        n = max(s.count for s in scenes)
        k = max(0 if s.sh_rest is None else s.sh_rest.shape[1] for s in scenes)
        names = [f.name for f in dataclasses.fields(Gaussians) if f.name != "sh_rest" or k]

        def padded(s: Gaussians, name: str) -> Tensor:
            t = getattr(s, name)
            if name == "sh_rest":
                t = s.means.new_zeros(s.count, 0, 3) if t is None else t
                t = torch.nn.functional.pad(t, (0, 0, 0, k - t.shape[1]))
            extra = t.new_zeros((n - s.count, *t.shape[1:]))
            if name == "quats":
                extra[:, 0] = 1.0
            if name == "scales":
                extra += 1e-3
            return torch.cat([t, extra])

        return Gaussians(**{name: torch.stack([padded(s, name) for s in scenes]) for name in names})

    @staticmethod
    def concatenate(scenes: list[Gaussians]) -> Gaussians:
        """Single scenes merged into one. Missing harmonics become zeros."""
        if not scenes:
            return Gaussians(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 3))
        k = max(0 if s.sh_rest is None else s.sh_rest.shape[1] for s in scenes)
        rest = [s.means.new_zeros(s.count, k, 3) for s in scenes]
        for padded, s in zip(rest, scenes, strict=True):
            if s.sh_rest is not None:
                padded[:, : s.sh_rest.shape[1]] = s.sh_rest
        fields = {
            n: torch.cat([getattr(s, n) for s in scenes]) for n in ("means", "quats", "scales", "opacities", "colors")
        }
        return Gaussians(**fields, sh_rest=torch.cat(rest) if k else None)


def sh_basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch k"]:
    """Real spherical harmonics of degrees 1..degree at unit directions, in the order and signs of
    3DGS files."""
    x, y, z = directions.unbind(-1)
    out = []
    if degree >= 1:
        out += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        out += [1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (2 * zz - xx - yy)]
        out += [-1.0925484305920792 * x * z, 0.5462742152960396 * (xx - yy)]
    if degree >= 3:
        xx, yy, zz = x * x, y * y, z * z
        out += [-0.5900435899266435 * y * (3 * xx - yy), 2.890611442640554 * x * y * z]
        out += [-0.4570457994644658 * y * (4 * zz - xx - yy), 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy)]
        out += [-0.4570457994644658 * x * (4 * zz - xx - yy), 1.445305721320277 * z * (xx - yy)]
        out += [-0.5900435899266435 * x * (xx - 3 * yy)]
    return torch.stack(out, -1)


def view_colors(scene: Gaussians, camera_positions: Float[Tensor, "*batch c 3"]) -> Float[Tensor, "*batch c n 3"]:
    """Colours as seen from each camera position: the base colour plus the view-dependent harmonics,
    clamped at 0."""
    base = scene.colors.unsqueeze(-3)
    if scene.sh_rest is None:
        return base.expand(*scene.batch_shape, camera_positions.shape[-2], scene.count, 3)
    directions = torch.nn.functional.normalize(scene.means.unsqueeze(-3) - camera_positions.unsqueeze(-2), dim=-1)
    basis = sh_basis(directions, scene.sh_degree)
    return (base + (basis.unsqueeze(-1) * scene.sh_rest.unsqueeze(-4)).sum(-2)).clamp_min(0)


def view_normals(scene: Gaussians, camera_positions: Float[Tensor, "*batch c 3"]) -> Float[Tensor, "*batch c n 3"]:
    """Unit normals in the world: each Gaussian's shortest axis, turned towards each camera."""
    shortest = scene.scales.detach().argmin(-1)
    axes = rotations(scene.quats)
    normals = axes.gather(-1, shortest[..., None, None].expand(*shortest.shape, 3, 1)).squeeze(-1).unsqueeze(-3)
    towards = camera_positions.unsqueeze(-2) - scene.means.unsqueeze(-3)
    facing = (normals * towards).sum(-1, keepdim=True).detach()
    return torch.where(facing < 0, -normals, normals)


def rotations(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of quaternions (wxyz) of any length. A zero quaternion counts as no
    rotation."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def transformed(
    scene: Gaussians,
    rotation: Float[Tensor, "3 3"],
    translation: Float[Tensor, "3"] | None = None,
    *,
    scale: float = 1.0,
) -> Gaussians:
    """The scene rotated, then scaled about the origin, then moved. Harmonics rotate with it."""
    rotation = rotation.to(scene.means)
    means = scale * scene.means @ rotation.T
    if translation is not None:
        means = means + translation.to(means)
    axes = rotation @ rotations(scene.quats)
    rest = scene.sh_rest
    if rest is not None:
        # A harmonic seen from d is now the one seen from R^T d. Each degree stays within itself:
        # its matrix is found from directions enough, with which the harmonics of a degree are a
        # basis.
        rng = torch.Generator().manual_seed(0)
        directions = torch.nn.functional.normalize(torch.randn(64, 3, generator=rng, dtype=torch.float64), dim=-1)
        before, after = (
            sh_basis(d, scene.sh_degree) for d in (directions @ rotation.detach().double().cpu(), directions)
        )
        bands = [slice(0, 3), slice(3, 8), slice(8, 15)][: scene.sh_degree]
        turned = torch.block_diag(*(torch.linalg.lstsq(after[:, band], before[:, band]).solution for band in bands))
        rest = turned.to(rest) @ rest
    return Gaussians(means, matrix_to_quaternion(axes), scale * scene.scales, scene.opacities, scene.colors, rest)


def matrix_to_quaternion(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 4"]:
    """Unit quaternions (wxyz) of rotation matrices, from the largest of the four candidates (stable
    everywhere)."""
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], -1)
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    w2, x2, y2, z2 = squares.unbind(-1)
    rows = [torch.stack(r, -1) for r in ((w2, a, b, c), (a, x2, d, e), (b, d, y2, f), (c, e, f, z2))]
    candidates = torch.stack(rows, -2)
    best = squares.detach().argmax(-1)
    chosen = candidates.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    return torch.nn.functional.normalize(chosen, dim=-1)
