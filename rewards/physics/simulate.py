"""Rigid-body simulation of assets in MuJoCo: whether an asset keeps standing while gravity leans.

An asset is convex pieces (``scenes.asset.Convex``); those that touch make one free body. Gravity
leans by a few degrees and the lean turns once around: without it a sword balanced on its pommel
counts as standing. Todorov et al., MuJoCo: A physics engine for model-based control, 2012."""

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
from jaxtyping import Float

from rewards.pieces import bodies_of
from scenes.asset import Asset, Convex, Pose, Solid

GRAVITY = 9.81
DENSITY = 500.0
"""Kilograms per cubic metre (wood). All pieces have the same, so it changes no verdict."""

STIFF = [0.99, 0.99, 0.001, 0.5, 2]
"""Contact impedance. The simulator's default (0.9) is so soft that a narrow base sinks in at one
edge and tips half a degree early."""

MEMORY = 2**24
"""Bytes for contacts and constraints: several times what 24 loose parts in a heap use."""


@dataclass(frozen=True)
class Trial:
    """How an asset is tested. The budget is in steps, never in wall-clock time: the same asset
    scores the same on a busy machine."""

    duration: float = 3.0
    """Simulated seconds. Gravity's lean turns once around in them, slowly enough for a metre to
    fall over."""
    timestep: float = 0.01
    """Seconds. A tenth of it turns one verdict in 200 and moves scores by 0.01 on average."""
    samples: int = 60
    """Number of times at which poses are sampled."""
    lean_deg: float = 5.0
    """Degrees of gravity from the vertical."""
    ramp: float = 0.05
    """Fraction of the duration in which the lean grows from 0, so that it does not start with a
    jolt."""
    friction: float = 1.0
    """Holds on slopes up to 45 degrees: a lean of 5 must not make anything slide."""
    tilt_limit_deg: float = 30.0
    """A body that has tilted by more degrees has fallen. When all have, the trial ends."""
    drift_limit: float = 0.3
    """A body that has moved by more metres has fallen, too."""

    def gravity(self) -> np.ndarray:
        """Gravity between the samples, (T, 3): its lean grows, then turns once around from +x
        towards +y."""
        i = np.arange(self.samples)
        lean = math.radians(self.lean_deg) * np.minimum(1, (i + 1) / (self.samples * self.ramp))
        turned = 2 * math.pi * i / self.samples
        return GRAVITY * np.stack([np.sin(lean) * np.cos(turned), np.sin(lean) * np.sin(turned), -np.cos(lean)], -1)


@dataclass(frozen=True)
class Motion:
    """How one asset's K bodies moved in a trial of T samples.

    Tilt and drift are running maxima. Tilt is the angle of the body's up axis to the vertical,
    which turning about it (yaw) does not change. Drift is the distance of the centre of mass from
    where it began. After a trial that was cut short the last sample is repeated."""

    bodies: list[int]
    """(K,) their numbers, ``Convex.body``."""
    masses: np.ndarray
    """(K,) kilograms."""
    tilt_deg: np.ndarray
    """(T, K)"""
    drift: np.ndarray
    """(T, K) metres."""
    origins: np.ndarray
    """(K, 3) where each centre of mass began."""
    positions: np.ndarray
    """(K, 3) where it ended."""
    rotations: np.ndarray
    """(K, 3, 3) how the body has turned by then."""

    def poses(self) -> dict[int, Pose]:
        """Where every body ended, for ``Asset.moved``."""
        shifts = self.positions - (self.rotations @ self.origins[..., None])[..., 0]
        return {body: Pose(self.rotations[k], shifts[k]) for k, body in enumerate(self.bodies)}


def simulate(
    scenes: list[list[Convex]],
    trial: Trial = Trial(),
    *,
    gravity: Float[np.ndarray, "b t 3"] | None = None,
    workers: int | None = None,
) -> list[Motion | None]:
    """Test each of B scenes alone.

    ``gravity`` (m/s², between the trial's T samples, one row a scene) replaces the trial's leaning
    one. The result is None for a scene that has no pieces or that the simulator refuses. It does
    not depend on ``workers`` (default: one thread a core) nor on the other scenes."""
    fields = [trial.gravity()] * len(scenes) if gravity is None else list(gravity)
    run = lambda pieces, field: _simulate(_bodies(pieces), trial, field) if pieces else None  # noqa: E731
    # MuJoCo releases the interpreter while it compiles and steps, so threads are enough.
    with _quiet(), ThreadPoolExecutor(workers or cores()) as pool:
        return list(pool.map(run, scenes, fields))


def settle(asset: Asset, trial: Trial = Trial()) -> Asset:
    """The asset as the trial leaves it: what fell lies where it fell. A scene that could not be
    simulated stays as it is."""
    return asset.moved([motion.poses() if motion else {} for motion in simulate(bodies_of(asset), trial)])


