"""One process is the identity; shards of several cover every prompt once."""

import pytest
import torch

from rl3d.algorithms.base import Draw
from rl3d.training.processes import Processes


def test_one_process_is_the_identity() -> None:
    alone, values = Processes(), torch.arange(4.0)
    draw = Draw(["a", "b", "c"], 2, 3, 1, shared_noise=True)
    shard = alone.shard(draw)
    assert (shard.prompts, shard.seeds, shard.initial_seeds) == (draw.prompts, draw.seeds, draw.initial_seeds)
    assert alone.main and alone.gather(values) is values and alone.mean({"x": 1.0}, 3) == {"x": 1.0}


@pytest.mark.parametrize("count", [2, 3, 5])
def test_shards_cover_every_prompt_with_its_own_seeds(count: int) -> None:
    draw = Draw([str(i) for i in range(12)], 4, 7, 2, shared_noise=True)
    shards = [Processes(rank, count).shard(draw) for rank in range(count)]
    assert [p for shard in shards for p in shard.prompts] == draw.prompts
    assert [s for shard in shards for s in shard.seeds] == draw.seeds
    assert [s for shard in shards for s in shard.initial_seeds or []] == draw.initial_seeds
    noise = [shard.group_noise(3, 5, 2, rng=shard.torch_rng(1)) for shard in shards]
    assert torch.equal(torch.cat(noise, 1), draw.group_noise(3, 5, 2, rng=draw.torch_rng(1)))
    assert [Processes(rank, count).main for rank in range(count)] == [True] + [False] * (count - 1)
