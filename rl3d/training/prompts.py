"""Training prompts, drawn more often where there is something to learn."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.algorithms.base import Experience

LOWEST_PRIORITY = 0.02


class PromptPool:
    """Prompts with priorities: the root mean square of how much better the samples of a prompt were
    than each other when it was last drawn.

    There is nothing to learn from a prompt whose samples all score the same, and most prompts are
    like that. Prompts are therefore drawn in proportion to the square of their priority
    (prioritized replay, Schaul et al., 2016). Of rewards that are 0 or 1 it grows with p (1 - p),
    the learnability of a prompt (Rutherford et al., 2024). A prompt that was not yet drawn has
    priority 1, about the largest.
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

    def update(self, drawn: list[int], advantages: Float[Tensor, "b"]) -> None:
        """Set the priorities of the drawn prompts from the advantages of their samples, in
        order."""
        self.priority[drawn] = priorities(advantages, len(drawn))


def priorities(advantages: Float[Tensor, "b"], count: int) -> Float[Tensor, "p"]:
    """Root mean square of the advantages of each of ``count`` prompts, whose samples are in
    order."""
    return advantages.reshape(count, -1).square().mean(1).sqrt().double().cpu()


def most_to_learn(experience: Experience, candidates: int) -> tuple[Experience, dict[str, float]]:
    """Of every ``candidates`` groups in a row, the one with the highest priority; and
    ``redrawn``, the fraction of places where this was not the first.

    Dynamic sampling (DAPO; Yu et al., 2025): a group without spread teaches nothing, so more
    prompts are sampled than are learnt from. Whole groups are left out once the objective has
    collected, because an experience can be indexed but not joined. Groups that are left
    out cost their sampling and scoring, and count in the priorities, the metrics and the scale of
    the advantages.
    """
    if candidates == 1:
        return experience, {}
    groups = torch.arange(len(experience)).split(experience.group_size)
    best = (
        priorities(experience.among_prompt, len(groups)).view(-1, candidates).numpy().argmax(1)
    )  # the first of equals
    kept = [groups[place * candidates + one] for place, one in enumerate(best)]
    return experience[torch.cat(kept)], {"redrawn": float((best > 0).mean())}
