"""Choices: their file, the reward fitted to them, and the page that collects them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

from rewards import Batch, Differentiable, Needs, Scores, Shots, resolve
from rewards.image.preference import KIND, PreferenceHead, load_head
from rewards.image.scorer import Scorer, ScorerConfig
from rewards.mix import parse
from rl3d.cli import main
from rl3d.corpus.corruptions import CORRUPTIONS
from rl3d.corpus.sampling import sample
from rl3d.preferences import Pair, append_pair, read_pairs
from rl3d.scoring import render_views, score_assets
from rl3d.training.train_preference import RewardConfig, calibration_error, fit, is_held_out
from rl3d.training.train_scorer import scorer_header
from rl3d.viewer.prefer import PreferConfig, Session, serve
from scenes.asset import Asset, PartAsset
from scenes.files import FileError
from scenes.files.tensors import write_tensors
from scenes.parts import Parts
from tests.rl3d.toys import TokenToy
from tests.rl3d.viewer.browser import CHROMIUM, open_page


def choices(
    count: int, faults: tuple[str, ...] = ("category_swapped", "colors_swapped", "jitter_strong")
) -> list[Pair]:
    """Choices of a person who prefers an asset without a fault to one with a fault, on either
    side."""
    rng = np.random.default_rng(5)
    pairs = []
    for i in range(count):
        item = sample(rng, "train")
        broken = CORRUPTIONS[faults[i % len(faults)]](item.vectors, rng)
        good, bad = (asset(torch.from_numpy(np.asarray(v, np.float32))) for v in (item.vectors, broken))
        left = bool(rng.integers(2))
        pairs.append(Pair(item.caption, good if left else bad, bad if left else good, "left" if left else "right"))
    return pairs


def asset(vectors: torch.Tensor) -> PartAsset:
    """The asset of (p, 19) numbers."""
    return PartAsset(Parts.from_vectors(vectors)[None])


def vectors(asset: Asset) -> torch.Tensor:
    assert asset.parts is not None
    return asset.parts[0].vectors()


def test_the_file_comes_back(tmp_path):
    numbers = choices(1)[0].left
    pairs = [*choices(3), Pair("a ball", numbers, numbers, "equal")]
    path = tmp_path / "pairs.jsonl"
    for pair in pairs:
        append_pair(path, pair)
    with path.open("a") as file:
        file.write('{"prompt": "a ch')  # killed while it wrote
    again = read_pairs(path)
    assert [(p.prompt, p.choice) for p in again] == [(p.prompt, p.choice) for p in pairs]
    for kept, pair in zip(again, pairs, strict=True):
        torch.testing.assert_close(vectors(kept.left), vectors(pair.left))
        torch.testing.assert_close(vectors(kept.right), vectors(pair.right))


@pytest.mark.parametrize(
    "change",
    [
        {"choice": "middle"}, {"choice": None}, {"prompt": 5}, {"left": [[1.0] * 18]}, {"left": []},
        {"right": [[1e400] * 19]}, {"right": [[1.0] * 19] * 49}, {"left": "x"}, {"left": [[1.0] * 19, [1.0]]},
        {"left": [[10**400] * 19]},
    ],
)  # fmt: skip
def test_a_line_that_is_no_pair_is_named(tmp_path, change):
    append_pair(tmp_path / "pairs.jsonl", choices(1)[0])
    good = json.loads((tmp_path / "pairs.jsonl").read_text())
    (tmp_path / "pairs.jsonl").write_text(json.dumps(good) + "\n" + json.dumps({**good, **change}) + "\n")
    with pytest.raises(FileError, match=r"pairs\.jsonl: line 2 is not a pair") as error:
        read_pairs(tmp_path / "pairs.jsonl")
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileError, match="cannot read pairs"):
        read_pairs(tmp_path / "missing.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(FileError, match="holds no pair: collect some with rl3d prefer"):
        read_pairs(tmp_path / "empty.jsonl")
    with pytest.raises(ValueError, match="too few to fit"):
        fit(choices(5), RewardConfig(out=tmp_path / "p.safetensors"))
    with pytest.raises(FileError, match="no such file; name a learned preference"):
        resolve(str(tmp_path / "none.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(FileError, match="not a learned preference"):
        resolve(str(tmp_path / "bad.safetensors"))


def test_damaged_preference_weights_are_refused_cheaply(tmp_path):
    """Two long vectors must not allocate a layer of their product, and NaN weights must not give a
    reward that always fails."""
    head, path = PreferenceHead(6, 4).state_dict(), tmp_path / "a.safetensors"
    write_tensors(path, dict(head), {"kind": KIND, "pairs": 9})
    assert all(torch.equal(a, b) for a, b in zip(load_head(path)[0].state_dict().values(), head.values(), strict=True))
    for change in (
        {"mean": torch.zeros(10**6, dtype=torch.int8), "layers.0.bias": torch.zeros(10**6, dtype=torch.int8)},
        {"std": torch.full((6,), torch.nan)},
        {"scale": torch.zeros(2)},
    ):
        write_tensors(path, {**head, **change}, {"kind": KIND, "pairs": 9})
        with pytest.raises(FileError, match="not a learned preference"):
            load_head(path)
    path.write_bytes(save(dict(head), metadata={"rl3d": "[" * 50_000}))
    with pytest.raises(FileError, match="not a learned preference"):
        load_head(path)


def test_a_scorer_of_ones_own_is_a_reward_by_its_file(tmp_path):
    torch.manual_seed(0)
    scorer = Scorer(ScorerConfig())
    write_tensors(tmp_path / "narrow.safetensors", dict(scorer.state_dict()), scorer_header(scorer))
    (own, weight), (shipped, _) = parse(f"{tmp_path}/narrow.safetensors=0.5,alignment=1")
    assert (own.name, weight, shipped.name) == ("narrow", 0.5, "alignment")
    asset = TokenToy().generate(["a tower"] * 3, seeds=[0, 1, 2])
    found = score_assets([own, shipped], ["a tower"] * 3, asset)
    assert not torch.allclose(found["narrow"].values, found["alignment"].values, atol=1e-3)
    write_tensors(tmp_path / "other.safetensors", dict(scorer.state_dict()), {"kind": "generator"})
    with pytest.raises(FileError, match="holds 'generator', not a learned preference"):
        parse(f"{tmp_path}/other.safetensors=1")


def test_a_fitted_reward_predicts_held_out_choices(tmp_path):
    path = tmp_path / "preference.safetensors"
    pairs = choices(400)
    found = fit(pairs, RewardConfig(out=path))
    assert found.pairs + found.held_out == 400 and found.held_out > 60
    assert found.accuracy > 0.8 and found.nll < 0.5 and found.calibration_error < 0.15
    assert fit(pairs, RewardConfig(out=tmp_path / "again.safetensors")) == found
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()

    reward = resolve(str(path))
    assert reward.name == "preference" and len(reward.version) == 8
    held_out = [pair for pair in pairs if is_held_out(pair.prompt)]
    values = []
    for side in ("left", "right"):
        parts = Parts.stack([Parts.from_vectors(vectors(getattr(pair, side))) for pair in held_out])
        prompts = [pair.prompt for pair in held_out]
        scores = score_assets([reward], prompts, PartAsset(parts))["preference"]
        values.append(scores.values)
    better = (values[0] > values[1]) == torch.tensor([pair.choice == "left" for pair in held_out])
    assert better.double().mean() == pytest.approx(found.accuracy, abs=0.02)
    assert 0.1 < torch.cat(values).mean() < 0.9
    assert isinstance(reward, Differentiable)
    ((rig, shots),) = render_views(PartAsset(parts[:2]), [reward]).items()
    rgb = shots.views.rgb.clone().requires_grad_()
    seen = Batch(prompts[:2], shots={rig: Shots(replace(shots.views, rgb=rgb), shots.cameras)})
    seen_values = reward.values(seen)
    torch.testing.assert_close(seen_values.detach(), values[1][:2])
    (slope,) = torch.autograd.grad(seen_values[0], rgb)
    assert slope[0].abs().sum() > 0 and slope[1].eq(0).all()


def test_calibration():
    chance = torch.tensor([0.1] * 10 + [0.8] * 10)
    assert calibration_error(chance, torch.tensor([1.0] + [0.0] * 9 + [1.0] * 8 + [0.0] * 2)) == pytest.approx(
        0, abs=1e-6
    )
    assert calibration_error(chance, torch.tensor([0.0] * 10 + [0.0] * 10)) == pytest.approx(0.45, abs=1e-6)


def test_two_assets_that_look_the_same_are_not_asked_about(tmp_path):
    """As a token generator makes "a red cube" twice alike."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red cube\na red armchair\n")
    session = Session(PreferConfig(out=tmp_path / "pairs.jsonl", prompts=prompts))
    for pair in [session.next() for _ in range(4)]:
        first, second = pair.left.gaussians(), pair.right.gaussians()
        assert not torch.equal(first.means, second.means) or not torch.equal(first.colors, second.colors)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_keeps_what_is_chosen(tmp_path, tmp_path_factory):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red armchair\na <b>blue</b> lamp\na green robot\n")
    out = tmp_path / "choices/pairs.jsonl"
    viewer = serve(PreferConfig(out=out, prompts=prompts, port=0), block=False)
    try:
        with open_page(viewer.url, tmp_path_factory.mktemp("profile")) as page:
            assert page.wait(lambda: page.reads("a red armchair"))
            assert page.wait(lambda: page.click("left is better"))
            assert page.wait(lambda: page.reads("a <b>blue</b> lamp") and page.reads("1 given"))
            assert page.wait(lambda: page.click("skip"))
            assert page.wait(lambda: page.reads("a green robot"))
            assert page.wait(lambda: page.click("equally good"))
            assert page.wait(lambda: page.reads("2 given"))
        first, second = read_pairs(out)
        assert (first.prompt, first.choice, second.prompt, second.choice) == (
            "a red armchair",
            "left",
            "a green robot",
            "equal",
        )
        assert first.left.parts is not None and first.right.parts is not None
        assert not torch.equal(first.left.gaussians().means, first.right.gaussians().means)
    finally:
        viewer.stop()
    out.write_text("something else\n")
    with pytest.raises(FileError, match="line 1 is not a pair"):
        serve(PreferConfig(out=out, prompts=prompts, port=0), block=False)


