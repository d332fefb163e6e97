"""Every objective on policies whose expected reward can be computed exactly, and against closed
forms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from rewards.base import Scores
from rl3d.algorithms.base import Draw, Experience, Judgement
from rl3d.algorithms.ddpo import PromptStatistics
from rl3d.algorithms.dgpo import dgpo_loss
from rl3d.algorithms.dpo import dpo_loss
from rl3d.algorithms.dpok import Value
from rl3d.algorithms.finished import Fit
from rl3d.algorithms.grpo import GRPO
from rl3d.algorithms.load import find_objective
from rl3d.algorithms.nabla import held
from rl3d.algorithms.nft import nft_loss
from rl3d.algorithms.pairs import best_and_worst, margins, preferred
from rl3d.algorithms.reinforce import leave_one_out
from rl3d.generators.base import StepStats
from rl3d.generators.load import load_generator
from rl3d.generators.part_codes import ATTRIBUTES
from rl3d.generators.sde import Sampling
from scenes.asset import Asset
from tests.rl3d.toys import STEPS, VOCABULARY, SplatFlow, TokenRollout, TokenToy, redness

ON_STEPS = ["reinforce", "ddpo", "dpok", "grpo"]


class EverySequence(TokenToy):
    """A sample of every sequence, once."""

    def sample(self, condition: Any, *, seeds: Sequence[int], options: Any = None, **_: Any) -> TokenRollout:
        tokens = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=STEPS))).T
        rollout = TokenRollout(condition, options or self.default_options, tokens, torch.zeros(tokens.shape))
        with torch.no_grad():
            log_probs = self.log_probs(rollout, range(STEPS)).log_probs
        return TokenRollout(condition, rollout.options, tokens, log_probs)


class _Flat:
    """Every sample is worth the same."""

    def __call__(self, draw: Draw, asset: Asset) -> Judgement:
        zeros = torch.zeros(len(asset))
        return Judgement({}, zeros, zeros, zeros.unsqueeze(1))

    def values(self, prompts: list[str], asset: Asset, azimuth_deg: float) -> torch.Tensor:
        raise AssertionError("no objective but draft asks for a gradient")


class _Red(_Flat):
    """The share of red cubes."""

    def __call__(self, draw: Draw, asset: Asset) -> Judgement:
        parts = asset.parts
        assert parts is not None
        red = ((parts.colors[..., 0] > 0.5) & (parts.colors[..., 1] < 0.5) & parts.exists).float().mean(-1)
        centred = red - red.mean()
        return Judgement({}, red, centred, centred.unsqueeze(1))


@pytest.mark.parametrize(
    ("name", "settings"), [*((name, {}) for name in [*ON_STEPS, "dgpo"]), ("grpo", {"recentred": True})]
)
def test_the_gradient_is_that_of_the_expected_reward(name: str, settings: dict[str, Any]) -> None:
    """Each of all sequences with its probability: the mean is the expectation, without noise."""
    policy = EverySequence()
    policy.network.double()
    policy.keep_reference()
    count = VOCABULARY**STEPS
    objective = find_objective(name)(**settings)
    draw = Draw(["a tower"], count, 0, 0, memory=objective.memory(policy))
    found = objective.collect(policy, draw, _Red())
    rollout, chance = found.rollout, _chances(found.rollout)
    assert float(chance.sum()) == pytest.approx(1)
    weighted = Experience(
        rollout, found.advantages * (chance * count).unsqueeze(1), found.tensors, found.steps, found.group_size
    )
    loss, _ = objective.loss(policy, weighted)
    (gradient,) = torch.autograd.grad(loss, policy.network.weight)
    (exact,) = torch.autograd.grad(_expected(policy), policy.network.weight)
    assert torch.nn.functional.cosine_similarity(-gradient.flatten(), exact.flatten(), dim=0) > 0.9999


def _chances(rollout: TokenRollout) -> torch.Tensor:
    """Of every sequence. One that ends early is here once for each way to go on behind its end."""
    taken = (rollout.log_probs * rollout.mask).sum(0).exp()
    return taken / VOCABULARY ** (~rollout.mask).sum(0)


def _expected(policy: EverySequence) -> torch.Tensor:
    """Of the redness, where tokens behind the end do not count."""
    rollout = policy.sample(policy.condition(["a tower"] * VOCABULARY**STEPS), seeds=[])
    log_probs = (policy.log_probs(rollout, range(STEPS)).log_probs * rollout.mask).sum(0)
    again = VOCABULARY ** (~rollout.mask).sum(0)
    return (log_probs.exp() / again * redness(rollout.tokens, rollout.mask)).sum()


@pytest.mark.parametrize("name", ["reinforce", "ddpo", "dpok", "grpo", "dgpo", "dpo", "dro"])
def test_the_kl_pulls_back_and_has_gradient(name: str) -> None:
    """Away from the reference policy, the KL alone leads back to it."""
    policy = TokenToy()
    policy.keep_reference()
    with torch.no_grad():
        policy.network.weight.add_(0.5 * torch.randn(policy.network.weight.shape, generator=torch.manual_seed(0)))
    objective = find_objective(name)(kl_weight=1.0)
    found = objective.collect(policy, Draw(["a tower"], 32, 0, 0, memory=objective.memory(policy)), _Flat())
    loss, metrics = objective.loss(policy, found)
    (gradient,) = torch.autograd.grad(loss, policy.network.weight)
    assert float(metrics["kl"]) > 0.01 and float(gradient.norm()) > 1e-3
    with policy.reference():
        back = policy.network.weight - 0
    with torch.no_grad():
        towards = back - policy.network.weight
    assert float((-gradient * towards).sum()) > 0


@pytest.mark.parametrize("name", ["dpo", "dro"])
def test_a_pair_is_ordered_by_its_samples_and_not_by_their_units(name: str) -> None:
    class Contrary(_Flat):
        def __call__(self, draw: Draw, asset: Asset) -> Judgement:
            whole = torch.arange(float(len(asset)))
            return Judgement({}, whole, whole, -whole.unsqueeze(1).expand(-1, 32))

    policy = SplatFlow()
    policy.units_are_parts = True  # type: ignore[misc]
    policy.keep_reference()
    found = find_objective(name)().collect(policy, Draw(["a ball", "a cube"], 3, 0, 0), Contrary())
    assert found.advantages.flatten().tolist() == [2, 0, 5, 3] and preferred(found.advantages).tolist() == [1, 1]


@pytest.mark.parametrize("last", [1, 3])
def test_draft_is_the_gradient_of_the_rewards(last: int) -> None:
    """Against finite differences, of a flow whose only sample steps that count are the last."""
    policy = SplatFlow()
    prompts = ["a red ball", "a cube"]

    class Height(_Flat):
        def values(self, prompts: list[str], asset: Asset, azimuth_deg: float) -> torch.Tensor:
            assert len(prompts) == len(asset) and azimuth_deg == 30
            return asset.gaussians(32).means[..., 2].square().mean(-1)

    draw = Draw(prompts, 2, 0, 0, options=Sampling(steps=3))
    objective = find_objective("draft")(last=last)
    found = objective.collect(policy, draw, Height())
    loss, _ = objective.loss(policy, found[torch.tensor([1, 2])])
    bias = policy.network[-1].bias
    (gradient,) = torch.autograd.grad(loss, bias)
    states, condition = found.rollout.states[:, [1, 2]], found.rollout.condition[torch.tensor([1, 2])]

    def value() -> float:
        """Goes on from the state before the last steps."""
        x = states[3 - last]
        for step in range(3 - last, 3):
            sigma = torch.full((2,), 1 - step / 3)
            x = draw.options.mean(x, policy.velocity(x, sigma, condition, 1.0), step)
        return -float((0.25 * x[..., 2] + 0.45).square().mean())

    with torch.no_grad():
        bias[2] += 0.02
        above = value()
        bias[2] -= 0.04
        below = value()
        bias[2] += 0.02
    assert float(gradient[2]) == pytest.approx((above - below) / 0.04, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "setting"),
    [("dpo", {"beta": 0.0}), ("dro", {"bound": 0.0}), ("nft", {"beta": 0.0}), ("nft", {"spread": 0.0}),
     ("nft", {"old_decay": 1.0}), ("dgpo", {"clip": -1.0}), ("ddpo", {"least_samples": 1}), ("draft", {"last": 0})],
)  # fmt: skip
def test_settings_that_cannot_be_are_named(name: str, setting: dict[str, float]) -> None:
    (option,) = setting
    with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} must be"):
        find_objective(name)(**setting)


def test_leave_one_out_by_hand() -> None:
    assert leave_one_out(torch.tensor([[1.0, 2.0, 6.0]])).tolist() == [[-3.0, -1.5, 4.5]]


def test_statistics_of_prompts() -> None:
    memory, prompts = PromptStatistics(), torch.tensor([3, 3, 3, 3, 7])
    rewards = torch.tensor([1.0, 3.0, 1.0, 3.0, 10.0], dtype=torch.float64)
    memory.add(prompts, rewards)
    out = memory.normalized(prompts, rewards, rewards, least=4)
    assert out[:4].tolist() == pytest.approx([-1, 1, -1, 1], rel=1e-4)
    assert float(out[4]) == pytest.approx(float((rewards[4] - rewards.mean()) / rewards.std(correction=0)), rel=1e-4)


def test_the_value_is_learnt() -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.cat([torch.randn(400, 3, generator=rng), torch.ones(400, 1)], 1).double()
    truth = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    value = Value(4)
    value.add(features, features @ truth)
    assert torch.allclose(value(features), features @ truth, atol=0.01)


def test_nft_gradient_by_hand() -> None:
    """Where new is old, it is -2 (2 r - 1) (v - old) w: matching weighted by the advantage."""
    rng = torch.Generator().manual_seed(0)
    targets, old = torch.randn(2, 3, 2, 4, generator=rng), torch.randn(2, 3, 2, 4, generator=rng)
    advantages, weights = torch.tensor([[0.5, 3.0], [-0.2, 0.0], [-7.0, 1.0]]), torch.rand(3, 2, 4, generator=rng)
    new = old.clone().requires_grad_()
    nft_loss(new, old, targets, advantages, weights, beta=0.5).backward()
    expected = -2 * advantages.clamp(-1, 1).unsqueeze(-1) * (targets - old) * weights / 6
    assert new.grad is not None and torch.allclose(new.grad, expected, atol=1e-6)


def test_dgpo_is_the_gradient_of_its_groups_margins() -> None:
    rng = torch.Generator().manual_seed(0)
    new = torch.randn(2, 6, 1, generator=rng).requires_grad_()
    reference, advantages = torch.randn(2, 6, 1, generator=rng), torch.randn(6, 1, generator=rng)
    loss = dgpo_loss(new, new.detach(), reference, advantages, 3, beta=2.0, clip=0.1)
    margin = (advantages * (new - reference)).sum(-1).unflatten(1, (2, 3)).mean(-1)
    exact = -torch.nn.functional.logsigmoid(2.0 * margin).mean() / 2.0
    (one,), (two,) = torch.autograd.grad(loss, new), torch.autograd.grad(exact, new)
    assert torch.allclose(one, two, atol=1e-6)
    done = dgpo_loss(new, new.detach() - 1, reference, torch.ones(6, 1), 3, beta=2.0, clip=0.1)
    assert torch.autograd.grad(done, new)[0].abs().max() == 0  # likely enough already


def test_dpo_by_hand() -> None:
    advantages = torch.tensor([0.0, 2.0, -1.0, 1.0, 1.0, 1.0])
    pairs = best_and_worst(advantages, 3)
    assert pairs[:2].tolist() == [1, 2]
    assert preferred(advantages[pairs].unsqueeze(1)).tolist() == [1, 0]  # the second group is all alike
    new = torch.tensor([[[1.0], [0.5], [0.2], [0.1]]], requires_grad=True)
    margin = margins(new, torch.tensor([[[0.8], [0.6], [0.0], [0.0]]]))
    assert margin[0].tolist() == pytest.approx([0.3, 0.1])
    dpo_loss(margin, torch.tensor([1.0, 0.0]), 4.0).backward()
    assert new.grad is not None
    slope = float(torch.sigmoid(torch.tensor(-2 * 0.3))) / 2  # a mean over two pairs
    assert new.grad.flatten().tolist() == pytest.approx([-slope, slope, 0, 0])


class _Ratios(GRPO):
    """Its loss is the mean log ratio."""

    def policy_loss(self, new: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
        return new - old


@pytest.mark.parametrize("recentred", [False, True])
def test_recentred_log_ratios_are_0_on_average(recentred: bool) -> None:
    """Over all sequences, each with its probability under the policy that drew it."""
    policy = EverySequence()
    policy.network.double()
    policy.keep_reference()
    count = VOCABULARY**STEPS
    found = _Ratios(recentred=recentred, kl_weight=0.0).collect(policy, Draw(["a tower"], count, 0, 0), _Flat())
    chance = _chances(found.rollout)
    with torch.no_grad():
        moved = torch.randn(policy.network.weight.shape, generator=torch.manual_seed(0))
        policy.network.weight.add_(moved)
    # Only steps that are taken count.
    tensors = found.tensors | {"weights": found.rollout.mask[list(found.steps)].T * chance.unsqueeze(1) * count}
    loss, _ = _Ratios(recentred=recentred, kl_weight=0.0).loss(policy, replace(found, tensors=tensors))
    if recentred:
        assert abs(float(loss.detach())) < 1e-7
    else:
        assert float(loss.detach()) < -0.05


def test_recentred_log_ratios_of_a_flow_are_linear_in_its_means() -> None:
    """log r + KL of two Gaussians is (x - m_old) (m - m_old) / std^2, without a square."""
    policy = SplatFlow()
    policy.keep_reference()
    objective = _Ratios(recentred=True, kl_weight=0.0)
    found = objective.collect(policy, Draw(["a ball"], 4, 0, 0, options=policy.exploration), _Flat())
    rollout, steps = found.rollout, list(found.steps[:-1])  # the last one is deterministic
    with torch.no_grad():
        policy.network[-1].bias.add_(0.1)
        means = policy.log_probs(rollout, steps).distribution
        counted = policy.counted(rollout.states[-1])
        drawn = torch.stack([rollout.states[t + 1] for t in steps])
        old = torch.stack([rollout.means[t] for t in steps])
        stds = rollout.stds[steps].view(-1, 1, 1, 1)
        linear = (drawn - old) * (means - old) / stds**2 * counted
        expected = linear.sum((-1, -2)) / counted.sum((-1, -2))
        loss, _ = objective.loss(policy, found)
    assert float(loss) == pytest.approx(float(expected.sum()) / (4 * len(found.steps)), rel=1e-3, abs=1e-6)


def test_the_window_of_noise_moves_over_the_steps() -> None:
    policy = SplatFlow()
    policy.keep_reference()
    objective = find_objective("grpo")(window=2, window_every=3, timesteps_per_iteration=0)
    seen = []
    for iteration in (0, 2, 3, 17, 18):
        draw = Draw(["a ball"], 2, iteration, 0, options=Sampling(steps=7, noise=0.7, sde_type="flow"))
        found = objective.collect(policy, draw, _Flat())
        noisy = [t for t, std in enumerate(found.rollout.stds.tolist()) if std > 0]
        assert sorted(found.steps)[-1] == 6 or noisy[-1] == 6
        assert set(noisy) <= set(found.steps) and len(found.steps) <= 3  # and the last deterministic one
        seen.append(noisy)
    assert seen == [[0, 1], [0, 1], [1, 2], [5, 6], [0, 1]]
    with pytest.raises(ValueError, match=r"--window is for flows, and .* is none"):
        objective.check(TokenToy())


def test_coarse_steps_have_the_advantages_of_their_rewards() -> None:
    class Two(_Flat):
        def __call__(self, draw: Draw, asset: Asset) -> Judgement:
            def among(names: Any) -> Judgement:
                value = 1.0 if set(names) == {"shape"} else -2.0
                numbers = torch.full((len(asset),), value)
                return Judgement({}, numbers, numbers, numbers.unsqueeze(1))

            zeros = torch.zeros(len(asset))
            scores = dict.fromkeys(["shape", "paint"], Scores(zeros))
            return Judgement(scores, zeros, zeros, zeros.unsqueeze(1), among)

    policy = TokenToy()
    policy.keep_reference()
    found = find_objective("grpo")(coarse="shape").collect(policy, Draw(["a tower"], 3, 0, 0), Two())
    by_step = dict(zip(found.steps, found.advantages.T.tolist(), strict=True))
    assert {t: row[0] for t, row in by_step.items()} == {0: 1.0, 1: 1.0, 2: -2.0, 3: -2.0}
    tokens = load_generator(generator="part-tokens")
    rollout = tokens.sample(tokens.condition(["a red ball"]), seeds=[0])
    coarse = tokens.coarse(rollout).view(-1, len(ATTRIBUTES))
    assert [name for name, shape in zip(ATTRIBUTES, coarse[0].tolist(), strict=True) if not shape] == [
        "color", "surface", "second color",
    ]  # fmt: skip


class _Height(_Flat):
    """The mean height of Gaussians: linear in the state, so its gradient is known."""

    def values(self, prompts: list[str], asset: Asset, azimuth_deg: float) -> torch.Tensor:
        assert len(prompts) == len(asset)
        return asset.gaussians(32).means[..., 2].mean(-1)


def test_nabla_moves_the_means_by_the_gradient_of_the_rewards() -> None:
    policy = SplatFlow()
    policy.keep_reference()
    objective = find_objective("nabla")(beta=50.0, timesteps_per_iteration=3)
    options = Sampling(steps=3, noise=0.7, sde_type="flow")
    found = objective.collect(policy, Draw(["a ball", "a cube"], 2, 0, 0, options=options), _Height())
    slope = 0.25 / 32  # metres of mean height for 1 of a Gaussian's z
    for step, moves in zip(found.steps, found.tensors["moves"].unbind(1), strict=True):
        assert torch.allclose(moves[..., 2], torch.tensor(50 * slope * options.stds()[step]))
        assert float(moves[..., :2].abs().max()) == 0
    loss, metrics = objective.loss(policy, found)
    assert float(metrics["kl"]) == 0
    assert float(loss.detach()) == pytest.approx(0.5 * float(found.tensors["moves"].square().mean()))
    # Where the means have moved so far, the loss is 0: the optimum of rewards with a KL.
    with policy.reference():
        means = policy.log_probs(found.rollout, found.steps).distribution.detach()
    moved = means + (found.tensors["moves"] * found.tensors["stds"]).transpose(0, 1)
    policy.log_probs = lambda rollout, steps: StepStats(moved[..., 0, 0], distribution=moved)  # type: ignore
    assert float(objective.loss(policy, found)[0]) < 1e-10
    assert held(torch.tensor([[3.0, 4.0], [0.1, 0.0]]), 1.0).square().mean(1).sqrt().tolist() == pytest.approx(
        [1.0, 0.1 / 2**0.5]
    )


def test_hybrid_is_the_sum_of_both_gradients() -> None:
    class Both(_Height):
        def __call__(self, draw: Draw, asset: Asset) -> Judgement:
            low = -asset.gaussians(32).means[..., 2].mean(-1).detach()
            centred = (low - low.mean()) / low.std()
            return Judgement({}, low, centred, centred.unsqueeze(1))

    policy = SplatFlow()
    policy.keep_reference()
    draw = Draw(["a ball", "a cube"], 4, 0, 0)
    objective = find_objective("hybrid")(pathwise=0.5)
    found = objective.collect(policy, draw, Both())

    def gradient(one: Any, samples: Experience) -> torch.Tensor:
        loss, _ = one.loss(policy, samples)
        parts = torch.autograd.grad(loss, policy.parameters(), allow_unused=True, materialize_grads=True)
        return torch.cat([g.flatten() for g in parts])

    awm, draft = find_objective("awm")(), find_objective("draft")()
    one, two = gradient(awm, found), gradient(draft, found)
    whole = gradient(objective, found)
    assert torch.allclose(whole, one + 0.5 * one.norm() / two.norm() * two, atol=1e-3 * float(whole.abs().max()))
    _, metrics = objective.loss(policy, found)
    for name, base in (("policy_noise", awm), ("pathwise_noise", draft)):
        halves = [gradient(base, half) for half in found.halves()]
        assert [len(half) for half in found.halves()] == [4, 4]
        mean = (halves[0] + halves[1]) / 2
        variance = (halves[0] - halves[1]).square().sum() / 4
        assert float(metrics[name]) == pytest.approx(float(variance / mean.square().sum()), rel=1e-3)
    assert 0 < float(metrics["pathwise_noise"]) < float(metrics["policy_noise"])
    for name in ("draft", "dpo", "distill"):
        with pytest.raises(ValueError, match=f"--policy-objective {name} has no policy gradient of all samples"):
            find_objective("hybrid")(policy_objective=name).check(policy)


def test_the_pathwise_gradient_is_of_the_samples_that_were_scored() -> None:
    """Also where the samples of a prompt start from the same noise, as in grpo."""

    class Seen(_Height):
        assets: ClassVar[list[torch.Tensor]] = []

        def __call__(self, draw: Draw, asset: Asset) -> Judgement:
            self.assets.append(asset.gaussians(32).means)
            return super().__call__(draw, asset)

        def values(self, prompts: list[str], asset: Asset, azimuth_deg: float) -> torch.Tensor:
            self.assets.append(asset.gaussians(32).means)
            return super().values(prompts, asset, azimuth_deg)

    policy, score = SplatFlow(), Seen()
    policy.keep_reference()
    sampling = Sampling(steps=4, noise=0.7, sde_type="cps")
    objective = find_objective("hybrid")(policy_objective="grpo")
    found = objective.collect(policy, Draw(["a ball", "a cube"], 4, 0, 0, options=sampling), score)
    objective.loss(policy, found)
    scored, first, second = (means.detach() for means in score.assets)
    assert torch.allclose(scored, torch.cat([first, second]), atol=1e-5)


def test_normalized_errors_weigh_every_noise_level_alike() -> None:
    """Ten times the error at a level is ten times the gradient, unless errors are normalized."""
    policy = SplatFlow()
    policy.keep_reference()
    found = find_objective("awm")().collect(policy, Draw(["a ball"], 2, 0, 0), _Flat())
    likes = torch.tensor([[[-0.1], [-0.2]], [[-1.0], [-2.0]]])
    samples = replace(found, advantages=torch.tensor([[1.0], [-1.0]]))
    for normalized, expected in ((False, [-0.25, 0.25, -0.25, 0.25]), (True, [-2.5, 1.25, -0.25, 0.125])):
        new = likes.clone().requires_grad_()
        old = Fit(likes, likes)
        loss = find_objective("awm")(normalized=normalized).sample_loss(policy, samples, Fit(new, new), old, old)
        loss.backward()
        assert new.grad is not None and new.grad.flatten().tolist() == pytest.approx(expected)
