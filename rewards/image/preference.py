"""A reward learned from preferences between two assets for one prompt: a small head on the shipped
scorer's features of several views.

The probability that a is chosen over b is sigmoid(s_a - s_b) (Bradley and Terry, Rank Analysis of
Incomplete Block Designs, 1952). ``rl3d prefer`` collects the choices and ``rl3d train-reward`` fits
the head."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rewards.base import Batch, Needs, Scores
from rewards.image.alignment import SHIPPED, AlignmentReward, embed_prompts, load_scorer, one_by_one
from rewards.image.scorer import SIZE, VIEWS, Scorer
from scenes.files import FileError
from scenes.files.tensors import read_tensors

KIND = "preference"


class PreferenceHead(nn.Module):
    """Scores s of assets from their features, standardised by the features of the fitted pairs."""

    def __init__(self, features: int, width: int = 64) -> None:
        super().__init__()
        self.mean, self.std = nn.Buffer(torch.zeros(features)), nn.Buffer(torch.ones(features))
        self.scale = nn.Buffer(torch.ones(()))
        """Standard deviation of the scores of the fitted assets."""
        self.layers = nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Dropout(0.3), nn.Linear(width, 1))

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b"]:
        return self.layers((features - self.mean) / self.std).squeeze(-1)


def features(scorer: Scorer, batch: Batch, needs: Needs) -> Float[Tensor, "b f"]:
    """Features of every asset: mean and standard deviation over its views, its embedding, the
    prompt's embedding, and their product."""
    views, text = batch.need_views(needs), batch.text
    device = views.rgb.device
    seen = one_by_one(scorer.view_features, views.rgb, views.alpha)
    image = torch.nn.functional.normalize(one_by_one(lambda one: scorer.image_out(one.mean(1)), seen), dim=-1)
    prompt = embed_prompts(scorer, text, device)
    return torch.cat([seen.mean(1), seen.std(1), image, prompt, image * prompt], -1)


class Preference:
    """sigmoid(s / scale) in [0, 1]: 0.5 for an asset that is chosen as often as not. ``verdict``:
    above 0.5. ``version`` is a hash of the weights."""

    name = KIND
    needs = Needs(cameras=VIEWS, size=SIZE)

    def __init__(self, weights: Path) -> None:
        self.head, self.version = load_head(weights)
        self.scorer = load_scorer(SHIPPED)

    def values(self, batch: Batch) -> Float[Tensor, "b"]:
        """With gradient to the colours and alphas of the views."""
        device = batch.need_views(self.needs).rgb.device
        head = self.head.to(device)
        seen = features(self.scorer.to(device), batch, self.needs)
        return one_by_one(lambda one: torch.sigmoid(head(one) / head.scale), seen)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        values = self.values(batch).cpu()
        failed = ~values.isfinite()
        return Scores(torch.where(failed, 0.0, values), failed=int(failed.sum()), verdict=values > 0.5)


def from_weights(path: Path) -> AlignmentReward | Preference:
    """The reward in a file: a scorer, called as the file, or a learned preference. FileError for
    anything else."""
    if read_tensors(path, "a learned preference or a scorer").header.get("kind") != "scorer":
        return Preference(path)
    reward = AlignmentReward(path)
    reward.name = path.stem
    return reward


def load_head(path: Path) -> tuple[PreferenceHead, str]:
    """A frozen head from its safetensors file, and the first digits of the file's hash. FileError
    for anything else."""
    file = read_tensors(path, "a learned preference")
    if (kind := file.header.get("kind")) != KIND:
        raise FileError(f"{path}: holds {kind!r}, not a learned preference: make one with rl3d train-reward")
    tensors = {k: v.float() for k, v in file.tensors.items()}
    try:
        if not all(v.isfinite().all() for v in tensors.values()):
            raise ValueError("not finite")
        with torch.device("meta"):  # a layer that the weights do not have costs nothing
            head = PreferenceHead(len(tensors["mean"]), len(tensors["layers.0.bias"]))
        head.load_state_dict(tensors, assign=True)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise FileError(f"{path}: not a learned preference ({type(error).__name__})") from error
    return head.eval().requires_grad_(False), file.sha256[:8]
