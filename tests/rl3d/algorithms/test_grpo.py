"""GRPO's range of the ratio; its gradient is in test_objectives.py."""

import pytest
import torch

from rl3d.algorithms.base import Draw
from rl3d.algorithms.grpo import GRPO
from rl3d.generators.sde import Sampling, SdeType
from tests.rl3d.toys import SplatFlow


def test_the_range_above_1_can_be_wider() -> None:
    new = torch.tensor([[0.3, 0.3]], requires_grad=True)
    for high, expected in ((None, [0.0, 1.35]), (0.5, [-1.35, 1.35])):
        loss = GRPO(clip=0.1, clip_high=high).policy_loss(new, torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]))
        (gradient,) = torch.autograd.grad(loss.sum(), new)
        assert gradient[0].tolist() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("sde_type", "places"), [("cps", [0, 1, 2]), ("flow", [0, 1, 2, 3])])
def test_every_place_of_the_window_has_noise(sde_type: SdeType, places: list[int]) -> None:
    """The last step of cps has none, so the window never is there alone."""
    sampling, found = Sampling(steps=4, noise=0.7, sde_type=sde_type), []
    for iteration in range(2 * len(places)):
        draw = Draw(["a ball"], 2, iteration, 0, options=sampling)
        stds = GRPO(window=1, window_every=1).drawn(SplatFlow(), draw).options.stds()
        found.append([step for step, std in enumerate(stds) if std > 0])
    assert found == [[place] for place in places] * 2
