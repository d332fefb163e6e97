"""``rl3d doctor`` lists what is here, and why the rest is not."""

import torch

from renderers import backends
from rl3d import doctor
from rl3d.cli import main


def test_doctor_names_every_backend_and_its_state(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for name, backend in backends().items():
        line = next(
            line for line in said.splitlines() if line.split()[:1] == [name] and line.rstrip().endswith(backend.state)
        )
        assert backend.draws in line
    assert f"torch       {torch.__version__}" in said
    assert "self-check: the renderer differs from the float64 reference by at most" in said


def test_doctor_fails_where_the_renderer_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "largest_error", lambda: 0.5)
    assert main(["doctor"]) == 2
    assert "the renderer does not draw what the reference draws" in capsys.readouterr().err
