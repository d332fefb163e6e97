"""Parts as tokens: what coding and decoding changes, and what it must not."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import resolve
from rewards.base import Batch
from rl3d.corpus import captions, prompts, sample, sample_for
from rl3d.corpus.shapes import moved
from rl3d.generators.part_codes import (
    CELL,
    FACES,
    OBJECT,
    PART,
    ROLE,
    SHAPE,
    SIZES,
    UNUSED,
    Labels,
    decode_assets,
    decode_parts,
    encode_assets,
    encode_parts,
    is_object,
)
from scenes.asset import PartAsset
from scenes.parts import (
    CENTRE,
    COLOR,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    PATTERN,
    ROTATION,
    TAPER,
    VECTOR_SIZE,
    Parts,
)


@pytest.fixture(scope="module")
def corpus() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [sample(rng).vectors for _ in range(120)]


def _coded(vectors: np.ndarray) -> Parts:
    return Parts.from_vectors(decode_parts(encode_parts(torch.from_numpy(vectors))))


def test_surfaces_move_by_millimetres(corpus: list[np.ndarray]) -> None:
    vectors = np.concatenate(corpus)
    surface = Parts.from_vectors(torch.from_numpy(vectors)).surface_grid(4).flatten(1, 2)
    apart = torch.cdist(surface, _coded(vectors).surface_grid(4).flatten(1, 2)).amin(-1)
    assert apart.mean() < 0.003 and apart.flatten().quantile(0.999) < 0.015


def test_coded_assets_stand_in_one_piece(corpus: list[np.ndarray]) -> None:
    parts = Parts.stack([_coded(v) for v in corpus])
    batch = Batch([""] * len(corpus), PartAsset(parts))
    for name in ("stability", "connected"):
        verdict = resolve(name)(batch).verdict
        assert verdict is not None and verdict.float().mean() >= 0.99, name


def test_decoded_parts_have_the_same_tokens(corpus: list[np.ndarray]) -> None:
    tokens = encode_parts(torch.from_numpy(np.concatenate(corpus)))
    assert torch.equal(encode_parts(decode_parts(tokens)), tokens)
    assert bool((tokens[:, OBJECT] == PART).all()) and bool((tokens[:, ROLE] == UNUSED).all())
    assert bool((tokens[:, SHAPE:] >= 0).all()) and bool((tokens < torch.tensor(SIZES)).all())


def test_an_object_is_the_same_wherever_it_stands() -> None:
    """Its parts have equal tokens, its box says where it is and how large, and decoding moves the
    parts there."""
    rng = np.random.default_rng(3)
    chair = sample_for(captions.single(rng, "train", "chair"), rng).vectors
    count = len(chair)
    scene = np.concatenate([moved(chair, 0.5, (0.6, -0.2, 0.0)), moved(chair, 0.25, (-1.0, 0.4, 2.0))])
    known = Labels(np.repeat([0, 1], count), np.array([4, 4]), np.tile(np.arange(count), 2))
    (tokens,) = encode_assets([scene], [known])
    assert tokens.shape == (2 * count + 2, len(SIZES))
    assert is_object(tokens).nonzero().flatten().tolist() == [0, count + 1]
    first, second = tokens[1 : count + 1], tokens[count + 2 :]
    assert (first - second).abs().max() <= 1, "at most a rounding apart"
    assert tokens[[0, count + 1], OBJECT].tolist() == [5, 5] and first[:, ROLE].tolist() == list(range(count))
    vectors, part = decode_assets(tokens[None])
    back = vectors[0][part[0]].numpy()
    assert np.abs(back[:, CENTRE] - scene[:, CENTRE]).max() < 0.004
    assert np.abs(np.exp(back[:, LOG_HALF_SIZE]) - np.exp(scene[:, LOG_HALF_SIZE])).max() < 0.004
    assert back[:count, CENTRE][:, 2].min() > 0


def test_scenes_of_the_corpus_come_back() -> None:
    for item in prompts(40, 1, "train", ("scene", "composition")):
        known = Labels(item.objects, np.zeros(len(item.nouns), int), np.zeros(len(item.objects), int))
        (tokens,) = encode_assets([item.vectors], [known])
        vectors, part = decode_assets(tokens[None])
        back = vectors[0][part[0]]
        assert len(back) == len(item.vectors)
        apart = (back[:, CENTRE] - torch.from_numpy(item.vectors[:, CENTRE])).abs().max()
        assert apart < 0.005, item.caption


def test_parts_from_elsewhere_are_one_unknown_object(corpus: list[np.ndarray]) -> None:
    (tokens,) = encode_assets([corpus[0]], [None])
    assert is_object(tokens).nonzero().flatten().tolist() == [0] and bool((tokens[0, ROLE:] == UNUSED).all())
    assert torch.equal(tokens[1:], encode_parts(torch.from_numpy(corpus[0]))), "in the frame of the world"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=len(SIZES), max_size=len(SIZES)))
def test_any_tokens_are_a_part(shares: list[float]) -> None:
    tokens = torch.tensor([[int(share * size) for share, size in zip(shares, SIZES, strict=True)]])
    vectors = decode_parts(tokens)
    assert vectors.isfinite().all()
    parts = Parts.from_vectors(vectors)
    assert torch.allclose(parts.rotations @ parts.rotations.mT, torch.eye(3), atol=1e-5)
    assert torch.allclose(parts.vectors(), vectors, atol=1e-5)  # nothing was out of range


def test_forms_of_one_part_have_the_same_tokens() -> None:
    """A half turn about x with the taper reversed, and a quarter turn about z with the half sizes
    exchanged, are the same superquadric."""
    rng = np.random.default_rng(0)
    row = torch.from_numpy(sample(rng).vectors[:1]).double()
    parts = Parts.from_vectors(row)
    turned = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double())[0]
    turned = turned * torch.linalg.det(turned)
    parts = dataclasses.replace(
        parts,
        rotations=turned[None],
        taper=torch.tensor([0.5]).double(),
        half_sizes=torch.tensor([[0.1, 0.2, 0.3]]).double(),
        exponents=torch.tensor([[0.3, 0.3]]).double(),
        centres=torch.tensor([[0.0, 0.0, 0.4]]).double(),
    )
    about_x, about_z = torch.diag(torch.tensor([1.0, -1, -1])).double(), torch.zeros(3, 3).double()
    about_z[0, 1], about_z[1, 0], about_z[2, 2] = -1, 1, 1
    forms = [
        parts,
        dataclasses.replace(parts, rotations=parts.rotations @ about_x, taper=-parts.taper),
        dataclasses.replace(
            parts, rotations=parts.rotations @ about_z, half_sizes=torch.tensor([[0.2, 0.1, 0.3]]).double()
        ),
    ]
    tokens = [encode_parts(form.vectors()) for form in forms]
    assert torch.equal(tokens[0], tokens[1]) and torch.equal(tokens[0], tokens[2])


def test_faces_that_touch_have_equal_tokens() -> None:
    rng = np.random.default_rng(0)
    row = sample(rng).vectors[:1].astype(np.float64)
    row[:, TAPER], row[:, LOG_HALF_SIZE] = 0, math.log(0.0571)
    row[:, 10:16] = (1, 0, 0, 0, 1, 0)
    lower, upper = row.copy(), row.copy()
    lower[:, 6], upper[:, 6] = 0.0571, 3 * 0.0571
    tokens = encode_parts(torch.from_numpy(np.concatenate([lower, upper])))
    assert tokens[0, FACES + 5] == tokens[1, FACES + 4]
    decoded = Parts.from_vectors(decode_parts(tokens))
    top, bottom = (decoded.centres + decoded.half_sizes)[0, 2], (decoded.centres - decoded.half_sizes)[1, 2]
    assert abs(float(top - bottom)) < 1e-6 and abs(float(bottom) - 2 * 0.0571) <= CELL / 2


def test_materials_are_kept() -> None:
    rng = np.random.default_rng(0)
    row = Parts.from_vectors(torch.from_numpy(sample(rng).vectors[:1])).vectors()
    row[:, PATTERN] = torch.tensor([-0.2, 0.7, 0.1])
    row[:, 19:21], row[:, 24:27] = torch.tensor([0.9, 0.35]), torch.tensor([0.96, 0.96, 0.96])
    decoded = decode_parts(encode_parts(row))
    assert decoded[0, PATTERN].tolist() == [-1, 1, -1]
    assert decoded[0, 19:21].tolist() == pytest.approx([1.0, 0.3])
    assert decoded[0, 24:27].tolist() == pytest.approx([0.96, 0.96, 0.96])
    assert (decoded[0, COLOR] - row[0, COLOR]).abs().max() < 0.05


def test_a_diamond_keeps_its_roll() -> None:
    vectors = torch.zeros(1, VECTOR_SIZE)
    vectors[0, EXISTENCE], vectors[0, EXPONENTS] = 1, torch.tensor([0.1, 1.5])
    vectors[0, CENTRE], vectors[0, LOG_HALF_SIZE] = torch.tensor([0, 0, 0.2]), math.log(0.2)
    turn = math.sqrt(0.5)
    vectors[0, ROTATION] = torch.tensor([turn, turn, 0, -turn, turn, 0])
    again = decode_parts(encode_parts(vectors))
    before, after = (Parts.from_vectors(v).surface_grid(4) for v in (vectors, again))
    assert torch.cdist(before.flatten(0, -2), after.flatten(0, -2)).amin(1).max() < 0.01
