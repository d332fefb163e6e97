"""The training of ``one_face``: it goes on where it was cut off, and its loss falls."""

import torch

from rewards.image.alignment import load_scorer
from rl3d.training.train_faces import FacesTraining, train_faces
from scenes.files.tensors import read_tensors


def test_a_training_that_is_cut_off_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("rl3d.training.supervised.SAVE_EVERY", 2)
    monkeypatch.setattr("rl3d.training.supervised.COPIES", 0)
    monkeypatch.setattr("rl3d.training.supervised.REPORT_EVERY", 2)
    settings = {"steps": 4, "batch": 3, "captions": 12, "bfloat16": False}
    assert len(list(train_faces(FacesTraining(out=tmp_path / "whole", **settings)))) == 2
    half = train_faces(FacesTraining(out=tmp_path / "cut", **settings))
    next(half), next(half)
    half.close()
    state = tmp_path / "cut/state.safetensors"
    assert read_tensors(state)[1]["step"] == 2
    list(train_faces(FacesTraining(out=tmp_path / "cut", **settings)))
    whole, cut = (load_scorer(tmp_path / name / "faces.safetensors").state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_the_loss_falls_and_pairs_are_told_apart(tmp_path, monkeypatch):
    """On a few assets seen again and again: the loss must fall by far more than its noise."""
    monkeypatch.setattr("rl3d.training.supervised.REPORT_EVERY", 10)
    config = FacesTraining(out=tmp_path / "run", steps=60, batch=8, captions=16, bfloat16=False)
    metrics = list(train_faces(config))
    assert metrics[-1]["loss"] < 0.8 * metrics[0]["loss"]
    assert metrics[-1]["beats_two_faced"] > 0.7
