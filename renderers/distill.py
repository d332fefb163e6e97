"""Radiance fields to Gaussians and back: by way of the surface, then by matching images.

A field's surface is covered with flat Gaussians, which are then fitted to the field's images.
Gaussians are accumulated in a voxel grid, which is then fitted to their images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from renderers import Quadrature, render
from renderers.surface import bounding_box, extract
from scenes.cameras import Cameras, sphere
from scenes.gaussians import Gaussians
from scenes.mesh import Mesh
from scenes.radiance_field import RadianceField, VoxelField


def gaussians_of_mesh(mesh: Mesh, count: int, rng: torch.Generator) -> Gaussians:
    """``count`` flat opaque Gaussians spread evenly over a mesh's surface, in its colours."""
    a, b, c = mesh.vertices[mesh.faces.long()].unbind(-2)
    cross = torch.linalg.cross(b - a, c - a)
    area = cross.norm(dim=-1) / 2
    face = torch.multinomial(area.cpu().double(), count, replacement=True, generator=rng).to(area.device)
    u, v = torch.rand(2, count, 1, generator=rng, dtype=torch.float64).to(area)
    u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
    means = a[face] + u * (b - a)[face] + v * (c - a)[face]
    colors = torch.ones_like(means)
    if mesh.colors is not None:
        x, y, z = mesh.colors[mesh.faces.long()].unbind(-2)
        colors = x[face] + u * (y - x)[face] + v * (z - x)[face]
    normal = torch.nn.functional.normalize(cross[face], dim=-1, eps=1e-20)
    # The rotation that takes z to the normal: half way between the two.
    half = normal + normal.new_tensor([0.0, 0.0, 1.0])
    quats = torch.stack([half[:, 2], -half[:, 1], half[:, 0], torch.zeros_like(half[:, 0])], -1)
    below = half[:, 2] < 1e-6
    quats = torch.where(
        below.unsqueeze(-1), quats.new_tensor([0.0, 1.0, 0.0, 0.0]), torch.nn.functional.normalize(quats, dim=-1)
    )
    reach = (area.sum() / count).sqrt()
    scales = torch.stack([reach, reach, 0.1 * reach]).expand(count, 3).clone()
    return Gaussians(means, quats, scales, torch.full_like(means[:, 0], 0.95), colors)


