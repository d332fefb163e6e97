"""The training of ``one_face``: it goes on where it was cut off, and its loss falls."""

import torch

from rewards.image.alignment import load_scorer
from rl3d.training.train_faces import FacesTraining, train_faces
from scenes.files.tensors import read_tensors


def test_a_training_that_is_cut_off_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("rl3d.training.supervised.SAVE_EVERY", 2)
    monkeypatch.setattr("rl3d.training.supervised.REPORT_EVERY", 2)
    settings = {"steps": 4, "batch": 3, "captions": 12, "bfloat16": False}
    losses = [metrics["loss"] for metrics in train_faces(FacesTraining(out=tmp_path / "whole", **settings))]
    assert len(losses) == 2 and all(0 < loss < 10 for loss in losses)
    half = train_faces(FacesTraining(out=tmp_path / "cut", **settings))
    next(half), next(half)
    half.close()
    state = tmp_path / "cut/state.safetensors"
    assert read_tensors(state)[1]["step"] == 2
    list(train_faces(FacesTraining(out=tmp_path / "cut", **settings)))
    whole, cut = (load_scorer(tmp_path / name / "faces.safetensors").state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
