"""rl3d: text-to-3D generators tuned with reinforcement learning through differentiable rendering.

Each command is also a function here, with a typed dataclass of settings:

    import rl3d
    rl3d.generate("a red armchair", rl3d.GenerateConfig(num=4))
    rl3d.train(rl3d.TrainConfig(iterations=200))

Names are imported at first use: importing rl3d loads neither torch nor a model. ``rl3d.generate``
is always the function; its module is reached by ``from rl3d.generate import ...``.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl3d.assets import GeneratedAsset as GeneratedAsset
    from rl3d.evaluate import EvaluateConfig as EvaluateConfig
    from rl3d.evaluate import evaluate as evaluate
    from rl3d.export import export as export
    from rl3d.generate import GenerateConfig as GenerateConfig
    from rl3d.generate import generate as generate
    from rl3d.generators.load import load_generator as load_generator
    from rl3d.generators.sde import Sampling as Sampling
    from rl3d.replay import replay as replay
    from rl3d.report import report as report
    from rl3d.train import train as train
    from rl3d.training.config import TrainConfig as TrainConfig
    from rl3d.training.pretrain_flow import PretrainFlowConfig as PretrainFlowConfig
    from rl3d.training.pretrain_flow import pretrain_flow as pretrain_flow
    from rl3d.training.pretrain_tokens import PretrainTokensConfig as PretrainTokensConfig
    from rl3d.training.pretrain_tokens import pretrain_tokens as pretrain_tokens
    from rl3d.viewer.server import serve as view

__version__ = "0.1.0"

_HOMES = {
    "EvaluateConfig": "rl3d.evaluate",
    "GenerateConfig": "rl3d.generate",
    "GeneratedAsset": "rl3d.assets",
    "PretrainFlowConfig": "rl3d.training.pretrain_flow",
    "PretrainTokensConfig": "rl3d.training.pretrain_tokens",
    "Sampling": "rl3d.generators.sde",
    "TrainConfig": "rl3d.training.config",
    "evaluate": "rl3d.evaluate",
    "export": "rl3d.export",
    "generate": "rl3d.generate",
    "load_generator": "rl3d.generators.load",
    "pretrain_flow": "rl3d.training.pretrain_flow",
    "pretrain_tokens": "rl3d.training.pretrain_tokens",
    "replay": "rl3d.replay",
    "report": "rl3d.report",
    "train": "rl3d.train",
    "view": "rl3d.viewer.server",
}
"""The module of each name. A function has the name it has here, but for ``view``: ``serve``."""

__all__ = [
    "EvaluateConfig",
    "GenerateConfig",
    "GeneratedAsset",
    "PretrainFlowConfig",
    "PretrainTokensConfig",
    "Sampling",
    "TrainConfig",
    "__version__",
    "evaluate",
    "export",
    "generate",
    "load_generator",
    "pretrain_flow",
    "pretrain_tokens",
    "replay",
    "report",
    "train",
    "view",
]


class _Package(ModuleType):
    """The import system sets every submodule as an attribute of its package. Where a function has
    that name, the function stays."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), {"view": "serve"}.get(name, name))
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rl3d' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
