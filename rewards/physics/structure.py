"""Structural connection: whether the joints can carry the parts' weight, if each holds by friction
and overlap only.

The static theorem of limit analysis as a linear programme (Livesley, Limit analysis of structures
formed from rigid blocks, 1978): find forces at the contacts, within what these can bear, that hold
as much of the weight as possible in balance, in force and in torque."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from rewards.base import Batch, Needs, Scores
from rewards.geometry.skin import Skin
from rewards.physics.margin import directions, supports
from rewards.physics.simulate import cores
from scenes.parts import TOUCH_TOLERANCE

FRICTION = 0.5
"""Of dry wood or plastic; in four directions, so it is the pyramid inside of the cone."""
BOND = 10.0
"""Strength of an overlap in any direction, per surface inside: the weight of a column of the same
material of this height in metres."""
GROUNDED = 0.005
"""Metres above the asset's lowest point up to which a part rests on the ground."""
HELD = 1 - 1e-6


class Structure:
    """Fraction of the asset's weight that its joints can hold at once, in [0, 1].

    A joint is a pair of touching parts; its forces act at four points spread over the contact:
    pressure without limit, friction up to ``FRICTION`` times it, and where the parts overlap
    tension and shear up to ``BOND`` times the surface inside. The ground has pressure and friction
    only. ``verdict``: all of the weight is held. ``per_part``: the fraction of each part's weight
    that is held. An asset without parts scores 0; one with numbers that are not finite, or whose
    programme is not solved, scores 0 and has failed."""

    name = "structure"
    version = "1"
    needs = Needs(parts=True)
    instead = "stability, push or connected"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        skin = Skin.of(batch.sound_parts)
        frames = _frames(skin, batch)
        with ThreadPoolExecutor(self.workers or cores()) as pool:
            kept_of = list(pool.map(lambda frame: None if frame is None else kept_weight(frame), frames))
        per_part = torch.zeros(skin.shape, dtype=torch.float64)
        values, failed = torch.zeros(len(batch), dtype=torch.float64), int(batch.broken.sum())
        for b, (frame, kept) in enumerate(zip(frames, kept_of, strict=True)):
            if frame is None:
                continue
            if kept is None:
                failed += 1
                continue
            per_part[b, torch.from_numpy(frame.slots)] = torch.from_numpy(kept)
            values[b] = float(np.average(kept, weights=frame.weights))
        return Scores(values.clamp(0, 1).float(), failed, values >= HELD, per_part.clamp(0, 1).float())


@dataclass(frozen=True)
class Frame:
    """One asset as a statical system of P parts: metres, and weights as volumes (density and
    gravity cancel)."""

    slots: np.ndarray  # (P,) in the batch
    weights: np.ndarray  # (P,)
    centroids: np.ndarray  # (P, 3)
    points: np.ndarray  # (K, 3) where forces act
    first: np.ndarray  # (K,) the part that is pressed against the normal
    second: np.ndarray  # (K,) the part that is pressed along it; -1 is the ground
    normals: np.ndarray  # (K, 3) unit, from the first part into the second
    bonds: np.ndarray  # (K,) the most tension or shear


def kept_weight(frame: Frame) -> np.ndarray | None:
    """The fraction of each part's weight that the joints can hold, (P,); None if the programme is
    not solved."""
    count, joints = len(frame.slots), len(frame.points)
    scale = frame.weights.sum()
    # Forces on the second part, its opposite on the first: four edges of the friction pyramid each,
    # then three of the bond.
    across = np.stack([_perpendicular(frame.normals), np.cross(frame.normals, _perpendicular(frame.normals))], 1)
    pyramid = np.concatenate(
        [frame.normals[:, None] + FRICTION * across, frame.normals[:, None] - FRICTION * across], 1
    )
    forces = np.concatenate([pyramid, np.broadcast_to(np.eye(3), (joints, 3, 3))], 1)
    # Columns: the forces that may act, seven a point and four where nothing bonds; then the
    # fraction of each part's weight.
    acts = np.ones((joints, 7), bool)
    acts[:, 4:] = frame.bonds[:, None] > 0
    column = acts.cumsum().reshape(joints, 7) - 1
    number = int(acts.sum())
    rows, columns, entries = [], [], []
    for part, sign in ((frame.first, -1.0), (frame.second, 1.0)):
        of, which = np.nonzero(acts & (part >= 0)[:, None])
        arm, force = frame.points[of] - frame.centroids[part[of]], forces[of, which]
        wrench = sign * np.concatenate([force, np.cross(arm, force)], 1)
        rows.append((6 * part[of, None] + np.arange(6)).ravel())
        columns.append(np.repeat(column[of, which], 6))
        entries.append(wrench.ravel())
    rows.append(6 * np.arange(count) + 2)
    columns.append(number + np.arange(count))
    entries.append(-frame.weights / scale)
    size = (6 * count, number + count)
    balance = coo_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), size).tocsc()
    bond = np.broadcast_to((frame.bonds / scale)[:, None], acts.shape)
    low = np.concatenate([np.where(np.arange(7) < 4, 0, -bond)[acts], np.zeros(count)])
    high = np.concatenate([np.where(np.arange(7) < 4, np.inf, bond)[acts], np.ones(count)])
    cost = np.zeros(size[1])
    cost[number:] = -frame.weights / scale
    # Without whole numbers, milp is the linear programme, and checks its input in half of linprog's
    # time.
    limits = Bounds(low, high)  # pyright: ignore[reportArgumentType] - arrays are what it takes
    solved = milp(cost, constraints=LinearConstraint(balance, 0, 0), bounds=limits, options={"presolve": False})
    return solved.x[number:] if solved.status == 0 else None


