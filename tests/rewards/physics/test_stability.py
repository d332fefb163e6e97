"""The simulation agrees with mechanics, and the score is graded, repeatable, and never fails the
batch."""

import math

import mujoco
import numpy as np
import pytest
import torch

from rewards import Batch
from rewards.mix import parse, score
from rewards.physics.simulate import Motion, Trial, settle, simulate, up_cosine
from rewards.physics.stability import Stability
from scenes.asset import PartAsset
from scenes.parts import Parts

LEAN = Trial().lean_deg


def motions(batch: Batch, **changes) -> list[Motion]:
    return simulate(batch.bodies, Trial(**changes))


def box_of_slenderness(part, tips_at_deg: float, height: float) -> list:
    """A box on a base so narrow that gravity leaning by this angle along x passes over its edge."""
    half = height / 2
    return [part((half * math.tan(math.radians(tips_at_deg)), 0.3 * height, half), (0, 0, half))]


@pytest.mark.parametrize("height", [0.2, 1.0])
def test_box_tips_when_gravity_leaves_its_base(batch, part, height):
    angles = [1.0, 3.0, LEAN - 0.7, LEAN + 0.4, 8.0, 20.0]
    scores = Stability()(batch(*(box_of_slenderness(part, a, height) for a in angles)))
    assert scores.verdict.tolist() == [False, False, False, True, True, True]
    assert scores.values[:2].max() < 0.1 and scores.values[3:].min() > 0.95
    # Graded: the narrower the base, the less it earns, also among those that fall and those that
    # stand.
    assert scores.values[:-1].diff().min() > 0


def test_half_a_degree_decides_a_tall_box(batch, part):
    scores = Stability()(batch(box_of_slenderness(part, LEAN - 0.5, 1.0), box_of_slenderness(part, LEAN + 0.2, 1.0)))
    assert scores.verdict.tolist() == [False, True]


def test_the_direction_of_the_base_does_not_matter(batch, part, rotation):
    half = 0.5
    narrow, wide = (half * math.tan(math.radians(a)) for a in (LEAN - 1.5, LEAN + 1))
    assets = [
        [part((w, 0.4, half), (0, 0, half), rotation=rotation("z", a))]
        for w in (narrow, wide)
        for a in (0, 30, 90, 135, 250)
    ]
    assert Stability()(batch(*assets)).verdict.tolist() == [False] * 5 + [True] * 5


def test_cone_on_its_tip_falls_and_on_its_base_stands(batch, part):
    cone = lambda taper: [part((0.3, 0.3, 0.5), (0, 0, 0.5), (0.1, 1.0), taper)]  # noqa: E731
    scores = Stability()(batch(cone(-0.97), cone(0.97)))
    assert scores.values[0] < 0.05 and scores.values[1] > 0.99
    assert scores.verdict.tolist() == [False, True]


def test_tables_on_four_three_and_two_legs(batch, table):
    #               four      three, centre inside   a corner missing   two in a row   two across
    legs = ["abcd", "abm", "abc", "ab", "ad"]
    scores = Stability()(batch(*(table(which, leg=0.04) for which in legs)))
    assert scores.verdict.tolist() == [True, True, False, False, False]
    assert scores.values[:2].min() > 0.99 and scores.values[2:].max() < 0.2


def test_turning_on_the_spot_is_not_falling(batch, table, rotation):
    """A rotation about the vertical, as large as can be, leaves the tilt at 0."""
    asset = batch(table())
    spun = [v.clone() for v in table()]
    for v in spun:
        matrix = rotation("z", 170)
        v[4:7] = matrix @ v[4:7]
        v[10:13], v[13:16] = matrix[:, 0], matrix[:, 1]
    still, turned = Stability()(batch(table(), spun)).values
    assert float(still) == pytest.approx(float(turned), abs=1e-3)
    motion = motions(asset)[0]
    assert motion.tilt_deg.max() < 0.1 and motion.drift.max() < 0.002


def test_tilt_ignores_yaw():
    """A rotation angle counts yaw as falling; the up axis does not."""
    quaternions = [[math.cos(a / 2), 0, 0, math.sin(a / 2)] for a in (0.0, 1.0, 3.0)] + [
        [math.cos(0.1), math.sin(0.1), 0, 0]
    ]
    matrices = np.zeros((4, 9))
    for matrix, quaternion in zip(matrices, quaternions):
        mujoco.mju_quat2Mat(matrix, quaternion)
    assert up_cosine(matrices).tolist() == pytest.approx([1, 1, 1, math.cos(0.2)], abs=1e-12)


