"""ImageReward against its arithmetic written out by the published names: image encoder, text
encoder with cross-attention, head."""

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from rewards import Differentiable, resolve
from rewards.image.image_reward import load_blip
from rewards.image.preprocess import clip_pixels

WIDTH, TEXT, DEPTH, PATCH, IMAGE = 192, 128, 2, 16, 64
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"a red chair with four legs".split()]


def published_state():
    """Random weights with the names of ImageReward.pt; 64 numbers a head, so 3 heads see and 2
    read."""
    generator = torch.Generator().manual_seed(3)
    state = {}

    def add(name, *shape, mean=0.0):
        state[name] = mean + 0.15 * torch.randn(shape, generator=generator)

    def linear(name, out, into):
        add(f"{name}.weight", out, into)
        add(f"{name}.bias", out)

    def norm(name, size):
        add(f"{name}.weight", size, mean=1.0)
        add(f"{name}.bias", size)

    see = "blip.visual_encoder."
    add(see + "cls_token", 1, 1, WIDTH)
    add(see + "pos_embed", 1, (IMAGE // PATCH) ** 2 + 1, WIDTH)
    add(see + "patch_embed.proj.weight", WIDTH, 3, PATCH, PATCH)
    add(see + "patch_embed.proj.bias", WIDTH)
    norm(see + "norm", WIDTH)
    for i in range(DEPTH):
        at = f"{see}blocks.{i}."
        norm(at + "norm1", WIDTH)
        norm(at + "norm2", WIDTH)
        for name, out, into in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            linear(at + name, out * WIDTH, into * WIDTH)
    read = "blip.text_encoder."
    state[read + "embeddings.position_ids"] = torch.arange(40)[None]
    add(read + "embeddings.word_embeddings.weight", len(WORDS), TEXT)
    add(read + "embeddings.position_embeddings.weight", 40, TEXT)
    norm(read + "embeddings.LayerNorm", TEXT)
    for i in range(DEPTH):
        at = f"{read}encoder.layer.{i}."
        for kind, source in (("attention", TEXT), ("crossattention", WIDTH)):
            for name, into in (("query", TEXT), ("key", source), ("value", source)):
                linear(f"{at}{kind}.self.{name}", TEXT, into)
            linear(f"{at}{kind}.output.dense", TEXT, TEXT)
            norm(f"{at}{kind}.output.LayerNorm", TEXT)
        linear(at + "intermediate.dense", 3 * TEXT, TEXT)
        linear(at + "output.dense", TEXT, 3 * TEXT)
        norm(at + "output.LayerNorm", TEXT)
    linear("blip.vision_proj", 16, WIDTH)  # of BLIP's pretraining; ImageReward's score does not use them
    linear("blip.text_proj", 16, TEXT)
    for number, (out, into) in {0: (64, TEXT), 2: (32, 64), 4: (16, 32), 6: (8, 16), 7: (1, 8)}.items():
        linear(f"mlp.layers.{number}", out, into)
    return state


def plain_score(state, pixels, ids):
    """The published number for each image (N, 3, H, W) with one text, padded to 35 tokens and
    masked as the reference does."""

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name, eps):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def attend(q, k, v, mask=0.0):
        q, k, v = (t.unflatten(-1, (-1, 64)).transpose(1, 2) for t in (q, k, v))
        return ((q @ k.transpose(-1, -2) / 8 + mask).softmax(-1) @ v).transpose(1, 2).flatten(2)

    see = "blip.visual_encoder."
    patches = F.conv2d(
        pixels, state[see + "patch_embed.proj.weight"], state[see + "patch_embed.proj.bias"], stride=PATCH
    )
    x = (
        torch.cat([state[see + "cls_token"].expand(len(pixels), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        + state[see + "pos_embed"]
    )
    for i in range(DEPTH):
        at = f"{see}blocks.{i}."
        x = x + linear(attend(*linear(norm(x, at + "norm1", 1e-6), at + "attn.qkv").chunk(3, -1)), at + "attn.proj")
        x = x + linear(F.gelu(linear(norm(x, at + "norm2", 1e-6), at + "mlp.fc1")), at + "mlp.fc2")
    image = norm(x, see + "norm", 1e-6)

    read = "blip.text_encoder."
    tokens = torch.tensor(ids + [0] * (35 - len(ids)))
    mask = (torch.arange(35) >= len(ids)) * -10000.0
    h = (
        state[read + "embeddings.word_embeddings.weight"][tokens]
        + state[read + "embeddings.position_embeddings.weight"][:35]
    )
    h = norm(h, read + "embeddings.LayerNorm", 1e-12).expand(len(pixels), -1, -1)
    for i in range(DEPTH):
        at = f"{read}encoder.layer.{i}."
        for kind, source, hide in (("attention", None, mask), ("crossattention", image, 0.0)):
            seen = h if source is None else source
            own = f"{at}{kind}.self."
            mixed = attend(linear(h, own + "query"), linear(seen, own + "key"), linear(seen, own + "value"), hide)
            h = norm(linear(mixed, f"{at}{kind}.output.dense") + h, f"{at}{kind}.output.LayerNorm", 1e-12)
        h = norm(
            linear(F.gelu(linear(h, at + "intermediate.dense")), at + "output.dense") + h,
            at + "output.LayerNorm",
            1e-12,
        )
    out = h[:, 0]
    for number in (0, 2, 4, 6, 7):
        out = linear(out, f"mlp.layers.{number}")
    return (out[:, 0] - 0.16717362830052426) / 1.0333394966054072


@pytest.fixture
def files(weights):
    """The two repositories that the reward reads; what it returns is the state dict."""
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    for name in ("THUDM/ImageReward", "google-bert/bert-base-uncased"):
        (weights / name).mkdir(parents=True)
    tokenizer.save(str(weights / "google-bert/bert-base-uncased/tokenizer.json"))
    state = published_state()
    torch.save(state, weights / "THUDM/ImageReward/ImageReward.pt")
    return state


def test_image_reward_is_what_the_published_model_computes(files, batch_of, pictures):
    reward = resolve("image_reward")
    prompts = ["a red chair", "a chair with four red legs", "four"]
    expected = torch.stack(
        [
            plain_score(files, clip_pixels(rgb, IMAGE), [2, *(WORDS.index(word) for word in prompt.split()), 3])
            for rgb, prompt in zip(pictures, prompts)
        ]
    )
    with torch.no_grad():
        published = torch.stack([reward.published(rgb, prompt) for rgb, prompt in zip(pictures, prompts)])
    torch.testing.assert_close(published, expected, atol=1e-4, rtol=1e-4)
    scores = reward(batch_of(pictures, prompts))
    torch.testing.assert_close(scores.per_view, torch.sigmoid(expected), atol=1e-4, rtol=0)
    order = [1, 2, 0]
    assert torch.equal(reward(batch_of(pictures[order], [prompts[i] for i in order])).values, scores.values[order])


def test_text_beyond_35_tokens_is_cut_off(files, pictures):
    reward = resolve("image_reward")
    with torch.no_grad():
        long = reward.published(pictures[0], "red " * 50)
        torch.testing.assert_close(
            long, plain_score(files, clip_pixels(pictures[0], IMAGE), [2, *[5] * 33, 3]), atol=1e-4, rtol=1e-4
        )


def test_image_reward_has_gradients(files, batch_of, pictures):
    rgb, reward = pictures.clone().requires_grad_(), resolve("image_reward")
    assert isinstance(reward, Differentiable)
    values = reward.values(batch_of(rgb, ["a chair"] * 3))
    torch.testing.assert_close(values.detach(), reward(batch_of(pictures, ["a chair"] * 3)).values)
    (slope,) = torch.autograd.grad(values[0], rgb)
    assert slope.isfinite().all() and (slope[0] != 0).any((1, 2, 3)).all() and slope[1:].eq(0).all()


def test_weights_of_another_layout_are_refused(files, weights):
    path = weights / "THUDM/ImageReward/ImageReward.pt"
    without = {name: t for name, t in files.items() if "crossattention.self.key.bias" not in name}
    for wrong, message in (
        ({"a": torch.ones(1)}, "not the weights of ImageReward"),
        (without, r"not the weights of this BlipTextModel: .*crossattention.self.key.bias should be \(128,\), is none"),
    ):
        torch.save(wrong, path)
        with pytest.raises(ValueError, match=message):
            load_blip.cache_clear()
            resolve("image_reward")
