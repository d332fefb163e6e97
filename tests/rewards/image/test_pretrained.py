"""Finding and reading published weights: what is missing, damaged or hostile gets one line."""

import os
import pickle
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rewards import resolve
from rewards.image.clip import ClipScore
from rewards.image.pretrained import digest, find, read_weights

ROOT = Path(__file__).parents[3]
REPOSITORY = "openai/clip-vit-base-patch32"


def in_a_new_process(code: str, home: Path, **env: str) -> str:
    """What is printed; the network is not used unless ``env`` allows it."""
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        **env,
    }
    result = subprocess.run([sys.executable, "-c", code], env=env, cwd=home, capture_output=True, text=True, timeout=60)
    return result.stdout + result.stderr


def test_weights_in_the_hubs_cache_are_found_and_missing_ones_get_one_line_that_says_what_to_fetch(tmp_path):
    cached = "models--openai--clip-vit-large-patch14"
    snapshot = tmp_path / "hub" / cached / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "pytorch_model.bin").touch()
    (tmp_path / "hub" / cached / "refs").mkdir()
    (tmp_path / "hub" / cached / "refs" / "main").write_text("0" * 40)
    wanted = {
        "clip": ("openai/clip-vit-base-patch32", "model.safetensors"),
        "pickscore": ("yuvalkirstain/PickScore_v1", "model.safetensors"),
        "hpsv2": ("xswu/HPSv2", "HPS_v2.1_compressed.pt"),
        "aesthetic": ("trl-lib/ddpo-aesthetic-predictor", "aesthetic-model.pth"),
        "image_reward": ("THUDM/ImageReward", "ImageReward.pt"),
    }
    code = f"""if True:
        from rewards import resolve
        for name in {list(wanted)}:
            try:
                resolve(name)
            except ValueError as error:
                print(error)
        from rewards.image.pretrained import WEIGHT_FILES, find
        print(find("openai/clip-vit-large-patch14", *WEIGHT_FILES))
    """
    *lines, found = in_a_new_process(code, tmp_path, HF_HUB_CACHE=str(tmp_path / "hub")).splitlines()
    assert found == str(snapshot / "pytorch_model.bin")
    assert len(lines) == len(wanted)
    for line, (repository, file) in zip(lines, wanted.values()):
        assert line.startswith(f"{file} of {repository} is not on this machine and cannot be fetched (")
        assert line.endswith(
            f"): run 'hf download {repository} {file}', or put the file into $RL3D_WEIGHTS/{repository}"
        )


