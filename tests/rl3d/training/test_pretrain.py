"""Supervised training of the embedded generators: fresh geometry, the loss, and resuming."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from rewards.mix import parse
from rewards.text import shared_encoder
from rl3d.corpus import CATALOGUE, prompts
from rl3d.evaluate import score_assets
from rl3d.generators.load import load_generator
from rl3d.generators.part_codes import END, MAX_ELEMENTS, OBJECT, UNUSED
from rl3d.generators.part_tokens import PartTokens
from rl3d.generators.part_tokens_network import A
from rl3d.training.corpus_data import Ahead, TextPool, draw_specs
from rl3d.training.invented import NOUNS, draw_invented, invent
from rl3d.training.pretrain_flow import FlowBatches, PretrainFlowConfig, pretrain_flow
from rl3d.training.pretrain_tokens import (
    PretrainTokensConfig,
    TokenBatches,
    _hidden,
    _turned,
    contrastive_loss,
    pretrain_tokens,
    token_loss,
)
from scenes.asset import PartAsset
from scenes.colors import COLORS
from scenes.files import FileError
from scenes.files.tensors import read_tensors
from scenes.parts import CENTRE, LOG_HALF_SIZE, Parts

SMALL = {"captions": 40, "batch": 8, "steps": 3, "width": 48, "depth": 2, "bfloat16": False}


def _tokens_config(out: Path, **settings) -> PretrainTokensConfig:
    return PretrainTokensConfig(out=out, invented=6, **{**SMALL, **settings})


def test_geometry_is_drawn_anew_in_every_step() -> None:
    config = PretrainFlowConfig(captions=4, batch=16)
    batches = FlowBatches(config)
    captions, first = batches(0)
    again, second = batches(1)
    repeated, same = FlowBatches(config)(0)
    assert torch.equal(captions, repeated) and torch.equal(first, same)
    both = set(captions.tolist()) & set(again.tolist())
    assert both
    for caption in both:
        one, other = first[captions == caption][0], second[again == caption][0]
        assert not torch.equal(one, other)


def test_batches_are_made_ahead_in_order() -> None:
    config = PretrainFlowConfig(captions=8, batch=4)
    with Ahead(FlowBatches, config) as ahead:
        for step in (0, 1, 5):
            captions, states = ahead(step)
            wanted = FlowBatches(config)(step)
            assert torch.equal(captions, wanted[0]) and torch.equal(states, wanted[1])


def test_text_features_are_those_of_the_encoder(tmp_path: Path) -> None:
    captions = ["a red chair", "two blue cubes beside a white cylinder", "a dog"]
    pool = TextPool.cached(tmp_path / "captions.safetensors", captions, shared_encoder)
    again = TextPool.cached(tmp_path / "captions.safetensors", captions, lambda: pytest.fail("encoded twice"))
    text, wanted = again.text(torch.tensor([1, 0])), shared_encoder().encode([captions[1], captions[0]])
    assert torch.equal(text.mask, wanted.mask) and torch.allclose(text.pooled, wanted.pooled, atol=1e-5)
    assert (text.tokens - wanted.tokens)[wanted.mask].abs().max() < 5e-3  # kept in float16
    assert pool.neighbours(2)[0, 0] in (1, 2) and 0 not in pool.neighbours(2)[0]
    assert TextPool.cached(tmp_path / "captions.safetensors", captions[:2], shared_encoder).pooled.shape[0] == 2


def test_token_batches_end_and_have_examples() -> None:
    config = PretrainTokensConfig(captions=30, invented=30, batch=64)
    batch = TokenBatches(config, np.arange(30 * 3).reshape(30, 3) % 30)(0)
    ends = (batch.tokens[..., OBJECT] == END).long().argmax(1)
    assert bool((ends > 0).all()) and batch.tokens.shape[1] <= MAX_ELEMENTS + 1
    there = batch.examples[..., A] >= 0
    invented = batch.captions >= 30
    assert bool(there[invented].any(1).all()) and 0 < float(there[~invented].any(1).float().mean()) < 1
    assert int(batch.examples[..., A].max()) <= 2
    assert 0 < int((~batch.keep_text).sum()) < 32


def test_an_invented_thing_looks_like_its_examples() -> None:
    """Its parts lie nearer to those of its own example than to those of other things."""
    rng = np.random.default_rng(0)
    made = draw_invented(60, 0)
    assert len({thing.caption for thing in made}) > 50
    things = [thing for thing in made if not thing.disguised][:24]
    assets, examples = ([invent(thing, rng, example=flag)[:, 4:10] for thing in things] for flag in (False, True))
    apart = np.array([[np.abs(a[:, None] - b).mean(-1).min(1).mean() for b in examples] for a in assets])
    assert np.mean(apart.argmin(1) == np.arange(len(things))) >= 0.9


def test_half_of_the_invented_kinds_are_the_same_every_time() -> None:
    """Their parts have the same places and sizes in every example, so that exact copies pay."""
    rng = np.random.default_rng(0)
    things = [thing for thing in draw_invented(200, 2) if not thing.disguised]
    pairs = [[invent(thing, rng, example=True)[:, CENTRE.start : LOG_HALF_SIZE.stop] for _ in "ab"] for thing in things]
    same = [a.shape == b.shape and bool(np.allclose(a, b, atol=1e-5)) for a, b in pairs]
    assert len(things) > 100 and 0.4 < np.mean(same) < 0.6


def test_invented_things_hold_together() -> None:
    """What is copied from examples that come apart would come apart too."""
    rng = np.random.default_rng(0)
    made = [torch.from_numpy(invent(thing, rng)) for thing in draw_invented(90, 1) if not thing.disguised]
    rows = torch.nn.utils.rnn.pad_sequence(made, batch_first=True)
    asset = PartAsset(Parts.from_vectors(rows))
    rewards = [reward for reward, _ in parse("stability=1,connected=1")]
    scores = score_assets(rewards, [""] * len(made), asset, azimuth_deg=0.0)
    whole = scores["stability"].verdict & scores["connected"].verdict
    assert len(made) > 50 and whole.float().mean() >= 0.8


def test_the_loss_counts_each_asset_once() -> None:
    """A padded batch has the loss of its assets one by one, weighted by their tokens."""
    torch.manual_seed(0)
    network = PartTokens(width=48, depth=2, heads=2, hidden=96).network
    config = PretrainTokensConfig(captions=30, invented=0, batch=4, drop_text=0.0, with_examples=0.6)
    batch = TokenBatches(config, np.zeros((30, 1), int))(3)
    assert 0 < int((batch.examples[..., A] >= 0).any(1).sum()) < 4
    pool = TextPool.build([spec.caption for spec in draw_specs(30, 0)], shared_encoder())
    with torch.no_grad():
        whole = float(token_loss(network, batch, pool.text)[0])
        sums, counts = 0.0, 0
        for i in range(4):
            parts = int((batch.tokens[i, :, OBJECT] != END).sum())
            kept = batch.captions, batch.tokens[:, : parts + 1], batch.examples, batch.keep_text
            one = type(batch)(*(t[i : i + 1] for t in kept))
            count = int((batch.tokens[i, : parts + 1] != UNUSED).sum())
            sums += float(token_loss(network, one, pool.text)[0]) * count
            counts += count
    assert whole == pytest.approx(sums / counts, rel=1e-4)


@pytest.mark.parametrize("hide", [False, True])
def test_pieces_of_a_batch_have_the_loss_of_the_whole(hide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = PartTokens(width=48, depth=3, heads=2, hidden=96).network
    hidden = 0.4 if hide else 0.0
    config = PretrainTokensConfig(captions=30, invented=6, batch=7, with_examples=0.5, mask_attention=hidden)
    batch = TokenBatches(config, np.zeros((30, 1), int))(1)
    captions = [spec.caption for spec in draw_specs(30, 0)] + [thing.caption for thing in draw_invented(6, 0)]
    pool = TextPool.build(captions, shared_encoder())
    found = []
    for size in (16, 3):
        monkeypatch.setattr("rl3d.training.pretrain_tokens.PIECE", size)
        with torch.no_grad():
            found.append(token_loss(network, batch, pool.text, _hidden(batch, 1, config, 0)))
    (one, states), (other, pieces) = found
    assert float(one) == pytest.approx(float(other), rel=1e-5)
    assert torch.allclose(states, pieces, atol=1e-4)


@pytest.mark.parametrize(("kind", "processes"), [("flow", 1), ("tokens", 1), ("flow", 2), ("tokens", 2)])
def test_an_interrupted_training_goes_on_exactly(
    kind: str, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rl3d.training.supervised.SAVE_EVERY", 2)
    monkeypatch.setattr("rl3d.training.supervised.REPORT_EVERY", 1)

    def run(out: Path, stop: int | None) -> None:
        settings = SMALL | {"processes": processes}
        config = PretrainFlowConfig(out=out, **settings) if kind == "flow" else _tokens_config(out, **settings)
        training = pretrain_flow(config) if kind == "flow" else pretrain_tokens(config)
        list(islice(training, stop))
        training.close()

    run(tmp_path / "whole", None)
    run(tmp_path / "cut", 3)
    weights, header, _ = read_tensors(tmp_path / "whole" / "generator.safetensors")
    run(tmp_path / "cut", None)
    resumed, _, _ = read_tensors(tmp_path / "cut" / "generator.safetensors")
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
    copies = sorted((tmp_path / "cut" / "steps").iterdir())  # ten, or all of fewer steps
    assert [copy.name for copy in copies] == [f"{step:06d}.safetensors" for step in (1, 2, 3)]
    generator = load_generator(tmp_path / "whole")
    assert generator.name == header["generator"] == f"part-{kind}"
    asset = generator.generate(["a red chair"], seeds=[0])
    assert len(asset) == 1


@pytest.mark.parametrize("kind", ["flow", "tokens"])
def test_processes_share_a_batch(kind: str) -> None:
    """Together two processes draw the assets that one alone draws."""
    drawn: list[list[tuple[int, float]]] = []
    for ranks in (1, 2):
        settings = SMALL | {"processes": ranks}
        found: list[tuple[int, float]] = []
        for rank in range(ranks):
            if kind == "flow":
                captions, states = FlowBatches(PretrainFlowConfig(**settings), rank)(0)
                marks = states.double().sum((1, 2))
            else:
                config = PretrainTokensConfig(invented=6, **settings)
                batch = TokenBatches(config, np.zeros((40, 1), int), rank)(0)
                captions, exists = batch.captions, (batch.tokens[..., OBJECT] != END).unsqueeze(-1)
                marks = (batch.tokens * exists).sum((1, 2)).double()
            found += zip(captions.tolist(), marks.tolist(), strict=True)
        drawn.append(sorted(found))
    assert drawn[0] == drawn[1] and len(drawn[0]) == SMALL["batch"]


def test_hidden_attention_changes_the_loss(tmp_path: Path) -> None:
    losses = [
        next(pretrain_tokens(_tokens_config(tmp_path / str(share), steps=1, mask_attention=share)))["loss"]
        for share in (0.0, 0.5)
    ]
    assert losses[0] != losses[1]


def test_contrast_is_least_for_the_same_assets() -> None:
    rng = torch.Generator().manual_seed(0)
    asset = torch.arange(6).repeat_interleave(3)
    states = torch.randn(6, 16, generator=rng)[asset]
    same = contrastive_loss(states, states, asset, torch.Generator().manual_seed(1))
    other = contrastive_loss(states, states.roll(3, 0), asset, torch.Generator().manual_seed(1))
    assert float(same) < 0.2 < 1.7 < float(other)


def test_a_turned_asset_has_its_surface_turned() -> None:
    rng = np.random.default_rng(0)
    vectors = prompts(8, 0)[int(rng.integers(8))].vectors
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    before, after = (Parts.from_vectors(torch.from_numpy(v)).surface_grid(3) for v in (vectors, _turned(vectors, 1)))
    assert torch.allclose(before @ turn.T, after, atol=1e-5)


def test_self_guided_training_runs_and_resumes(tmp_path: Path) -> None:
    config = _tokens_config(tmp_path, steps=2, mask_attention=0.1, contrast=0.1, depth=3)
    (metrics,) = pretrain_tokens(config)
    assert metrics["loss"] == pytest.approx(metrics["tokens"] + 0.1 * metrics["contrast"], rel=1e-4)
    alike = TokenBatches(PretrainTokensConfig(captions=20000, contrast=0.1), np.zeros((20000, 1), int))
    batch = alike(0)
    assert batch.other_captions is not None
    changed = [(a, b) for a, b in zip(batch.captions.tolist(), batch.other_captions.tolist(), strict=True) if a != b]
    assert changed
    for a, b in changed:
        assert alike.specs[a].facts == alike.specs[b].facts


def test_a_disguised_thing_keeps_its_caption_but_for_the_noun() -> None:
    rng = np.random.default_rng(0)
    disguised = [(t.caption, t.disguised) for t in draw_invented(60, 0) if t.disguised]
    assert len(disguised) > 10
    for caption, spec in disguised:
        names = CATALOGUE[spec.category].names
        assert not any(re.search(rf"\b{name}\b", caption) for name in names), caption
        kept = set(spec.caption.split()) - {word for name in names for word in name.split()} - {"a", "an"}
        assert kept <= set(caption.split()), (caption, spec.caption)
    for thing in draw_invented(60, 0):
        if thing.disguised:  # an example has the shape of the category
            shapes = [invent(thing, rng, example=flag) for flag in (False, True)]
            assert all(len(s) and np.isfinite(s).all() for s in shapes)


def test_invented_names_tell_nothing() -> None:
    names = *COLORS, *(name for kind in CATALOGUE.values() for name in kind.names)
    known = {word for name in names for word in name.split()}
    plain = [thing.caption.split() for thing in draw_invented(4000, 0) if not thing.disguised]
    assert not known & {words[-1] for words in plain}
    assert not known & set(NOUNS)


def test_held_out_prompts_are_not_in_the_pool() -> None:
    pool = {spec.caption for spec in draw_specs(3000, 0)}
    assert not pool & {item.caption for item in prompts(128, 0)}


def test_wrong_settings_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are from 0 to 1"):
        PretrainTokensConfig(drop_text=1.5)


def test_a_killed_training_leaves_no_process_behind() -> None:
    code = (
        "from rl3d.training.corpus_data import Ahead\n"
        "from rl3d.training.pretrain_flow import FlowBatches, PretrainFlowConfig\n"
        "if __name__ == '__main__':\n"
        "    import multiprocessing, time\n"
        "    with Ahead(FlowBatches, PretrainFlowConfig(captions=8, batch=4)) as ahead:\n"
        "        ahead(0); print(multiprocessing.active_children()[0].pid, flush=True); time.sleep(100)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = Path("/proc") / parent.stdout.readline().strip()
    assert child.exists()
    parent.kill()
    parent.wait()
    ends = time.monotonic() + 60
    while child.exists() and "Z" not in (child / "stat").read_text().split()[2] and time.monotonic() < ends:
        time.sleep(0.1)
    assert not child.exists() or "Z" in (child / "stat").read_text().split()[2]


@pytest.mark.parametrize("kind", ["flow", "tokens"])
def test_a_training_goes_on_from_weights(kind: str, tmp_path: Path) -> None:
    """With a learning rate of nearly nothing it leaves the weights as they were, and says whose
    they were."""

    def run(out: Path, **settings) -> dict:
        values = {**SMALL, "steps": 1, **settings}
        config = PretrainFlowConfig(out=out, **values) if kind == "flow" else _tokens_config(out, **values)
        list(pretrain_flow(config) if kind == "flow" else pretrain_tokens(config))
        weights, header, _ = read_tensors(out / "generator.safetensors")
        return {"weights": weights, "header": header}

    first = run(tmp_path / "first")
    second = run(tmp_path / "second", checkpoint=tmp_path / "first", lr=1e-12, seed=5, width=64)
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])
    assert second["header"]["config"] == first["header"]["config"]
    assert second["header"]["start"]["weights"] == "generator.safetensors" and not first["header"]["start"]
    assert second["header"]["training"]["checkpoint"] == "first"


def test_a_training_does_not_go_on_from_another_kind(tmp_path: Path) -> None:
    list(pretrain_flow(PretrainFlowConfig(out=tmp_path / "flow", **{**SMALL, "steps": 1})))
    with pytest.raises(FileError, match=r"holds the generator part-flow, not part-tokens"):
        list(pretrain_tokens(_tokens_config(tmp_path / "tokens", checkpoint=tmp_path / "flow")))
    assert not (tmp_path / "tokens").exists()