@dataclass(frozen=True)
class Recording:
    """The fall of one scene's K bodies in T frames; metres, z up.

    A point x of body k, as the asset was made, lies at ``rotations[t, k] @ x + positions[t, k]``.
    ``asset.moved([recording.poses(t)])`` is the asset in frame t, whatever it is made of."""

    fps: float
    bodies: list[int]
    """(K,) their numbers, ``Convex.body``, in the order of their first pieces."""
    rotations: np.ndarray
    """(T, K, 3, 3)"""
    positions: np.ndarray
    """(T, K, 3)"""
    tilt_deg: float
    """Largest tilt of a body's up axis."""

    def poses(self, frame: int) -> dict[int, Pose]:
        """Every body's pose in a frame."""
        pairs = zip(self.rotations[frame], self.positions[frame], strict=True)
        return {body: Pose(*pair) for body, pair in zip(self.bodies, pairs, strict=True)}


def drop(asset: Asset, height: float = 0.1, trial: Trial = Trial(), *, fps: float = 30) -> Recording:
    """Let an asset of one scene fall from ``height`` metres over the ground and stand in gravity
    that leans once around, and keep every frame.

    ValueError if it is not one scene, if it is empty, or if the simulator refuses it."""
    if len(asset) != 1:
        raise ValueError(f"drop takes an asset of one scene, got {len(asset)}: index the batch first")
    bodies = _bodies(bodies_of(asset)[0])
    if not bodies:
        raise ValueError("the asset is empty: there is nothing to drop")
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
    # Gravity points straight down until the asset has landed and come to rest; then it leans.
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
        # A step moves the joints; the bodies follow by kinematics.
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        turned = data.xmat[1:].reshape(-1, 3, 3).copy()
        rotations.append(turned)
        positions.append(data.xipos[1:] - (turned @ start[..., None])[..., 0])
    turns, moves = np.stack(rotations), np.stack(positions)
    moves[..., 2] += height  # the simulated ground lies lower by the height; the picture's does not
    cosines = np.clip(turns[..., 2, 2], -1, 1)
    return Recording(rate, list(bodies), turns, moves, float(np.degrees(np.arccos(cosines.min()))))


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send MuJoCo's warnings to the log. By default it prints them and writes MUJOCO_LOG.TXT into
    the current directory."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(logging.getLogger(__name__).debug)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _bodies(pieces: list[Convex]) -> dict[int, list[Convex]]:
    """The pieces of every body, by its number, in the order of their first pieces."""
    bodies: dict[int, list[Convex]] = {}
    for piece in pieces:
        bodies.setdefault(piece.body, []).append(piece)
    return bodies


_GEOMS: dict[Solid, mujoco.mjtGeom] = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    "hull": mujoco.mjtGeom.mjGEOM_MESH,
}


def _compile(bodies: dict[int, list[Convex]], trial: Trial, height: float = 0.0) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.memory = MEMORY
    spec.option.timestep = trial.timestep
    ground = min(piece.bottom for pieces in bodies.values() for piece in pieces) - height
    contact = {"friction": [trial.friction, 0.005, 0.0001], "solimp": STIFF, "solref": [2 * trial.timestep, 1]}
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], pos=[0, 0, ground], **contact)
    for k, pieces in enumerate(bodies.values()):
        masses = [DENSITY * piece.volume for piece in pieces]
        # The frame lies in the centre of mass: about a distant origin, a fast spin of a small body
        # would throw it off within a step.
        centre = np.average([piece.centroid for piece in pieces], axis=0, weights=masses)
        body = spec.worldbody.add_body(pos=centre)
        body.add_freejoint()
        for p, (piece, mass) in enumerate(zip(pieces, masses, strict=True)):
            placed = {"type": _GEOMS[piece.solid], "pos": piece.position - centre, "mass": mass, **contact}
            if piece.hull is None:
                body.add_geom(size=piece.size, quat=piece.quaternion, **placed)
                continue
            name = f"{k}.{p}"
            mesh = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
            mesh.uservert = (piece.hull - piece.position).ravel()
            body.add_geom(meshname=name, **placed)
    return spec.compile()


def _simulate(bodies: dict[int, list[Convex]], trial: Trial, gravity: Float[np.ndarray, "t 3"]) -> Motion | None:
    try:
        model = _compile(bodies, trial)
    except (ValueError, mujoco.FatalError) as error:  # degenerate shapes; the caller counts them
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
    largest = np.maximum.accumulate(tilt_deg), np.maximum.accumulate(np.sqrt(moved))
    return Motion(list(bodies), model.body_mass[1:].copy(), *largest, *poses)


def up_cosine(matrices: np.ndarray) -> np.ndarray:
    """Cosine of the angle between each body's up axis and the vertical, from rotations (K, 9) in
    rows. Yaw leaves it at 1."""
    return matrices[:, 8]
