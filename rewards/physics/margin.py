"""The static margin: the angle by which the ground must lean for the asset to tip. It is analytic
and differentiable in the parts' numbers.

A body tips over an edge of its support polygon when gravity passes outside of it: at the angle
whose tangent is the distance of the centre of mass from the edge over its height (McGhee and Frank,
On the stability properties of quadruped creeping gaits, 1968)."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from rewards.physics.simulate import Trial
from rewards.pieces import GROUND_TOLERANCE
from scenes.asset import BOX, CYLINDER, HULL, HULL_PER_OCTANT, Convex, collision_solids
from scenes.gaussians import rotations
from scenes.parts import Parts

DIRECTIONS = 32
"""Number of directions around the vertical. Edges of the support polygon are found between any two
of them, so few are enough."""
ROCK_DEG = (0.1, 1.0, 2.0, 4.0, 6.0)
"""A body may rock by these angles before it bears on an edge or a rounded side. They are taken off
its tipping angle."""
SCALE_DEG = 10.0
"""Tipping angle at which the score is 0.73. The score is 0.5 on the brink, and 0.95 at three times
this angle."""


class Margin:
    """Logistic function of the tipping angle over ``SCALE_DEG``, the mean over touching clusters,
    weighted by mass; in [0, 1].

    ``verdict``: every cluster stands on the ground and bears the lean of the ``stability`` reward.
    A cluster in the air has no support and earns 0. An asset without parts scores 0; one with
    numbers that are not finite scores 0 and has failed."""

    name = "margin"
    version = "1"
    needs = Needs(parts=True)
    instead = "stability or push"

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        values, stands = self._judge(batch, batch.sound_parts)
        return Scores(values.float().cpu(), int(batch.broken.sum()), stands.cpu())

    def values(self, batch: Batch) -> Float[Tensor, "b"]:
        """With gradient to the parts' centres, sizes, rotations, taper and exponents."""
        return self._judge(batch, batch.sound_parts_with_gradient)[0].float()

    def _judge(self, batch: Batch, parts: Parts) -> tuple[Float[Tensor, "b"], Bool[Tensor, "b"]]:
        parts, labels = parts.double(), batch.pieces.components
        first = torch.arange(parts.count, device=labels.device)
        asset, slot = ((labels == first) & parts.exists).nonzero(as_tuple=True)  # a cluster is called by its first part
        member = labels[asset] == slot.unsqueeze(-1)
        angles = torch.rad2deg(tipping_angle(parts[asset], member))
        bottoms = torch.where(parts.exists, parts.bottoms(), torch.inf)
        lowest = torch.where(member, bottoms[asset], torch.inf).amin(-1)
        hovers = lowest > bottoms.amin(-1)[asset] + GROUND_TOLERANCE
        mass = torch.where(member, parts.masses()[0][asset], 0).sum(-1)
        earned = torch.where(hovers, 0, torch.sigmoid(angles / SCALE_DEG))
        sums = torch.zeros(2, len(labels), dtype=mass.dtype, device=mass.device)
        sums.index_add_(1, asset, torch.stack([earned * mass, mass]))
        tips = torch.zeros(len(labels), dtype=torch.int, device=mass.device)
        tips.index_add_(0, asset, (hovers | (angles <= Trial().lean_deg)).int())
        usable = batch.usable
        values = torch.where(usable, sums[0] / sums[1].clamp_min(1e-12), 0)
        return values.clamp(0, 1), usable & (tips == 0)


def tipping_angle(parts: Parts, member: Bool[Tensor, "b p"] | None = None) -> Float[Tensor, "b"]:
    """Lean of the ground, in radians, at which each asset, taken as one rigid body, tips in its
    weakest direction.

    Carries gradient to centres, rotations, sizes, taper and exponents. Negative for a body that
    falls by itself. ``member`` chooses parts (default: those that exist); there must be one."""
    return tipping_angles(parts, member).amin(-1)


def weakest_directions(parts: Parts) -> Float[Tensor, "b 2"]:
    """Unit horizontal direction (x, y), one of ``DIRECTIONS``, in which each asset, taken as one
    rigid body, tips most easily."""
    return directions(parts.centres)[tipping_angles(parts).argmin(-1)]


def weakest_direction(pieces: list[Convex]) -> Float[np.ndarray, "2"]:
    """``weakest_directions`` of one scene of convex pieces."""
    masses = [piece.volume for piece in pieces]
    centre = np.average([piece.centroid for piece in pieces], axis=0, weights=masses)
    around = directions(torch.zeros((), dtype=torch.double))
    towards = leaning(around).flatten(0, 1).numpy()
    points = np.stack([support(piece, towards) for piece in pieces])
    best = (points * towards).sum(-1).argmax(0)  # which piece touches first
    corners = points[best, np.arange(len(towards))].reshape(len(ROCK_DEG), DIRECTIONS, 3)
    angles = _angles(torch.from_numpy(corners), torch.from_numpy(centre), around)
    return around[angles.argmin()].numpy()


