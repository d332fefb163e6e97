"""``rl3d prefer``: show pairs of assets in the browser, and record which one is better."""

from __future__ import annotations

from rl3d.cli.options import parse_with_sampling
from rl3d.viewer.prefer import PreferConfig, serve


def run(arguments: list[str]) -> None:
    serve(parse_with_sampling(PreferConfig, "prefer", __doc__, arguments))