def _frames(skin: Skin, batch: Batch) -> list[Frame | None]:
    """The joints of every asset, from the cells of one part that lie within the other."""
    gaps = batch.pieces.gaps
    asset, i, j = (gaps <= TOUCH_TOLERANCE).nonzero(as_tuple=True)
    one, other = skin.number[asset, i], skin.number[asset, j]
    distance = skin.parts[other].distance(skin.points[one]).cpu().numpy() if len(asset) else np.zeros((0, 1))
    points, normals, areas = (t.cpu().numpy() for t in (skin.points, skin.normals, skin.areas))
    centres, (volumes, centroids) = skin.parts.centres.cpu().numpy(), (t.cpu().numpy() for t in skin.parts.masses())
    overlap = gaps[asset, i, j].cpu().numpy() <= 0
    patches: dict[tuple[int, int], tuple[int, np.ndarray, bool]] = {}
    for k, (a, b) in enumerate(zip(one.tolist(), other.tolist(), strict=True)):
        # Where no cell's middle is inside, the nearest one bears: cells are coarse.
        inside = distance[k] <= max(0.0, distance[k].min() + 1e-4)
        key = (min(a, b), max(a, b))
        # Of the two sides the one with more cells in the joint, the finer picture of it.
        if key not in patches or inside.sum() > patches[key][1].sum():
            patches[key] = (a, inside, bool(overlap[k]))
    joints: dict[int, list[tuple]] = {}
    owner = skin.asset.tolist()
    for (a, b), (side, inside, overlaps) in patches.items():
        into = b if side == a else a
        cells, towards = (points[side], normals[side], areas[side], inside), centres[into] - centres[side]
        joints.setdefault(owner[a], []).append((side, into, *_patch(*cells, towards, overlaps)))
    ground = batch.pieces.bottoms.amin(-1).double().cpu().numpy()
    around = directions(skin.points)[::4]
    feet = supports(skin.parts, torch.cat([0.02 * around, -torch.ones_like(around[:, :1])], -1)).cpu().numpy()
    out: list[Frame | None] = []
    for b in range(skin.shape[0]):
        own = (skin.asset == b).nonzero().squeeze(1).cpu().numpy()
        if not len(own) or bool(batch.broken[b]):
            out.append(None)
            continue
        first, second, at, along, bonds = [], [], [], [], []
        for side, into, where, normal, bond in joints.get(b, []):
            first += [side - own[0]] * len(where)
            second += [into - own[0]] * len(where)
            at += list(where)
            along += [normal] * len(where)
            bonds += [bond / len(where)] * len(where)
        for p in own:
            for foot in np.unique(feet[p], axis=0):  # a corner lies farthest in several directions
                if foot[2] <= ground[b] + GROUNDED:
                    first.append(p - own[0])
                    second.append(-1)
                    at.append(foot)
                    along.append(np.array([0.0, 0.0, -1.0]))
                    bonds.append(0.0)
        slots = skin.slot[torch.from_numpy(own)].cpu().numpy()
        ends = np.array(at).reshape(-1, 3), np.array(first, int), np.array(second, int)
        forces = np.array(along).reshape(-1, 3), np.array(bonds, float)
        out.append(Frame(slots, volumes[own], centroids[own], *ends, *forces))
    return out


def _patch(
    points: np.ndarray, normals: np.ndarray, areas: np.ndarray, inside: np.ndarray, towards: np.ndarray, overlaps: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """A joint's four points (4, 3), its normal into the other part, and what its bond bears."""
    points, weights = points[inside], areas[inside] + 1e-12
    area = float(weights.sum())
    middle = weights @ points / area
    spread = (points - middle) * np.sqrt(weights / area)[:, None]
    variances, axes = np.linalg.eigh(spread.T @ spread)
    # Points at the root of twice the variance have the patch's moments; a single cell is as wide as
    # its area says.
    reach = np.maximum(np.sqrt(2 * variances[1:].clip(0)), np.sqrt(area) / 4)
    normal = weights @ normals[inside] / area
    length = np.linalg.norm(normal)
    if length < 0.1:  # a part that goes right through the other presses on it wherever the centres say
        normal, length = towards, np.linalg.norm(towards)
    normal = normal / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])
    offsets = np.concatenate([reach[:, None] * axes[:, 1:].T, -reach[:, None] * axes[:, 1:].T])
    return middle + offsets, normal, BOND * area if overlaps else 0.0


def _perpendicular(normals: np.ndarray) -> np.ndarray:
    """A unit vector at right angles to each of (k, 3) unit vectors."""
    helper = np.where(np.abs(normals[:, :1]) < 0.8, [[1.0, 0, 0]], [[0, 1.0, 0]])
    across = np.cross(normals, helper)
    return across / np.linalg.norm(across, axis=1, keepdims=True)
