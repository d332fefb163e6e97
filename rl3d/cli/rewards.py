"""``rl3d rewards``: list the rewards, what each needs, whether it has a gradient, and what it
costs here."""

from __future__ import annotations

from dataclasses import dataclass

from rewards import KNOWN
from rl3d.cli.options import parse
from rl3d.configs import at_least
from rl3d.reward_table import reward_table


@dataclass(frozen=True)
class RewardsConfig:
    """Every reward is in [0, 1]."""

    rewards: str = ",".join(KNOWN)
    """NAME,... or my_module:shiny for a reward of your own. Default: all that come with rl3d."""
    measure: int = 0
    """Time each reward on this number of assets of the corpus: the best of four calls, without
    rendering. Rewards with published weights or a server are timed only if --rewards names them, by
    one call, because the answers of a server are cached."""

    def __post_init__(self) -> None:
        at_least(self, measure=0)


def run(arguments: list[str]) -> None:
    config = parse(RewardsConfig, "rewards", __doc__, arguments)
    names = list(dict.fromkeys(filter(None, map(str.strip, config.rewards.split(",")))))
    if not names:
        raise ValueError("--rewards names no reward")
    found = reward_table(names, config.measure, downloads=config.rewards != RewardsConfig.rewards)
    rows = [("reward", "version", "gradient", "ms an asset", "looks at")]
    for row in found:
        cost = "" if row.milliseconds is None else f"{row.milliseconds:.2f}"
        rows.append((row.name, row.version, "yes" if row.gradient else "no", cost, row.looks_at))
    if not config.measure:
        rows = [(*row[:3], row[4]) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
