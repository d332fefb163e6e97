"""Rewards: what an asset is scored by. ``resolve`` finds one by name, or by the dotted path of a user's own.

Floor 3 of 4: imports from scenes and renderers only.
"""

from __future__ import annotations

import difflib
import importlib
import inspect

from rewards.base import Batch, Function, Needs, Reward, Scores, Shots

KNOWN = {
    "stability": "rewards.physics.stability:Stability",
    "connected": "rewards.geometry.connected:Connected",
    "alignment": "rewards.image.alignment:AlignmentReward",
    "mrc": "rewards.views.mrc:MRC",
    "reprojection": "rewards.views.reprojection:Reprojection",
    "silhouette": "rewards.views.silhouette:Silhouette",
    "normals": "rewards.views.normals:Normals",
    "worst_view": "rewards.views.worst_view:WorstView",
}
"""Where each built-in reward lives. Imported only when asked for: a run without physics does not need a simulator."""


def resolve(name: str) -> Reward:
    """The reward called ``name``, or the one at ``package.module:attribute``.

    That may be an instance, a class that takes no arguments, or a plain function of a ``Batch`` that returns one number in [0, 1] an
    asset, or ``Scores``: it is given the parts, four views of 64 pixels and the text, or what its attribute ``needs`` says.
    """
    if ":" not in name and name not in KNOWN:
        close = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.5)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown reward {name!r}{hint} (known: {', '.join(KNOWN)}, or package.module:attribute)")
    path = KNOWN.get(name, name)
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ValueError(f"reward {name!r}: there is no module {missing!r}") from None
        raise ValueError(f"reward {name!r} needs the package {missing!r}, which is not installed") from error
    if not hasattr(module, attribute):
        raise ValueError(f"reward {name!r}: module {module_name!r} has no {attribute!r}")
    found = getattr(module, attribute)
    reward = Function(found) if inspect.isfunction(found) else found() if inspect.isclass(found) else found
    if not isinstance(reward, Reward):
        raise ValueError(f"reward {name!r} is no reward: it must be callable on a Batch and have name, version and needs")
    return reward


__all__ = ["KNOWN", "Batch", "Needs", "Reward", "Scores", "Shots", "resolve"]
