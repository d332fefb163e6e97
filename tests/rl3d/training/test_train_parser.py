"""The training of the parser: it goes on where it was cut off, its loss falls, and its examples are
labelled."""

import numpy as np
import torch

from rewards.composition.parser import load_parser
from rl3d.training.train_parser import ParserTraining, example, gathering, parser_config, shaken, train_parser
from scenes.files.tensors import read_tensors
from scenes.parts import MAX_PARTS


def test_a_training_that_is_cut_off_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("rl3d.training.supervised.SAVE_EVERY", 2)
    monkeypatch.setattr("rl3d.training.supervised.COPIES", 0)
    monkeypatch.setattr("rl3d.training.supervised.REPORT_EVERY", 2)
    settings = {"steps": 4, "batch": 4, "bfloat16": False}
    assert len(list(train_parser(ParserTraining(out=tmp_path / "whole", **settings)))) == 2
    half = train_parser(ParserTraining(out=tmp_path / "cut", **settings))
    next(half), next(half)
    half.close()
    assert read_tensors(tmp_path / "cut/state.safetensors")[1]["step"] == 2
    list(train_parser(ParserTraining(out=tmp_path / "cut", **settings)))
    whole, cut = (load_parser(tmp_path / name / "parser.safetensors").network.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_the_loss_falls(tmp_path, monkeypatch):
    monkeypatch.setattr("rl3d.training.supervised.REPORT_EVERY", 20)
    metrics = list(train_parser(ParserTraining(out=tmp_path / "run", steps=60, batch=16, bfloat16=False)))
    assert metrics[-1]["loss"] < 0.9 * metrics[0]["loss"]


def test_examples_keep_their_labels():
    rng, config = np.random.default_rng(0), parser_config()
    for k in range(300):
        drawing = gathering(rng) if k % 2 else example(rng)
        assert 1 <= len(drawing.vectors) <= MAX_PARTS and len(drawing.roles) == len(drawing.objects)
        assert set(drawing.objects.tolist()) <= set(range(len(drawing.nouns)))
        assert set(drawing.roles) <= set(config.roles) and set(drawing.nouns) <= set(config.nouns)
        changed = shaken(drawing, rng)
        assert len(changed.vectors) == len(changed.objects) == len(changed.roles) and np.isfinite(changed.vectors).all()
        assert set(zip(changed.objects.tolist(), changed.roles, strict=True)) <= set(
            zip(drawing.objects.tolist(), drawing.roles, strict=True)
        )
