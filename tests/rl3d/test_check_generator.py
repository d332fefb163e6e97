"""The contract: the built-in generators and the toys keep it, and each planted fault is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rl3d.check_generator import check_generator
from rl3d.cli import main
from rl3d.generators.base import TextCondition
from tests.rl3d.toys import ExampleCondition, ExampleToy, SplatFlow, TokenToy

TOYS = [f"tests.rl3d.toys:{name}" for name in ("TokenToy", "ExampleToy", "SplatFlow")]


@pytest.mark.parametrize("generator", ["part-flow", *TOYS])
def test_the_contract_is_kept(generator: str) -> None:
    clauses = list(check_generator(generator))
    assert [f"{c.name}: {c.text}" for c in clauses if not c.holds] == []
    assert len(clauses) >= 11


class OwnNoise(SplatFlow):
    def sample(self, condition, *, seeds, **settings):
        return super().sample(condition, seeds=[s + int(torch.randint(1000, ())) for s in seeds], **settings)


class OfItsBatch(SplatFlow):
    def sample(self, condition, *, seeds, **settings):
        rollout = super().sample(condition, seeds=seeds, **settings)
        return replace(rollout, states=rollout.states - rollout.states.mean(1, keepdim=True))


class Detached(SplatFlow):
    def velocity(self, *arguments):
        return super().velocity(*arguments).detach()


class Biased(SplatFlow):
    """Log-probs with a term of their own, in rollouts and after: the ratio is 1 and the gradient is
    that of the log-probs, but they are not those of the distribution."""

    def log_probs(self, rollout, steps):
        stats = super().log_probs(rollout, steps)
        return replace(stats, log_probs=stats.log_probs + 5 * stats.distribution.mean((-1, -2)))

    def sample(self, condition, **settings):
        rollout = super().sample(condition, **settings)
        return replace(rollout, log_probs=rollout.log_probs + 5 * rollout.means.mean((-1, -2)))


class OldKL(SplatFlow):
    def kl(self, rollout, steps, new, reference):
        return super().kl(rollout, steps, new, reference) + 1


class BeforeTheStep(SplatFlow):
    def clean(self, rollout, step):
        found = super().clean(rollout, step)
        return replace(found, states=found.states + 3 * rollout.stds[step])


class WrongTarget(SplatFlow):
    def matching(self, rollout, sigmas, noise):
        stats = super().matching(rollout, sigmas, noise)
        return replace(stats, targets=-stats.targets)


class HiddenState(SplatFlow):
    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.shift = float(torch.rand(()))

    def decode(self, rollout):
        return super().decode(replace(rollout, states=rollout.states + self.shift))


class NoReference(SplatFlow):
    def keep_reference(self) -> None:
        self._reference = self.network


class Deaf(TokenToy):
    def condition(self, prompts):
        return super().condition([p.strip() or "nothing" for p in prompts])


class BadEncoder(SplatFlow):
    def encode(self, asset, condition):
        rollout = super().encode(asset, condition)
        return replace(rollout, states=rollout.states * 0.5)


class Blind(ExampleToy):
    def with_examples(self, condition, examples):
        return condition


class Mingled(ExampleToy):
    def with_examples(self, condition, examples):
        found = super().with_examples(condition, examples)
        return replace(found, votes=found.votes.mean(0, keepdim=True).expand_as(found.votes))


class Forgetful(ExampleToy):
    def with_examples(self, condition, examples):
        found = super().with_examples(condition, examples)
        return _Lost(found.prompts, found.text, found.votes)


class _Lost(ExampleCondition):
    def __getitem__(self, index):
        return TextCondition([self.prompts[i] for i in index.tolist()], self.text[index])


class Needy(ExampleToy):
    def with_examples(self, condition, examples):
        found = super().with_examples(condition, examples)
        return replace(found, votes=found.votes + 1 - torch.eye(5)[0])


@pytest.mark.parametrize(
    ("kind", "broken", "text"),
    [
        (OwnNoise, "seeds", "the same seeds give different assets"),
        (OfItsBatch, "seeds", "a sample depends on its batch"),
        (Detached, "log-probs", "no gradient reaches the weights|does not require grad"),
        (Biased, "log-prob score", "standard errors from 0"),
        (OldKL, "KL", "the KL of a policy to itself is 1"),
        (BeforeTheStep, "clean states", "of the step's std from its mean|appears to not have been used"),
        (WrongTarget, "matching", "neither noise - sample, nor noise, nor the sample"),
        (HiddenState, "save and load", "is all state in the network"),
        (NoReference, "reference", "samples are not those of the kept weights"),
        (Deaf, "empty prompt", "must raise ValueError"),
        (BadEncoder, "encode and decode", "cm off"),
        (Blind, "retrieve", "examples change nothing"),
        (Mingled, "retrieve", "change the samples of another"),
        (Forgetful, "retrieve", "loses its examples"),
        (Needy, "retrieve", "with no examples is sampled differently"),
    ],
)
def test_a_planted_fault_is_named(kind: type, broken: str, text: str) -> None:
    import re

    found = {c.name: c.text for c in check_generator(kind()) if not c.holds}
    assert broken in found and re.search(text, found[broken]), found


def test_the_weights_are_put_back() -> None:
    policy = SplatFlow()
    before = {name: t.clone() for name, t in policy.network.state_dict().items()}
    list(check_generator(policy))
    assert all(torch.equal(before[name], t) for name, t in policy.network.state_dict().items())


def test_the_command(capsys) -> None:
    assert main(["check-generator", "tests.rl3d.toys:TokenToy"]) == 0
    out = capsys.readouterr().out
    assert out.count("ok  ") == len(out.splitlines()) >= 11
    assert main(["check-generator", "tests.rl3d.test_check_generator:OldKL"]) == 2
    captured = capsys.readouterr()
    assert "FAIL  KL" in captured.out
    assert captured.err == ("rl3d: generator 'tests.rl3d.test_check_generator:OldKL' breaks 1 of the clauses: KL\n")
