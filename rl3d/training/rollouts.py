"""Seeds of an iteration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Seeds:
    """Seeds of one iteration: every sample its own noise, every group one shared initial noise."""

    samples: list[int]
    initial: list[int]

    @staticmethod
    def of(iteration: int, prompts: int, group: int, seed: int) -> Seeds:
        base = (seed * 1_000_003 + iteration) * 100_000
        return Seeds([base + i for i in range(prompts * group)], [base + i // group for i in range(prompts * group)])
