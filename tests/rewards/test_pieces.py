"""Assets without parts: the pieces of their meshes have the figures of the shapes they were made
of."""

import math

import numpy as np
import pytest
import torch
import trimesh

from rewards import Batch, resolve
from rewards.physics.margin import weakest_direction, weakest_directions
from rewards.physics.push import Push
from rewards.physics.stability import Stability
from scenes.shells import shells

HALF = (0.2, 0.15, 0.1)
VOLUME = 8 * 0.2 * 0.15 * 0.1
NAMES = ("stability", "push", "connected", "floaters", "printable")


def test_pieces_of_a_mesh(mesh_batch, block):
    low, high = block(HALF, (0, 0, 0.1)), block((0.05, 0.05, 0.05), (0.1, 0, 0.3))
    pieces = mesh_batch([high, low], [block(HALF, (0, 0, 0.6))]).pieces
    assert pieces.exists.sum(-1).tolist() == [2, 1]
    assert pieces.volumes[0, :2].tolist() == pytest.approx([VOLUME, 0.001], rel=1e-5)  # the heaviest first
    assert pieces.bottoms[:, 0].tolist() == pytest.approx([0, 0.5], abs=1e-6)
    assert pieces.bottoms[0, 1] == pytest.approx(0.25)
    assert pieces.gaps[0, 0, 1] == pytest.approx(0.05, abs=0.002)
    assert pieces.gaps[0, 0, 2:].isinf().all() and pieces.gaps[0].diagonal().isinf().all()


def test_a_cavity_is_no_piece_and_takes_off_its_volume(block):
    cavity = block((0.05, 0.05, 0.05), (0.05, 0.02, 0.1))
    cavity.invert()
    outer, far = block(HALF, (0, 0, 0.1)), block((0.3, 0.3, 0.3), (5, 0, 0.3))
    mesh = trimesh.util.concatenate([cavity, outer, far])
    assert [s.volume for s in shells(mesh.vertices, mesh.faces)] == pytest.approx([0.216, VOLUME - 0.001])


def test_connected_and_floaters_of_meshes_as_of_parts(mesh_batch, block, batch, part):
    """The same boxes as parts and as meshes get the same values, verdicts and no other."""
    scenes = []
    for gap in (0.004, 0.03, 0.05, 0.3):
        scenes.append([(HALF, (0, 0, 0.1)), ((0.1, 0.1, 0.1), (0, 0, 0.3 + gap))])
    scenes.append([(HALF, (0, 0, 0.1)), ((0.1, 0.1, 0.1), (0.8, 0, 0.1))])
    as_parts = batch(*([part(*shape, exponents=(0.1, 0.1)) for shape in shapes] for shapes in scenes))
    as_meshes = mesh_batch(*([block(*shape) for shape in shapes] for shapes in scenes))
    for name in ("connected", "floaters"):
        reward = resolve(name)
        ours, theirs = reward(as_meshes), reward(as_parts)
        torch.testing.assert_close(ours.values, theirs.values, atol=0.01, rtol=0)  # a part's corners are rounded
        assert torch.equal(ours.verdict, theirs.verdict) and ours.per_part is None
    assert as_meshes.pieces.components[:, 1].tolist() == [0, 1, 1, 1, 1]


def test_printable_is_what_inspect_says(mesh_batch, block):
    whole, thin = block(HALF, (0, 0, 0.1)), block((0.3, 0.3, 0.002), (0, 0, 0.002))
    opened = block(HALF, (0, 0, 0.1))
    opened.update_faces(np.arange(len(opened.faces)) > 0)
    scores = resolve("printable")(mesh_batch([whole], [thin], [opened], [whole, block(HALF, (1, 0, 0.1))]))
    assert scores.verdict.tolist() == [True, False, False, False] and scores.failed == 0
    assert scores.values.tolist() == pytest.approx(
        [1, (5 + 0.004 / 0.012 / 0.6) / 6, (4 + 0.25 + 0.25) / 6, 5.5 / 6], abs=0.01
    )


def test_the_simulator_takes_any_bodies(mesh_batch, block):
    """Upright and slender boxes, and one in the air, as convex hulls."""
    narrow = 0.3 * math.tan(math.radians(3))
    assets = mesh_batch([block(HALF, (0, 0, 0.1))], [block((narrow, 0.2, 0.3), (0, 0, 0.3))],
                        [block(HALF, (0, 0, 0.1)), block((0.05, 0.05, 0.05), (0, 0, 0.5))])  # fmt: skip
    assert Stability()(assets).verdict.tolist() == [True, False, False]
    for ratio in (0.3, 0.6):
        box = mesh_batch([block((ratio * 0.2, 0.2, 0.2), (0, 0, 0.2))])
        assert ratio - 0.02 < Push()(box).values.item() < ratio + 0.12  # tilted by 2.5 degrees, later than it gives way


def test_convex_pieces_tip_as_the_parts_they_stand_for(batch, part, table, rotation):
    """Boxes, cylinders, ellipsoids and hulls: the weakest direction of pieces is the parts'."""
    load = part((0.1, 0.12, 0.1), (0.25, 0.07, 0.62), (0.1, 1.0), rotation=rotation("x", 40))
    ball = part((0.1, 0.12, 0.14), (-0.1, 0.2, 0.7), (1.0, 1.0), rotation=rotation("y", 20))
    cone = [part((0.3, 0.2, 0.5), (0, 0, 0.5), (0.1, 1.0), 0.6), part((0.05, 0.05, 0.05), (0.1, 0.03, 0.8))]
    assets = batch([*table(), load], [*table("abm"), ball], cone)
    expected = weakest_directions(assets.sound_parts.double()).numpy()
    found = np.stack([weakest_direction(pieces) for pieces in assets.bodies])
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_scores_do_not_depend_on_other_assets(mesh_batch, block, name):
    crumbs = [block((0.02, 0.02, 0.02), (0.1 * k, 0.3, 0.02 + 0.06 * k)) for k in range(7)]
    assets = [[block(HALF, (0, 0, 0.1))], [], [block(HALF, (0, 0, 0.1)), *crumbs], [block((0.1,) * 3, (0, 0, 0.1))]]
    assets[3][0].vertices[4] = math.nan
    batch, reward = mesh_batch(*assets), resolve(name)
    whole = reward(batch)
    assert whole.failed == 2 and whole.values[[1, 3]].tolist() == [0, 0] and not whole.verdict[[1, 3]].any()
    assert whole.values[0] > 0.5 and whole.values.isfinite().all()
    for order in ([2, 0], [0], [3, 2, 1, 0, 2]):
        some = reward(Batch([batch.prompts[k] for k in order], batch.need_asset()[order]))
        assert torch.equal(some.values, whole.values[order]) and torch.equal(some.verdict, whole.verdict[order])


def test_a_speck_does_not_make_the_simulation_diverge(mesh_batch, block):
    """A loose chip of half a millimetre is noise of the surface; a crumb of 4 cm is not."""
    chip, crumb = (trimesh.creation.icosphere(1, r).apply_translation((0.1, 0.3, 0.3)) for r in (2.5e-4, 0.02))
    assets = mesh_batch([block(HALF, (0, 0, 0.1)), chip], [block(HALF, (0, 0, 0.1)), crumb])
    assert [len(pieces) for pieces in assets.bodies] == [1, 2]
    scores = Stability()(assets)
    assert scores.failed == 0 and scores.verdict.tolist() == [True, False]
