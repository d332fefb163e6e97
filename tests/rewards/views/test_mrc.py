"""Reconstruction consistency: the scene that is fitted, the box, the distance."""

import pytest
import torch

from rewards.views.mrc import MRC, foreground, similarity


def test_a_view_of_other_colours_is_found(pictures, spoil):
    reward = MRC(steps=9)
    recolored = spoil(
        "rgb", 3, lambda image: torch.where(image.amin(-1, keepdim=True) < 0.9, 1 - image.roll(1, -1), image)
    )
    whole, spoiled = reward(pictures(reward.needs)), reward(pictures(reward.needs, recolored))
    assert (spoiled.values[:2] < whole.values[:2] - 0.05).all()
    assert spoiled.per_view[:2].argmin(-1).tolist() == [3, 3]


def test_the_fit_brings_the_views_nearer(pictures):
    before, after = (MRC(steps=steps)(pictures(MRC().needs, chosen=slice(0, 1))).per_view for steps in (0, 6))
    assert (after > before).all()


def test_too_few_views_to_hold_some_out():
    with pytest.raises(ValueError, match="at least 6, got 4"):
        MRC(cameras=4)


def test_similarity_is_one_only_for_equal_images():
    x = torch.rand(1, 2, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    box = torch.ones(1, 2, 32, 32, dtype=torch.bool)
    assert similarity(x, x, box).tolist() == [[1, 1]]
    assert (similarity(x, 1 - x, box) < 0.7).all()
    box[..., :16] = False  # what differs outside the box does not count
    far = x.clone()
    far[..., :4, :] = 0
    assert (similarity(x, far, box) > 0.99).all()


def test_the_box_is_around_all_that_is_shown():
    one, other = torch.zeros(1, 1, 8, 8, 1), torch.zeros(1, 1, 8, 8, 1)
    one[0, 0, 2, 3], other[0, 0, 5, 6] = 1, 1
    box = foreground(one, other)[0, 0]
    assert box.sum() == 16 and box[2:6, 3:7].all()
    assert not foreground(torch.zeros(1, 1, 8, 8, 1)).any()
