"""Shapes and types are checked at run time in every test: jaxtyping's annotations on the four packages, by beartype."""

import importlib.util
import os

import beartype
import jaxtyping
import pytest

PACKAGES = ["scenes", "renderers", "rewards", "rl3d"]

# An int will do where a float is asked for, as PEP 484 has it.
beartype.beartype = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))

# jaxtyping's hook imports from the checkout alone; an editable install keeps the compiled library in site-packages.
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
