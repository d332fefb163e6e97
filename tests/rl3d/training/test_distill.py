"""Several policies into one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rl3d.generators.load import save_generator
from rl3d.training.loop import iterate
from tests.rl3d.toys import VOCABULARY, SplatFlow, redness
from tests.rl3d.training.conftest import make


def _teacher(path: Path, shift: float, token: int = 0) -> Path:
    """It likes one token better than the start does."""
    teacher = make("tokens")
    with torch.no_grad():
        teacher.network.weight[:, token] += shift
    save_generator(path, teacher)
    return path


def _expected(run) -> float:
    return float(run.state.policy.expected(redness).detach())


def test_a_teacher_is_copied_without_rewards(start, tmp_path: Path) -> None:
    path = _teacher(tmp_path / "red.safetensors", 4.0)
    settings = {"lr": 0.1, "teachers": str(path)}
    run = start("tokens", "distill", iterations=80, group_size=16, warmup=1, save_every=60, settings=settings)
    teacher = make("tokens")
    with torch.no_grad():
        teacher.network.weight[:, 0] += 4.0
    wanted, before = float(teacher.expected(redness).detach()), _expected(run)
    figures = list(iterate(run))
    assert before < 0.4 < 0.8 < wanted and _expected(run) == pytest.approx(wanted, abs=0.03)
    assert figures[-1]["loss"] < 0.1 * figures[0]["loss"]


def test_two_teachers_are_averaged_and_a_run_resumes(start, tmp_path: Path) -> None:
    """Each prompt has each of them every second time. The KL to both is least at the normalised
    geometric mean of their probabilities."""
    one, two = _teacher(tmp_path / "one.safetensors", 3.0), _teacher(tmp_path / "two.safetensors", 3.0, token=1)
    settings = {"lr": 0.1, "teachers": f"{one}, {two}"}
    whole = start("tokens", "distill", iterations=30, group_size=8, warmup=1, save_every=10, settings=settings)
    list(iterate(whole))
    first = whole.state.policy.network.weight[VOCABULARY].softmax(-1).detach()
    middle = make("tokens").network.weight[VOCABULARY].detach() + torch.tensor([1.5, 1.5, 0, 0, 0])
    assert torch.allclose(first, middle.softmax(-1), atol=0.06), (first, middle.softmax(-1))
    again = {"iterations": 30, "group_size": 8, "warmup": 1, "save_every": 10, "settings": settings}
    cut = iterate(start("tokens", "distill", out=tmp_path / "cut", **again))
    for _ in range(10):
        next(cut)
    cut.close()
    resumed = start("tokens", "distill", out=tmp_path / "cut", resume=True, **again)
    list(iterate(resumed))
    assert torch.equal(whole.state.policy.network.weight, resumed.state.policy.network.weight)


def test_a_flow_is_distilled_too(start, tmp_path: Path) -> None:
    teacher = SplatFlow()
    with torch.no_grad():
        teacher.network[-1].bias[2] += 1.0
    save_generator(tmp_path / "low.safetensors", teacher)
    settings = {"lr": 0.02, "teachers": str(tmp_path / "low.safetensors")}
    run = start("splats", "distill", iterations=40, warmup=1, save_every=40, settings=settings)
    figures = list(iterate(run))
    assert figures[-1]["loss"] < 0.1 * figures[0]["loss"]


def test_teachers_that_cannot_teach_are_refused(start, tmp_path: Path) -> None:
    save_generator(tmp_path / "splats.safetensors", SplatFlow())
    save_generator(tmp_path / "wide.safetensors", SplatFlow(width=48))
    for policy, teachers, message in [
        ("tokens", "", "--objective distill needs teachers"),
        ("tokens", "splats.safetensors", "holds the generator tests.rl3d.toys:SplatFlow, not"),
        ("splats", "splats.safetensors,wide.safetensors", "wide.safetensors has a network of another size"),
        ("tokens", "none.safetensors", "none.safetensors"),
    ]:
        named = ",".join(str(tmp_path / name) for name in teachers.split(",") if name)
        with pytest.raises(ValueError, match=message) as error:
            start(policy, "distill", settings={"teachers": named})
        assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