def tipping_angles(parts: Parts, member: Bool[Tensor, "b p"] | None = None) -> Float[Tensor, "b k"]:
    """``tipping_angle`` in each of the directions, or over an edge between it and the next if that
    is less."""
    member = parts.exists if member is None else member
    volumes, centroids = parts.masses()
    mass = torch.where(member, volumes, 0).unsqueeze(-1)
    centre = (mass * torch.where(mass > 0, centroids, 0)).sum(1) / mass.sum(1)
    around = directions(parts.centres)
    tilted = leaning(around)
    # Only of parts that are there: most slots are empty.
    points = parts.centres.new_zeros(*member.shape, tilted[..., 0].numel(), 3)
    points[member] = supports(parts[member], tilted.flatten(0, 1))
    reach = torch.where(member.unsqueeze(-1), (points * tilted.flatten(0, 1)).sum(-1), -torch.inf)
    best = reach.argmax(1)  # which part touches first
    corners = points.gather(1, best[:, None, :, None].expand(-1, 1, -1, 3)).view(len(best), *tilted.shape)
    return _angles(corners, centre, around)


def _angles(
    corners: Float[Tensor, "*b rock k 3"], centre: Float[Tensor, "*b 3"], around: Float[Tensor, "k 2"]
) -> Float[Tensor, "*b k"]:
    """Tipping angles of bodies with these support points and centres of mass."""
    from_centre = corners - centre[..., None, None, :]
    height = (-from_centre[..., 2]).clamp_min(1e-6)
    inside = (from_centre[..., :2] * around).sum(-1)
    edge = corners.roll(-1, -2)[..., :2] - corners[..., :2]
    length = edge.square().sum(-1).add(1e-18).sqrt()
    normal = torch.stack([edge[..., 1], -edge[..., 0]], -1) / length.unsqueeze(-1)
    # Of a polygon, an edge's normal lies between the two directions. Other pairs of points are no
    # edge: they lie at other heights.
    between = (
        ((normal * around).sum(-1) > _NEIGHBOURS)
        & ((normal * around.roll(-1, 0)).sum(-1) > _NEIGHBOURS)
        & (length > 1e-5)
    )
    inside = torch.where(between, torch.minimum(inside, (from_centre[..., :2] * normal).sum(-1)), inside)
    return (torch.atan(inside / height) - _rock(around)).amax(-2)


def leaning(around: Float[Tensor, "k 2"]) -> Float[Tensor, "rock k 3"]:
    """Directions down into the ground after the body has rocked by each of ``ROCK_DEG`` towards
    each direction."""
    rock = _rock(around)
    return torch.cat([rock.sin()[..., None] * around, (-rock.cos()).expand(-1, DIRECTIONS)[..., None]], -1)


def _rock(like: Tensor) -> Float[Tensor, "rock 1"]:
    return torch.tensor(ROCK_DEG, dtype=like.dtype, device=like.device).deg2rad()[:, None]


def directions(like: Tensor) -> Float[Tensor, "k 2"]:
    """``DIRECTIONS`` unit vectors counter-clockwise from +x."""
    angle = torch.arange(DIRECTIONS, dtype=like.dtype, device=like.device) * (2 * math.pi / DIRECTIONS)
    return torch.stack([angle.cos(), angle.sin()], -1)


_NEIGHBOURS = math.cos(2 * math.pi / DIRECTIONS) - 1e-9


def supports(parts: Parts, towards: Float[Tensor, "k 3"]) -> Float[Tensor, "*batch p k 3"]:
    """The point of every part that lies farthest in each world direction, on the solids that the
    simulator collides."""
    kind = collision_solids(parts)[..., None, None]
    local = towards @ parts.rotations
    half = parts.half_sizes.unsqueeze(-2)
    sign = torch.where(local >= 0, 1.0, -1.0)
    box = half * sign
    flat = local[..., :2] / local[..., :2].square().sum(-1, keepdim=True).add(1e-18).sqrt()
    radius = half[..., :2].prod(-1, keepdim=True).sqrt()
    cylinder = torch.cat([radius * flat, half[..., 2:] * sign[..., 2:]], -1)
    scaled = half * local
    ellipsoid = half * scaled / scaled.square().sum(-1, keepdim=True).add(1e-18).sqrt()
    primitive = torch.where(kind == BOX, box, torch.where(kind == CYLINDER, cylinder, ellipsoid))
    vertices, _ = parts.meshes(HULL_PER_OCTANT)
    best = (vertices @ towards.T).argmax(-2)
    hull = vertices.gather(-2, best.unsqueeze(-1).expand(*best.shape, 3))
    return torch.where(kind == HULL, hull, parts.to_world(primitive))


def support(piece: Convex, towards: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 3"]:
    """The point of one convex piece that lies farthest in each world direction."""
    if piece.hull is not None:
        return piece.hull[(towards @ piece.hull.T).argmax(-1)]
    turn = rotations(torch.from_numpy(piece.quaternion)).numpy()
    local, size = towards @ turn, piece.size
    sign = np.where(local >= 0, 1.0, -1.0)
    if piece.solid == "box":
        found = size * sign
    elif piece.solid == "cylinder":
        flat = local[:, :2] / np.sqrt((local[:, :2] ** 2).sum(-1, keepdims=True) + 1e-18)
        found = np.concatenate([size[0] * flat, size[1] * sign[:, 2:]], -1)
    else:
        scaled = size * local
        found = size * scaled / np.sqrt((scaled**2).sum(-1, keepdims=True) + 1e-18)
    return piece.position + found @ turn.T
