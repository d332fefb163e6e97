"""Objectives by name, or by the dotted path of a user's own."""

from __future__ import annotations

from rl3d.algorithms.base import Objective
from rl3d.configs import find_class

OBJECTIVES = {"awm": "rl3d.algorithms.awm:AWM", "grpo": "rl3d.algorithms.grpo:GRPO"}


def find_objective(name: str) -> type[Objective]:
    """The class of a built-in objective, or of ``module:Class``. ValueError with one line if there
    is none."""
    return find_class("objective", name, OBJECTIVES, Objective)
