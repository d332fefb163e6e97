"""Views of small assets, and ways to spoil them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from renderers import render
from renderers.base import Views
from rewards import Batch, Needs, Shots
from scenes import cameras


@pytest.fixture
def pictures(batch, table, part) -> Callable[..., Batch]:
    """A batch of views of three assets: a table, a ball on a box, and nothing at all; ``edit``
    changes the views."""

    def make(needs: Needs, edit: Callable[[Views], Views] = lambda views: views, chosen: slice = slice(None)) -> Batch:
        ball = [part((0.3, 0.3, 0.15), (0, 0, 0.15)), part((0.22, 0.22, 0.22), (0.05, 0, 0.5), (1.0, 1.0))]
        ball[1][16:] = torch.tensor([0.8, 0.1, 0.1])
        parts = batch(table(height=0.6), ball, []).need_parts()[chosen]
        rig = cameras.orbit(needs.cameras, size=needs.size, azimuth_deg=30.0)
        with torch.no_grad():
            views = render(parts.gaussians(2048), rig, outputs=("rgb", "normal"))
        return Batch(["asset"] * len(views.rgb), shots={needs.rig: Shots(edit(views), rig)})

    return make


@pytest.fixture
def spoil() -> Callable[..., Callable[[Views], Views]]:
    """An edit that changes one kind of image in one view of every asset."""

    def make(name: str, view: int, change: Callable[[Tensor], Tensor]) -> Callable[[Views], Views]:
        def edit(views: Views) -> Views:
            image = getattr(views, name).clone()
            image[:, view] = change(image[:, view])
            return replace(views, **{name: image})

        return edit

    return make