def test_floating_part_falls(batch, table, part):
    floating = [*table(), part((0.1, 0.1, 0.1), (0, 0, 0.9))]
    attached = [*table(), part((0.1, 0.1, 0.1), (0, 0, 0.66))]
    b = batch(floating, attached)
    scores = Stability()(b)
    assert scores.verdict.tolist() == [False, True]
    motion = motions(b)[0]
    light = motion.masses.argmin()
    gap = 0.8 - 0.56
    assert motion.drift[-1, light] == pytest.approx(gap, abs=0.02)
    # Its fraction of the mass is what is lost, in proportion to the height it fell from.
    fraction = motion.masses[light] / motion.masses.sum()
    assert scores.values[0] == pytest.approx(1 - fraction * gap / Trial().drift_limit, abs=0.02)


def test_free_fall(batch, part):
    """A part two metres above the ground, seen after 0.25 s: h = g t^2 / 2, whatever the mass."""
    b = batch(
        [
            part((0.1, 0.1, 0.1), (0, 0, 0.1)),
            part((0.05, 0.05, 0.05), (3, 0, 2)),
            part((0.2, 0.1, 0.05), (6, 0, 2), (1.0, 1.0), 0.5),
        ]
    )
    motion = motions(b, lean_deg=0.0, drift_limit=10.0, timestep=0.001)[0]
    t = Trial().duration / Trial().samples * 5
    assert motion.drift[4, 1:] == pytest.approx(9.81 * t * t / 2, rel=0.01)


def test_ball_rolls_as_mechanics_says(batch, part):
    """On a slope a solid ball accelerates with 5/7 g sin: it is no stable asset, but a flat
    ellipsoid is."""
    ball, flat = [part((0.3, 0.3, 0.3), (0, 0, 0.3), (1.0, 1.0))], [part((0.4, 0.4, 0.1), (0, 0, 0.1), (1.0, 1.0))]
    scores = Stability()(batch(ball, flat))
    assert scores.verdict.tolist() == [False, True]
    # The lean's direction turns by w t: integrate the acceleration twice.
    trial = Trial(ramp=1e-6, timestep=0.001)
    motion = simulate(batch(ball).bodies, trial)[0]
    k = 9
    t, w = (k + 1) * trial.duration / trial.samples, 2 * math.pi / trial.duration
    a = 5 / 7 * 9.81 * math.sin(math.radians(LEAN))
    expected = math.hypot((1 - math.cos(w * t)) / w**2, t / w - math.sin(w * t) / w**2) * a
    assert motion.drift[k, 0] == pytest.approx(expected, rel=0.05)


def test_a_cylinder_on_an_incline_tips_at_radius_over_half_its_height(batch, part):
    half = 0.4
    radii = [half * math.tan(math.radians(LEAN + more)) for more in (-0.5, 0.5)]
    assert Stability()(batch(*([part((r, r, half), (0, 0, half), (0.1, 1.0))] for r in radii))).verdict.tolist() == [
        False,
        True,
    ]


def test_a_lying_cylinder_rolls_as_mechanics_says(batch, part, rotation):
    """Down a slope of 3 degrees with 2/3 g sin; along its axis it stays."""
    lying = [part((0.2, 0.2, 0.4), (0, 0, 0.2), (0.1, 1.0), rotation=rotation("x", 90))]  # its axis lies along y
    trial, slope = Trial(duration=0.6, samples=12, timestep=0.001), math.radians(3)
    down = 9.81 * np.array([[math.sin(slope), 0, -math.cos(slope)], [0, math.sin(slope), -math.cos(slope)]])
    b = batch(lying, lying)
    across, along = simulate(b.bodies, trial, gravity=np.repeat(down[:, None], trial.samples, 1))
    assert across.drift[-1, 0] == pytest.approx(2 / 3 * 9.81 * math.sin(slope) * trial.duration**2 / 2, rel=0.03)
    assert along.drift[-1, 0] < 0.002


