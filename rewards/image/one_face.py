"""``one_face``: has what has a front only one of it, or a second face at its back (the Janus
problem of text-to-3D)?"""

from __future__ import annotations

from pathlib import Path

from rewards.image.alignment import AlignmentReward

SHIPPED = Path(__file__).parent / "weights" / "faces.safetensors"


class OneFace(AlignmentReward):
    """The scorer of ``alignment``, tuned to tell assets from their copies with a second face,
    whichever way they look.

    Its three views are looked at together: each by itself is right. It knows the animals, toys and
    robots of the corpus; other things score near 1. Other faults cost little, but for those that
    bulge, shift or shake parts so that a front is hard to tell."""

    name = "one_face"
    version = "1"

    def __init__(self, weights: Path = SHIPPED) -> None:
        super().__init__(weights)
