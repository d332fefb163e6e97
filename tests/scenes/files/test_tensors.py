"""Tensors with a header come back as they were; whatever is no such file is refused in one line."""

import hashlib
import json
import struct

import pytest
import torch
from safetensors.torch import save

from scenes.files import FileError, read_bytes
from scenes.files.tensors import read_tensors, write_tensors

WHAT = "an rl3d checkpoint"


def test_tensors_and_header_come_back(tmp_path):
    path = tmp_path / "new" / "a.safetensors"
    tensors = {
        "a": torch.randn(3, 4, requires_grad=True),
        "b": torch.arange(6).view(2, 3).T,
        "none": torch.zeros(0, 2, dtype=torch.float64),
    }
    header = {"kind": "test", "config": {"width": 3, "ratio": 0.5, "name": "ü"}}
    write_tensors(path, tensors, header)
    found = read_tensors(path, WHAT)
    assert found.header == header and found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor.detach(), rtol=0, atol=0)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def with_metadata(metadata: object) -> bytes:
    head = json.dumps({"__metadata__": metadata}).encode()
    return struct.pack("<Q", len(head)) + head


WRONG = {
    "empty": b"",
    "short": b"\0\0\0",
    "text": b"not a checkpoint at all",
    "endless": struct.pack("<Q", 2**63) + b"{}",
    "other": save({"a": torch.zeros(2)}),
    "foreign": save({"a": torch.zeros(2)}, metadata={"format": "pt"}),
    "list": save({"a": torch.zeros(2)}, metadata={"rl3d": "[1]"}),
    "no JSON": save({"a": torch.zeros(2)}, metadata={"rl3d": "{"}),
    "deep": save({"a": torch.zeros(2)}, metadata={"rl3d": 100_000 * "["}),
    "cut": save({"a": torch.zeros(200)}, metadata={"rl3d": "{}"})[:-9],
    "no text": with_metadata({"rl3d": 3}),
    "no object": with_metadata([]),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_files_are_refused_in_one_line(tmp_path, name):
    path = tmp_path / "a.safetensors"
    path.write_bytes(WRONG[name])
    with pytest.raises(FileError, match=r"a\.safetensors: not an rl3d checkpoint, or cut short; make") as error:
        read_tensors(path, WHAT)
    assert str(error.value).isprintable()


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"none: no such file; name an rl3d checkpoint$"):
        read_tensors(tmp_path / "none", WHAT)
    with pytest.raises(FileError, match=r"cannot read .*: Is a directory$"):
        read_tensors(tmp_path, WHAT)
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot read .*: Not a directory$"):
        read_tensors(tmp_path / "file" / "a", WHAT)


def test_large_files_are_refused_unread(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**31 + 1)  # sparse
    with pytest.raises(FileError, match="larger than 2048 MiB, not an rl3d checkpoint"):
        read_tensors(path, WHAT)
    write_tensors(path, {"a": torch.zeros(2**18)}, {})
    with pytest.raises(FileError, match="larger than 1 MiB"):
        read_tensors(path, WHAT, max_bytes=2**20)


def test_read_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"all of it")
    assert read_bytes(tmp_path / "a") == b"all of it"
    for path, why in ((tmp_path / "b", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(FileError, match=f"^cannot read {path}: {why}$"):
            read_bytes(path)
