"""The encoder of a few lines equals the reference implementation on the published weights."""

import pytest
import torch

from rewards.text import MiniLM
from rewards.text.minilm import find_weights

PROMPTS = [
    "a red armchair with white legs",
    "two green spheres",
    "a 3d model of a very tall lighthouse with black stripes, low poly",
]


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM()


def test_equals_transformers(encoder: MiniLM) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(find_weights(), local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(find_weights(), local_files_only=True)
    inputs = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
    features = encoder.encode(PROMPTS)
    mask = inputs["attention_mask"].bool()
    assert torch.equal(features.mask, mask)
    assert (features.tokens - expected)[mask].abs().max() < 2e-3  # the cache holds float16
    mean = (expected * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    assert torch.allclose(features.pooled, torch.nn.functional.normalize(mean, dim=-1), atol=1e-5)


def test_scores_do_not_depend_on_order_or_other_assets(encoder: MiniLM) -> None:
    fresh = MiniLM()
    alone = fresh.encode(PROMPTS[1:2])
    assert torch.allclose(encoder.encode(PROMPTS)[1:2].pooled, alone.pooled, atol=1e-5)


def test_empty_prompt_is_refused(encoder: MiniLM) -> None:
    with pytest.raises(ValueError, match="prompt 2 of 2 is empty"):
        encoder.encode(["a cube", "  "])


def test_wrong_weights_are_refused(tmp_path) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"not the model")
    with pytest.raises(ValueError, match="is not the published all-MiniLM-L6-v2"):
        MiniLM(tmp_path)
