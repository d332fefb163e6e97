"""``alignment``: how well the rendered views show what the prompt says, by the shipped image-text
scorer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from rewards.image.scorer import SIZE, VIEWS, Scorer, ScorerConfig
from rewards.text import TextFeatures
from scenes.files import FileError
from scenes.files.tensors import read_tensors

SHIPPED = Path(__file__).parent / "weights" / "alignment.safetensors"


def load_scorer(path: Path) -> Scorer:
    """A frozen scorer from its safetensors file, whose header holds its sizes. FileError for
    anything else."""
    file = read_tensors(path, "a scorer's weights")
    try:
        scorer = Scorer(ScorerConfig(**file.header["config"]))
        scorer.load_state_dict({k: v.float() for k, v in file.tensors.items()})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise FileError(f"{path}: not a scorer's weights ({type(error).__name__})") from error
    return scorer.eval().requires_grad_(False)


def embed_prompts(scorer: Scorer, text: TextFeatures, device: torch.device) -> Float[Tensor, "b d"]:
    """Unit embeddings of a batch's prompts, each alone and without padding (see
    ``one_by_one``)."""
    lengths = text.mask.sum(-1).tolist()
    pairs = [
        (text.tokens[k : k + 1, :n].to(device), text.mask[k : k + 1, :n].to(device)) for k, n in enumerate(lengths)
    ]
    return torch.cat([scorer.embed_text(*pair) for pair in pairs])


def one_by_one(function: Callable[..., Tensor], *batched: Tensor) -> Tensor:
    """Apply a function to each asset alone. The rounding of a matrix product or a vectorised
    exponential depends on the size of the batch and the position in it. A score must not depend on
    either."""
    return torch.cat([function(*(t[k : k + 1] for t in batched)) for k in range(len(batched[0]))])


class AlignmentReward:
    """Match of views and prompt: sigmoid of half the scorer's logit, in [0, 1]. The factor 1/2
    keeps the sigmoid from saturating on good assets. ``verdict``: above 0.5."""

    name = "alignment"
    version = "1"
    needs = Needs(cameras=VIEWS, size=SIZE)

    def __init__(self, weights: Path = SHIPPED) -> None:
        self.scorer = load_scorer(weights)

    def values(self, batch: Batch) -> Float[Tensor, "b"]:
        """With gradient to the colours and alphas of the views."""
        views, text = batch.need_views(self.needs), batch.text
        device = views.rgb.device
        self.scorer.to(device)

        def match(rgb: Tensor, alpha: Tensor, prompt: Tensor) -> Tensor:
            return torch.sigmoid(self.scorer.match(self.scorer.embed_images(rgb, alpha), prompt) / 2)

        return one_by_one(match, views.rgb, views.alpha, embed_prompts(self.scorer, text, device))

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        values = self.values(batch).cpu()
        failed = ~values.isfinite()
        return Scores(torch.where(failed, 0, values), failed=int(failed.sum()), verdict=values > 0.5)
