"""Rewards on CLIP against transformers' own processor and against open_clip's arithmetic written
out, with tiny random weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from rewards import Differentiable, Reward, resolve
from rewards.image.clip import VIT_H, Aesthetic, ClipScore, HPSv2, from_open_clip
from rewards.image.preprocess import clip_pixels
from rewards.mix import score

PROMPTS = ["a red chair", "two blue cars", "a tower"]
BASE, PICK, LARGE = "openai/clip-vit-base-patch32", "yuvalkirstain/PickScore_v1", "openai/clip-vit-large-patch14"


def reference_logits(folder, rgb, prompts):
    """exp(scale) times cosine of every image with its own prompt, by transformers alone."""
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(folder).eval()
    size = model.config.vision_config.image_size
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    pictures = [Image.fromarray((one * 255).round().byte().numpy()) for one in rgb]
    text = CLIPTokenizer.from_pretrained(folder)(
        prompts, padding=True, truncation=True, max_length=77, return_tensors="pt"
    )
    with torch.no_grad():
        return model(**text, **processor(images=pictures, return_tensors="pt")).logits_per_image.diagonal()


def test_clip_score_is_that_of_the_reference(clip_repository, weights, batch_of, pictures):
    clip_repository(BASE)
    scores = resolve("clip")(batch_of(pictures, PROMPTS))
    prompts = [f"A photo depicts {prompt}" for prompt in PROMPTS for _ in range(2)]
    expected = 2.5 * (reference_logits(weights / BASE, pictures.flatten(0, 1), prompts) / math.exp(4.6)).clamp(
        min=0
    ).view(3, 2)
    torch.testing.assert_close(scores.per_view, expected.clamp(max=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.values, scores.per_view.mean(1))
    assert scores.failed == 0


def test_pickscore_is_that_of_the_reference(clip_repository, clip_texts, weights, batch_of, pictures):
    clip_repository(PICK)
    clip_texts(VIT_H)
    reward = resolve("pickscore")
    scores = score([reward], batch_of(pictures, PROMPTS))["pickscore"]
    expected = reference_logits(weights / PICK, pictures.flatten(0, 1), [p for p in PROMPTS for _ in range(2)]).view(
        3, 2
    )
    with torch.no_grad():
        published = torch.stack([reward.published(rgb, prompt) for rgb, prompt in zip(pictures, PROMPTS)])
    torch.testing.assert_close(published, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores.per_view, torch.sigmoid((expected - 20) / 2), atol=1e-5, rtol=1e-4)


def test_views_of_another_size_score_nearly_the_same_as_by_the_reference(clip_repository, weights, batch_of, pictures):
    clip_repository(BASE)
    large = F.interpolate(pictures.flatten(0, 1).movedim(-1, 1), (64, 64), mode="nearest").movedim(1, -1)
    with torch.no_grad():
        ours = torch.cat([resolve("clip").clip.cosines(one[None], "a chair") for one in large])
    torch.testing.assert_close(
        ours, reference_logits(weights / BASE, large, ["a chair"] * 6) / math.exp(4.6), atol=2e-3, rtol=0
    )


def test_a_pickled_state_dict_scores_as_safetensors_do(clip_repository, weights, batch_of, pictures):
    clip_repository(BASE, pickled=True)
    pickled = resolve("clip")
    copy = weights / "openai" / "copy"
    pickled.clip.model.save_pretrained(copy)
    for name in ("config.json", "tokenizer.json"):
        (copy / name).write_bytes((weights / BASE / name).read_bytes())
    copied = ClipScore("openai/copy")
    batch = batch_of(pictures, PROMPTS)
    assert torch.equal(pickled(batch).values, copied(batch).values)
    assert pickled.version != copied.version


def open_clip_state(width=160, heads=2, text=32, depth=2, embed=24, patch=7, image=28, words=60):
    """Random weights with the names and shapes of open_clip's CLIP, the joint query-key-value
    included."""
    generator = torch.Generator().manual_seed(5)
    state = {}

    def add(name, *shape, mean=0.0):
        state[name] = mean + 0.15 * torch.randn(shape, generator=generator)

    def norm(name, size):
        add(f"{name}.weight", size, mean=1.0)
        add(f"{name}.bias", size)

    for prefix, size in (("visual.transformer", width), ("transformer", text)):
        for i in range(depth):
            at = f"{prefix}.resblocks.{i}."
            norm(at + "ln_1", size)
            norm(at + "ln_2", size)
            for name, out, into in (
                ("mlp.c_fc", 4 * size, size),
                ("mlp.c_proj", size, 4 * size),
                ("attn.out_proj", size, size),
            ):
                add(f"{at}{name}.weight", out, into)
                add(f"{at}{name}.bias", out)
            add(at + "attn.in_proj_weight", 3 * size, size)
            add(at + "attn.in_proj_bias", 3 * size)
    norm("visual.ln_pre", width)
    norm("visual.ln_post", width)
    norm("ln_final", text)
    add("visual.class_embedding", width)
    add("visual.positional_embedding", (image // patch) ** 2 + 1, width)
    add("visual.conv1.weight", width, 3, patch, patch)
    add("visual.proj", width, embed)
    add("token_embedding.weight", words, text)
    add("positional_embedding", 77, text)
    add("text_projection", text, embed)
    add("logit_scale")
    return state


def open_clip_blocks(state, prefix, x, heads, mask=None):
    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    for i in range(2):
        at = f"{prefix}.resblocks.{i}."
        h = norm(x, at + "ln_1").transpose(0, 1)
        attended, _ = F.multi_head_attention_forward(
            h,
            h,
            h,
            x.shape[-1],
            heads,
            state[at + "attn.in_proj_weight"],
            state[at + "attn.in_proj_bias"],
            None,
            None,
            False,
            0.0,
            state[at + "attn.out_proj.weight"],
            state[at + "attn.out_proj.bias"],
            training=False,
            need_weights=False,
            attn_mask=mask,
        )
        x = x + attended.transpose(0, 1)
        inner = F.gelu(F.linear(norm(x, at + "ln_2"), state[at + "mlp.c_fc.weight"], state[at + "mlp.c_fc.bias"]))
        x = x + F.linear(inner, state[at + "mlp.c_proj.weight"], state[at + "mlp.c_proj.bias"])
    return x


def open_clip_cosines(state, pixels, ids):
    """What open_clip computes: images (N, 3, H, W), the text's tokens padded with 0 to 77."""

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    x = F.conv2d(pixels, state["visual.conv1.weight"], stride=7).flatten(2).transpose(1, 2)
    x = torch.cat([state["visual.class_embedding"].expand(len(x), 1, -1), x], 1) + state["visual.positional_embedding"]
    x = open_clip_blocks(state, "visual.transformer", norm(x, "visual.ln_pre"), 2)
    images = norm(x[:, 0], "visual.ln_post") @ state["visual.proj"]
    tokens = torch.tensor([ids + [0] * (77 - len(ids))])
    mask = torch.full((77, 77), -torch.inf).triu(1)
    h = open_clip_blocks(
        state, "transformer", state["token_embedding.weight"][tokens] + state["positional_embedding"], 2, mask
    )
    text = norm(h, "ln_final")[0, tokens.argmax()] @ state["text_projection"]
    return F.normalize(images, dim=-1) @ F.normalize(text, dim=-1)


