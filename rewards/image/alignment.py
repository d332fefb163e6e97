"""``alignment``: how well the rendered views show what the prompt says, by the shipped image-text scorer."""

from __future__ import annotations

import struct
from pathlib import Path

import torch

from rewards.base import Batch, Needs, Scores
from rewards.image.scorer import SIZE, VIEWS, Scorer, ScorerConfig
from scenes.files import FileError
from scenes.files.trees import parse_json

SHIPPED = Path(__file__).parent / "weights" / "alignment.safetensors"


def load_scorer(path: Path) -> Scorer:
    """A scorer from its safetensors file (config in the header); FileError with one line for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = path.read_bytes()
        header = parse_json(parse_json(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]["rl3d"])
        scorer = Scorer(ScorerConfig(**header["config"]))
        scorer.load_state_dict({k: v.float() for k, v in load(data).items()})
    except OSError as error:
        raise FileError(f"{path}: cannot read the scorer's weights ({error.strerror})") from error
    except (SafetensorError, struct.error, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise FileError(f"{path}: not a scorer's weights, or cut short ({type(error).__name__})") from error
    return scorer.eval().requires_grad_(False)


class AlignmentReward:
    """Probability-like match in [0, 1]: the scorer's logit, halved so that good assets still differ, through a sigmoid."""

    name = "alignment"
    version = "1"
    needs = Needs(cameras=VIEWS, size=SIZE, text=True)

    def __init__(self, weights: Path = SHIPPED) -> None:
        self.scorer = load_scorer(weights)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        views, text = batch.need_views(self.needs), batch.need_text()
        device = views.rgb.device
        self.scorer.to(device)
        images = self.scorer.embed_images(views.rgb, views.alpha)
        logits = self.scorer.match(images, self.scorer.embed_text(text.tokens.to(device), text.mask.to(device)))
        failed = ~logits.isfinite()
        values = torch.where(failed, torch.zeros_like(logits), torch.sigmoid(logits / 2)).cpu()
        return Scores(values, failed=int(failed.sum()), verdict=(logits > 0).cpu())