@pytest.mark.parametrize("exponents", [(0.1, 0.1), (0.1, 1.0), (1.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("taper", [0.0, 0.5])
def test_every_kind_of_part_rests_without_moving(batch, part, exponents, taper):
    """Box, cylinder, ellipsoid and hull, lying flat: they lean a little with gravity, and are not
    thrown up by the ground."""
    motion = motions(batch([part((0.4, 0.4, 0.1), (0, 0, 0.1), exponents, taper)]))[0]
    assert motion.tilt_deg[-1, 0] < LEAN
    assert motion.drift[-1, 0] < 0.01


@pytest.mark.parametrize("exponents", [(0.1, 0.1), (0.1, 1.0), (1.0, 1.0), (0.5, 0.5)])
def test_ground_is_under_the_lowest_point_of_a_turned_part(batch, part, rotation, exponents):
    """Nothing else holds a turned part up: it must neither start in the ground nor above it."""
    for height in (-0.3, 0.5, 2.0):
        b = batch([part((0.3, 0.3, 0.05), (0, 0, height), exponents, rotation=rotation("x", 40) @ rotation("y", 25))])
        first = motions(b, lean_deg=0.0, duration=0.05, samples=5)[0]
        # In 10 ms it can fall by half a millimetre; a push out of the ground would be faster.
        assert first.drift[0, 0] < 0.002


def test_small_parts_that_fall_spin_without_failing(batch, part):
    """Light and heavy bodies collide and spin fast; a body's frame far from its mass once made
    these simulations diverge."""
    generator = torch.Generator().manual_seed(0)
    assets = []
    for _ in range(12):
        u = torch.rand(6, 6, generator=generator)
        eyes = [
            part(
                (r := 0.01 + 0.05 * v[0], r * (0.6 + v[1]), r),
                (0.6 * v[2] - 0.3, 0.6 * v[3] - 0.3, 0.65 + 0.35 * v[4]),
                (1.0, 1.0),
            )
            for v in u
        ]
        assets.append([part((0.3, 0.25, 0.3), (0, 0, 0.3), (1.0, 1.0)), *eyes])
    scores = Stability()(batch(*assets))
    assert scores.failed == 0
    assert not scores.verdict.any()


def messy(batch, part, table) -> Batch:
    generator = torch.Generator().manual_seed(1)
    assets = [table(), table("ab"), []]
    for _ in range(9):
        parts = []
        for _ in range(7):
            u = torch.rand(6, generator=generator)
            turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
            exponents = (0.1 + 0.9 * float(u[0]), 1.0 if u[1] > 0.5 else 0.1)
            parts.append(
                part((0.02 + 0.15 * u[:3]).tolist(), (0.8 * u[3:] - 0.4).tolist(), exponents, float(u[5]), turn)
            )
        assets.append(parts)
    return batch(*assets)


def same(a: Motion | None, b: Motion | None) -> bool:
    if a is None or b is None:
        return a is b
    return all((getattr(a, name) == getattr(b, name)).all() for name in ("masses", "tilt_deg", "drift"))


def test_bitwise_the_same_on_any_number_of_workers(batch, part, table):
    b = messy(batch, part, table)
    alone, many, again = (simulate(b.bodies, workers=w) for w in (1, 3, 3))
    assert all(map(same, alone, many)) and all(map(same, many, again))


def test_the_rest_of_the_batch_does_not_matter(batch, part, table):
    b = messy(batch, part, table)
    whole = Stability()(b).values
    order = torch.tensor([7, 3, 0, 5])
    some = Stability()(Batch([b.prompts[i] for i in order], b.need_asset()[order])).values
    assert torch.equal(some, whole[order])


def test_broken_and_empty_assets_score_zero_and_leave_the_others_alone(batch, table):
    broken = [v.clone() for v in table()]
    broken[3][7] = math.nan
    b = batch(table(), broken, [], table("ab"))
    b.need_parts().centres[2, 0] = math.inf  # an absent part may hold anything
    scores = Stability()(b)
    assert scores.values[1:3].tolist() == [0, 0]
    assert scores.failed == 1  # an empty asset is no failure: it has nothing to stand on
    assert scores.verdict.tolist() == [True, False, False, False]
    assert scores.values[0] == Stability()(batch(table())).values[0]


def test_refused_by_the_simulator_counts_as_failed(batch, table, part, tmp_path, monkeypatch):
    """Coordinates beyond what a simulation can hold: compile errors and divergence are caught,
    counted, and not printed to files."""
    monkeypatch.chdir(tmp_path)
    far = [part((0.1, 0.2, 0.1), (1e30, 0, 0.1), (0.5, 1.0), 0.5)]
    scores = Stability()(batch(far, table()))
    assert scores.failed == 1
    assert scores.values[0] == 0 and scores.values[1] > 0.99
    assert list(tmp_path.iterdir()) == []


def test_grade_is_monotone():
    """More tilt or more drift, at any sample, never earns more; the heavier body counts more."""
    stability = Stability()

    def grade(tilt, drift, masses=(1.0,)) -> float:
        shape = (5, len(masses))
        moved = np.broadcast_to(tilt, shape), np.broadcast_to(drift, shape)
        at_rest = *np.zeros((2, len(masses), 3)), np.zeros((len(masses), 3, 3))
        return stability.grade(Motion(list(range(len(masses))), np.array(masses), *moved, *at_rest))

    tilts, drifts = np.linspace(0, 40, 30), np.linspace(0, 0.5, 30)
    table = np.array([[grade(t, d) for d in drifts] for t in tilts])
    assert table[0, 0] == 1 and table[-1].max() == 0 and table[:, -1].max() == 0
    assert (np.diff(table, axis=0) <= 0).all() and (np.diff(table, axis=1) <= 0).all()
    assert (np.diff(table[:20, 0]) < 0).all()
    assert grade([0, 60], 0, (3.0, 1.0)) == pytest.approx(0.75)


def ranked(good: torch.Tensor, bad: torch.Tensor) -> float:
    """Fraction of the pairs in which the good asset scores above its corrupted twin, ties counting
    half."""
    return ((good > bad).float() + 0.5 * (good == bad).float()).mean().item()


def auc(good: torch.Tensor, bad: torch.Tensor) -> float:
    """Probability that any good asset scores above any bad one."""
    return ranked(good.unsqueeze(1), bad)


def test_ranks_corrupted_tables(batch, table, part):
    generator = torch.Generator().manual_seed(2)
    good, missing, lifted, floating = [], [], [], []
    for _ in range(30):
        u = torch.rand(5, generator=generator).tolist()
        size = {
            "width": 0.6 + 0.6 * u[0],
            "depth": 0.4 + 0.4 * u[1],
            "height": 0.3 + 0.4 * u[2],
            "leg": 0.02 + 0.025 * u[3],
        }
        good.append(table(**size))
        missing.append(table("bcd", **size))
        lifted.append(table(**size, lift=0.04 + 0.1 * u[4]))
        floating.append([*table(**size), part((0.08, 0.08, 0.08), (0, 0, size["height"] + 0.15 + 0.06 + 0.1 * u[4]))])
    b = batch(*good, *missing, *lifted, *floating)
    scores = score([reward for reward, _ in parse("stability,connected")], b)
    stability, connected = (scores[name].values.view(4, 30) for name in ("stability", "connected"))
    assert scores["stability"].verdict.view(4, 30)[0].all()
    assert min(auc(stability[0], stability[k]) for k in (1, 2, 3)) > 0.99
    assert auc(connected[0], connected[3]) == 1


def test_ranks_the_corpus(batch):
    """Assets of the corpus stand; four-legged furniture ranks above itself with a fault that
    matters."""
    from rl3d.corpus import CORRUPTIONS, sample

    rng = np.random.default_rng(0)
    legged = {"chair", "table", "desk", "bench", "bed", "stool"}
    items = []
    while len(items) < 40:
        item = sample(rng)
        if item.kind == "single" and item.category in legged:
            items.append(item)
    faults = ("leg_removed", "leg_shortened", "part_lifted", "floater_added")
    assets = [[item.vectors for item in items]] + [
        [CORRUPTIONS[name](item.vectors, rng) for item in items] for name in faults
    ]
    b = batch(*([torch.from_numpy(row).float() for row in vectors] for group in assets for vectors in group), slots=24)
    scores = score([reward for reward, _ in parse("stability,connected")], b)
    stability, connected = (scores[name].values.view(len(assets), len(items)) for name in ("stability", "connected"))
    assert scores["stability"].verdict[: len(items)].float().mean() >= 0.95
    for name, values in zip(faults, stability[1:]):
        assert ranked(stability[0], values) >= 0.95, name
    assert ranked(connected[0], connected[-1]) == 1


def test_settled_parts_lie_where_they_fell() -> None:
    """A box that floats half a metre up ends on the ground; one that stands does not move."""
    vector = torch.zeros(2, 1, 19)
    vector[..., :4] = torch.tensor([1.0, 0.14, 0.14, 0.0])
    vector[..., 4:7] = torch.tensor([0.0, 0.0, 0.1])
    vector[..., 7:10] = torch.tensor([0.1, 0.1, 0.1]).log()
    vector[..., 10] = vector[..., 14] = 1.0
    floor = vector.clone()
    floor[0, 0, 6] = 0.6  # of the first asset, a second box stands below and beside
    floor[..., 4] = 0.5
    pair = Parts.from_vectors(torch.cat([vector, floor], 1))
    after = settle(PartAsset(pair)).parts
    assert after is not None
    assert after.centres[0, 1, 2].item() == pytest.approx(0.1, abs=0.02)
    assert torch.allclose(after.centres[1], pair.centres[1], atol=0.01)
    assert after.vectors().isfinite().all()
