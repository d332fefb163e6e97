"""The part-token policy: sampling with caches against one pass, options, given parts, examples."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from rl3d.algorithms.steps import step_advantages
from rl3d.check_generator import check_generator
from rl3d.generators.load import load_generator
from rl3d.generators.part_codes import END, FACES, MAX_OBJECTS, OBJECT, PART, SIZES, UNUSED, USED, is_object
from rl3d.generators.part_tokens import PartTokens
from rl3d.generators.part_tokens_network import (
    A,
    PartTokensConfig,
    beside,
    opposite_faces,
)
from rl3d.generators.token_sampling import TokenSampling, nucleus
from scenes.asset import PartAsset
from scenes.parts import MAX_PARTS, Parts

PROMPTS = ["a red armchair with white legs", "two green cubes in a row", "a tall lighthouse"]


@pytest.fixture(scope="module")
def policy() -> PartTokens:
    torch.manual_seed(1)
    policy = PartTokens(width=48, depth=2, heads=2, hidden=96, slots=12)
    with torch.no_grad():  # the output layer starts small: every value would be about as likely
        policy.network.out_weight.mul_(10)
        policy.network.out_bias[END], policy.network.out_bias[PART] = 6.0, 4.5
        policy.network.words.marks.normal_(std=3)
        policy.network.words.end.bias.fill_(1.5)
    policy.network.eval()
    return policy


@contextmanager
def _biased(policy: PartTokens, end: float, tokens: slice | None = None, value: float = 0.0) -> Iterator[None]:
    """With another score of the end, and perhaps another bias of some of the first tokens."""
    biases = policy.network.words.end.bias, policy.network.out_bias
    before = [bias.detach().clone() for bias in biases]
    with torch.no_grad():
        biases[0].fill_(end)
        if tokens:
            biases[1][tokens] = value
    try:
        yield
    finally:
        with torch.no_grad():
            for bias, kept in zip(biases, before, strict=True):
                bias.copy_(kept)


@pytest.mark.parametrize(
    ("options", "end"),
    [(PartTokens.exploration, 1.5), (TokenSampling(temperature=0.7, top_p=0.8), 0.7), (TokenSampling(guidance=2.5), 4)],
)
def test_one_pass_gives_the_log_probs_of_sampling(policy: PartTokens, options: TokenSampling, end: float) -> None:
    with _biased(policy, end):
        rollout = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3], options=options)
        again = policy.log_probs(rollout, policy.steps(rollout)[0])
    assert (again.log_probs - rollout.log_probs).abs().max() < 1e-4
    assert len(set(rollout.exists.sum(1).tolist())) > 1  # assets of several sizes in one batch
    assert again.entropy is not None and bool((again.entropy >= -1e-6).all())


def test_one_pass_gives_the_log_probs_of_samples_with_examples_and_many_objects(policy: PartTokens) -> None:
    condition = policy.condition(PROMPTS)
    example = policy.decode(policy.sample(condition[torch.tensor([0])], seeds=[1]))
    condition = policy.with_examples(condition, [[example], [], [example, example]])
    with _biased(policy, 0.0, slice(1, PART), 4.0):  # objects are as likely as parts
        rollout = policy.sample(condition, seeds=[1, 2, 3])
        again = policy.log_probs(rollout, policy.steps(rollout)[0])
    assert int(is_object(rollout.tokens).sum(1).max()) >= 3
    assert (again.log_probs - rollout.log_probs).abs().max() < 1e-4


def test_every_contract_clause_holds() -> None:
    shipped = load_generator(None, generator="part-tokens")
    broken = [f"{clause.name}: {clause.text}" for clause in check_generator(shipped) if not clause.holds]
    assert not broken


def test_same_seed_same_asset_whatever_the_batch(policy: PartTokens) -> None:
    together = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3])
    for i, prompt in enumerate(PROMPTS):
        alone = policy.sample(policy.condition([prompt]), seeds=[i + 1]).tokens
        assert torch.equal(alone[0], together.tokens[i, : alone.shape[1]])


def test_the_mask_counts_drawn_tokens(policy: PartTokens) -> None:
    rollout = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3])
    count, parts = rollout.exists.sum(1), rollout.parts.sum(1)
    ends = (count < policy.slots).long()
    wanted = parts * A + (count - parts) * int(USED[1].sum()) + ends
    assert rollout.mask.sum(0).tolist() == wanted.tolist()
    assert bool((rollout.log_probs[~rollout.mask] == 0).all())
    assert bool((rollout.tokens[..., OBJECT] != END).long().diff(dim=1).le(0).all())


def test_an_asset_has_a_part(policy: PartTokens) -> None:
    with _biased(policy, 100.0, slice(END, END + 1), 100.0):  # would end every asset at once
        rollout = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3])
        again = policy.log_probs(rollout, policy.steps(rollout)[0])
    assert rollout.parts.sum(1).tolist() == [1, 1, 1] and rollout.exists.sum(1).tolist() == [2, 2, 2]
    assert (again.log_probs - rollout.log_probs).abs().max() < 1e-4


def test_log_probs_sum_to_one_over_all_values(policy: PartTokens) -> None:
    rollout = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3])
    stats = policy.log_probs(rollout, range(A))
    total = stats.distribution.exp().sum(-1)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
    for k, size in enumerate(SIZES):
        assert bool((stats.distribution[k, :, size:] < -1e3).all())


def test_given_parts_come_first_and_are_not_drawn(policy: PartTokens) -> None:
    condition = policy.condition(PROMPTS)
    asset = policy.decode(policy.sample(condition, seeds=[1, 2, 3]))
    largest = asset.parts[int(asset.parts.exists.sum(1).argmax())].present()
    given = [PartAsset(largest[None][:, :count]) for count in (1, 1, 2)]
    rollout = policy.sample(policy.with_given(condition, given), seeds=[4, 5, 6])
    made = policy.decode(rollout).parts
    for one, some in zip(made.vectors(), given, strict=True):
        assert torch.allclose(
            one[: some.parts.count], some.parts.vectors()[0], rtol=0, atol=1e-6
        )  # rotations are normalised
    drawn = rollout.mask[OBJECT::A]  # an unknown object and the given parts are not drawn
    assert not drawn[:2].any() and bool(drawn[2, :2].all()) and not drawn[2, 2] and bool(drawn[3, 2])
    again = policy.log_probs(rollout, policy.steps(rollout)[0])
    assert (again.log_probs - rollout.log_probs).abs().max() < 1e-4


def test_parts_from_elsewhere_have_no_labels_to_learn(policy: PartTokens) -> None:
    condition = policy.condition(PROMPTS)
    drawn = policy.sample(condition, seeds=[1, 2, 3])
    encoded = policy.encode(policy.decode(drawn), condition)
    parts = drawn.parts.sum(1)
    assert encoded.exists.sum(1).tolist() == (parts + 1).tolist(), "one unknown object with all parts"
    ends = (parts + 1 < policy.slots).long()
    assert encoded.mask.sum(0).tolist() == (parts * (A - 1) + ends).tolist(), "all but object and roles"
    assert bool((encoded.log_probs[~encoded.mask] == 0).all()) and bool((encoded.log_probs[encoded.mask] <= 0).all())


def test_a_stream_that_is_kept_leaves_gradients_on(policy: PartTokens) -> None:
    stream = policy.stream(policy.condition(PROMPTS[:1]), seeds=[1])
    next(stream)
    assert torch.is_grad_enabled()


def test_more_given_parts_than_fit_are_refused(policy: PartTokens) -> None:
    many = Parts.from_vectors(Parts.stack([Parts.from_vectors(torch.ones(11, 27))]).vectors())
    with pytest.raises(ValueError, match="11 parts: part-tokens goes on from at most 10"):
        policy.with_given(policy.condition(PROMPTS[:1]), [PartAsset(many)])


def test_more_examples_than_the_network_tells_apart_are_refused(policy: PartTokens) -> None:
    condition = policy.condition(PROMPTS[:1])
    one = policy.decode(policy.sample(condition, seeds=[1]))
    with pytest.raises(ValueError, match="up to 3 examples of a prompt, got 4: lower --retrieve"):
        policy.with_examples(condition, [[one] * 4])


def test_examples_change_the_distribution_of_their_own_prompt_alone(policy: PartTokens) -> None:
    condition = policy.condition(PROMPTS)
    asset = policy.decode(policy.sample(condition, seeds=[1, 2, 3]))
    rollout = policy.sample(condition, seeds=[1, 2, 3], options=TokenSampling(top_p=1.0))
    most = asset[[int(asset.parts.exists.sum(1).argmax())]]
    with_examples = policy.with_examples(condition, [[most, most], [], [most]])
    other = policy.encode(policy.decode(rollout), with_examples)
    plain = policy.encode(policy.decode(rollout), condition)
    apart = (other.log_probs - plain.log_probs).abs().amax(0)
    assert apart[0] > 1e-4 and apart[2] > 1e-4 and apart[1] < 1e-5


def test_tokens_arrive_part_by_part(policy: PartTokens) -> None:
    condition = policy.condition(PROMPTS)
    steps = list(policy.stream(condition, seeds=[1, 2, 3]))
    whole = policy.sample(condition, seeds=[1, 2, 3])
    assert [step.tokens.shape[1] for step in steps] == list(range(1, len(steps) + 1))
    assert torch.equal(steps[-1].tokens, whole.tokens)
    assert torch.equal(steps[0].tokens, whole.tokens[:, :1])


def test_the_nucleus_is_the_smallest_that_holds_top_p() -> None:
    log_p = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(1000, -1)
    draws = nucleus(log_p, torch.arange(1000) / 1000, 0.75)
    assert torch.bincount(draws, minlength=4).tolist() == pytest.approx([625, 375, 0, 0], abs=2)
    everything = torch.bincount(nucleus(log_p, torch.arange(1000) / 1000, 1.0), minlength=4)
    assert everything.tolist() == pytest.approx([500, 300, 150, 50], abs=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "--sampling.temperature must be a number above 0, got 0.0"),
        ({"temperature": -1.0}, "--sampling.temperature must be a number above 0, got -1.0"),
        ({"temperature": float("nan")}, "--sampling.temperature must be a number above 0"),
        ({"top_p": 0.0}, "--sampling.top-p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.5}, "--sampling.top-p must be above 0 and at most 1, got 1.5"),
        ({"guidance": -1.0}, "--sampling.guidance must be a finite number of at least 0"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenSampling(**options)


def test_the_network_fits_its_budget() -> None:
    weights = sum(p.numel() for p in PartTokens().parameters())
    assert 2 * weights < 10e6  # float16
    assert PartTokensConfig().slots == MAX_PARTS + MAX_OBJECTS


def test_the_reward_of_a_part_moves_its_own_tokens(policy: PartTokens) -> None:
    rollout = policy.sample(policy.condition(PROMPTS), seeds=[1, 2, 3])
    parts = int(rollout.parts.sum(1).max())
    of_units = torch.arange(3 * parts, dtype=torch.float).view(3, parts)
    judged = torch.tensor([-1.0, -2.0, -3.0]), of_units
    advantages = step_advantages(*judged, rollout.units, A * rollout.tokens.shape[1])
    for b in range(3):
        part = 0
        for place in range(rollout.tokens.shape[1]):
            counts = bool(rollout.exists[b, place]) and part < parts  # the last object may have no part yet
            wanted = of_units[b, part] if counts else torch.tensor(-1.0 - b)
            part += bool(rollout.parts[b, place])
            assert bool((advantages[b, place * A : (place + 1) * A] == wanted).all())


def test_every_object_has_a_part(policy: PartTokens) -> None:
    tokens = policy.sample(policy.condition(PROMPTS * 8), seeds=range(24)).tokens
    assert bool(is_object(tokens[:, 0]).all())
    before, after = tokens[:, :-1], tokens[:, 1:]
    assert bool((after[is_object(before)][:, OBJECT] == PART).all()) and int(is_object(tokens).sum()) > 24


def test_an_element_is_read_beside_those_of_its_kind(policy: PartTokens) -> None:
    """Objects beside the two objects before, parts beside the two elements before."""
    kinds = [1, PART, PART, 2, PART, 3, END]
    tokens = torch.arange(len(kinds))[None, :, None].repeat(1, 1, A)  # an element's tokens are its place
    tokens[..., OBJECT] = torch.tensor(kinds)
    own, last, last_but_one, within, before_within = policy.network.inputs(tokens, torch.ones(1, len(kinds)).bool())
    one, two = beside(own, last, within), beside(own, last_but_one, before_within)
    none = UNUSED
    assert one[:, FACES].tolist() == [none, 0, 1, 0, 3, 3, 5]
    assert two[:, FACES].tolist() == [none, none, 0, none, 2, 0, 4]
    assert torch.equal(one[:, OBJECT], last[:, OBJECT]) and torch.equal(two[:, OBJECT], last_but_one[:, OBJECT])


def test_the_opposite_of_a_low_face_is_the_high_one() -> None:
    swapped = opposite_faces(torch.arange(A)[None])[0].tolist()
    faces = [FACES + i for i in (1, 0, 3, 2, 5, 4)]
    assert swapped == [UNUSED] * FACES + faces + [UNUSED] * (A - FACES - 6)


def test_nouns_are_read_off_the_words(policy: PartTokens) -> None:
    """With a text, which noun is likely depends on words alone; the network's own table of nouns
    counts only without one. Probabilities stay probabilities."""
    condition, network = policy.condition(PROMPTS), policy.network
    rollout = policy.sample(condition, seeds=[1, 2, 3])
    counted = torch.ones(rollout.tokens.shape[:2], dtype=torch.bool)

    def nouns(keep_text: bool) -> torch.Tensor:
        memory = network.memory(condition.text, None, torch.full((3,), keep_text))
        with torch.no_grad():
            logits = network(rollout.tokens, counted, memory)
        assert all(torch.allclose(z.softmax(-1).sum(-1), torch.ones(len(z))) for z in logits)
        return logits[OBJECT][:, 1:PART].softmax(-1)

    before = [nouns(True), nouns(False)]
    weight = network.out_weight.detach().clone()
    try:
        with torch.no_grad():
            network.out_weight[1:PART] += torch.randn(PART - 1, weight.shape[1], generator=torch.manual_seed(4))
        after = [nouns(True), nouns(False)]
    finally:
        with torch.no_grad():
            network.out_weight.copy_(weight)
    assert torch.allclose(before[0], after[0], atol=1e-5)
    assert (before[1] - after[1]).abs().max() > 0.01
