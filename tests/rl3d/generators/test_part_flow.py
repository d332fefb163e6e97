"""The part-flow policy: determinism, log-probs that match its rollouts, gradients, encoding and the
size of its network."""

import pytest
import torch

from rewards.mix import parse
from rl3d.generators.base import StepStats
from rl3d.generators.flow import gaussian_kl
from rl3d.generators.part_flow import EXISTENCE_KL_WEIGHT, PartFlow, decode, encode
from rl3d.generators.sde import Sampling
from rl3d.scoring import reward_values
from scenes.parts import MAX_PARTS, VECTOR_SIZE, Parts

PROMPTS = ["a red armchair with white legs", "two green cubes in a row", "a tall lighthouse"]


@pytest.fixture(scope="module")
def policy() -> PartFlow:
    torch.manual_seed(0)
    policy = PartFlow(width=32, depth=2, heads=2)
    with torch.no_grad():  # the output layer starts at zero, so it gets random weights
        for p in policy.network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return policy


@pytest.mark.parametrize("sde_type", ["flow", "dance", "cps"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_log_probs_of_unchanged_weights_are_the_rollouts(policy: PartFlow, sde_type: str, guidance: float) -> None:
    sampling = Sampling(steps=5, noise=0.6, guidance=guidance, sde_type=sde_type)
    rollout = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3], options=sampling)
    steps = [t for t, std in enumerate(sampling.stds()) if std > 0]
    again = policy.log_probs(rollout, steps)
    assert (again.log_probs - rollout.log_probs[steps]).abs().max() < 1e-5
    assert torch.allclose(again.distribution, rollout.means[steps], atol=1e-5)


def test_same_seed_same_asset_whatever_the_batch(policy: PartFlow) -> None:
    sampling = Sampling(steps=4, noise=0.5, sde_type="cps")
    both = policy.sample(policy.condition(PROMPTS[:1] * 2), seeds=[7, 8], options=sampling).states[-1]
    alone = policy.sample(policy.condition(PROMPTS[:1]), seeds=[8], options=sampling).states[-1]
    assert torch.allclose(both[1], alone[0], atol=1e-5)
    assert (both[0] - both[1]).abs().max() > 0.1


def test_groups_share_their_initial_noise(policy: PartFlow) -> None:
    rollout = policy.sample(
        policy.condition(PROMPTS[:1] * 2),
        seeds=[1, 2],
        initial_seeds=[5, 5],
        options=Sampling(steps=3, noise=0.5, sde_type="cps"),
    )
    assert torch.equal(rollout.states[0, 0], rollout.states[0, 1])
    assert not torch.equal(rollout.states[1, 0], rollout.states[1, 1])


def test_log_probs_carry_gradient_to_every_weight(policy: PartFlow) -> None:
    rollout = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3], options=Sampling(steps=3, noise=0.5))
    policy.network.zero_grad()
    policy.log_probs(rollout, [0, 1]).log_probs.sum().backward()
    without = [name for name, p in policy.network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_existence_weighs_more_than_shape_in_the_kl(policy: PartFlow) -> None:
    """All numbers of existing parts count, and the existence of every slot with weight
    EXISTENCE_KL_WEIGHT."""
    rollout = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3], options=Sampling(steps=4))
    exists = policy.decode(rollout).parts.exists
    weights = policy.kl_weights(rollout)
    assert 0 < exists.float().mean() < 1, "both kinds of slots"
    unit = 1 / (exists.sum(-1) * (VECTOR_SIZE - 1) + MAX_PARTS)
    torch.testing.assert_close(weights[..., 0], EXISTENCE_KL_WEIGHT * unit[:, None].expand_as(exists))
    torch.testing.assert_close(weights[..., 1:], (unit[:, None] * exists)[..., None].expand_as(weights[..., 1:]))


def test_text_changes_the_asset(policy: PartFlow) -> None:
    states = policy.sample(policy.condition(PROMPTS[:2]), seeds=[4, 4], options=Sampling(steps=4)).states[-1]
    assert (states[0] - states[1]).abs().max() > 1e-3


def test_encoding_survives_the_round_trip() -> None:
    vectors = torch.zeros(MAX_PARTS, VECTOR_SIZE)
    vectors[:, 0] = -1
    shape = [1, 0.1, 1, 0.5, 0.1, -0.2, 0.4, -1.0, -2.0, -1.5, 1, 0, 0, 0, 1, 0, 0.2, 0.4, 0.9]
    vectors[0] = torch.tensor([*shape, 0.5, 0.3, -1, 1, -1, 0.1, 0.2, 0.3])
    states = encode(vectors)
    assert torch.equal(states[1:, 0], -torch.ones(MAX_PARTS - 1)) and states[1:, 1:].abs().max() == 0
    expected, decoded = Parts.from_vectors(vectors), decode(states)
    assert torch.equal(decoded.exists, expected.exists)
    assert torch.allclose(decoded.vectors()[0], expected.vectors()[0], atol=1e-5)


