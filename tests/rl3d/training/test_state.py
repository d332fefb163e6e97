"""The state of a run: saved whole, resumed to the bit, and averaged."""

from __future__ import annotations

import pytest
import torch

from rewards.mix import Constraints, Gates
from rl3d.training.prompts import PromptPool
from rl3d.training.state import EMA_DECAY, State, checkpoints
from scenes.files import FileError
from tests.rl3d.toys import SplatFlow, TokenToy


def _state(policy=None) -> State:
    policy = policy or SplatFlow()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.01)
    weights = {"x": 1.0, "y": 1.0}
    gates = Gates("y=x>0.5", weights)
    return State(policy, optimizer, PromptPool(["a", "b", "c"]), Constraints("x=0.5", weights), gates)


def _step(state: State) -> None:
    state.optimizer.zero_grad()
    sum(p.square().sum() for p in state.policy.parameters()).backward()  # type: ignore[union-attr]
    state.optimizer.step()
    state.average()
    state.iteration += 1


def test_a_checkpoint_holds_everything(tmp_path) -> None:
    state = _state()
    _step(state)
    state.prompts.priority[1], state.constraints.weights["x"], state.rollbacks = 0.3, 2.5, 1
    state.gates.update({"x": torch.tensor([0.7])})
    path = state.save(tmp_path)
    again = _state()
    with torch.no_grad():  # another start: what counts is in the file
        for p in again.policy.network.parameters():
            p.add_(1.0)
    again.policy.keep_reference()
    again.resume(path)
    assert (again.iteration, again.rollbacks, again.constraints.weights) == (1, 1, {"x": 2.5, "y": 1.0})
    assert again.gates.running == state.gates.running == {"y": {"x": pytest.approx(0.14)}}
    one, other = state.tensors(), again.tensors()
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    with state.policy.reference(), again.policy.reference():
        pairs = zip(state.policy.network.parameters(), again.policy.network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    _step(state)
    _step(again)
    one, other = state.tensors(), again.tensors()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_older_checkpoints_go(tmp_path) -> None:
    state = _state()
    for _ in range(3):
        _step(state)
        state.save(tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["state_000003.safetensors"]


def test_the_average_is_that_of_the_decay() -> None:
    state = _state()
    start = [p.clone() for p in state.ema.parameters()]
    _step(state)
    present = list(state.policy.network.parameters())
    for ema, begin, now in zip(state.ema.parameters(), start, present, strict=True):
        torch.testing.assert_close(ema, 0.1 * begin + 0.9 * now)  # early on the decay is smaller
    state.iteration = 10_000
    before = [p.clone() for p in state.ema.parameters()]
    state.average()
    for ema, begin, now in zip(state.ema.parameters(), before, present, strict=True):
        torch.testing.assert_close(ema, EMA_DECAY * begin + (1 - EMA_DECAY) * now)
    with state.averaged() as policy:
        assert policy.network is state.ema
    assert state.policy.network is not state.ema


def test_the_state_of_another_policy_is_refused(tmp_path) -> None:
    path = _state().save(tmp_path)
    with pytest.raises(FileError, match="the checkpoint is of another model"):
        _state(TokenToy()).resume(path)


def test_the_average_has_the_buffers_of_the_policy() -> None:
    policy = SplatFlow()
    policy.network.register_buffer("seen", torch.zeros(()))
    state = _state(policy)
    policy.network.seen.fill_(5.0)  # type: ignore[operator, union-attr]
    state.average()
    assert state.ema.seen == 5


def test_a_state_that_is_not_finite_is_not_written(tmp_path) -> None:
    state = _state()
    _step(state)
    state.save(tmp_path)
    with torch.no_grad():
        next(iter(state.policy.network.parameters())).fill_(torch.nan)
    state.iteration = 2
    with pytest.raises(FileError, match=r"state_000002.*not written.*is not finite; the last checkpoint is kept"):
        state.save(tmp_path)
    assert [path.stem for path in checkpoints(tmp_path)] == ["state_000001"]
