"""What a user sees after an error: exit code 2, and one line that says what, where and what to
do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rl3d.cli import main
from rl3d.configs import MAX_SEED
from rl3d.generators.load import TUNED, WEIGHTS


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    lines = errors.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("rl3d: ")
    return lines[0]


def test_an_unknown_command_is_refused(capsys) -> None:
    assert "unknown command 'genrate': choose one of generate" in _refused(["genrate"], capsys)


def test_no_command_shows_the_usage(capsys) -> None:
    assert main([]) == 2
    assert "usage: rl3d COMMAND" in capsys.readouterr().out


def test_an_empty_prompt_is_refused(capsys, tmp_path: Path) -> None:
    assert "the prompt is empty" in _refused(["generate", "  ", "--out", str(tmp_path / "a")], capsys)
    assert not (tmp_path / "a").exists()


def test_wrong_number_of_threads_makes_no_folder(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RL3D_NUM_THREADS", "two")
    assert main(["generate", "a chair", "--out", str(tmp_path / "chair")]) == 2
    assert capsys.readouterr().err == "rl3d: RL3D_NUM_THREADS must be a positive integer, got 'two'\n"
    assert not list(tmp_path.iterdir())


def test_an_unknown_reward_is_refused(capsys, tmp_path: Path) -> None:
    line = _refused(["train", "--rewards", "stabilty=1", "--out", str(tmp_path / "run")], capsys)
    assert "unknown reward 'stabilty', did you mean 'stability'?" in line
    assert not (tmp_path / "run").exists()


def test_evaluation_against_nothing_makes_no_folder(capsys, tmp_path: Path) -> None:
    line = _refused(["evaluate", "--against", str(tmp_path / "none"), "--out", str(tmp_path / "table")], capsys)
    assert "no such file; name an rl3d checkpoint" in line
    assert not (tmp_path / "table").exists()


def test_a_bad_reward_weight_is_refused(capsys, tmp_path: Path) -> None:
    assert "must be a number, got 'much'" in _refused(
        ["train", "--rewards", "stability=much", "--out", str(tmp_path / "run")], capsys
    )


def test_an_unknown_option_is_refused(capsys, tmp_path: Path) -> None:
    line = _refused(["generate", "a cube", "--colour", "red", "--out", str(tmp_path / "a")], capsys)
    assert "--colour" in line


def test_an_option_of_the_wrong_kind_is_refused(capsys, tmp_path: Path) -> None:
    line = _refused(["generate", "a cube", "--num", "many", "--out", str(tmp_path / "a")], capsys)
    assert "--num" in line


def test_an_optional_number_of_the_wrong_kind_is_refused(capsys, tmp_path: Path) -> None:
    line = _refused(["train", "--lr", "fast", "--out", str(tmp_path / "run")], capsys)
    assert "--lr" in line and "'fast'" in line and "NoneType" not in line
    assert not (tmp_path / "run").exists()


def test_an_option_out_of_range_is_refused(capsys) -> None:
    assert "--best-of must be at least 1, got 0" in _refused(["generate", "a cube", "--best-of", "0"], capsys)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--num", "x", "--num takes a whole number, got 'x'"),
        ("--sampling.temperature", "x", "--sampling.temperature takes a number, got 'x'"),
        ("--sampling.temperature", "0", "--sampling.temperature must be a number above 0, got 0"),
        ("--sampling.top-p", "0", "--sampling.top-p must be above 0 and at most 1, got 0"),
        ("--sampling.guidance", "much", "--sampling.guidance takes a number, got 'much'"),
        ("--sampling.guidance", "-1", "--sampling.guidance must be a finite number of at least 0, got -1.0"),
        ("--sampling.steps", "8", "generator 'part-tokens' has no sampling option steps; it has: temperature,"),
        ("--out", "", "--out is empty: name a file or folder, or leave it out"),
        ("--library", "", "--library is empty"),
        ("--checkpoint", "a.txt", "a.txt: no .safetensors file, so not an rl3d checkpoint"),
    ],
)
def test_a_wrong_value_names_its_option(option, value, message, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("a.txt").write_text("no weights")
    line = _refused(["generate", "a cube", option, value], capsys)
    assert line.startswith(f"rl3d: {message}"), line
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--prompts a.txt --split novel", "--prompts excludes --split: leave one of them out"),
        ("--prompts a.txt --num-prompts 3", "--prompts excludes --num-prompts"),
        ("--prompts a.txt --kinds single", "--prompts excludes --kinds"),
        ("--split novel --kinds single,count", "--split novel has captions of the kind single only"),
    ],
)
def test_options_of_an_evaluation_that_exclude_each_other_are_refused(options, message, capsys, tmp_path) -> None:
    line = _refused(["evaluate", *options.split(), "--out", str(tmp_path / "table")], capsys)
    assert line.startswith(f"rl3d: {message}") and not (tmp_path / "table").exists()


def test_an_unknown_schedule_is_refused(capsys) -> None:
    asked = ["generate", "a cube", "--generator", "part-flow", "--sampling.sde_type", "wild"]
    assert "--sampling.sde-type" in _refused(asked, capsys)


def test_a_missing_checkpoint_is_refused(capsys, tmp_path: Path) -> None:
    line = _refused(
        ["generate", "a cube", "--checkpoint", str(tmp_path / "none.safetensors"), "--out", str(tmp_path / "a")], capsys
    )
    assert "none.safetensors: no such file; name an rl3d checkpoint" in line
    assert not (tmp_path / "a").exists()


def test_a_truncated_checkpoint_is_refused(capsys, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(TUNED.read_bytes()[:100_000])
    line = _refused(["generate", "a cube", "--checkpoint", str(path), "--out", str(tmp_path / "a")], capsys)
    assert "cut.safetensors: not an rl3d checkpoint, or cut short" in line


def test_another_models_checkpoint_is_refused(capsys, tmp_path: Path) -> None:
    judge = WEIGHTS / "judge.safetensors"
    assert "holds no generator (its kind is 'scorer'); name the weights of one" in _refused(
        ["generate", "a cube", "--checkpoint", str(judge), "--out", str(tmp_path / "a")], capsys
    )


def test_a_malformed_ply_is_refused(capsys, tmp_path: Path) -> None:
    path = tmp_path / "bad.ply"
    path.write_text("ply\nnonsense\n")
    assert "bad.ply" in _refused(["export", str(path), "--to", str(tmp_path / "x.splat")], capsys)
    assert not (tmp_path / "x.splat").exists()


def test_a_missing_asset_is_refused(capsys, tmp_path: Path) -> None:
    assert "nowhere" in _refused(["view", str(tmp_path / "nowhere")], capsys)


def test_an_output_folder_that_is_a_file_is_refused(capsys, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    line = _refused(["generate", "a cube", "--out", str(tmp_path / "a")], capsys)
    assert "is a file; name a folder" in line
    assert (tmp_path / "a").read_text() == "in the way"


def test_a_missing_device_is_refused(capsys, tmp_path: Path) -> None:
    out = str(tmp_path / "a")
    assert "'gpu' is no device: use cpu, cuda or cuda:N" in _refused(
        ["generate", "a cube", "--device", "gpu", "--out", out], capsys
    )
    line = _refused(["generate", "a cube", "--device", "cuda:99", "--out", out], capsys)
    assert "CUDA device" in line
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("command", [["generate", "a cube"], ["optimize", "a cube"], ["evaluate"], ["train"]])
def test_an_unwritable_output_folder_is_refused_before_anything_is_loaded(command, capsys, tmp_path: Path) -> None:
    # Nobody can write to /proc, not even root.
    for out in ("/proc", "/proc/rl3d"):
        line = _refused([*command, "--out", out, "--device", "cuda:99"], capsys)
        assert f"cannot write to {out}: " in line and "choose another place" in line
    (tmp_path / "file").write_text("in the way")
    line = _refused([*command, "--out", str(tmp_path / "file"), "--device", "cuda:99"], capsys)
    assert "file is a file; name a folder" in line


@pytest.mark.parametrize("command", [["generate", "a"], ["optimize", "a"], ["evaluate"], ["train"]])
@pytest.mark.parametrize("seed", [-1, 2**53, 2**63 - 1, 10**20])
def test_a_seed_out_of_range_is_refused(command, seed, capsys, tmp_path: Path) -> None:
    line = _refused([*command, "--seed", str(seed), "--out", str(tmp_path / "a")], capsys)
    assert "--seed must be at least 0 and at most 9007199254740991, got" in line
    assert not (tmp_path / "a").exists()


def test_the_largest_seed_makes_an_asset_that_replays(capsys, tmp_path: Path) -> None:
    asked = ["--seed", str(MAX_SEED), "--num", "2", "--rewards", "connected=1"]
    assert main(["generate", "a cube", *asked, "--out", str(tmp_path / "a")]) == 0
    assert main(["replay", str(tmp_path / "a" / "01")]) == 0


def test_a_name_that_the_system_refuses_is_one_line(capsys) -> None:
    name = "a" * 300
    toy = ["--generator", "tests.rl3d.toys:ExampleToy"]
    line = _refused(["generate", "a", *toy, "--retrieve", "1", "--library", name], capsys)
    assert line.startswith(f"rl3d: cannot use {name}") and line.endswith("File name too long")


def test_a_missing_prompt_file_is_refused(capsys, tmp_path: Path) -> None:
    line = _refused(["train", "--prompts", str(tmp_path / "none.txt"), "--out", str(tmp_path / "run")], capsys)
    assert "none.txt: cannot read prompts" in line


def test_a_gate_without_a_verdict_is_refused(capsys, tmp_path: Path) -> None:
    rewards = ["--rewards", "connected=1,penetration=1", "--gates", "connected=penetration"]
    line = _refused(["train", *rewards, "--guard", "off", "--out", str(tmp_path / "run")], capsys)
    assert "reward 'penetration' gives no verdict, so it cannot be a gate" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("policy", "spins"), [(None, "1000"), ("passive", None)])
def test_threads_spin_for_less_unless_a_policy_is_set(policy, spins, monkeypatch, capsys):
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    assert main(["--version"]) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_an_option_named_in_a_wrapped_message_keeps_its_dashes(capsys) -> None:
    error = _refused(["pretrain", "part-tokens", "--processes", "3"], capsys)
    assert error == "rl3d: --batch 64 must be a multiple of --processes 3; see rl3d pretrain --help"
