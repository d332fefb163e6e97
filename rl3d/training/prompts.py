"""Training prompts, drawn more often where there is something to learn."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

LOWEST_PRIORITY = 0.02


class PromptPool:
    """Prompts with priorities: the root mean square of a prompt's advantages when it was last
    drawn.

    There is nothing to learn from a prompt whose samples all score the same, and most prompts are
    like that. Prompts are therefore drawn in proportion to the square of their priority
    (prioritized replay, Schaul et al., 2016). A prompt that was not yet drawn has priority 1, which
    is the average.
    """

    def __init__(self, prompts: list[str]) -> None:
        self.prompts = prompts
        self.priority: Float[Tensor, "n"] = torch.ones(len(prompts), dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.prompts)

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """Numbers of ``count`` different prompts, of all if there are fewer."""
        weight = self.priority.clamp_min(LOWEST_PRIORITY).square().numpy()
        count = min(count, len(weight))
        return rng.choice(len(weight), count, replace=False, p=weight / weight.sum()).tolist()

    def update(self, drawn: list[int], advantages: Float[Tensor, "b ..."]) -> None:
        """Set the priorities of the drawn prompts from the advantages of their samples, in
        order."""
        self.priority[drawn] = advantages.reshape(len(drawn), -1).square().mean(1).sqrt().double().cpu()