@pytest.fixture
def hpsv2_files(clip_texts, weights):
    clip_texts(VIT_H, width=160, head=80)
    (weights / "xswu/HPSv2").mkdir(parents=True)
    state = open_clip_state()
    torch.save({"epoch": 1, "name": "hps", "state_dict": state}, weights / "xswu/HPSv2/HPS_v2.1_compressed.pt")
    return state


def test_hpsv2_is_what_open_clip_computes(hpsv2_files, batch_of, pictures):
    reward = resolve("hpsv2")
    expected = torch.stack(
        [
            open_clip_cosines(hpsv2_files, clip_pixels(rgb, 28), reward.clip.tokenizer.encode(prompt).ids)
            for rgb, prompt in zip(pictures, PROMPTS)
        ]
    )
    scores = reward(batch_of(pictures, PROMPTS))
    torch.testing.assert_close(scores.per_view, torch.sigmoid((expected - 0.25) / 0.025), atol=1e-4, rtol=0)


def test_a_checkpoint_of_another_model_is_refused(hpsv2_files, weights):
    torch.save(
        {"state_dict": hpsv2_files | {"visual.extra": torch.ones(2)}}, weights / "xswu/HPSv2/HPS_v2_compressed.pt"
    )
    with pytest.raises(
        ValueError,
        match=r"HPS_v2_compressed.pt: not the weights of this CLIPModel: visual.extra should be none, is \(2,\)",
    ):
        HPSv2("HPS_v2_compressed.pt")
    assert from_open_clip({"visual.extra": torch.ones(2)}).keys() == {"visual.extra"}


@pytest.fixture
def aesthetic_head(weights):
    """As published: nn.Sequential with dropouts, saved by its state dict."""
    layers = [
        nn.Linear(24, 32),
        nn.Dropout(0.2),
        nn.Linear(32, 16),
        nn.Dropout(0.2),
        nn.Linear(16, 8),
        nn.Dropout(0.1),
        nn.Linear(8, 4),
    ]
    head = nn.Sequential(*layers, nn.Linear(4, 1)).eval()
    head[-1].bias.data.fill_(5.2)
    (weights / "trl-lib/ddpo-aesthetic-predictor").mkdir(parents=True)
    path = weights / "trl-lib/ddpo-aesthetic-predictor/aesthetic-model.pth"
    torch.save({f"layers.{name}": t for name, t in head.state_dict().items()}, path)
    return head, path


