"""What a reward is: a callable that scores a batch of assets, and says beforehand what it wants to
look at.

Rewards never render. They state their ``Needs``; the caller renders the union once and hands every
reward the same ``Batch``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from renderers.base import Views
from scenes.cameras import Cameras
from scenes.parts import TOUCH_TOLERANCE, Parts, clusters


@dataclass(frozen=True)
class Needs:
    """What a reward looks at. ``cameras`` = 0 means no images; otherwise so many views of so many
    pixels (``size``) a side, evenly around the asset, with normals if ``normals``."""

    parts: bool = False
    cameras: int = 0
    size: int = 0
    text: bool = False
    normals: bool = False

    def __post_init__(self) -> None:
        if min(self.cameras, self.size) < 0 or (self.cameras > 0) != (self.size > 0):
            raise ValueError(
                f"a reward needs both cameras and a size, or neither; got cameras={self.cameras}, size={self.size}"
            )
        if self.normals and not self.cameras:
            raise ValueError("normals are seen in views: a reward that needs them needs cameras and a size")

    @property
    def rig(self) -> tuple[int, int]:
        """The views it wants, as a key of ``Batch.shots``."""
        return self.cameras, self.size

    @staticmethod
    def rigs(rewards: Iterable[Reward]) -> dict[tuple[int, int], bool]:
        """The distinct sets of views that ``rewards`` want, and whether with normals: each is
        rendered once, and what a reward sees does not depend on which others there are."""
        found: dict[tuple[int, int], bool] = {}
        for needs in (reward.needs for reward in rewards):
            if needs.cameras:
                found[needs.rig] = found.get(needs.rig, False) or needs.normals
        return found


@dataclass(frozen=True)
class Shots:
    """Rendered views (B, C, H, W, 3) of a batch on white, and the C cameras, the same for every
    asset."""

    views: Views
    cameras: Cameras


@runtime_checkable
class Text(Protocol):
    """Embeddings of the prompts, made once by the caller's text encoder: contextual tokens with
    their mask, and sentence means."""

    @property
    def tokens(self) -> Float[Tensor, "b l d"]: ...

    @property
    def mask(self) -> Bool[Tensor, "b l"]: ...

    @property
    def pooled(self) -> Float[Tensor, "b d"]: ...


REACH = 0.1
"""Metres up to which a gap between parts is measured."""
MOST_PARTS = 256
"""Slots an asset may have: rewards look at every pair of parts."""


@dataclass(frozen=True)
class Batch:
    """B assets as the rewards see them: prompts; parts (B, P), rendered views by their rig, and
    text where a reward needs them."""

    prompts: list[str]
    parts: Parts | None = None
    shots: dict[tuple[int, int], Shots] = field(default_factory=dict)
    text: Text | None = None

    def __post_init__(self) -> None:
        if self.parts is not None and (
            self.parts.existence.dim() != 2 or len(self.parts.existence) != len(self.prompts)
        ):
            raise ValueError(f"parts must be ({len(self.prompts)} assets, P), got {tuple(self.parts.existence.shape)}")
        if self.parts is not None and self.parts.count > MOST_PARTS:
            raise ValueError(f"an asset of {self.parts.count:,} parts: rewards look at {MOST_PARTS} at most")

    def __len__(self) -> int:
        return len(self.prompts)

    def need_parts(self) -> Parts:
        """The parts, or one clear error when the caller did not supply what ``Needs`` asked for."""
        if self.parts is None:
            raise ValueError(
                "this reward looks at parts, and the batch has none (a generator without parts cannot be scored by it)"
            )
        return self.parts

    def need_shots(self, needs: Needs) -> Shots:
        """The views that a reward asked for, with their cameras, or one clear error."""
        if needs.rig not in self.shots:
            raise ValueError(
                f"this reward looks at {needs.cameras} views of {needs.size} pixels a side, and the batch has none"
            )
        return self.shots[needs.rig]

    def need_views(self, needs: Needs) -> Views:
        """The views that a reward asked for, or one clear error."""
        return self.need_shots(needs).views

    def need_text(self) -> Text:
        """The prompts' embeddings, or one clear error."""
        if self.text is None:
            raise ValueError("this reward looks at the text's embeddings, and the batch has none")
        return self.text

    @cached_property
    def broken(self) -> Bool[Tensor, "b"]:
        """Assets with a part that is not made of finite numbers: rewards on geometry score them 0
        and count them as failed."""
        return _broken_parts(self.need_parts()).any(-1)

    @cached_property
    def sound_parts(self) -> Parts:
        """The parts, detached, without those that are not finite: geometry on the rest of the batch
        stays defined."""
        return self.sound_parts_with_gradient.detach()

    @cached_property
    def sound_parts_with_gradient(self) -> Parts:
        """``sound_parts`` that still carry gradient to the parts they come from."""
        parts = self.need_parts()
        bad = _broken_parts(parts)
        if not bad.any():
            return parts
        with torch.enable_grad():  # whoever asks first may not want it
            return Parts(**{name: _where(bad, value, getattr(parts, name)) for name, value in _ABSENT.items()})

    @cached_property
    def gaps(self) -> Float[Tensor, "b p p"]:
        """``Parts.gaps`` of the sound parts up to ``REACH``, found once for all rewards that
        ask."""
        return self.sound_parts.gaps(REACH)

    @cached_property
    def components(self) -> Int[Tensor, "b p"]:
        """Touching cluster of every sound part, as ``Parts.components``."""
        return clusters(self.gaps <= TOUCH_TOLERANCE, self.sound_parts.exists)

    @cached_property
    def volumes(self) -> Float[Tensor, "b p"]:
        """Cubic metres of every sound part, 0 for absent ones."""
        parts = self.sound_parts
        out = torch.zeros_like(parts.existence)
        out[parts.exists] = parts[parts.exists].masses()[0]
        return out

    @cached_property
    def bottoms(self) -> Float[Tensor, "b p"]:
        """Lowest z of every sound part in metres, infinite for absent ones."""
        parts = self.sound_parts
        out = torch.full_like(parts.existence, torch.inf)
        out[parts.exists] = parts[parts.exists].bottoms()
        return out


