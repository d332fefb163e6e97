"""What the rewards by published models share: where weights are found, how they are read, and
scoring an asset view by view.

A file of a model repository is looked for in the folder ``$RL3D_WEIGHTS/OWNER/NAME``, then in the
Hugging Face cache, then on the hub. Weights are read as data only (safetensors, or a pickle
restricted to tensors), and must be exactly those of their model."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rewards.base import Batch, Needs, Scores
from scenes.files import FileError

WEIGHTS = "RL3D_WEIGHTS"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def optional(module: str) -> Any:
    """A module of the extra ``pretrained``, or one line that says how to install it. Imported late:
    transformers takes seconds."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f'rewards by published models need {error.name}: pip install "rl3d[pretrained]"') from error


def find(repository: str, *names: str) -> Path:
    """The first of the files ``names`` that the model repository ``OWNER/NAME`` has: local, or
    fetched from the hub."""
    advice = f"run 'hf download {repository} {names[0]}', or put the file into ${WEIGHTS}/{repository}"
    folder = os.environ.get(WEIGHTS)
    if folder and (place := Path(folder) / repository).is_dir():
        for name in names:
            if (place / name).is_file():
                return place / name
        raise FileError(f"{place} has no {names[0]}: {advice}")
    hub = optional("huggingface_hub")
    for name in names:
        cached = hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    why, cause = "the hub has no such file", None
    for name in names:
        try:
            # Asked first: without a network, the download itself would try again for half a minute.
            if hub.get_session().head(hub.hf_hub_url(repository, name), timeout=10).status_code != 404:
                return Path(hub.hf_hub_download(repository, name))
        except (
            Exception
        ) as error:  # offline, refused, full disk: the client's exceptions have no common base, and all end here
            why, cause = type(error).__name__, error
            break
    raise FileError(
        f"{names[0]} of {repository} is not on this machine and cannot be fetched ({why}): {advice}"
    ) from cause


def read_json(path: Path) -> dict[str, Any]:
    """A model's configuration; FileError with one line for anything but a JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise FileError(f"{path}: a model's configuration is a JSON object")
    return found


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, in float32: of a .safetensors file, or of a pickled state dict (or a
    checkpoint that holds one as "state_dict")."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FileError(f"{path}: cannot read the weights ({error.strerror or type(error).__name__})") from error
    except Exception as error:  # what a damaged pickle makes its reader raise has no common base
        raise FileError(f"{path}: not a file of weights, or cut short ({type(error).__name__})") from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()
    ):
        raise FileError(f"{path}: not a file of weights: it holds other things than tensors by name")
    # Counters 0, 1, 2 ... that older versions saved along.
    return {k: v.float() if v.is_floating_point() else v for k, v in found.items() if not k.endswith("position_ids")}


def read_tokenizer(path: Path, longest: int) -> Any:
    """The tokenizer of a tokenizer.json, which cuts off what goes beyond ``longest`` tokens; it
    pads nothing."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise FileError(f"{path}: not a tokenizer") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return tokenizer


def build(kind: Any, config: Any, weights: dict[str, Tensor], source: Path, **options) -> Any:
    """A frozen model of transformers' class ``kind`` with exactly these weights; FileError where a
    name or a shape differs."""
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in kind(config, **options).state_dict().items()}
    found = {name: tuple(t.shape) for name, t in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            wanted, got = expected.get(name, "none"), found.get(name, "none")
            raise FileError(f"{source}: not the weights of this {kind.__name__}: {name} should be {wanted}, is {got}")
    logging = optional("transformers.utils.logging")
    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = kind.from_pretrained(None, config=config, state_dict=weights, **options)
    finally:
        if bar:
            logging.enable_progress_bar()
    return model.eval().requires_grad_(False)


def linear_head(weights: Mapping[str, Tensor], prefix: str, width: int, source: Path) -> nn.Sequential:
    """The head of the aesthetic predictor and of ImageReward: linear layers ``prefix``N from
    ``width`` features to one number.

    Both were trained without activations, with dropouts that do nothing afterwards.
    """
    inner = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
    head = nn.Sequential()
    try:
        for number in sorted({int(name.partition(".")[0]) for name in inner}):
            weight, bias = inner[f"{number}.weight"], inner[f"{number}.bias"]
            if weight.dim() != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
                raise ValueError
            width = len(weight)
            layer = nn.Linear(weight.shape[1], width)
            layer.load_state_dict({"weight": weight, "bias": bias})
            head.append(layer)
        if len(inner) != 2 * len(head) or not inner or width != 1:
            raise ValueError
    except (KeyError, ValueError) as error:
        raise FileError(f"{source}: not a head of linear layers that fits its model") from error
    return head.eval().requires_grad_(False)


def digest(*paths: Path) -> str:
    """Twelve hexadecimal digits of SHA-256 over the files' contents: what a reward's version says
    of its weights."""
    whole = hashlib.sha256()
    for path in paths:
        one = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    one.update(block)
        except OSError as error:
            raise FileError(f"{path}: cannot be read ({error.strerror})") from error
        whole.update(one.digest())
    return whole.hexdigest()[:12]


class ViewReward:
    """Scores every view with a published model.

    An asset's value is the mean over its views and does not depend on other assets. ``published``
    returns the authors' score, differentiable with respect to the images. ``scale`` maps it to (0,
    1): sigmoid((score - centre) / spread), so 0.5 means ``centre``. ``unscale`` is the inverse.
    Centre and spread are ours, chosen for the range of rendered assets."""

    name: str
    version: str
    needs = Needs(cameras=4, size=224)
    centre: float
    spread: float

    def published(self, rgb: Float[Tensor, "c h w 3"], prompt: str) -> Float[Tensor, "c"]:
        """The published score of each view of one asset, sRGB in [0, 1] on white."""
        raise NotImplementedError

    def scale(self, published: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sigmoid((published - self.centre) / self.spread)

    def unscale(self, value: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.centre + self.spread * torch.logit(value)

    def values(self, batch: Batch) -> Float[Tensor, "b"]:
        """With gradient to the colours of the views."""
        return self._per_view(batch).mean(1)

    def _per_view(self, batch: Batch) -> Float[Tensor, "b c"]:
        rgb = batch.need_views(self.needs).rgb
        # One asset at a time: the last bits of a matrix product depend on what else is in the
        # batch.
        rows = [self.scale(self.published(views, prompt)) for views, prompt in zip(rgb, batch.prompts, strict=True)]
        return torch.stack(rows) if rows else rgb.new_zeros(rgb.shape[:2])

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        per_view = self._per_view(batch).cpu()
        failed = ~per_view.isfinite().all(1)
        per_view[failed] = 0
        return Scores(per_view.mean(1), failed=int(failed.sum()), per_view=per_view)
