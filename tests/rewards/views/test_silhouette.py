"""Outlines that do and do not belong to one solid."""

import torch

from rewards.views.silhouette import Silhouette, coherence
from scenes.cameras import orbit


def test_a_shifted_view_carves_the_others_and_is_found(pictures, spoil):
    reward = Silhouette()
    whole = reward(pictures(reward.needs))
    assert (whole.values[:2] > 0.99).all() and whole.verdict.tolist() == [True, True, False]
    spoiled = reward(pictures(reward.needs, spoil("alpha", 4, lambda image: image.roll(4, -2))))
    assert (spoiled.values[:2] < 0.98).all()
    assert spoiled.per_view[:2].argmin(-1).tolist() == [4, 4]


def test_an_empty_view_takes_all(pictures, spoil):
    reward = Silhouette()
    scores = reward(pictures(reward.needs, spoil("alpha", 2, torch.zeros_like)))
    assert scores.values.tolist() == [0, 0, 0]
    assert scores.per_view[:2].argmin(-1).tolist() == [2, 2]


def test_more_than_a_machine_word_of_assets():
    rng = torch.Generator().manual_seed(0)
    rig = orbit(4, size=16)
    shown = torch.zeros(70, 4, 16, 16, dtype=torch.bool)
    for k in range(70):
        low = int(torch.randint(4, 7, (1,), generator=rng))
        shown[k, :, low : low + 5, 5:11] = True
    shown[:, 3] = shown[:, 3].roll(3, -1)
    together = coherence(shown, rig)
    alone = [coherence(shown[k : k + 1], rig) for k in (0, 61, 62, 69)]
    for i in range(2):
        torch.testing.assert_close(together[i][[0, 61, 62, 69]], torch.cat([a[i] for a in alone]))
