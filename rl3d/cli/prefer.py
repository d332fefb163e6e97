"""``rl3d prefer``: pairs of assets, and which one is better: shown in the browser, or answered by
rewards."""

from __future__ import annotations

from collections import Counter

from rl3d.cli.options import parse_with_sampling
from rl3d.viewer.prefer import PreferConfig, answer_by_rewards, serve


def run(arguments: list[str]) -> None:
    config = parse_with_sampling(PreferConfig, "prefer", __doc__, arguments)
    if not config.rewards:
        serve(config)
        return
    from rich.progress import track

    pairs = answer_by_rewards(config)
    answers = Counter(pair.choice for pair in track(pairs, "answering", total=config.count))
    print(f"{config.out}: {answers.total() - answers['equal']} pairs decided, {answers['equal']} equally good")
