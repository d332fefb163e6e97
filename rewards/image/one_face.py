"""``one_face``: whether an asset has only one face, and no second one at its back (the Janus
problem of text-to-3D)."""

from __future__ import annotations

from pathlib import Path

from rewards.image.alignment import AlignmentReward

SHIPPED = Path(__file__).parent / "weights" / "faces.safetensors"


class OneFace(AlignmentReward):
    """The scorer of ``alignment``, fine-tuned to tell assets from copies with a second face,
    whichever direction they face.

    It sees three views together, because each single view looks right. It was trained on the
    animals, toys and robots of the corpus; other things score near 1. Other faults cost little,
    except bulged, shifted or shaken parts that make a front hard to tell."""

    name = "one_face"
    version = "1"

    def __init__(self, weights: Path = SHIPPED) -> None:
        super().__init__(weights)
