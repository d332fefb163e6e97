"""The visual hull of a batch of assets: the largest solid that their outlines allow, as cells of a
grid.

All assets of a batch are seen by the same cameras, so the outlines of up to 62 of them are the bits
of one integer image. A cell is then carved out of all of them by one lookup."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rewards.views.geometry import centre_of, project
from scenes.cameras import Cameras

_BITS = 62


class Grid:
    """Cells of a cube that holds all that the cameras show, and the pixel of each view that each
    cell falls into."""

    def __init__(self, cameras: Cameras, cells: int) -> None:
        centre, radius = centre_of(cameras)
        ticks = (torch.arange(cells, device=centre.device) + 0.5) / cells * 2 - 1
        points = centre + radius * torch.cartesian_prod(ticks, ticks, ticks)
        pixels = torch.stack([project(cameras, view, points)[0] for view in range(cameras.count)])
        self.outside = cameras.width * cameras.height
        known = (pixels != self.outside).sum(0) > cameras.count / 2  # what most views do not see is not judged
        self.points: Float[Tensor, "n 3"] = points[known]
        self.pixels: Int[Tensor, "c n"] = pixels[:, known]
        self.side = float(2 * radius / cells)

    def of(self, views: list[int]) -> Grid:
        """The same cells as some of the views see them."""
        grid = copy.copy(self)
        grid.pixels = self.pixels[views]
        return grid

    def agreed(
        self, shown: Bool[Tensor, "b c hw"]
    ) -> Iterator[tuple[Int[Tensor, "m"], Int[Tensor, "k"], Int[Tensor, "k"]]]:
        """For each asset: the cells of its hull, the cells that a single view keeps out of it, and
        which view that is."""
        for start in range(0, len(shown), _BITS):
            yield from self._agreed(shown[start : start + _BITS])

    def _agreed(
        self, shown: Bool[Tensor, "b c hw"]
    ) -> Iterator[tuple[Int[Tensor, "m"], Int[Tensor, "k"], Int[Tensor, "k"]]]:
        bit = (1 << torch.arange(len(shown), device=shown.device)).view(-1, 1, 1)
        images = (shown.long() * bit).sum(0)
        # A view does not carve what it does not see. (Padding would round this many bits.)
        images = torch.cat([images, bit.sum().expand(len(images), 1)], 1)
        once, twice = torch.zeros_like(self.pixels[0]), torch.zeros_like(self.pixels[0])
        for image, pixels in zip(images, self.pixels):
            no = ~image[pixels]
            twice |= once & no
            once |= no
        some = (~twice & int(bit.sum())).nonzero().squeeze(-1)
        once, twice = once[some], twice[some]
        for k in range(len(shown)):
            once_k, twice_k = (once >> k) & 1, (twice >> k) & 1
            disputed = some[(once_k & ~twice_k).bool()]
            mine = torch.nn.functional.pad(shown[k], (0, 1), value=True)
            objector = (~mine.gather(1, self.pixels[:, disputed])).int().argmax(0)
            yield some[once_k == 0], disputed, objector

    def drawn(self, cells: Int[Tensor, "m"]) -> Bool[Tensor, "c hw"]:
        """The pixels of each view that some of the cells fall into."""
        pixels = self.pixels[:, cells]
        image = torch.zeros(len(pixels), self.outside + 1, dtype=torch.bool, device=pixels.device)
        return image.scatter_(1, pixels, torch.ones_like(pixels, dtype=torch.bool))[:, :-1]


def widened(shown: Bool[Tensor, "b c h w"]) -> Bool[Tensor, "b c h w"]:
    """Outlines that have grown by a pixel. A cell stands for all of its inside, and thin parts must
    not fall between the cells' centres."""
    return torch.nn.functional.max_pool2d(shown.float(), 3, 1, 1).bool()
