"""One process is the identity; shares of several cover every prompt once."""

import pytest
import torch

from rl3d.algorithms.base import Draw
from rl3d.training.processes import Processes


def test_one_process_is_the_identity() -> None:
    alone, values = Processes(), torch.arange(4.0)
    draw = Draw(["a", "b", "c"], 2, 3, 1)
    share = alone.share(draw)
    assert (share.prompts, share.seeds, share.group_seeds) == (draw.prompts, draw.seeds, draw.group_seeds)
    assert alone.main and alone.gather(values) is values and alone.mean({"x": 1.0}, 3) == {"x": 1.0}


@pytest.mark.parametrize("count", [2, 3, 5])
def test_shares_cover_every_prompt_with_its_own_seeds(count: int) -> None:
    draw = Draw([str(i) for i in range(12)], 4, 7, 2)
    shares = [Processes(rank, count).share(draw) for rank in range(count)]
    assert [p for share in shares for p in share.prompts] == draw.prompts
    assert [s for share in shares for s in share.seeds] == draw.seeds
    assert [s for share in shares for s in share.group_seeds] == draw.group_seeds
    noise = [share.group_noise(3, 5, 2, rng=share.torch_rng(1)) for share in shares]
    assert torch.equal(torch.cat(noise, 1), draw.group_noise(3, 5, 2, rng=draw.torch_rng(1)))
    assert [Processes(rank, count).main for rank in range(count)] == [True] + [False] * (count - 1)