@pytest.fixture
def hub():
    """A hub on this machine that has one file, and what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append((self.command, self.path))
            found = self.path.endswith("/pytorch_model.bin")
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", "7" if found else "0")
            if found:
                self.send_header("ETag", '"0123456789abcdef"')
                self.send_header("X-Repo-Commit", "1" * 40)
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return found

        def do_GET(self):
            if self.do_HEAD():
                self.wfile.write(b"weights")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_missing_files_are_fetched_from_the_hub_once(hub, tmp_path):
    url, asked = hub
    code = f"""if True:
        from rewards.image.pretrained import WEIGHT_FILES, find
        for _ in range(2):
            print(find({REPOSITORY!r}, *WEIGHT_FILES).read_text())
        try:
            find("a/b", "other.pt")
        except ValueError as error:
            print(error)
    """
    printed = in_a_new_process(
        code, tmp_path, HF_HUB_OFFLINE="0", HF_ENDPOINT=url, HF_HUB_DISABLE_PROGRESS_BARS="1"
    ).splitlines()
    assert printed[-3:-1] == ["weights", "weights"]
    assert printed[-1].startswith(
        "other.pt of a/b is not on this machine and cannot be fetched (the hub has no such file): run 'hf download"
    )
    assert (
        len([path for command, path in asked if command == "GET" and path.endswith("/resolve/main/pytorch_model.bin")])
        == 1
    )


def test_a_folder_of_ones_own_comes_first_and_must_be_complete(weights):
    (weights / REPOSITORY).mkdir(parents=True)
    (weights / REPOSITORY / "second.bin").touch()
    assert find(REPOSITORY, "first.bin", "second.bin") == weights / REPOSITORY / "second.bin"
    with pytest.raises(ValueError, match=r"openai/clip-vit-base-patch32 has no config.json: run 'hf download"):
        find(REPOSITORY, "config.json")


def test_without_transformers_one_line_says_how_to_install_it(clip_repository, monkeypatch):
    clip_repository(REPOSITORY)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ValueError, match=r'^rewards by published models need transformers: pip install "rl3d\[pretrained\]"$'
    ):
        resolve("clip")


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path(os.environ["RL3D_WEIGHTS"]) / "ran",)


def test_a_pickle_that_runs_code_is_refused_unread(weights):
    path = weights / "hostile.pt"
    path.write_bytes(pickle.dumps({"a": Hostile()}))
    with pytest.raises(ValueError, match=r"hostile.pt: not a file of weights, or cut short"):
        read_weights(path)
    torch.save({"a": torch.ones(1), "b": Hostile()}, path)
    with pytest.raises(ValueError, match=r"hostile.pt: not a file of weights, or cut short"):
        read_weights(path)
    assert not (weights / "ran").exists()


def test_damaged_files_get_one_line(tmp_path):
    save_file({"a": torch.ones(100)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.ones(100)}, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        data = (tmp_path / name).read_bytes()
        for broken in (b"", data[: len(data) // 2], b"<!DOCTYPE html>" * 20, bytes(64)):
            (tmp_path / name).write_bytes(broken)
            with pytest.raises(ValueError, match="not a file of weights") as caught:
                read_weights(tmp_path / name)
            assert "\n" not in str(caught.value)
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="it holds other things than tensors by name"):
        read_weights(tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"none.pt: cannot read the weights \(No such file or directory\)"):
        read_weights(tmp_path / "none.pt")


def test_half_precision_is_read_as_float32(tmp_path):
    save_file(
        {"a": torch.ones(3, dtype=torch.float16), "n": torch.ones(3, dtype=torch.int64)}, tmp_path / "a.safetensors"
    )
    found = read_weights(tmp_path / "a.safetensors")
    assert found["a"].dtype == torch.float32 and found["n"].dtype == torch.int64


def test_a_model_whose_files_do_not_fit_together_is_refused(clip_repository, weights):
    model = clip_repository(REPOSITORY)
    state = {name: t.contiguous() for name, t in model.state_dict().items()}
    path = weights / REPOSITORY / "model.safetensors"
    save_file(state | {"visual_projection.weight": torch.ones(24, 7)}, path)
    with pytest.raises(ValueError, match=r"CLIPModel: visual_projection.weight should be \(24, 32\), is \(24, 7\)"):
        resolve("clip")
    for name, text, message in (
        ("tokenizer.json", "{}", "tokenizer.json: not a tokenizer"),
        ("config.json", "[]", "config.json: a model's configuration is a JSON object"),
        ("config.json", "{", "config.json: cannot be read as JSON"),
        ("config.json", '{"text_config": 3}', "config.json: not the configuration of a CLIP model"),
    ):
        other = weights / f"other{len(os.listdir(weights))}"
        clip_repository(other.name)
        (other / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            ClipScore(other.name)


def test_versions_tell_weights_apart(clip_repository, weights):
    for name in ("one", "two"):
        clip_repository(name)
    first, second = ClipScore("one"), ClipScore("two")
    assert first.version.startswith("1+") and first.version != second.version
    assert ClipScore("one").version == first.version and ClipScore("one").clip is first.clip
    path = weights / "one" / "model.safetensors"
    assert digest(path) == digest(path) != digest(weights / "two" / "model.safetensors")
