"""Replay and elastic weight consolidation: what was not trained stays, and runs resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rl3d.training.keeping import Keeping
from rl3d.training.loop import iterate
from tests.rl3d.toys import VOCABULARY, SplatBalls, SplatFlow, TokenToy
from tests.rl3d.training.conftest import make

KEPT = "a cube"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept.txt"
    path.write_text(KEPT + "\n")
    return path


def _height(policy: SplatFlow, prompt: str) -> float:
    asset = policy.generate([prompt] * 32, seeds=list(range(32)))
    return float(asset.gaussians(32).means[..., 2].mean())


@pytest.mark.parametrize("settings", [{"replay": 3.0}, {"ewc": 0.1}])
def test_what_was_not_trained_on_is_forgotten_less(start, kept, tmp_path: Path, settings: dict[str, float]) -> None:
    """The reward on the prompt that is trained rises nearly as much."""
    only = tmp_path / "only.txt"
    only.write_text("a red ball on the moon\n")
    before = _height(make("splats"), KEPT)
    lost, gained = [], []
    for name, own in (("plain", {}), ("kept", {**settings, "keep_prompts": kept})):
        run = start(
            "splats", "awm", out=tmp_path / name, prompts=only, iterations=30, group_size=12, warmup=1, save_every=30,
            settings={"lr": 0.01, "clip": 0.2, "kl_weight": 0.0}, **own,
        )  # fmt: skip
        figures = list(iterate(run))
        assert (name == "plain") != bool({"replay", "ewc"} & figures[0].keys())
        lost.append(abs(_height(run.state.policy, KEPT) - before))
        gained.append(figures[-1]["low"] - figures[0]["low"])
    assert lost[0] > 0.05 and lost[1] < 0.5 * lost[0], lost
    assert gained[1] > 0.5 * gained[0] > 0, gained


@pytest.mark.parametrize(("policy", "objective"), [("splats", "awm"), ("tokens", "grpo")])
def test_a_run_that_keeps_resumes_to_the_bit(start, kept, tmp_path: Path, policy: str, objective: str) -> None:
    settings = {"replay": 0.5, "ewc": 0.01, "keep_prompts": kept}
    whole = start(policy, objective, **settings)
    list(iterate(whole))
    cut = iterate(start(policy, objective, out=tmp_path / "cut", **settings))
    next(cut), next(cut)
    cut.close()
    again = start(policy, objective, out=tmp_path / "cut", resume=True, **settings)
    list(iterate(again))
    for a, b in zip(whole.state.policy.network.parameters(), again.state.policy.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_fisher_information_of_a_table_of_logits() -> None:
    """Of a first token with probabilities p it is p (1 - p), by value."""
    policy = TokenToy(spread=1.0)
    keeping = Keeping(policy, ["a tower"] * 3000, 0, replay=0.0, ewc=1.0)
    (fisher,) = keeping.fisher
    assert float(fisher.mean()) == pytest.approx(1)
    p, found = policy.network.weight[VOCABULARY].softmax(-1).detach(), fisher[VOCABULARY]  # the first token
    assert torch.allclose(found / found.sum(), p * (1 - p) / (p * (1 - p)).sum(), atol=0.15)


def test_a_generator_without_likelihoods_is_refused() -> None:
    with pytest.raises(ValueError, match="--replay and --ewc need matching or log-probs"):
        Keeping(SplatBalls(), ["a ball"], 0, replay=1.0, ewc=0.0)
