"""rl3d: text-to-3D generators made better with reinforcement learning through differentiable
rendering.

The command line's verbs are functions here, each with a typed dataclass of settings:

    import rl3d
    rl3d.generate("a red armchair", rl3d.GenerateConfig(num=4))
    rl3d.train(rl3d.TrainConfig(iterations=200))

Names are imported when first used: importing rl3d itself loads neither torch nor any model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl3d.assets import Asset as Asset
    from rl3d.cli.evaluate import EvaluateConfig as EvaluateConfig
    from rl3d.cli.evaluate import evaluate as evaluate
    from rl3d.cli.generate import GenerateConfig as GenerateConfig
    from rl3d.cli.generate import generate as generate
    from rl3d.cli.replay import replay as replay
    from rl3d.cli.train import train as train
    from rl3d.exporting import export as export
    from rl3d.generators.load import load_generator as load_generator
    from rl3d.generators.sde import Sampling as Sampling
    from rl3d.report import report as report
    from rl3d.training.pretrain import PretrainConfig as PretrainConfig
    from rl3d.training.pretrain import pretrain as pretrain
    from rl3d.training.trainer import TrainConfig as TrainConfig
    from rl3d.viewer import serve as view

__version__ = "0.1.0"

_HOMES = {
    "Asset": "rl3d.assets",
    "EvaluateConfig": "rl3d.cli.evaluate",
    "GenerateConfig": "rl3d.cli.generate",
    "Sampling": "rl3d.generators.sde",
    "TrainConfig": "rl3d.training.trainer",
    "evaluate": "rl3d.cli.evaluate",
    "export": "rl3d.exporting",
    "generate": "rl3d.cli.generate",
    "load_generator": "rl3d.generators.load",
    "pretrain": "rl3d.training.pretrain",
    "PretrainConfig": "rl3d.training.pretrain",
    "replay": "rl3d.cli.replay",
    "report": "rl3d.report",
    "train": "rl3d.cli.train",
    "view": "rl3d.viewer",
}

__all__ = [
    "Asset",
    "EvaluateConfig",
    "GenerateConfig",
    "PretrainConfig",
    "Sampling",
    "TrainConfig",
    "__version__",
    "evaluate",
    "export",
    "generate",
    "load_generator",
    "pretrain",
    "replay",
    "report",
    "train",
    "view",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), {"view": "serve"}.get(name, name))
        # Kept: a submodule of the same name, once imported, must not take the function's place.
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rl3d' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
