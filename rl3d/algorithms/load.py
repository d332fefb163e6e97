"""Objectives by name, or by the dotted path of a user's own."""

from __future__ import annotations

from rl3d.algorithms.base import Objective
from rl3d.configs import find_class
from rl3d.generators.base import Generator

OBJECTIVES = {
    "reinforce": "rl3d.algorithms.reinforce:Reinforce",
    "ddpo": "rl3d.algorithms.ddpo:DDPO",
    "dpok": "rl3d.algorithms.dpok:DPOK",
    "grpo": "rl3d.algorithms.grpo:GRPO",
    "awm": "rl3d.algorithms.awm:AWM",
    "nft": "rl3d.algorithms.nft:NFT",
    "dgpo": "rl3d.algorithms.dgpo:DGPO",
    "dpo": "rl3d.algorithms.dpo:DPO",
    "dro": "rl3d.algorithms.dro:DRO",
    "draft": "rl3d.algorithms.draft:DRaFT",
    "nabla": "rl3d.algorithms.nabla:Nabla",
    "distill": "rl3d.algorithms.distill:Distill",
    "hybrid": "rl3d.algorithms.hybrid:Hybrid",
}


def find_objective(name: str) -> type[Objective]:
    """The class of a built-in objective, or of ``module:Class``. ValueError with one line if there
    is none."""
    return find_class("objective", name, OBJECTIVES, Objective)


def usual_objective(generator: type[Generator], name: str | None = None) -> Objective:
    """The objective of a name, with the settings that suit a generator. Default: the generator's
    usual one."""
    name = name or next(iter(generator.objectives))
    return find_objective(name)(**generator.objectives.get(name, {}))
