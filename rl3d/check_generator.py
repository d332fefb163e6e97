"""Checks that a generator keeps the contract of ``rl3d.generators.base``. One check for each
clause.

Every check returns a short text with its measurement, or raises ``Broken`` with the reason.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rl3d.generators.base import (
    Completes,
    Encodes,
    Generator,
    HasCleanStates,
    HasLogProbs,
    HasMatching,
    HasSampleGradient,
    Retrieves,
    Streams,
    capabilities,
    repeat,
)
from rl3d.generators.load import load_generator, save_generator
from scenes.asset import Asset, PartAsset
from scenes.parts import (
    CENTRE,
    COLOR,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    MAX_PARTS,
    ROTATION,
    UPRIGHT,
    VECTOR_SIZE,
    Parts,
)

PROMPTS = ["a red ball", "a tall blue lighthouse", "two green cubes in a row"]
SEEDS = [11, 12, 13]
SCORE_SAMPLES = 64
"""Samples of the score identity."""
STEP = 1e-3
"""Size of a finite difference, in units of the direction."""


class Broken(Exception):
    """A clause that does not hold."""


@dataclass(frozen=True)
class Clause:
    """One line of the report."""

    name: str
    holds: bool
    text: str


def check_generator(
    generator: str | Generator, checkpoint: Path | None = None, device: str = "cpu"
) -> Iterator[Clause]:
    """Check every clause that the generator's capabilities call for, one after the other.

    ``generator`` is a built-in name, ``module:Class``, or an instance. Its weights are put back at
    the end. ValueError with one line if it cannot be loaded at all.
    """
    if isinstance(generator, str):
        generator = load_generator(checkpoint, device, generator=generator)
    start = copy.deepcopy(generator.network.state_dict())
    for name, needs, check in CLAUSES:
        if needs is not None and not isinstance(generator, needs):
            continue
        try:
            yield Clause(name, True, check(generator))
        except Broken as problem:
            yield Clause(name, False, str(problem))
        except Exception as error:  # any error of a user's code is reported
            yield Clause(name, False, f"raised {type(error).__name__}: {' '.join(str(error).split())}")
        finally:
            generator.network.load_state_dict(start)


def _samples(g: Generator, options: Any = None) -> Any:
    return g.sample(g.condition(PROMPTS), seeds=SEEDS, options=options)


def _numbers(asset: Asset) -> Tensor:
    """An asset as one vector a scene, (B, K). What absent parts hold does not matter."""
    if asset.parts is not None:
        vectors = asset.parts.vectors()
        there = torch.where(asset.parts.exists.unsqueeze(-1), vectors, torch.zeros_like(vectors))
        return torch.nn.functional.pad(there, (0, 0, 0, max(MAX_PARTS - asset.parts.count, 0))).flatten(1)
    scene = asset.gaussians(256)
    fields = scene.means, scene.scales, scene.opacities.unsqueeze(-1), scene.colors
    return torch.cat([t.flatten(1) for t in fields], 1)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise Broken(problem)


def _settings(g: Generator) -> str:
    options = [o for o in (g.default_options, g.exploration) if o is not None]
    _require(all(dataclasses.is_dataclass(o) and not isinstance(o, type) for o in options), "options are no dataclass")
    _require(len({type(o) for o in options}) == 1, "default_options and exploration are of different types")
    _require(g.gives <= {"parts", "motion"}, f"gives {set(g.gives)}: only 'parts' and 'motion' are known")
    _require(len(g.parameters()) > 0, "parameters() is empty: there is nothing to train")
    can = ", ".join(capabilities(g)) or "nothing but sampling"
    return f"{sum(p.numel() for p in g.parameters()):,} weights; capabilities: {can}"


def _shapes(g: Generator) -> str:
    condition = g.condition(PROMPTS)
    _require(len(condition) == 3, f"a condition of 3 prompts has length {len(condition)}")
    _require(len(repeat(condition, 2)) == 6, "indexing a condition with a tensor does not repeat its entries")
    rollout = _samples(g)
    _require(len(rollout) == 3, f"a rollout of 3 prompts has length {len(rollout)}")
    _require(len(rollout[torch.tensor([2, 0])]) == 2, "indexing a rollout with a tensor does not select samples")
    asset = g.decode(rollout)
    _require(isinstance(asset, Asset), f"decode gives {type(asset).__name__}, which is no scenes.asset.Asset")
    _require(len(asset) == 3, f"3 samples decode to an asset of {len(asset)} scenes")
    _require((asset.parts is not None) == ("parts" in g.gives), "decode and gives disagree about parts")
    scene = asset.gaussians(512)
    _require(scene.batch_shape == (3,), f"gaussians() has batch shape {tuple(scene.batch_shape)}, not (3,)")
    fields = scene.means, scene.scales, scene.opacities, scene.colors
    _require(all(bool(t.isfinite().all()) for t in fields), "gaussians() has numbers that are not finite")
    picked = g.decode(rollout[torch.tensor([2, 0])])
    _require(torch.allclose(_numbers(picked), _numbers(asset)[[2, 0]], atol=1e-5), "rollout[i] is not sample i")
    return f"3 prompts, {scene.count} Gaussians each"


def _empty_prompt(g: Generator) -> str:
    try:
        g.condition(["a red ball", " "])
    except ValueError as error:
        return str(error)
    raise Broken("an empty prompt is accepted: condition() must raise ValueError")


def _seeds(g: Generator) -> str:
    both, again = (_numbers(g.decode(_samples(g))) for _ in range(2))
    _require(torch.equal(both, again), "the same seeds give different assets: draw only from the seeds")
    alone = g.decode(g.sample(g.condition(PROMPTS[1:2]), seeds=SEEDS[1:2]))
    error = float((_numbers(alone)[0] - both[1]).abs().max())
    _require(error < 1e-3, f"a sample depends on its batch: alone it differs by {error:.1e}")
    other = _numbers(g.decode(g.sample(g.condition(PROMPTS), seeds=[s + 100 for s in SEEDS])))
    _require(not torch.equal(other, both), "other seeds give the same assets")
    try:
        g.sample(g.condition(PROMPTS), seeds=SEEDS[:2])
    except ValueError:
        return f"repeats to the bit; alone and in a batch within {error:.0e}"
    raise Broken("3 prompts with 2 seeds are accepted: sample() must raise ValueError")


def _reference(g: Generator) -> str:
    before = _numbers(g.decode(_samples(g)))
    g.keep_reference()
    _perturb(g, 0.1)
    changed = _numbers(g.decode(_samples(g)))
    with g.reference():
        start = _numbers(g.decode(_samples(g)))
    after = _numbers(g.decode(_samples(g)))
    _require(torch.equal(start, before), "inside reference() samples are not those of the kept weights")
    _require(torch.equal(after, changed), "after reference() the present weights are not back")
    return "the kept weights inside, the present ones after"


def _save(g: Generator) -> str:
    with torch.no_grad():  # files hold float16
        for p in g.network.state_dict().values():
            if p.is_floating_point():
                p.copy_(p.half())
    before = _numbers(g.decode(_samples(g))).cpu()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generator.safetensors"
        save_generator(path, g)
        loaded = load_generator(path, str(g.device))
        size = path.stat().st_size
    _require(loaded.name == g.name, f"the file names {loaded.name}, not {g.name}")
    after = _numbers(loaded.decode(_samples(loaded))).cpu()
    _require(torch.equal(before, after), "the loaded generator samples something else: is all state in the network?")
    return f"{size / 1e6:.1f} MB, samples equal to the bit"


def _path_gradient(g: Any) -> str:
    condition = g.condition(PROMPTS)
    plain = _numbers(g.decode(_samples(g)))
    _require(not plain.requires_grad, "sample carries gradient: that is for sample_with_gradient")
    shared = [SEEDS[0]] * len(SEEDS)
    from_shared = _numbers(g.decode(g.sample(condition, seeds=SEEDS, initial_seeds=shared)))
    numbers = _numbers(g.decode(g.sample_with_gradient(condition, seeds=SEEDS, initial_seeds=shared, last=1)))
    apart = float((numbers - from_shared).detach().abs().max())
    _require(
        apart < 1e-5, f"sample_with_gradient gives other samples than sample with initial_seeds, {apart:.1e} apart"
    )
    for last in (None, 1):
        numbers = _numbers(g.decode(g.sample_with_gradient(condition, seeds=SEEDS, last=last)))
        apart = float((numbers - plain).detach().abs().max())
        _require(apart < 1e-5, f"sample_with_gradient gives other samples than sample, {apart:.1e} apart")
        _require(numbers.requires_grad, f"the samples carry no gradient with last={last}")
        reached = _reaches(g, numbers.square().mean())
    return reached


def _log_probs(g: Any) -> str:
    rollout, steps = _explore(g)
    stats = g.log_probs(rollout, steps)
    wanted = (len(steps), len(rollout))
    _require(tuple(stats.log_probs.shape) == wanted, f"log_probs {tuple(stats.log_probs.shape)}, not {wanted}")
    mask = rollout.mask[steps]
    error = float(((stats.log_probs - rollout.log_probs[steps]).detach().exp() - 1).abs()[mask].max())
    _require(error < 1e-3, f"the importance ratio of unchanged weights is off by {error:.1e}")
    return f"{len(steps)} steps, ratio 1 within {error:.0e}; gradient: {_reaches(g, stats.log_probs[mask].sum())}"


def _log_prob_gradient(g: Any) -> str:
    """The gradient against a finite difference of the log-probs."""
    rollout, steps = _explore(g)
    mask = rollout.mask[steps]

    def value() -> Tensor:
        return g.log_probs(rollout, steps).log_probs[mask].double().mean()

    return _finite_difference(g, value)


def _score_identity(g: Any) -> str:
    """E[d log p / d theta] = 0 over a policy's own samples, along one direction in weight space.

    Log-probs that are not those of the distribution that drew the samples violate it.
    """
    options = g.exploration or g.default_options
    condition = repeat(g.condition(PROMPTS[1:2]), SCORE_SAMPLES)  # a prompt that allows many assets
    rollout = g.sample(condition, seeds=list(range(SCORE_SAMPLES)), options=options)
    steps = g.steps(rollout)[0]
    direction = _direction(g)
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            with _moved(g, direction, sign * STEP):
                ends.append((g.log_probs(rollout, steps).log_probs * rollout.mask[steps]).double().sum(0))
    slopes = (ends[0] - ends[1]) / (2 * STEP)
    mean, error = float(slopes.mean()), float(slopes.std() / SCORE_SAMPLES**0.5)
    _require(error > 0, "log-probs do not change with the weights")
    _require(abs(mean) < 4 * error, f"mean score {mean:.3g} is {abs(mean) / error:.1f} standard errors from 0")
    return f"mean score {mean:.2g} ± {error:.2g} over {SCORE_SAMPLES} samples"


def _kl(g: Any) -> str:
    rollout, steps = _explore(g)
    with torch.no_grad():
        kept = g.log_probs(rollout, steps)
        zero = float(g.kl(rollout, steps, kept, kept).abs().max())
    _perturb(g, 0.05)
    kl = g.kl(rollout, steps, g.log_probs(rollout, steps), kept)
    _require(zero < 1e-6, f"the KL of a policy to itself is {zero:.1e}")
    _require(bool((kl >= -1e-6).all()) and float(kl.detach().mean()) > 0, "the KL to other weights is not positive")
    return f"0 to itself, {float(kl.detach().mean()):.2g} to perturbed weights; gradient: {_reaches(g, kl.mean())}"


def _clean(g: Any) -> str:
    """States are those that the step drew, and what they lead to has gradient to them."""
    rollout, steps = _explore(g)
    spreads = []
    for step in steps:
        clean = g.clean(rollout, step)
        with torch.no_grad():
            means = g.log_probs(rollout, [step]).distribution[0]
        _require(clean.states.shape == means.shape, f"states {tuple(clean.states.shape)}, means {tuple(means.shape)}")
        spreads.append(float(((clean.states.detach() - means) / clean.std).square().mean().sqrt()))
        scene = g.decode(clean.rollout).gaussians(256)
        (gradient,) = torch.autograd.grad(scene.means.sum() + scene.colors.sum(), clean.states)
        _require(bool(gradient.isfinite().all()) and float(gradient.abs().sum()) > 0, "no gradient reaches the states")
    _require(all(0.5 < s < 2 for s in spreads), f"states are {max(spreads):.2g} of the step's std from its mean")
    return f"of {len(steps)} steps, {min(spreads):.2f} to {max(spreads):.2f} std from their means; gradient: yes"


def _matching(g: Any) -> str:
    rollout = _samples(g)
    final = g.final(rollout)
    _require(final.dim() == 3 and len(final) == 3, f"final states {tuple(final.shape)}, not (B, U, F)")
    rng = torch.Generator().manual_seed(0)
    sigmas = (0.2 + 0.6 * torch.rand(2, 3, generator=rng)).to(final.device)
    noise = torch.randn(2, *final.shape, generator=rng).to(final.device)
    stats = g.matching(rollout, sigmas, noise)
    _require(tuple(stats.errors.shape) == (2, *final.shape[:2]), f"errors {tuple(stats.errors.shape)}, not (D, B, U)")
    known = {"noise - sample (flow)": noise - final, "noise": noise, "sample": final.expand_as(noise)}
    named = [name for name, target in known.items() if torch.allclose(stats.targets, target, atol=1e-4)]
    _require(bool(named), "the target is neither noise - sample, nor noise, nor the sample")
    squared = (stats.predictions - stats.targets).square().flatten(2)
    total = stats.errors.sum(-1)
    inside = (total <= squared.amax(-1) * 1.001 + 1e-6) & (total >= 0)
    _require(bool(inside.all()), "errors summed over units are no weighted mean of the squared errors")
    weights = g.kl_weights(rollout)
    _require(weights.shape == final.shape and bool((weights >= 0).all()), "kl_weights are not like the state, >= 0")
    return f"target: {named[0]}; gradient: {_reaches(g, stats.errors.mean())}"


def _matching_gradient(g: Any) -> str:
    rollout = _samples(g)
    final = g.final(rollout)
    noise = torch.randn(1, *final.shape, generator=torch.Generator().manual_seed(1)).to(final.device)
    sigmas = torch.full((1, len(final)), 0.5, device=final.device)
    return _finite_difference(g, lambda: g.matching(rollout, sigmas, noise).errors.double().mean())


def _encode(g: Any) -> str:
    condition = g.condition(PROMPTS)
    asset = g.decode(_samples(g)).detach()
    again = g.decode(g.encode(asset, condition)).detach()
    one, other = asset.gaussians(1024).means, again.gaussians(1024).means
    distance = torch.cdist(one, other)
    apart = float(((distance.amin(1).mean(1) + distance.amin(2).mean(1)) / 2).max())
    _require(apart < 0.02, f"decode(encode(asset)) is {100 * apart:.1f} cm off (mean nearest distance)")
    return f"decode(encode(asset)) within {1000 * apart:.2g} mm"


def _retrieve(g: Any) -> str:
    """Examples change the samples of their own entry, and no examples change nothing."""
    options = g.exploration or g.default_options

    def drawn(condition: Any, seeds: list[int]) -> Tensor:
        """A row a sample: its asset, and its log-probs, since a token may stay what it is."""
        rollout = g.sample(condition, seeds=seeds, options=options)
        log_probs = getattr(rollout, "log_probs", torch.zeros(0, len(seeds)))
        return torch.cat([_numbers(g.decode(rollout)).cpu(), log_probs.T.cpu()], 1)

    def apart(some: Tensor, others: Tensor) -> float:
        """A batch with a longer sample has more steps, which are padding for the others."""
        shared = min(some.shape[1], others.shape[1])
        return float((some[:, :shared] - others[:, :shared]).abs().max())

    _perturb(g, 0.1)  # layers for examples may start at zero
    plain, red = drawn(g.condition(PROMPTS), SEEDS), _example(0.9)
    none = drawn(g.with_examples(g.condition(PROMPTS), [[], [], []]), SEEDS)
    _require(apart(none, plain) < 1e-3, "an entry with no examples is sampled differently")
    one = drawn(g.with_examples(g.condition(PROMPTS), [red, [], []]), SEEDS)
    _require(apart(one[:1], plain[:1]) > 0, "examples change nothing: are they used?")
    both = drawn(g.with_examples(g.condition(PROMPTS), [red, [], _example(0.1)]), SEEDS)
    others = max(apart(one[1:], plain[1:]), apart(both[:2], one[:2]))
    _require(others < 1e-3, "the examples of one entry change the samples of another")
    condition = repeat(g.with_examples(g.condition(PROMPTS), [red, [], []]), 2)
    twice = drawn(condition, [seed for seed in SEEDS for _ in range(2)])[::2]
    _require(apart(twice, one) < 1e-3, "a condition that is repeated loses its examples")
    return f"examples change an entry by {apart(one[:1], plain[:1]):.2g}, and no other entry"


def _complete(g: Any) -> str:
    """Assets begin with the parts that are given, to the bit, and nothing is drawn for them."""
    (box,) = _example(0.35)
    condition = g.with_given(g.condition(PROMPTS), [box] * len(PROMPTS))
    rollout = g.sample(condition, seeds=SEEDS, options=g.exploration or g.default_options)
    first = g.decode(rollout).parts.vectors()[:, 0].cpu()
    _require(torch.equal(first, box.parts.vectors()[:, 0].expand_as(first)), "the given part is not the first")
    if isinstance(g, HasLogProbs):
        drawn = rollout.mask & (rollout.log_probs != 0)
        again = g.log_probs(rollout, g.steps(rollout)[0]).log_probs
        apart = (again.detach() - rollout.log_probs[g.steps(rollout)[0]]).abs()[drawn[g.steps(rollout)[0]]]
        _require(not apart.numel() or float(apart.max()) < 1e-3, "the log-probs after given parts are others")
    counts = g.decode(rollout).parts.exists.sum(1)
    return f"a given box stays as it is, and {float(counts.float().mean() - 1):.3g} parts follow"


def _stream(g: Any) -> str:
    """The last of a stream is what ``sample`` gives, and the assets before it grow."""
    seen = [g.decode(rollout) for rollout in g.stream(g.condition(PROMPTS), seeds=SEEDS)]
    last, whole = _numbers(seen[-1]), _numbers(g.decode(g.sample(g.condition(PROMPTS), seeds=SEEDS)))
    _require(torch.equal(last, whole), "the end of the stream is not what sample gives")
    if (parts := seen[-1].parts) is not None:
        counts = [int(asset.parts.exists.sum()) for asset in seen]
        _require(counts == sorted(counts) and counts[-1] == int(parts.exists.sum()), "parts go missing on the way")
    return f"{len(seen)} assets on the way, the last is that of sample"


def _example(red: float) -> list[PartAsset]:
    """A box of 40 cm, as the examples of one prompt."""
    vectors = torch.zeros(1, VECTOR_SIZE)
    vectors[0, EXISTENCE], vectors[0, EXPONENTS], vectors[0, CENTRE.stop - 1] = 1, 0.1, 0.2
    vectors[0, LOG_HALF_SIZE], vectors[0, ROTATION] = math.log(0.2), torch.tensor(UPRIGHT)
    vectors[0, COLOR] = torch.tensor([red, 0.1, 0.1])
    return [PartAsset(Parts.from_vectors(vectors)[None])]


def _explore(g: Any) -> tuple[Any, list[int]]:
    rollout = _samples(g, g.exploration or g.default_options)
    steps = g.steps(rollout)[0]
    _require(bool(steps), "rollouts with the exploration options have no step with a log-prob")
    return rollout, steps


def _reaches(g: Generator, loss: Tensor) -> str:
    """How many weights a gradient reaches; Broken if none, or if one is not finite."""
    parameters = g.parameters()
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    _require(
        all(x is None or bool(x.isfinite().all()) for x in gradients), "the gradient has numbers that are not finite"
    )
    reached = sum(x is not None and float(x.abs().sum()) > 0 for x in gradients)
    _require(reached > 0, "no gradient reaches the weights: is something detached?")
    return f"reaches {reached} of {len(parameters)} weights"


def _direction(g: Generator) -> list[Tensor]:
    rng = torch.Generator().manual_seed(5)
    return [torch.randn(p.shape, generator=rng).to(p) * p.detach().abs().mean().clamp_min(1e-3) for p in g.parameters()]


@contextmanager
def _moved(g: Generator, direction: list[Tensor], by: float) -> Iterator[None]:
    """With the weights moved along a direction. They come back to the bit."""
    kept = [p.detach().clone() for p in g.parameters()]
    with torch.no_grad():
        for p, d in zip(g.parameters(), direction, strict=True):
            p.add_(by * d)
    try:
        yield
    finally:
        with torch.no_grad():
            for p, k in zip(g.parameters(), kept, strict=True):
                p.copy_(k)


def _perturb(g: Generator, by: float) -> None:
    with torch.no_grad():
        for p, d in zip(g.parameters(), _direction(g), strict=True):
            p.add_(by * d)


def _finite_difference(g: Generator, value: Callable[[], Tensor]) -> str:
    direction = _direction(g)
    gradients = torch.autograd.grad(value(), g.parameters(), allow_unused=True)
    slope = sum(
        float((x.double() * d.double()).sum()) for x, d in zip(gradients, direction, strict=True) if x is not None
    )
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            with _moved(g, direction, sign * STEP):
                ends.append(float(value()))
    measured = (ends[0] - ends[1]) / (2 * STEP)
    error = abs(measured - slope) / max(abs(measured), abs(slope), 1e-6)
    _require(error < 0.05, f"the gradient says {slope:.4g}, a finite difference {measured:.4g}")
    return f"the gradient agrees with a finite difference within {100 * error:.1g} %"


CLAUSES: list[tuple[str, type | None, Callable[[Any], str]]] = [
    ("settings", None, _settings),
    ("shapes", None, _shapes),
    ("empty prompt", None, _empty_prompt),
    ("seeds", None, _seeds),
    ("reference", None, _reference),
    ("save and load", None, _save),
    ("gradient of samples", HasSampleGradient, _path_gradient),
    ("log-probs", HasLogProbs, _log_probs),
    ("log-prob gradient", HasLogProbs, _log_prob_gradient),
    ("log-prob score", HasLogProbs, _score_identity),
    ("KL", HasLogProbs, _kl),
    ("clean states", HasCleanStates, _clean),
    ("matching", HasMatching, _matching),
    ("matching gradient", HasMatching, _matching_gradient),
    ("encode and decode", Encodes, _encode),
    ("retrieve", Retrieves, _retrieve),
    ("complete", Completes, _complete),
    ("stream", Streams, _stream),
]
