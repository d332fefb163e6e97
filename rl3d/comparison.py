"""The contact sheet of an evaluation: assets of one checkpoint, or pairs of two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from rewards.physics.simulate import settle
from rl3d.pictures import Picture, previews, render_sheet
from scenes.asset import Asset

COLUMNS = 8


def comparison(
    captions: list[str],
    assets: Sequence[Asset],
    verdicts: Sequence[Float[Tensor, "n"] | None],
    samples: int,
    limit: int,
    size: int = 176,
) -> Image.Image:
    """A contact sheet of at most ``limit`` prompts, with one sample each.

    ``assets`` are those of one checkpoint or of two, prompt by prompt with ``samples`` each;
    ``verdicts`` are 1 for assets that stand in one piece and 0 for others, if they were measured.
    Of one checkpoint the prompts are evenly spaced. Of two, the pairs stand one above the other as
    the shake test leaves them. Pairs whose verdicts differ, in either direction, come first, and
    among them those that look most different.
    """
    count = len(captions)
    paired = len(assets) == 2
    good = [torch.ones(count, samples) if v is None else v.view(count, samples) for v in verdicts]
    differs = good[0] != good[-1]
    # Of each prompt the first sample whose verdicts differ, or else the first sample.
    shown = (torch.arange(count) * samples + differs.int().argmax(1)).tolist()
    changed = [i for i, d in zip(shown, differs.any(1).tolist(), strict=True) if d]
    same = [i for i, d in zip(shown, differs.any(1).tolist(), strict=True) if not d]
    room = max(0, limit - len(changed)) if paired else limit
    chosen = same[:: max(1, -(-len(same) // max(1, room)))][:room]
    pairs = sorted(zip(changed, _pictures(assets, changed, paired, size), strict=True), key=lambda p: -_apart(p[1]))
    pairs = pairs[:limit] + list(zip(chosen, _pictures(assets, chosen, paired, size), strict=True))
    rows, labels = [], []
    for start in range(0, len(pairs), COLUMNS):
        for which in range(len(assets)):
            last = which == len(assets) - 1
            some = pairs[start : start + COLUMNS]
            rows.append([Picture(images[which], captions[i // samples] if last else "") for i, images in some])
            labels.append(("before", "after")[which])
    if not paired:
        return render_sheet(rows, size=size)
    better, worse = int((good[1] > good[0]).sum()), int((good[1] < good[0]).sum())
    title = (
        f"After the shake test: of {count * samples} assets for held-out prompts, "
        f"{better} stand in one piece only after training, {worse} only before"
    )
    return render_sheet(rows, labels=labels, title=title, size=size)


def _pictures(assets: Sequence[Asset], chosen: list[int], settled: bool, size: int) -> list[list[Image.Image]]:
    """The pictures of each chosen asset, one a checkpoint."""
    images: list[list[Image.Image]] = [[] for _ in assets]
    for which, asset in enumerate(assets):
        for start in range(0, len(chosen), COLUMNS):
            some = asset[chosen[start : start + COLUMNS]]
            images[which] += previews((settle(some) if settled else some).gaussians(8192), size)
    return [list(pair) for pair in zip(*images, strict=True)]


def _apart(pair: list[Image.Image]) -> float:
    """Mean absolute difference of the first and the last picture."""
    first, second = (np.asarray(image, np.float32) for image in (pair[0], pair[-1]))
    return float(np.abs(first - second).mean())
