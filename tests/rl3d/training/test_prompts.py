"""Training prompts come back more often where samples differ."""

import numpy as np
import pytest
import torch

from rl3d.algorithms.base import Draw, Experience
from rl3d.prompts import corpus_prompts, read_prompts
from rl3d.training.processes import Processes
from rl3d.training.prompts import LOWEST_PRIORITY, PromptPool, most_to_learn
from scenes.files import FileError
from tests.rl3d.toys import TokenToy


def test_prompts_are_drawn_in_proportion_to_their_squared_priority() -> None:
    pool = PromptPool(["a", "b", "c"])
    pool.update([0, 1, 2], torch.tensor([[2.0, -2.0], [1.0, -1.0], [0.0, 0.0]]).flatten())
    assert pool.priority.tolist() == [2, 1, 0]
    rng = np.random.default_rng(0)
    drawn = np.bincount([pool.draw(1, rng)[0] for _ in range(4000)], minlength=3) / 4000
    weights = np.array([4, 1, LOWEST_PRIORITY**2])
    assert np.allclose(drawn, weights / weights.sum(), atol=0.02)


def test_no_prompt_is_drawn_twice_in_an_iteration() -> None:
    pool = PromptPool([str(i) for i in range(20)])
    assert len(set(pool.draw(12, np.random.default_rng(1)))) == 12
    assert sorted(pool.draw(50, np.random.default_rng(1))) == list(range(20))


def test_the_priority_is_the_root_mean_square_over_samples() -> None:
    pool = PromptPool(["a", "b"])
    pool.update([1, 0], torch.tensor([3.0, -4.0, 1.0, -1.0]))  # 2 samples of each
    assert pool.priority.tolist() == pytest.approx([1.0, 12.5**0.5])


def test_prompt_files(tmp_path) -> None:
    with pytest.raises(FileError, match="cannot read prompts"):
        read_prompts(tmp_path / "none.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text("\n# nothing\n")
    with pytest.raises(FileError, match="holds no prompt"):
        read_prompts(empty)
    empty.write_text("# comment\n a red cube \n\na blue ball\n")
    assert read_prompts(empty) == ["a red cube", "a blue ball"]


def test_corpus_prompts_are_distinct_and_repeat() -> None:
    first = corpus_prompts(50, 3)
    assert len(set(first)) == 50 and first == corpus_prompts(50, 3) and first != corpus_prompts(50, 4)
    assert corpus_prompts(10, 3) == first[:10]


def _experience(advantages: torch.Tensor, group_size: int) -> Experience:
    policy = TokenToy()
    rollout = policy.sample(policy.condition(["a tower"] * len(advantages)), seeds=range(len(advantages)))
    return Experience(rollout, advantages, {"number": torch.arange(len(advantages))}, (), group_size)


def test_of_the_candidates_of_a_place_the_group_with_the_largest_spread_is_kept() -> None:
    spread = torch.tensor([0.1, 0.3, 0.2, 0.5, 0.5, 0.4])  # two places with three candidates each
    advantages = (spread.unsqueeze(1) * torch.tensor([1.0, -1.0])).reshape(-1, 1).expand(-1, 4)
    kept, figures = most_to_learn(_experience(advantages, 2), 3)
    assert kept.tensors["number"].tolist() == [2, 3, 6, 7]  # of equals the first
    assert figures == {"redrawn": 0.5}
    all_of_them = _experience(advantages, 2)
    assert most_to_learn(all_of_them, 1) == (all_of_them, {})


@pytest.mark.parametrize("count", [2, 3, 4])
def test_processes_keep_together_what_one_process_keeps(count: int) -> None:
    draw = Draw([str(i) for i in range(30)], 2, 0, 0)  # ten places with three candidates each
    advantages = torch.rand(30, generator=torch.Generator().manual_seed(0)).repeat_interleave(2).unsqueeze(1)
    shards = [Processes(rank, count).shard(draw, 3) for rank in range(count)]
    kept = []
    for shard in shards:
        index = torch.arange(2 * shard.first, 2 * (shard.first + len(shard.prompts)))
        kept += most_to_learn(_experience(advantages[index], 2), 3)[0].advantages.flatten().tolist()
    assert kept == most_to_learn(_experience(advantages, 2), 3)[0].advantages.flatten().tolist()
