"""The parser finds the objects of assets, whoever made them, and in whichever order their parts
are."""

import numpy as np
import pytest
import torch

from rewards.composition.parser import SHIPPED, joined, load_parser
from rl3d.corpus import Item, sample
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors
from scenes.parts import CENTRE, LOG_HALF_SIZE

READER = load_parser()


@pytest.fixture(scope="module")
def items() -> list[Item]:
    rng = np.random.default_rng(77)
    return [sample(rng, ("train", "heldout")[k % 2]) for k in range(120)]


def found(vectors: np.ndarray) -> set[tuple[str, frozenset[int]]]:
    return {(one.noun, frozenset(one.parts.tolist())) for one in READER.parse(vectors.astype(np.float64))}


def test_objects_of_unseen_scenes_are_found(items):
    right = []
    for item in items:
        wanted = {(noun, frozenset(np.flatnonzero(item.objects == k).tolist())) for k, noun in enumerate(item.nouns)}
        right.append(found(item.vectors) == wanted)
    assert np.mean(right) >= 0.95


def test_colours_and_materials_are_those_of_the_facts(items):
    right = []
    for item in items:
        objects = READER.parse(item.vectors.astype(np.float64))
        for thing in item.facts.things:
            for one in (one for one in objects if one.noun == thing.noun and item.kind != "relation"):
                right.append(thing.color in (None, one.color) and thing.pattern in (None, one.pattern))
                right.append(thing.finish in (None, one.finish))
                right += [
                    (one.second if role == thing.pattern else one.colors.get(role)) == c for role, c in thing.parts
                ]
    assert len(right) > 200 and np.mean(right) >= 0.97


def test_neither_order_nor_size_nor_place_matters(items):
    rng = np.random.default_rng(0)
    same = []
    for item in items[:60]:
        order = rng.permutation(len(item.vectors))
        moved = item.vectors[order].astype(np.float64)
        moved[:, CENTRE] = moved[:, CENTRE] * 0.5 + [3.0, -2.0, 1.0]
        moved[:, LOG_HALF_SIZE] += np.log(0.5)
        named = {(noun, frozenset(order[list(rows)].tolist())) for noun, rows in found(moved)}
        same.append(named == found(item.vectors))
    assert np.mean(same) >= 0.98  # rounding may tip a doubtful case


def test_every_part_is_of_one_object_and_has_a_role_of_it(items):
    for item in items[:30]:
        objects = READER.parse(item.vectors.astype(np.float64))
        assert sorted(k for one in objects for k in one.parts.tolist()) == list(range(len(item.vectors)))
        for one in objects:
            known = {"main", *READER.lexicon.roles[one.noun], *READER.lexicon.details[one.noun]}
            assert len(one.roles) == len(one.parts) and set(one.roles) <= known
            assert sum(one.likely.values()) == pytest.approx(1, abs=1e-4) and one.area > 0
    assert READER.parse(np.zeros((0, 27))) == []


def test_groups_by_average_linkage():
    clear = np.kron(np.eye(3), np.ones((2, 2)))
    assert joined(clear).tolist() == [0, 0, 1, 1, 2, 2]
    assert joined(np.array([[0.0]])).tolist() == [0]
    # Two groups of three with one false edge between them: chains do not join them.
    false_edge = np.kron(np.eye(2), np.ones((3, 3)))
    false_edge[2, 3] = false_edge[3, 2] = 0.9
    assert joined(false_edge).tolist() == [0, 0, 0, 1, 1, 1]
    assert joined(np.array([[1, 0.1, 0.8], [0.1, 1, 0.1], [0.8, 0.1, 1]])).tolist() == [0, 1, 0]


def test_the_shipped_weights_are_small():
    assert SHIPPED.stat().st_size <= 2 << 20
    assert all(value.dtype == torch.float16 for value in read_tensors(SHIPPED).tensors.values())


def test_other_weights_are_refused_in_one_line(tmp_path):
    tensors, header, _ = read_tensors(SHIPPED)
    write_tensors(tmp_path / "short.safetensors", dict(list(tensors.items())[1:]), header)
    write_tensors(tmp_path / "plain.safetensors", tensors, {"kind": "parser"})
    for name in ("short", "plain"):
        with pytest.raises(FileError, match=rf"{name}.safetensors: not a parser's weights"):
            load_parser(tmp_path / f"{name}.safetensors")
