"""``rl3d.generate`` and the other verbs are functions, whatever was imported before."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator

import pytest

VERBS = ("evaluate", "export", "generate", "replay", "report", "train")


@pytest.fixture
def fresh() -> Iterator[None]:
    """rl3d as if it had not been imported yet."""
    known = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "rl3d"}
    for name in known:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "rl3d"]:
        del sys.modules[name]
    sys.modules.update(known)


def test_functions_stay_functions_when_the_module_is_imported_first(fresh):
    for verb in VERBS:
        module = importlib.import_module(f"rl3d.{verb}")
        assert isinstance(module, types.ModuleType)
        rl3d = sys.modules["rl3d"]
        assert isinstance(getattr(rl3d, verb), types.FunctionType), verb
        assert getattr(rl3d, verb) is getattr(module, verb)


def test_functions_stay_functions_when_called_first(fresh):
    rl3d = importlib.import_module("rl3d")
    for verb in VERBS:
        function = getattr(rl3d, verb)
        module = importlib.import_module(f"rl3d.{verb}")
        assert isinstance(function, types.FunctionType) and getattr(rl3d, verb) is function
        assert function is getattr(module, verb)


def test_other_submodules_are_modules(fresh):
    from rl3d import assets

    assert isinstance(assets, types.ModuleType) and sys.modules["rl3d"].assets is assets


def test_every_public_name_is_there(fresh):
    rl3d = importlib.import_module("rl3d")
    assert dir(rl3d) == sorted(rl3d.__all__)
    for name in rl3d.__all__:
        assert getattr(rl3d, name) is not None, name
    with pytest.raises(AttributeError, match="module 'rl3d' has no attribute 'Asset'"):
        _ = rl3d.Asset
