"""The compiled library: where it is looked for, and how many threads it may use."""

import pytest

from renderers import kernels


def test_thread_count_follows_the_environment(monkeypatch):
    monkeypatch.setenv("RL3D_NUM_THREADS", "1")
    assert kernels.thread_count() == 1
    monkeypatch.setenv("RL3D_NUM_THREADS", "two")
    with pytest.raises(ValueError, match="RL3D_NUM_THREADS must be a positive integer, got 'two'"):
        kernels.thread_count()


def test_library_named_by_the_environment(monkeypatch, tmp_path):
    load = kernels._load.__wrapped__
    monkeypatch.setenv("RL3D_KERNELS", str(tmp_path / "none.so"))
    assert load() == f"RL3D_KERNELS={tmp_path / 'none.so'} does not exist"
    (tmp_path / "text.so").write_text("not a library")
    monkeypatch.setenv("RL3D_KERNELS", str(tmp_path / "text.so"))
    assert "text.so cannot be loaded" in load()
