"""A file is written whole or not at all, and obstacles are reported in one line."""

import os

import pytest

from scenes.files import FileError, atomic_write


def test_a_file_appears_with_its_folders_and_the_usual_permissions(tmp_path):
    path = tmp_path / "new" / "folders" / "file.txt"
    with atomic_write(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".txt" and not path.exists()
        temporary.write_text("all of it")
    (tmp_path / "plain").touch()
    assert path.read_text() == "all of it" and os.listdir(path.parent) == ["file.txt"]
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_write(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"


def test_a_blocking_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.ply", tmp_path, tmp_path / ("long" * 100)):
        with pytest.raises(FileError, match="cannot write") as error, atomic_write(path) as temporary:
            temporary.write_text("x")
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_without_permission_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match="Permission denied"), atomic_write(tmp_path / "a.ply"):
        pass


def test_a_full_disk_is_reported_and_other_errors_pass_through(tmp_path):
    with pytest.raises(FileError, match="No space left"), atomic_write(tmp_path / "a.ply"):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.ply"):
        (tmp_path / "elsewhere" / "input.txt").read_text()
    assert os.listdir(tmp_path) == []
