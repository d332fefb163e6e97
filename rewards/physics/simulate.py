"""Rigid-body simulation of part assets in MuJoCo: does an asset keep standing while gravity leans?

Each touching cluster of parts is one free body. Gravity leans by a few degrees and the lean turns
once around: without it a sword balanced on its pommel counts as standing. Todorov et al., MuJoCo: A
physics engine for model-based control, 2012."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scenes.gaussians import matrix_to_quaternion
from scenes.parts import Parts

GRAVITY = 9.81
DENSITY = 500.0
"""Kilograms per cubic metre (wood). Every part has the same, so it changes no verdict."""

STIFF = [0.99, 0.99, 0.001, 0.5, 2]
"""Contact impedance. The simulator's own (0.9) is so soft that a narrow base sinks in at one edge
and tips half a degree early."""

MEMORY = 2**24
"""Bytes for contacts and constraints: several times what 24 loose parts in a heap use."""


@dataclass(frozen=True)
class Trial:
    """How an asset is tested. The budget is in steps, never in wall-clock time: the same asset
    scores the same on a busy machine."""

    duration: float = (
        3.0  # seconds of simulated time; gravity's lean turns once around in it, slowly enough for a metre to fall over
    )
    timestep: float = 0.01  # seconds; a tenth of it turns one verdict in 200 and moves scores by 0.01 on average
    samples: int = 60  # poses are looked at this many times
    lean_deg: float = 5.0  # of gravity from the vertical
    ramp: float = 0.05  # share of the duration in which the lean grows from 0, so that it is no blow
    friction: float = 1.0  # 45 degrees: a lean of 5 degrees must not make anything slide
    tilt_limit_deg: float = 30.0  # a body that has tilted or moved more than this ...
    drift_limit: float = 0.3  # ... metres has fallen; when all have, the rest of the trial is skipped

    def gravity(self) -> np.ndarray:
        """Gravity between the samples, (T, 3): its lean grows, then turns once around from +x
        towards +y."""
        i = np.arange(self.samples)
        lean = math.radians(self.lean_deg) * np.minimum(1, (i + 1) / (self.samples * self.ramp))
        turned = 2 * math.pi * i / self.samples
        return GRAVITY * np.stack([np.sin(lean) * np.cos(turned), np.sin(lean) * np.sin(turned), -np.cos(lean)], -1)


@dataclass(frozen=True)
class Motion:
    """Of one asset's K bodies: mass, and the most it has tilted and drifted up to each of T samples
    (running maxima).

    Tilt is the angle of the body's up axis to the vertical, which turning about it (yaw) does not
    change; drift is how far the centre of mass is from where it began. After the trial was cut
    short the last sample is repeated."""

    masses: np.ndarray  # (K,)
    tilt_deg: np.ndarray  # (T, K)
    drift: np.ndarray  # (T, K)
    origins: np.ndarray  # (K, 3) where each body's centre of mass began
    positions: np.ndarray  # (K, 3) where it ended
    rotations: np.ndarray  # (K, 3, 3) how it has turned by then


@dataclass(frozen=True)
class _Shape:
    """One part as the simulator takes it, in world coordinates."""

    kind: mujoco.mjtGeom
    size: np.ndarray
    position: np.ndarray
    quaternion: np.ndarray
    centroid: np.ndarray
    mass: float
    bottom: float
    hull: np.ndarray | None  # vertices in the world, for kind mjGEOM_MESH


def simulate(
    parts: Parts,
    labels: Int[Tensor, "b p"],
    trial: Trial = Trial(),
    *,
    gravity: Float[np.ndarray, "b t 3"] | None = None,
    workers: int | None = None,
) -> list[Motion | None]:
    """Test each of the B assets alone; ``labels`` group its parts into bodies (-1: absent).

    ``gravity`` (m/s², between the trial's T samples) replaces the trial's leaning one, for each
    asset its own. None for an asset that has no parts or that the simulator refuses. The result
    does not depend on ``workers`` (default: one thread a core) nor on the other assets of the
    batch."""
    assets = [_bodies(shapes, label) for shapes, label in zip(_shapes(parts, labels), labels.tolist(), strict=True)]
    fields = [trial.gravity()] * len(assets) if gravity is None else list(gravity)
    run = lambda bodies, field: _simulate(bodies, trial, field) if bodies else None  # noqa: E731
    # MuJoCo lets go of the interpreter while it compiles and steps, so threads are enough.
    with _quiet(), ThreadPoolExecutor(workers or cores()) as pool:
        return list(pool.map(run, assets, fields))


def settle(parts: Parts, trial: Trial = Trial()) -> Parts:
    """The assets as the trial leaves them: what fell lies where it fell. One that could not be
    simulated stays as it is."""
    labels = parts.components()
    return moved(parts, labels, simulate(parts, labels, trial))


def moved(parts: Parts, labels: Int[Tensor, "b p"], motions: list[Motion | None]) -> Parts:
    """The assets with every body where its motion ended."""
    centres, rotations = parts.centres.clone(), parts.rotations.clone()
    for b, motion in enumerate(motions):
        if motion is None:
            continue
        origins, positions, turns = (
            torch.from_numpy(t).to(centres) for t in (motion.origins, motion.positions, motion.rotations)
        )
        for p, k in enumerate(_renumbered(labels[b]).tolist()):
            if k >= 0:
                centres[b, p] = turns[k] @ (centres[b, p] - origins[k]) + positions[k]
                rotations[b, p] = turns[k] @ rotations[b, p]
    return replace(parts, centres=centres, rotations=rotations)


@dataclass(frozen=True)
class Recording:
    """What happened to one asset's K bodies in T frames: a point x of body k, as the asset was
    made, lies at ``rotations[t, k] @ x + positions[t, k]`` (metres, z up)."""

    fps: float
    labels: Int[Tensor, "p"]  # which body each part belongs to, -1 for absent parts
    rotations: np.ndarray  # (T, K, 3, 3)
    positions: np.ndarray  # (T, K, 3)
    tilt_deg: float  # the most that a body's up axis tilted


def drop(parts: Parts, height: float = 0.1, trial: Trial = Trial(), *, fps: float = 30) -> Recording:
    """Let one asset fall from ``height`` metres over the ground and stand in gravity that leans
    once around, and keep every frame.

    ValueError if it has no parts, or if the simulator gives it up.
    """
    if parts.existence.dim() != 1:
        raise ValueError("drop takes a single asset; index the batch first")
    labels = parts.detach().components()
    (bodies,) = [_bodies(shapes, labels.tolist()) for shapes in _shapes(parts[None], labels[None])]
    if not bodies:
        raise ValueError("the asset has no parts to drop")
    try:
        with _quiet():
            model = _compile(bodies, trial, height)
    except (ValueError, mujoco.FatalError) as error:
        raise ValueError(f"the simulator cannot take the asset: {' '.join(str(error).split())}") from error
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    start, fall = data.xipos[1:].copy(), math.sqrt(2 * height / GRAVITY) if height > 0 else 0.0
    steps = max(1, round(1 / fps / trial.timestep))
    rate = 1 / (steps * trial.timestep)
    # Straight down until it has landed and come to rest; then the trial's gravity.
    still = round((fall + 0.5) * rate) if height > 0 else 0
    lean = replace(trial, samples=round(trial.duration * rate)).gravity()
    gravity = np.concatenate([np.tile([0, 0, -GRAVITY], (still, 1)), lean])
    rotations, positions = [np.tile(np.eye(3), (len(bodies), 1, 1))], [np.zeros((len(bodies), 3))]
    for field in gravity:
        model.opt.gravity[:] = field
        with _quiet():
            mujoco.mj_step(model, data, nstep=steps)
        if data.warning.number.any():
            raise ValueError("the simulation of the asset became unstable")
        # A step ends with new places of the joints, not yet of the bodies.
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        turned = data.xmat[1:].reshape(-1, 3, 3).copy()
        rotations.append(turned)
        positions.append(data.xipos[1:] - (turned @ start[..., None])[..., 0])
    turns, moves = np.stack(rotations), np.stack(positions)
    moves[..., 2] += height  # the simulated ground lies lower by the height: in the picture the asset is higher
    cosines = np.clip(turns[..., 2, 2], -1, 1)
    return Recording(rate, _renumbered(labels), turns, moves, float(np.degrees(np.arccos(cosines.min()))))


def _renumbered(labels: Int[Tensor, "p"]) -> Int[Tensor, "p"]:
    """Bodies by number, in the order of their first parts; -1 stays."""
    order = {label: k for k, label in enumerate(dict.fromkeys(x for x in labels.tolist() if x >= 0))}
    return torch.tensor([order.get(x, -1) for x in labels.tolist()])


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MuJoCo's warnings to the log: by default it prints them and writes MUJOCO_LOG.TXT into the
    current directory."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(logging.getLogger(__name__).debug)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _bodies(shapes: list[_Shape | None], labels: list[int]) -> list[list[_Shape]]:
    bodies: dict[int, list[_Shape]] = {}
    for shape, label in zip(shapes, labels, strict=True):
        if shape is not None:
            bodies.setdefault(label, []).append(shape)
    return list(bodies.values())


HULL, BOX, CYLINDER, ELLIPSOID = range(4)
HULL_PER_OCTANT = 2
"""How finely the hulls are sampled; see ``Parts.meshes``."""


def collision_solids(parts: Parts) -> Int[Tensor, "*batch p"]:
    """What every part collides as: a primitive where its exponents come near one, else its convex
    ``HULL``."""
    north, east = parts.exponents[..., 0], parts.exponents[..., 1]
    straight = parts.taper.abs() < 0.05
    boxy_up, boxy_around = north < 0.22, east < 0.22
    round_up, round_around = (north - 1).abs() < 0.15, (east - 1).abs() < 0.15
    circular = (parts.half_sizes[..., 0] / parts.half_sizes[..., 1] - 1).abs() < 0.05
    box = straight & boxy_up & boxy_around
    cylinder = straight & boxy_up & round_around & circular
    ellipsoid = straight & round_up & round_around
    return torch.where(box, BOX, torch.where(cylinder, CYLINDER, torch.where(ellipsoid, ELLIPSOID, HULL)))


def _shapes(parts: Parts, labels: Int[Tensor, "b p"]) -> list[list[_Shape | None]]:
    """The collision shape of every part with a label, computed for the whole batch at once.

    A primitive where the exponents come near one, as contacts between primitives are exact and
    cheap: its edges are then sharper than the superquadric's. Else the convex hull of the part,
    whose facets (22 degrees) keep a rounded part from rolling."""
    parts = parts.detach()
    volumes, centroids = parts.masses()
    vertices, _ = parts.meshes(HULL_PER_OCTANT)
    fields = (
        volumes,
        centroids,
        vertices,
        parts.centres,
        parts.half_sizes,
        parts.rotations,
        matrix_to_quaternion(parts.rotations),
    )
    volumes, centroids, vertices, centres, halves, rotations, quaternions = (t.double().cpu().numpy() for t in fields)
    down = np.abs(rotations[..., 2, :]) * halves  # how far the box reaches down along each of its axes
    bottoms = {
        mujoco.mjtGeom.mjGEOM_BOX: centres[..., 2] - down.sum(-1),
        mujoco.mjtGeom.mjGEOM_CYLINDER: centres[..., 2] - np.hypot(down[..., 0], down[..., 1]) - down[..., 2],
        mujoco.mjtGeom.mjGEOM_ELLIPSOID: centres[..., 2] - np.linalg.norm(down, axis=-1),
        mujoco.mjtGeom.mjGEOM_MESH: vertices[..., 2].min(-1),
    }
    solids = collision_solids(parts).tolist()
    types = (
        mujoco.mjtGeom.mjGEOM_MESH,
        mujoco.mjtGeom.mjGEOM_BOX,
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    )
    out: list[list[_Shape | None]] = []
    for b, row in enumerate(labels.tolist()):
        shapes: list[_Shape | None] = []
        for p, label in enumerate(row):
            if label < 0:
                shapes.append(None)
                continue
            kind = types[solids[b][p]]
            size = halves[b, p]
            if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
                size = np.array([math.sqrt(size[0] * size[1]), size[2], 0])
            hull = vertices[b, p] if kind == mujoco.mjtGeom.mjGEOM_MESH else None
            mass = DENSITY * float(volumes[b, p])
            shapes.append(
                _Shape(
                    kind,
                    size,
                    centres[b, p],
                    quaternions[b, p],
                    centroids[b, p],
                    mass,
                    float(bottoms[kind][b, p]),
                    hull,
                )
            )
        out.append(shapes)
    return out


def _compile(bodies: list[list[_Shape]], trial: Trial, height: float = 0.0) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.memory = MEMORY
    spec.option.timestep = trial.timestep
    ground = min(shape.bottom for shapes in bodies for shape in shapes) - height
    contact = {"friction": [trial.friction, 0.005, 0.0001], "solimp": STIFF, "solref": [2 * trial.timestep, 1]}
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], pos=[0, 0, ground], **contact)
    for k, shapes in enumerate(bodies):
        # The frame lies in the centre of mass: about a distant origin, a fast spin of a small body
        # would throw it off within a step.
        centre = np.average([shape.centroid for shape in shapes], axis=0, weights=[shape.mass for shape in shapes])
        body = spec.worldbody.add_body(pos=centre)
        body.add_freejoint()
        for p, shape in enumerate(shapes):
            if shape.hull is None:
                body.add_geom(
                    type=shape.kind,
                    size=shape.size,
                    pos=shape.position - centre,
                    quat=shape.quaternion,
                    mass=shape.mass,
                    **contact,
                )
                continue
            name = f"{k}.{p}"
            mesh = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
            mesh.uservert = (shape.hull - shape.position).ravel()
            body.add_geom(type=shape.kind, meshname=name, pos=shape.position - centre, mass=shape.mass, **contact)
    return spec.compile()


def _simulate(bodies: list[list[_Shape]], trial: Trial, gravity: Float[np.ndarray, "t 3"]) -> Motion | None:
    try:
        model = _compile(bodies, trial)
    except (ValueError, mujoco.FatalError) as error:  # the simulator's word on degenerate shapes; the caller counts it
        logging.getLogger(__name__).debug("an asset does not compile: %s", error)
        return None
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    start = data.xipos[1:].copy()
    steps = round(trial.duration / trial.timestep / trial.samples)
    upright, moved = (
        np.zeros((trial.samples, len(bodies))),
        np.zeros((trial.samples, len(bodies))),
    )  # cosine of the tilt, drift squared
    # These are views of the simulator's memory, which every step updates.
    field, matrices, centres, warnings = model.opt.gravity, data.xmat[1:], data.xipos[1:], data.warning.number
    for i in range(trial.samples):
        field[:] = gravity[i]
        mujoco.mj_step(model, data, nstep=steps)
        upright[i] = up_cosine(matrices)
        moved[i] = ((centres - start) ** 2).sum(-1)
        if i % 8 == 7 or i == trial.samples - 1:
            if warnings.any():
                return None
            fallen = (upright[: i + 1].min(0) < math.cos(math.radians(trial.tilt_limit_deg))) | (
                moved[: i + 1].max(0) > trial.drift_limit**2
            )
            if fallen.all():
                upright[i + 1 :], moved[i + 1 :] = upright[i], moved[i]
                break
    tilt_deg = np.degrees(np.arccos(np.clip(upright, -1, 1)))
    poses = start, data.xipos[1:].copy(), data.xmat[1:].reshape(-1, 3, 3).copy()
    return Motion(
        model.body_mass[1:].copy(), np.maximum.accumulate(tilt_deg), np.maximum.accumulate(np.sqrt(moved)), *poses
    )


def up_cosine(matrices: np.ndarray) -> np.ndarray:
    """Cosine of the angle between a body's up axis and the vertical, from rotations (K, 9) in rows:
    yaw leaves it at 1."""
    return matrices[:, 8]