class Tall:
    """How many parts there are."""

    name, version, needs = "tall", "1", Needs(parts=True)

    def __call__(self, batch):
        return Scores(batch.need_parts().exists.float().sum(-1).cpu() / 4)


def test_rewards_answer_instead_of_a_person(tmp_path, capsys):
    out = tmp_path / "choices.jsonl"
    own = ["--generator", "tests.rl3d.toys:TokenToy", "--rewards", f"{__name__}:Tall"]
    wanted = ["prefer", *own, "--count", "40"]
    assert main([*wanted, "--out", str(out)]) == 0
    pairs = read_pairs(out)
    height = [[float(Tall()(Batch([p.prompt], a)).values) for a in (p.left, p.right)] for p in pairs]
    assert [p.choice for p in pairs] == ["equal" if a == b else "left" if a > b else "right" for a, b in height]
    decided = sum(p.choice != "equal" for p in pairs)
    assert len(pairs) == 40 and 10 < decided < 40
    assert f"{decided} pairs decided, {40 - decided} equally good" in capsys.readouterr().out
    assert main([*wanted[:-1], "5", "--out", str(out)]) == 0  # goes on after those that the file has
    assert len(read_pairs(out)) == len({pair.prompt for pair in read_pairs(out)}) == 45
    capsys.readouterr()
    assert main([*wanted[:3], "--rewards", "temperature", "--out", str(tmp_path / "new" / "x.jsonl")]) == 2
    splats = ["prefer", "--generator", "tests.rl3d.toys:SplatFlow", "--rewards", "composition"]
    assert main([*splats, "--out", str(tmp_path / "new" / "x.jsonl")]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 2 and "unknown reward 'temperature'" in error[0] and "needs parts" in error[1]
    assert not (tmp_path / "new").exists()