def test_seeds_must_match_prompts(policy: PartFlow) -> None:
    with pytest.raises(ValueError, match="2 prompts need 2 seeds, got 1"):
        policy.sample(policy.condition(PROMPTS[:2]), seeds=[1], options=Sampling())


def test_a_step_without_noise_is_pulled_to_the_reference_as_the_others_are(policy: PartFlow) -> None:
    sampling = Sampling(steps=4, noise=0.7, sde_type="cps")
    rollout = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3], options=sampling)
    assert policy.steps(rollout) == ([0, 1, 2], [3])
    stats = policy.log_probs(rollout, [2, 3])
    assert (stats.log_probs[1] == 0).all()
    moved = StepStats(stats.log_probs, distribution=stats.distribution + 0.01)
    kl = policy.kl(rollout, [2, 3], moved, stats)
    weights = policy.kl_weights(rollout).sum((-1, -2))
    smallest = min(std for std in sampling.stds() if std > 0)
    torch.testing.assert_close(kl, (0.01**2 / (2 * smallest**2) * weights).expand(2, 3), rtol=1e-3, atol=0)


def test_the_kl_of_a_step_is_that_of_two_gaussians() -> None:
    mean = torch.tensor(0.7, requires_grad=True)
    p, q = torch.distributions.Normal(0.7, 0.5), torch.distributions.Normal(0.2, 0.5)
    means, reference = mean.expand(1, 2, 1, 3), torch.full((1, 2, 1, 3), 0.2)
    kl = gaussian_kl(means, reference, torch.tensor([0.5]), torch.full((2, 1, 3), 1 / 3))
    assert kl.shape == (1, 2)
    assert kl[0, 0].item() == pytest.approx(torch.distributions.kl_divergence(p, q).item(), rel=1e-5)
    kl.mean().backward()
    assert mean.grad == pytest.approx(0.5 / 0.5**2, rel=1e-5)
    one = gaussian_kl(
        torch.tensor([[[[0.5, 99.0]]]]), torch.zeros(1, 1, 1, 2), torch.ones(1), torch.tensor([[[1.0, 0.0]]])
    )
    assert one.item() == pytest.approx(0.125)


def test_samples_in_batches_are_those_of_one_batch(policy: PartFlow) -> None:
    whole = policy.generate(PROMPTS, seeds=[1, 2, 3])
    pieces = policy.generate(PROMPTS, seeds=[1, 2, 3], batch_size=2)
    assert len(pieces) == 3
    there = whole.parts.exists
    assert torch.equal(there, pieces.parts.exists) and there[:, -1].any(), "no slot that none uses"
    assert torch.allclose(whole.parts.vectors()[there], pieces.parts.vectors()[there], atol=1e-5)


def test_the_gradient_of_a_reward_reaches_a_weight_through_sampling_decoding_and_rendering() -> None:
    """The whole path against a finite difference: one weight of the network to the reward."""
    torch.manual_seed(0)
    policy = PartFlow(width=16, depth=1, heads=1)
    with torch.no_grad():
        for p in policy.network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    prompts, rewards = ["a red ball", "a blue cube"], parse("alignment=1")

    def value(gradient: bool = False) -> torch.Tensor:
        draw = policy.sample_with_gradient if gradient else policy.sample
        rollout = draw(policy.condition(prompts), seeds=[3, 4], options=Sampling(steps=1))
        return reward_values(rewards, prompts, policy.decode(rollout)).mean()

    # Weights that paint: the others move splats, and what a pixel shows then changes in jumps.
    weight = policy.network.out.weight
    (slopes,) = torch.autograd.grad(value(gradient=True), weight)
    for channel in (16, 17, 18):
        column = int(slopes[channel].abs().argmax())
        ends = []
        with torch.no_grad():
            for step in (1e-2, -1e-2):
                weight[channel, column] += step
                ends.append(float(value()))
                weight[channel, column] -= step
        assert float(slopes[channel, column]) == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=0.02, abs=1e-5)
    assert float(slopes[16:].abs().max()) > 1e-3


def test_a_reward_without_gradient_is_named(policy: PartFlow) -> None:
    asset = policy.generate(PROMPTS[:1], seeds=[1])
    with pytest.raises(ValueError, match="reward 'stability' has no gradient"):
        reward_values(parse("stability=1"), PROMPTS[:1], asset)
