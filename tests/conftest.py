"""Shapes and types are checked at run time in every test: jaxtyping's annotations on the four
packages, by beartype."""

import importlib.util
import os

import beartype
import jaxtyping
import numpy
import pytest

PACKAGES = ["scenes", "renderers", "rewards", "rl3d"]

# The checks are for shapes: an int or a numpy scalar will do where a float is asked for.
_numbers = {float: float | int | numpy.floating | numpy.integer, int: int | numpy.integer}
beartype.beartype = beartype.beartype(
    conf=beartype.BeartypeConf(hint_overrides=beartype.BeartypeHintOverrides(_numbers))
)

# jaxtyping's hook imports from the checkout alone; an editable install keeps the compiled library
# in site-packages.
_found = importlib.util.find_spec("renderers")
jaxtyping.install_import_hook(PACKAGES, "beartype.beartype")

import renderers  # noqa: E402

if _found and _found.submodule_search_locations:
    renderers.__path__ = list(dict.fromkeys([*renderers.__path__, *_found.submodule_search_locations]))

import torch  # noqa: E402

# Test processes share the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ.setdefault("RL3D_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def seed() -> None:
    """Random initialisation of networks is the only use of torch's global generator."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
