"""How noisy gradients are: ``python -m benchmarks.gradients --objectives awm,draft,hybrid``.

Each objective's gradient is drawn several times from the same weights, for other prompts and
samples each time. Noise is the variance of one gradient over the squared length of their mean,
which is corrected for what is left of the noise in it. At equal cost: times the seconds of a
gradient, because twice the samples take twice the time and halve the variance.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from rewards.mix import Constraints, Gates, parse
from rl3d.algorithms.base import Draw, Objective
from rl3d.algorithms.load import find_objective, usual_objective
from rl3d.generators.base import Generator
from rl3d.generators.load import load_generator
from rl3d.prompts import corpus_prompts
from rl3d.training.collect import Scorer


def gradient(policy: Generator, objective: Objective, draw: Draw, scorer: Scorer) -> Float[Tensor, "n"]:
    """Of one minibatch, as the loop computes it."""
    experience = objective.collect(policy, draw, scorer)
    loss, _ = objective.loss(policy, experience)
    weights = policy.parameters()
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)]
    )


def noise(gradients: Float[Tensor, "k n"]) -> tuple[float, float]:
    """Variance of one gradient over the squared length of the mean, and the share of the squared
    length of the mean that is not noise, from 0 to 1."""
    count, mean = len(gradients), gradients.mean(0)
    variance = float((gradients - mean).square().sum() / (count - 1))
    length = float(mean.square().sum())
    signal = length - variance / count
    return (variance / signal if signal > 0 else float("nan")), max(signal, 0.0) / length


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", default="part-flow")
    parser.add_argument("--objectives", default="grpo,awm,draft,nabla,hybrid")
    parser.add_argument("--rewards", default="margin=1,alignment=1")
    parser.add_argument("--gradients", type=int, default=12, help="gradients of each objective")
    parser.add_argument("--prompts", type=int, default=4, help="prompts of a gradient")
    parser.add_argument("--samples", type=int, default=8, help="samples of each prompt")
    options = parser.parse_args(arguments)
    policy = load_generator(generator=options.generator, pretrained=True)
    policy.keep_reference()
    rewards = parse(options.rewards)
    weights = {reward.name: weight for reward, weight in rewards}
    scorer = Scorer([r for r, _ in rewards], Gates("", weights), Constraints("", weights))
    captions = corpus_prompts(options.gradients * options.prompts, 0)
    print("| objective | s a gradient | noise | noise x s | signal in the mean |\n|---|---|---|---|---|", flush=True)
    for name in options.objectives.split(","):
        try:
            find_objective(name)
            objective = usual_objective(type(policy), name)
            objective.check(policy)
        except ValueError as error:
            parser.error(str(error))
        found, seconds = [], []
        for i in range(options.gradients):
            some = captions[i * options.prompts : (i + 1) * options.prompts]
            draw = Draw(some, options.samples, i, 0, options=objective.options(type(policy)))
            started = time.monotonic()
            found.append(gradient(policy, objective, replace(draw, memory=objective.memory(policy)), scorer))
            seconds.append(time.monotonic() - started)
        ratio, share = noise(torch.stack(found))
        cost = sum(seconds) / len(seconds)
        print(f"| `{name}` | {cost:.1f} | {ratio:.1f} | {ratio * cost:.0f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