def field_to_gaussians(
    field: RadianceField, count: int = 8192, *, steps: int = 100, size: int = 96, resolution: int = 96, seed: int = 0
) -> Gaussians:
    """``count`` Gaussians that look like a field, refined by ``steps`` of 4 views each. No
    Gaussians if the field is empty."""
    rng = torch.Generator().manual_seed(seed)
    surface = extract(field, resolution=resolution, views=24)
    if not len(surface.faces):
        return _none(surface.vertices)
    start = gaussians_of_mesh(surface, count, rng)
    rig = _rig(field, 24, size, seed)
    with torch.no_grad():
        seen = render(field, rig, background=(0, 0, 0))
    leaves = {
        "means": start.means,
        "quats": start.quats,
        "scales": start.scales.log(),
        "opacities": torch.logit(start.opacities),
        "colors": start.colors.clone(),
    }
    leaves = {name: value.detach().requires_grad_() for name, value in leaves.items()}
    reach = float(start.scales.max())
    rates = {"means": 0.1 * reach, "quats": 1e-2, "scales": 1e-2, "opacities": 3e-2, "colors": 1e-2}
    optimizer = torch.optim.Adam(
        [{"params": [leaf], "lr": rates[name]} for name, leaf in leaves.items()], betas=(0.9, 0.99)
    )
    for _ in range(steps):
        views = torch.randint(rig.count, (4,), generator=rng).tolist()
        drawn = render(_activated(leaves), rig[views], background=(0, 0, 0))
        loss = (drawn.rgb - seen.rgb[views]).abs().mean() + (drawn.alpha - seen.alpha[views]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _activated(leaves).detach()


def gaussians_to_field(
    scene: Gaussians, *, resolution: int = 64, steps: int = 60, size: int = 64, seed: int = 0
) -> VoxelField:
    """A voxel field with ``resolution`` cells along the longest side that looks like one scene of
    Gaussians."""
    rng = torch.Generator().manual_seed(seed)
    low, high = bounding_box(scene)
    longest = float((high - low).max())
    if not longest > 0:
        low, high, longest = low - 0.5, high + 0.5, 1.0
    cell = longest / resolution
    low, high = low - 2 * cell, high + 2 * cell
    shape = [int(n) + 1 for n in ((high - low) / cell).ceil().tolist()]
    rig = _rig(scene, 24, size, seed)
    with torch.no_grad():
        seen = render(scene, rig, background=(0, 0, 0))
    # Start from the mass of the Gaussians in each cell, in their colours.
    means = scene.means.detach()
    volume = scene.opacities.detach() * (scene.scales.detach().clamp_min(cell / 2).prod(-1)) * (2 * math.pi) ** 1.5
    index = ((means - low) / cell).round().long().clamp(min=0).minimum(torch.tensor(shape, device=means.device) - 1)
    flat = (index[:, 0] * shape[1] + index[:, 1]) * shape[2] + index[:, 2]
    mass = means.new_zeros(math.prod(shape)).index_add_(0, flat, volume)
    color = means.new_zeros(math.prod(shape), 3).index_add_(0, flat, volume.unsqueeze(-1) * scene.colors.detach())
    color = torch.where(mass.unsqueeze(-1) > 0, color / mass.clamp_min(1e-12).unsqueeze(-1), 0.5)
    peak = 4 / cell
    start = (mass > 0).to(means).view(shape) * peak * 0.5
    smooth = torch.nn.functional.avg_pool3d(start[None, None], 3, stride=1, padding=1)[0, 0]
    density = torch.logit((smooth / peak).clamp(0.01, 0.9)).requires_grad_()
    hue = torch.logit(color.view(*shape, 3).clamp(0.02, 0.98)).requires_grad_()
    optimizer = torch.optim.Adam([density, hue], lr=0.15)
    quadrature = Quadrature(coarse=64, fine=32, grid=0)

    def field() -> VoxelField:
        return VoxelField(peak * torch.sigmoid(density) ** 2, torch.sigmoid(hue), low, high)

    for _ in range(steps):
        views = torch.randint(rig.count, (2,), generator=rng).tolist()
        drawn = render(field(), rig[views], background=(0, 0, 0), quadrature=quadrature, rng=rng)
        loss = (drawn.rgb - seen.rgb[views]).square().mean() + (drawn.alpha - seen.alpha[views]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    done = field()
    return VoxelField(done.density.detach(), done.colors.detach(), low, high)


def _activated(leaves: dict[str, Tensor]) -> Gaussians:
    return Gaussians(
        leaves["means"],
        leaves["quats"],
        leaves["scales"].exp(),
        torch.sigmoid(leaves["opacities"]),
        leaves["colors"].clamp(0, 1),
    )


def _none(like: Tensor) -> Gaussians:
    return Gaussians(*(like.new_zeros(0, *shape) for shape in ((3,), (4,), (3,), (), (3,))))


def _rig(scene: Gaussians | Mesh | RadianceField, count: int, size: int, seed: int) -> Cameras:
    """Cameras all around that see the whole scene."""
    low, high = bounding_box(scene)
    radius = max(1e-3, float((high - low).norm()) / 2)
    x, y, z = ((low + high) / 2).tolist()
    rig = sphere(
        count, seed=seed, size=size, elevation_deg=(-50.0, 75.0), radius=2.8 * radius, fov_deg=45.0, target=(x, y, z)
    )
    return Cameras(rig.viewmats.to(low), rig.Ks.to(low), size, size)