def test_aesthetic_is_the_published_head_on_unit_embeddings(clip_repository, aesthetic_head, batch_of, pictures):
    model = clip_repository(LARGE)
    with torch.no_grad():
        pooled = model.vision_model(pixel_values=clip_pixels(pictures.flatten(0, 1), 28)).pooler_output
        embeddings = model.visual_projection(pooled)
        rating = aesthetic_head[0](embeddings / embeddings.norm(dim=-1, keepdim=True)).view(3, 2)
    scores = resolve("aesthetic")(batch_of(pictures, PROMPTS))
    torch.testing.assert_close(scores.per_view, torch.sigmoid(rating - 5), atol=1e-6, rtol=0)
    assert torch.equal(resolve("aesthetic")(batch_of(pictures, ["x", "y", "z"])).values, scores.values)


def test_a_head_of_other_layers_is_refused(clip_repository, aesthetic_head):
    clip_repository(LARGE)
    state = torch.load(aesthetic_head[1])
    for wrong in (
        {k: v for k, v in state.items() if k != "layers.4.bias"},
        state | {"layers.0.weight": torch.ones(32, 768)},
        {"layers.x.weight": torch.ones(1)},
        {},
    ):
        torch.save(wrong, aesthetic_head[1])
        with pytest.raises(ValueError, match=r"aesthetic-model.pth: not a head of linear layers that fits its model"):
            Aesthetic()


@pytest.fixture
def every_reward(clip_repository, clip_texts, hpsv2_files, aesthetic_head):
    for name in (BASE, PICK, LARGE):
        clip_repository(name)
    return [resolve(name) for name in ("clip", "pickscore", "hpsv2", "aesthetic")]


def test_scores_do_not_depend_on_the_rest_of_the_batch(every_reward, batch_of, pictures):
    order = [2, 0, 1]
    for reward in every_reward:
        assert isinstance(reward, Reward)
        values = reward(batch_of(pictures, PROMPTS)).values
        assert torch.equal(reward(batch_of(pictures[order], [PROMPTS[i] for i in order])).values, values[order])
        assert torch.equal(reward(batch_of(pictures[1:2], PROMPTS[1:2])).values, values[1:2])
        assert len(reward(batch_of(pictures[:0], [])).values) == 0


def test_an_asset_with_a_view_that_is_not_finite_has_failed(every_reward, batch_of, pictures):
    broken = pictures.clone()
    broken[1, 1, 3, 4, 0] = torch.nan
    for reward in every_reward:
        sound, scores = reward(batch_of(pictures, PROMPTS)), reward(batch_of(broken, PROMPTS))
        assert scores.failed == 1 and scores.values[1] == 0 and scores.per_view[1].eq(0).all()
        assert torch.equal(scores.values[[0, 2]], sound.values[[0, 2]])


def test_published_scores_have_gradients(every_reward, pictures):
    rgb = (pictures[0] * 0.8 + 0.1).requires_grad_()
    for reward in every_reward:
        # The CLIP score is flat where the cosine is negative.
        number = reward.clip.cosines if reward.name == "clip" else reward.published
        (slope,) = torch.autograd.grad(number(rgb, PROMPTS[0]).sum(), rgb)
        step = 2e-3 * slope / slope.norm()
        with torch.no_grad():
            plus, minus = (number(rgb + side * step, PROMPTS[0]).sum() for side in (1, -1))
        assert ((plus - minus) / 2).item() == pytest.approx((slope * step).sum().item(), rel=0.05)


def test_values_have_gradients_to_the_views(every_reward, batch_of, pictures):
    for reward in every_reward:
        assert isinstance(reward, Differentiable)
        rgb = pictures.clone().requires_grad_()
        values = reward.values(batch_of(rgb, PROMPTS))
        torch.testing.assert_close(values.detach(), reward(batch_of(pictures, PROMPTS)).values)
        (slope,) = torch.autograd.grad(values[1], rgb)
        assert slope[[0, 2]].eq(0).all() and slope.isfinite().all()
        assert reward.name == "clip" or slope[1].abs().amax() > 0  # flat where the cosine is negative


def test_the_published_number_can_be_had_back(every_reward):
    for reward in every_reward:
        if reward.name == "clip":
            numbers = torch.tensor([0.0, 0.5, 0.8, 1.0])
        else:
            numbers = reward.centre + reward.spread * torch.tensor([-4.0, -1, 0, 2, 4])
            assert reward.scale(torch.tensor(reward.centre)) == 0.5
        values = reward.scale(numbers)
        assert (values.diff() > 0).all() and values.min() >= 0 and values.max() <= 1
        torch.testing.assert_close(reward.unscale(values), numbers, atol=1e-3, rtol=1e-4)


def test_a_long_prompt_is_cut_off_and_an_empty_one_is_a_prompt(every_reward, batch_of, pictures):
    for prompt in ("word " * 200, ""):
        assert all(reward(batch_of(pictures[:1], [prompt])).failed == 0 for reward in every_reward)
