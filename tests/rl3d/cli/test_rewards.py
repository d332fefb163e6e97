"""``rl3d rewards`` lists the rewards without a download, and times those that it is asked to."""

import pytest

from rewards import KNOWN
from rl3d.cli import main


def test_every_reward_is_listed_and_nothing_is_fetched(capsys, monkeypatch):
    monkeypatch.setattr("rewards.image.clip.find", lambda *names: pytest.fail(f"fetches {names}"))
    assert main(["rewards"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert list(rows) == list(KNOWN)
    assert "yes" in rows["margin"] and "3 views of 64" in rows["alignment"] and "with normals" in rows["normals"]
    assert " no " in rows["stability"] and "of its files" in rows["clip"]


def test_named_rewards_are_timed(capsys):
    assert main(["rewards", "--measure", "3", "--rewards", "connected,tests.rl3d.training.planted:vivid"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert "ms an asset" in header and len(rows) == 2
    assert all(float(row.split()[3]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rewards", "conected"], "did you mean 'connected'"),
        (["--rewards", ","], "--rewards names no reward"),
        (["--measure", "-1"], "--measure must be at least 0"),
        (["--measure", "1", "--rewards", "vlm"], "RL3D_VLM_MODEL is not set"),
    ],
)
def test_bad_input_is_one_line(arguments, complaint, capsys, monkeypatch):
    monkeypatch.delenv("RL3D_VLM_MODEL", raising=False)
    assert main(["rewards", *arguments]) == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1
