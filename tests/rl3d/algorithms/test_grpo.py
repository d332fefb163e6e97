"""GRPO's range of the ratio; its gradient is in test_objectives.py."""

import pytest
import torch

from rl3d.algorithms.grpo import GRPO


def test_the_range_above_1_can_be_wider() -> None:
    new = torch.tensor([[0.3, 0.3]], requires_grad=True)
    for high, expected in ((None, [0.0, 1.35]), (0.5, [-1.35, 1.35])):
        loss = GRPO(clip=0.1, clip_high=high).policy_loss(new, torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]))
        (gradient,) = torch.autograd.grad(loss.sum(), new)
        assert gradient[0].tolist() == pytest.approx(expected, abs=0.01)
