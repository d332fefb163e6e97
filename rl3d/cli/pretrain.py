"""``rl3d pretrain``: the supervised trainings that made the shipped weights. They need nothing but
the procedural corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tyro

from rl3d.cli.options import one_line
from rl3d.training.pretrain_flow import PretrainFlowConfig, pretrain_flow
from rl3d.training.pretrain_tokens import PretrainTokensConfig, pretrain_tokens
from rl3d.training.train_faces import FacesTraining, train_faces
from rl3d.training.train_parser import ParserTraining, train_parser
from rl3d.training.train_scorer import ScorerTraining, train_scorer

JUDGE_SEED = 1000
"""The judge has another seed than the scorer of ``alignment``, and so other captions, assets,
cameras and initial weights."""


def run(arguments: list[str]) -> None:
    choices = {
        "part-flow": ("train the part-flow generator", PretrainFlowConfig()),
        "part-tokens": ("train the part-token generator", PretrainTokensConfig()),
        "alignment": ("train the scorer of the alignment reward", ScorerTraining(out=Path("runs/alignment"))),
        "faces": ("fine-tune that scorer for the one_face reward", FacesTraining()),
        "parser": ("train the reader of objects of the composition reward", ParserTraining()),
        "judge": ("train the scorer of evaluations", replace(ScorerTraining(out=Path("runs/judge")), seed=JUDGE_SEED)),
    }
    config = one_line(
        "pretrain",
        lambda: tyro.extras.overridable_config_cli(choices, prog="rl3d pretrain", args=arguments or ["--help"]),
    )
    training = {
        PretrainFlowConfig: pretrain_flow,
        PretrainTokensConfig: pretrain_tokens,
        ScorerTraining: train_scorer,
        FacesTraining: train_faces,
        ParserTraining: train_parser,
    }[type(config)]
    for metrics in training(config):
        shown = ((name, value if isinstance(value, int) else f"{value:.4g}") for name, value in metrics.items())
        print("  ".join(f"{name} {value}" for name, value in shown), flush=True)