@dataclass(frozen=True)
class Scores:
    """One reward's result for B assets, in main memory. ``values`` are finite and in [0, 1]: an
    asset that could not be scored gets 0 and counts in ``failed``.

    Where a reward can, it says more: ``verdict``, its plain yes or no; ``per_part`` and
    ``per_view``, which parts or views earned the value (1 good, 0 bad), for credit finer than the
    whole asset."""

    values: Float[Tensor, "b"]
    failed: int = 0
    verdict: Bool[Tensor, "b"] | None = None
    per_part: Float[Tensor, "b p"] | None = None
    per_view: Float[Tensor, "b c"] | None = None


@runtime_checkable
class Reward(Protocol):
    """``version`` changes whenever the same asset would score differently: it is written on every
    asset's card."""

    name: str
    version: str
    needs: Needs

    def __call__(self, batch: Batch) -> Scores: ...


@runtime_checkable
class Differentiable(Reward, Protocol):
    """A reward that a generator can also be tuned on directly, through the renderer (as DRaFT,
    Clark et al., 2024, for images)."""

    def values(self, batch: Batch) -> Float[Tensor, "b"]:
        """``Scores.values`` on the batch's device, with gradients to its parts (if ``needs.parts``)
        or to the colours and alphas of its views. Not checked for what cannot be scored: there they
        may be NaN."""
        ...


class Function:
    """A user's plain function as a reward, called by its own name. Its version is a hash of its
    source."""

    def __init__(self, function: Callable[[Batch], Scores | Tensor]) -> None:
        self.function = function
        self.name: str = function.__name__
        self.needs: Needs = getattr(function, "needs", Needs(parts=True, cameras=4, size=64, text=True))
        self.version = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:8]

    def __call__(self, batch: Batch) -> Scores:
        result = self.function(batch)
        return (
            result
            if isinstance(result, Scores)
            else Scores(torch.as_tensor(result, dtype=torch.float32).detach().cpu())
        )


_ABSENT = {
    "existence": torch.tensor(-1.0),
    "exponents": torch.ones(2),
    "taper": torch.tensor(0.0),
    "centres": torch.zeros(3),
    "half_sizes": torch.ones(3),
    "rotations": torch.eye(3),
    "colors": torch.zeros(3),
}


def _broken_parts(parts: Parts) -> Bool[Tensor, "b p"]:
    """Existing parts with a NaN or an infinity; a part whose existence is NaN counts. Absent parts
    may hold anything."""
    finite = parts.existence.isfinite()
    for name in _ABSENT:
        finite &= getattr(parts, name).reshape(*finite.shape, -1).isfinite().all(-1)
    return ~finite & ~(parts.existence <= 0)


def _where(mask: Bool[Tensor, "b p"], value: Tensor, field: Tensor) -> Tensor:
    return torch.where(mask.view(*mask.shape, *[1] * value.dim()), value.to(field), field)
