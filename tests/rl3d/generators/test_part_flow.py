"""The part-flow policy: determinism, log-probs that match its rollouts, gradients, encoding and the
size of its network."""

import pytest
import torch

from rl3d.generators.part_flow import EXISTENCE_HELD, PartFlow, PartFlowConfig, PartFlowNetwork, decode, encode
from rl3d.generators.sde import Sampling
from scenes.parts import MAX_PARTS, VECTOR_SIZE, Parts

PROMPTS = ["a red armchair with white legs", "two green cubes in a row", "a tall lighthouse"]


@pytest.fixture(scope="module")
def policy() -> PartFlow:
    torch.manual_seed(0)
    network = PartFlowNetwork(PartFlowConfig(width=32, depth=2, heads=2))
    with torch.no_grad():  # the output starts at zero: give it something to say
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return PartFlow(network)


@pytest.mark.parametrize("sde_type", ["flow", "dance", "cps"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_log_probs_of_unchanged_weights_are_the_rollouts(policy: PartFlow, sde_type: str, guidance: float) -> None:
    sampling = Sampling(steps=5, noise=0.6, guidance=guidance, sde_type=sde_type)
    rollout = policy.rollout(policy.condition(PROMPTS), seeds=[1, 2, 3], sampling=sampling)
    steps = [t for t, std in enumerate(sampling.stds()) if std > 0]
    again = policy.log_probs(rollout, steps)
    assert (again.log_probs - rollout.log_probs[steps]).abs().max() < 1e-5
    assert torch.allclose(again.means, rollout.means[steps], atol=1e-5)


def test_same_seed_same_asset_whatever_the_batch(policy: PartFlow) -> None:
    sampling = Sampling(steps=4, noise=0.5, sde_type="cps")
    both = policy.rollout(policy.condition(PROMPTS[:1] * 2), seeds=[7, 8], sampling=sampling).states[-1]
    alone = policy.rollout(policy.condition(PROMPTS[:1]), seeds=[8], sampling=sampling).states[-1]
    assert torch.allclose(both[1], alone[0], atol=1e-5)
    assert (both[0] - both[1]).abs().max() > 0.1


def test_groups_share_their_initial_noise(policy: PartFlow) -> None:
    rollout = policy.rollout(
        policy.condition(PROMPTS[:1] * 2),
        seeds=[1, 2],
        noise_seeds=[5, 5],
        sampling=Sampling(steps=3, noise=0.5, sde_type="cps"),
    )
    assert torch.equal(rollout.states[0, 0], rollout.states[0, 1])
    assert not torch.equal(rollout.states[1, 0], rollout.states[1, 1])


def test_log_probs_carry_gradient_to_every_weight(policy: PartFlow) -> None:
    rollout = policy.rollout(policy.condition(PROMPTS), seeds=[1, 2, 3], sampling=Sampling(steps=3, noise=0.5))
    policy.network.zero_grad()
    policy.log_probs(rollout, [0, 1]).log_probs.sum().backward()
    without = [name for name, p in policy.network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_the_kl_holds_existence_tighter_than_shape(policy: PartFlow) -> None:
    """All numbers of a part that is there, and the existence of every slot, the latter
    EXISTENCE_HELD times as much."""
    rollout = policy.rollout(policy.condition(PROMPTS), seeds=[1, 2, 3], sampling=Sampling(steps=4))
    exists = policy.decode(rollout).exists
    held = policy.held(rollout)
    assert 0 < exists.float().mean() < 1, "both kinds of slots"
    unit = 1 / (exists.sum(-1) * (VECTOR_SIZE - 1) + MAX_PARTS)
    torch.testing.assert_close(held[..., 0], EXISTENCE_HELD * unit[:, None].expand_as(exists))
    torch.testing.assert_close(held[..., 1:], (unit[:, None] * exists)[..., None].expand_as(held[..., 1:]))


def test_text_changes_the_asset(policy: PartFlow) -> None:
    states = policy.rollout(policy.condition(PROMPTS[:2]), seeds=[4, 4], sampling=Sampling(steps=4)).states[-1]
    assert (states[0] - states[1]).abs().max() > 1e-3


def test_encoding_survives_the_round_trip() -> None:
    vectors = torch.zeros(MAX_PARTS, VECTOR_SIZE)
    vectors[:, 0] = -1
    vectors[0] = torch.tensor([1, 0.1, 1, 0.5, 0.1, -0.2, 0.4, -1.0, -2.0, -1.5, 1, 0, 0, 0, 1, 0, 0.2, 0.4, 0.9])
    states = encode(vectors)
    assert torch.equal(states[1:, 0], -torch.ones(MAX_PARTS - 1)) and states[1:, 1:].abs().max() == 0
    expected, decoded = Parts.from_vectors(vectors), decode(states)
    assert torch.equal(decoded.exists, expected.exists)
    assert torch.allclose(decoded.vectors()[0], expected.vectors()[0], atol=1e-5)


def test_seeds_must_match_prompts(policy: PartFlow) -> None:
    with pytest.raises(ValueError, match="2 prompts need 2 seeds, got 1"):
        policy.rollout(policy.condition(PROMPTS[:2]), seeds=[1], sampling=Sampling())
