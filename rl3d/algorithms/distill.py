"""Several tuned policies into one: the policy draws samples, and learns to predict on them what its
teachers predict (on-policy distillation; Agarwal et al., 2024, for language models)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl3d.algorithms.base import Draw, Experience
from rl3d.algorithms.finished import FinishedObjective, Fit, distances, fit
from rl3d.generators.base import Generator
from rl3d.generators.load import load_generator


@dataclass(frozen=True)
class Distill(FinishedObjective):
    """Settings of ``--objective distill``. Rewards are measured, not learnt."""

    name = "distill"
    compares = False

    lr: float = 1e-4
    """Peak learning rate of AdamW. It falls to a fiftieth over the run."""
    teachers: str = ""
    """Weights files or folders of runs, FILE,FILE,...: generators of the same kind and size. The
    prompts of an iteration have them in turn."""

    def files(self) -> list[Path]:
        return [Path(name.strip()) for name in self.teachers.split(",") if name.strip()]

    def check(self, policy: Generator) -> None:
        super().check(policy)
        if not self.files():
            raise ValueError("--objective distill needs teachers: give --teachers FILE,FILE,...")
        for path in self.files():
            teacher = load_generator(path, generator=policy.name)
            if teacher.config != policy.config:
                raise ValueError(f"--teachers: {path} has a network of another size than the policy")

    def memory(self, policy: Generator) -> nn.Module:
        teachers = [load_generator(path, str(policy.device), generator=policy.name) for path in self.files()]
        return nn.ModuleList([teacher.network.requires_grad_(False) for teacher in teachers])

    def with_fits(self, policy: Any, samples: Experience, draw: Draw) -> Experience:
        found = super().with_fits(policy, samples, draw)
        assert isinstance(draw.memory, nn.ModuleList)
        prompt = torch.arange(len(samples)) // draw.group_size + draw.first + max(draw.iteration, 0)
        whose = prompt % len(draw.memory)
        predictions: list[Tensor | None] = [None] * len(samples)
        for number, teacher in enumerate(draw.memory):
            own = (whose == number).nonzero().flatten()
            for piece in own.split(draw.micro_batch or max(len(own), 1)):
                with torch.no_grad(), policy.using(teacher):
                    seen = fit(policy, samples[piece]).predictions.transpose(0, 1)
                for i, one in zip(piece.tolist(), seen, strict=True):
                    predictions[i] = one
        return replace(found, tensors=found.tensors | {"teacher": torch.stack(predictions)})  # type: ignore[arg-type]

    def sample_loss(self, policy: Any, minibatch: Experience, new: Fit, old: Fit, reference: Fit) -> Float[Tensor, ""]:
        teacher = replace(old, predictions=minibatch.tensors["teacher"].transpose(0, 1))
        return distances(policy, minibatch, new, teacher).mean()
