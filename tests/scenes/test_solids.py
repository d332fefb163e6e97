"""Unions of part meshes: closed also in float32, and as large as the parts."""

import numpy as np
import pytest
import torch
import trimesh

from rl3d.corpus import captions, sample_for
from scenes.files.glb import parts_to_trimesh
from scenes.parts import EXISTENCE, EXPONENTS, LOG_HALF_SIZE, ROTATION, TAPER, UPRIGHT, VECTOR_SIZE, Parts
from scenes.solids import joined


@pytest.mark.parametrize(
    ("category", "seed"), [("sofa", 0), ("sofa", 1), ("round table", 0), ("round table", 1), ("desk", 0)]
)
def test_parts_that_are_nearly_flush_make_a_closed_solid(category, seed):
    rng = np.random.default_rng(seed)
    item = sample_for(captions.single(rng, "heldout", category), rng)
    shapes = list(parts_to_trimesh(Parts.from_vectors(torch.from_numpy(item.vectors))).geometry.values())
    solid = joined(shapes, np.zeros((len(shapes), 3)), united=True)
    whole = trimesh.Trimesh(solid.vertices.numpy(), solid.faces.numpy(), process=False)
    whole.merge_vertices(merge_norm=True, merge_tex=True)
    assert whole.is_volume
    assert max(shape.volume for shape in shapes) < whole.volume < sum(shape.volume for shape in shapes)


def test_a_part_and_its_mesh_hold_the_same():
    vectors = torch.zeros(4, VECTOR_SIZE)
    vectors[:, EXISTENCE], vectors[:, ROTATION] = 1.0, torch.tensor(UPRIGHT)
    vectors[:, EXPONENTS] = torch.tensor([[1.0, 1.0], [0.1, 1.0], [0.1, 0.1], [0.6, 0.3]])
    vectors[:, TAPER] = torch.tensor([0.0, 0.5, 0.0, -0.4])
    vectors[:, LOG_HALF_SIZE] = torch.tensor([[0.3, 0.2, 0.1], [0.2, 0.2, 0.4], [0.3, 0.3, 0.3], [0.1, 0.4, 0.2]]).log()
    parts = Parts.from_vectors(vectors)
    meshes = list(parts_to_trimesh(parts).geometry.values())
    assert [mesh.volume for mesh in meshes] == pytest.approx(parts.masses()[0].tolist(), rel=1e-4)
    assert [mesh.bounds[1, 2] for mesh in meshes] == pytest.approx(parts.half_sizes[:, 2].tolist(), rel=1e-5), (
        "as high as it was"
    )
