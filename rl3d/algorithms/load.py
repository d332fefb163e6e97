"""Objectives by name, or by the dotted path of a user's own."""

from __future__ import annotations

import difflib
import importlib

from rl3d.algorithms.base import Objective

OBJECTIVES = {"awm": "rl3d.algorithms.awm:AWM", "grpo": "rl3d.algorithms.grpo:GRPO"}


def find_objective(name: str) -> type[Objective]:
    """The class of a built-in objective, or of ``module:Class``. ValueError with one line if there
    is none."""
    if ":" not in name and name not in OBJECTIVES:
        close = difflib.get_close_matches(name, OBJECTIVES, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"unknown objective {name!r}{hint} (known: {', '.join(OBJECTIVES)}, or module:Class of your own)"
        )
    module_name, _, attribute = OBJECTIVES.get(name, name).partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"objective {name!r}: there is no module {error.name!r} here") from None
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise ValueError(f"objective {name!r}: {attribute!r} is no subclass of rl3d.algorithms.base.Objective")
    return found
