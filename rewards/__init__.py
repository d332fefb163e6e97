"""Rewards: what an asset is scored by. ``resolve`` finds one by name, or a user's own by its dotted
path.

Floor 3 of 4: imports from scenes and renderers only.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from pathlib import Path

from rewards.base import Batch, Differentiable, Function, Needs, Reward, Scores, Shots

KNOWN = {
    "stability": "rewards.physics.stability:Stability",
    "margin": "rewards.physics.margin:Margin",
    "push": "rewards.physics.push:Push",
    "structure": "rewards.physics.structure:Structure",
    "penetration": "rewards.physics.penetration:Penetration",
    "stacking": "rewards.physics.stacking:Stacking",
    "connected": "rewards.geometry.connected:Connected",
    "floaters": "rewards.geometry.floaters:Floaters",
    "contact": "rewards.geometry.contact:Contact",
    "symmetry": "rewards.geometry.symmetry:Symmetry",
    "printable": "rewards.geometry.printable:Printable",
    "composition": "rewards.composition.reward:Composition",
    "alignment": "rewards.image.alignment:AlignmentReward",
    "one_face": "rewards.image.one_face:OneFace",
    "mrc": "rewards.views.mrc:MRC",
    "reprojection": "rewards.views.reprojection:Reprojection",
    "silhouette": "rewards.views.silhouette:Silhouette",
    "normals": "rewards.views.normals:Normals",
    "worst_view": "rewards.views.worst_view:WorstView",
    "clip": "rewards.image.clip:ClipScore",
    "pickscore": "rewards.image.clip:PickScore",
    "hpsv2": "rewards.image.clip:HPSv2",
    "aesthetic": "rewards.image.clip:Aesthetic",
    "image_reward": "rewards.image.image_reward:ImageReward",
    "vlm": "rewards.image.judge:VLMJudge",
}
"""The module of each built-in reward. It is imported on first use, so a run without physics needs
no simulator."""


def resolve(name: str) -> Reward:
    """The reward called ``name``, the one in the .safetensors file ``name`` that ``rl3d
    train-reward`` or ``rl3d pretrain alignment`` wrote, or the one at ``package.module:attribute``.

    That may be an instance, a class that takes no arguments, or a plain function of a ``Batch``
    that returns one number in [0, 1] an asset, or ``Scores``. A function gets the asset and four
    views of 64 pixels, or the views that its attribute ``needs`` states. ValueError for anything
    else."""
    if name.endswith(".safetensors"):
        from rewards.image.preference import from_weights

        return from_weights(Path(name))
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
        raise ValueError(
            f"reward {name!r} is no reward: it must be callable on a Batch and have name, version and needs"
        )
    return reward


__all__ = ["KNOWN", "Batch", "Differentiable", "Needs", "Reward", "Scores", "Shots", "resolve"]
