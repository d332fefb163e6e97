"""The policy-gradient loop: rollouts, rewards, advantages, clipped updates, checkpoints (Flow-GRPO
with GDPO advantages)."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import yaml
from torch import Tensor

from rewards.base import Scores
from rewards.mix import Constraints, gated, parse, parse_gates
from rl3d.algorithms.advantages import gdpo
from rl3d.algorithms.awm import awm_loss
from rl3d.algorithms.grpo import PolicyStats, grpo_loss
from rl3d.generators.base import Rollout
from rl3d.generators.part_flow import PartFlow
from rl3d.generators.sde import Sampling
from rl3d.training.checkpoints import (
    PRETRAINED,
    as_paths,
    from_file,
    has_bfloat16,
    load_network,
    load_optimizer,
    load_tensors,
    optimizer_tensors,
    save_tensors,
)
from rl3d.training.guard import Guard
from rl3d.training.pretrain import load_part_flow
from rl3d.training.rollouts import VIEW_AZIMUTH_DEG, Seeds, score_assets
from scenes.asset import PartAsset
from scenes.files import FileError, atomic_write, make_folder
from scenes.files.trees import parse_json, parse_yaml

POOL = 3000
"""Corpus captions of a run without a prompt file: few enough that the promising ones come back
several times."""
GUARDED = 48
"""Prompts of the guard."""
ROLLBACKS = 3
AVERAGE = 0.98
"""Decay of the averaged weights over the rounds."""


_USUAL = {"awm": {"lr": 1e-4, "kl": 0.1, "steps_per_update": 3}, "grpo": {"lr": 3e-5, "kl": 0.5, "steps_per_update": 4}}
"""Settings that each objective wants its own values of."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one reinforcement-learning run."""

    out: Path = Path("runs/train")
    """Folder of the run."""
    checkpoint: Path = PRETRAINED
    """Weights to start from, which are also the reference policy."""
    rewards: str = "stability=1,connected=1,alignment=0.5"
    """Rewards and weights, NAME=WEIGHT,...; a weight of 0 is measured but not optimised."""
    gates: str = ""
    """alignment=stability+connected: alignment counts only where the verdicts of both are good."""
    constraints: str = ""
    """alignment=0.55: the reward's weight rises while its mean is below, and falls, down to 0,
    while it is above (dual ascent)."""
    prompts: Path | None = None
    """Text file with one training prompt a line; left out, the corpus draws captions of its
    training split."""
    objective: Literal["awm", "grpo"] = "awm"
    """awm = advantage-weighted matching, on finished samples of the deterministic flow; grpo =
    Flow-GRPO, on the noisy steps of SDE rollouts. Both compare the samples of a group, clip the
    ratio and hold to the reference by a KL."""
    iterations: int = 240
    """Rollout-and-update rounds."""
    prompts_per_iteration: int = 12
    """Prompts drawn for a round."""
    group: int = 8
    """Samples made for each prompt: the group whose mean is the baseline."""
    sampling: Sampling = field(default_factory=lambda: Sampling(steps=8, noise=0.7, sde_type="cps"))
    """How rollouts are drawn; awm takes no noise."""
    steps_per_update: int | None = None
    """Noise levels of each sample (awm), or steps of each trajectory (grpo), chosen at random, that
    the update looks at; left out, 3 or 4."""
    updates: int = 1
    """Optimiser steps per round, each over half (a third, ...) of the chosen steps."""
    lr: float | None = None
    """Peak learning rate of AdamW, falling to a fiftieth over the run; left out, 1e-4 (awm) or 3e-5
    (grpo). Most of an advantage is noise, which Adam turns into a random walk of this step: with
    grpo, 1e-4 wrecked a good generator within 20 iterations."""
    warmup: int = 10
    """Iterations over which the learning rate rises."""
    clip: float = 5e-3
    """Range of the probability ratio around 1 (log-probs are averages over about 150 numbers, so
    ratios stay near 1)."""
    kl: float | None = None
    """Weight of the KL to the reference policy (both it and the log-probs are averages over the
    numbers of the state); left out, 0.1 (awm) or 0.5 (grpo)."""
    seed: int = 0
    """Seed of prompts and noise."""
    save_every: int = 20
    """Rounds between checkpoints and sample sheets."""
    guard: Literal["off", "warn", "stop", "rollback"] = "warn"
    """What happens when a held-out reward falls while the trained ones rise, or diversity, shapes
    or the KL go astray: warn = say so; stop = save and end; rollback = back to the last good
    weights with half the learning rate, and stop the third time."""
    guard_every: int = 20
    """Rounds between the guard's readings, on prompts, seeds and cameras of its own."""
    held_out: str = ""
    """Rewards that only the guard looks at, NAME,...; those of weight 0 in --rewards are held out
    too."""
    kl_limit: float = 0.5
    """KL above which the guard raises an alarm."""
    bfloat16: bool = field(default_factory=has_bfloat16)
    """Matrix products of rollouts and updates in bfloat16; left out, where the CPU has instructions
    for them."""
    device: str = "cpu"
    """Where the generator and the renderer run: cpu, cuda or cuda:N. The simulator stays on the
    CPU."""

    def __post_init__(self) -> None:
        as_paths(self, "out", "checkpoint", "prompts")
        for name, value in _USUAL[self.objective].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in (
            "iterations",
            "prompts_per_iteration",
            "steps_per_update",
            "updates",
            "save_every",
            "warmup",
            "guard_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.group < 2:
            raise ValueError(
                f"group must be at least 2: a sample is judged against the others of its prompt, got {self.group}"
            )
        if not any(self.sampling.stds()):
            raise ValueError(
                "sampling.noise must be above 0, and cps needs "
                "2 steps: "
                "without noise "
                "there is no "
                "log-prob to "
                "learn from"
            )
        if (self.steps_per_update or 0) % self.updates:
            raise ValueError(
                f"steps_per_update ({self.steps_per_update}) must be a multiple of updates ({self.updates})"
            )


def read_prompts(path: Path) -> list[str]:
    """Prompts of a text file, one a line; blank lines and lines that start with # are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path}: cannot read prompts ({getattr(error, 'strerror', None) or 'not UTF-8 text'})"
        ) from error
    prompts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not prompts:
        raise FileError(f"{path}: holds no prompt: write one a line")
    return prompts


def saved_config(out: Path) -> TrainConfig:
    """The settings of the run in a folder, from its config.yaml; FileError if there are none."""
    path = out / "config.yaml"
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
        return from_file(TrainConfig, {**values, "out": out, "sampling": from_file(Sampling, values["sampling"])})
    except OSError as error:
        raise FileError(f"{out}: no checkpoint to resume from (there is no config.yaml)") from error
    except (ValueError, TypeError, KeyError) as error:
        raise FileError(f"{path}: not the settings of a training run ({error})") from error


def corpus_prompts(count: int, seed: int) -> list[str]:
    """Captions of the corpus's training split, none twice."""
    from rl3d.corpus import sample

    rng, found = np.random.default_rng([seed, 77]), {}
    while len(found) < count:
        found.setdefault(sample(rng, "train").caption)
    return list(found)


class Trainer:
    """One run: ``for metrics in trainer: ...`` advances it by an iteration at a time."""

    def __init__(self, config: TrainConfig, *, resume: bool = False, policy: PartFlow | None = None) -> None:
        self.config = config
        assert (
            config.lr is not None and config.kl is not None and config.steps_per_update is not None
        )  # TrainConfig fills them in
        self.lr, self.kl, self.steps_per_update = config.lr, config.kl, config.steps_per_update
        self.rewards = parse(config.rewards)
        names = {reward.name: weight for reward, weight in self.rewards}
        self.gates, self.constraints = parse_gates(config.gates, names), Constraints(config.constraints, names)
        checkpoints = self._checkpoints()
        if checkpoints and not resume:
            raise FileError(
                f"{config.out}: holds a run already: add --resume to go on with it, or choose another folder"
            )
        if resume and not checkpoints:
            raise FileError(f"{config.out}: no checkpoint to resume from")
        self.policy = policy or load_part_flow(config.checkpoint, device=config.device)
        self.policy.bfloat16 = config.bfloat16
        self.network = self.policy.network
        self.reference = self.policy.with_network(copy.deepcopy(self.network).requires_grad_(False))
        # The result: weights averaged over the last rounds, in which the noise of single rounds
        # cancels.
        self.averaged = self.policy.with_network(copy.deepcopy(self.network).requires_grad_(False))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.lr, betas=(0.9, 0.99), weight_decay=0.0)
        self.iteration, self.rollbacks = 0, 0
        self.prompts = read_prompts(config.prompts) if config.prompts else corpus_prompts(POOL, config.seed)
        # Root mean square of each prompt's advantages when it was last drawn; one not yet seen
        # counts as the average does.
        self.promise = torch.ones(len(self.prompts), dtype=torch.float64)
        if resume:
            self._resume(checkpoints[-1])
        self._check_gates()
        make_folder(config.out)
        with atomic_write(config.out / "config.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(config), default=str)), sort_keys=False))
        self._trim("metrics.jsonl")
        self._trim("guard.jsonl")
        self.guard = self._guard() if config.guard != "off" else None
        self.alarms: list[str] = []
        """Of the last iteration."""
        self.stopped = False
        """Whether the guard has ended the run."""
        self._good = self._copy()
        self.ratio_error = self.self_check()

    def _check_gates(self) -> None:
        """Score one group, since only its scores tell whether a reward has a verdict: before
        anything is written."""
        if self.gates:
            rollout = self._rollout(-1, self.prompts[:1])
            condition, rewards = rollout.condition, [reward for reward, _ in self.rewards]
            gated(score_assets(rewards, condition.prompts, PartAsset(self.policy.decode(rollout))), self.gates)

    def _checkpoints(self) -> list[Path]:
        return sorted((self.config.out / "checkpoints").glob("state_*.safetensors"))

    def _resume(self, path: Path) -> None:
        tensors, header = load_tensors(path)
        if "prompts.promise" not in tensors or type(header.get("iteration")) is not int:
            raise FileError(f"{path}: not the state of a training run")
        load_network(self.reference.network, _under("reference", tensors), path)
        if len(tensors["prompts.promise"]) != len(self.prompts):
            raise FileError(
                f"{self.config.out}: the run had {len(tensors['prompts.promise'])} prompts, now there are "
                f"{len(self.prompts)}"
            )
        self._load(tensors, path)
        self.iteration, self.rollbacks = header["iteration"], header.get("rollbacks", 0)
        self.constraints.weights |= header.get("weights", {})
        if type(self.rollbacks) is not int or not all(
            isinstance(w, (int, float)) for w in self.constraints.weights.values()
        ):
            raise FileError(f"{path}: not the state of a training run")

    def _load(self, tensors: dict[str, Tensor], path: Path | None = None) -> None:
        """Take over what ``_tensors`` gave."""
        path = path or self.config.out
        load_network(self.network, _under("policy", tensors), path)
        load_network(self.averaged.network, _under("averaged", tensors), path)
        load_optimizer(self.optimizer, {name: t.clone() for name, t in _under("optimizer", tensors).items()}, path)
        self.promise = tensors["prompts.promise"].clone()

    def save(self) -> Path:
        """Write what resumes the run (dropping older ones) and the weights that ``rl3d generate
        --checkpoint`` takes."""
        tensors = self._tensors() | {f"reference.{k}": v for k, v in self.reference.network.state_dict().items()}
        folder = self.config.out / "checkpoints"
        path = folder / f"state_{self.iteration:06d}.safetensors"
        # Names, not paths: the file may go to other machines.
        settings = json.loads(json.dumps(asdict(self.config), default=lambda path: path.name))
        header = {
            "kind": "part-flow",
            "config": asdict(self.network.config),
            "training": settings,
            "step": self.iteration,
        }
        result = {k: v.half() for k, v in self.averaged.network.state_dict().items()}
        save_tensors(self.config.out / "part_flow.safetensors", result, header)
        state = {"iteration": self.iteration, "rollbacks": self.rollbacks, "weights": self.constraints.weights}
        save_tensors(path, tensors, {"kind": "training-state", **state})
        for old in self._checkpoints():
            if old != path:
                old.unlink()
        return path

    def _tensors(self) -> dict[str, Tensor]:
        """What changes as the run goes on."""
        tensors = {f"policy.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.network.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(self.optimizer).items()}
        return {**tensors, "prompts.promise": self.promise}

    def _copy(self) -> dict[str, Tensor]:
        return (
            {name: tensor.clone() for name, tensor in self._tensors().items()}
            if self.config.guard == "rollback"
            else {}
        )

    def _guard(self) -> Guard:
        """Its start is read off the reference policy, so that a resumed run compares with the
        same."""
        held_out = [reward for reward, _ in parse(self.config.held_out)] if self.config.held_out else []
        for reward in held_out:
            if reward.name in self.constraints.weights:
                raise ValueError(
                    f"reward {reward.name!r} cannot be both trained and held out: give it weight 0 in --rewards instead"
                )
        guard = Guard(
            self.rewards, held_out, corpus_prompts(GUARDED, self.config.seed + 1_000_000), self.config.kl_limit
        )
        guard.start = guard.read(self.reference)
        return guard

    def _watch(self, kl: float) -> None:
        """Let the guard read the averaged weights, and do what the settings say if it raises an
        alarm."""
        assert self.guard is not None
        reading = self.guard.read(self.averaged)
        self.alarms = self.guard.alarms(reading, kl)
        line = {"iteration": self.iteration, **reading.means(), "alarms": self.alarms}
        with (self.config.out / "guard.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        if not self.alarms:
            self._good = self._copy()
        elif self.config.guard == "stop":
            self.stopped = True
        elif self.config.guard == "rollback":
            self._load(self._good)
            self.rollbacks += 1
            self.stopped = self.rollbacks >= ROLLBACKS

    def _trim(self, name: str) -> None:
        """Forget what was logged of iterations after the checkpoint that the run goes on from."""
        path = self.config.out / name
        if path.exists():
            try:
                kept = [
                    line
                    for line in path.read_text(encoding="utf-8").splitlines(True)
                    if line.endswith("\n") and parse_json(line)["iteration"] <= self.iteration
                ]
            except (ValueError, KeyError, TypeError) as error:
                raise FileError(
                    f"{path}: one of its lines is not one round's numbers; mend it or remove the file"
                ) from error
            with atomic_write(path) as temporary:
                temporary.write_text("".join(kept))

    def _rollout(self, iteration: int, prompts: list[str]) -> Rollout:
        config = self.config
        seeds = Seeds.of(iteration, len(prompts), config.group, config.seed)
        condition = self.policy.condition(prompts).repeat(config.group)
        if config.objective == "awm":
            return self.policy.rollout(condition, seeds=seeds.samples, sampling=replace(config.sampling, noise=0.0))
        return self.policy.rollout(condition, seeds=seeds.samples, noise_seeds=seeds.initial, sampling=config.sampling)

    def _random_steps(self, iteration: int) -> list[int]:
        # A step without noise has no log-prob, but it is held to the reference every time: the last
        # step of cps decides where parts end to the millimetre, and left to itself it drifts until
        # nothing stands (docs/results.md).
        stds = self.config.sampling.stds()
        noisy, silent = [t for t, std in enumerate(stds) if std > 0], [t for t, std in enumerate(stds) if std == 0]
        rng = np.random.default_rng([self.config.seed, iteration, 1])
        return rng.permutation(noisy)[: self.steps_per_update].tolist() + silent

    def self_check(self) -> float:
        """Largest abs(ratio - 1) on unchanged weights. Above 1e-3, log-probs are not those of the
        rollout (grpo), or the network does not repeat itself, as with dropout left on (awm, which
        takes both sides of its ratio from the network)."""
        rollout = self._rollout(-1, self.prompts[:1])
        with torch.no_grad():
            if self.config.objective == "awm":
                again = [self.policy.matching(rollout, *self._noise(rollout, -1)).errors for _ in range(2)]
            else:
                steps = self._random_steps(0)
                again = [self.policy.log_probs(rollout, steps).log_probs, rollout.log_probs[steps]]
        error = (again[0] - again[1]).exp().sub(1).abs().max().item()
        if not error < 1e-3:
            raise RuntimeError(
                f"self-check failed: the probability ratio of unchanged weights differs from 1 by {error:.1e}"
            )
        return error

    def __iter__(self) -> Iterator[dict[str, int | float]]:
        while self.iteration < self.config.iterations and not self.stopped:
            yield self.step()

    def step(self) -> dict[str, int | float]:
        """One iteration; appends its metrics to metrics.jsonl."""
        config, started = self.config, time.monotonic()
        rng = np.random.default_rng([config.seed, self.iteration])
        drawn = self._draw(rng)
        chosen = [self.prompts[i] for i in drawn]
        rollout = self._rollout(self.iteration, chosen)
        sampled = time.monotonic()
        # Cameras move a little from round to round, so that no view can be played to, but no
        # further than the scorer knows them from.
        azimuth = VIEW_AZIMUTH_DEG + float(rng.uniform(-15, 15))
        parts = self.policy.decode(rollout)
        scores = score_assets(
            [r for r, _ in self.rewards], rollout.condition.prompts, PartAsset(parts), azimuth_deg=azimuth
        )
        scored = time.monotonic()
        earned = gated(scores, self.gates)
        values = {name: s.values.view(-1, config.group) for name, s in earned.items()}
        self.constraints.update({name: s.values for name, s in scores.items()})
        advantages = self._advantages(values, earned, parts.exists.cpu()).to(rollout.states.device)
        stats = self.update(rollout, advantages)
        rate = 1 - min(AVERAGE, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            for averaged, present in zip(self.averaged.network.parameters(), self.network.parameters(), strict=True):
                averaged.lerp_(present, rate)
        self.promise[drawn] = advantages.reshape(len(drawn), -1).square().mean(1).sqrt().double().cpu()
        self.iteration += 1
        done = time.monotonic()
        metrics = {
            "iteration": self.iteration,
            **summarize(scores),
            "parts": parts.exists.sum(-1).float().mean().item(),
        }
        metrics |= {"kl": stats[-1].kl, "ratio_error": stats[-1].ratio_error}
        metrics |= {"clipped": stats[-1].clipped, "seconds": done - started, "rollout_s": sampled - started}
        metrics |= {"reward_s": scored - sampled, "update_s": done - scored}
        metrics |= {f"{name}_weight": self.constraints.weights[name] for name in self.constraints.targets}
        with (config.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(metrics) + "\n")
        self.alarms = []
        if self.guard and (self.iteration % config.guard_every == 0 or self.iteration == config.iterations):
            self._watch(stats[-1].kl)
        return metrics

    def _advantages(self, values: dict[str, Tensor], scores: dict[str, Scores], exists: Tensor) -> Tensor:
        """One a sample (b,); for awm one a part (b, p), from the rewards that say which parts
        earned them."""
        weights = self.constraints.weights
        if not any(weights.values()):  # every constraint is met: there is nothing to ask for
            return torch.zeros(exists.shape if self.config.objective == "awm" else exists.shape[:1])
        if self.config.objective == "grpo":
            return gdpo(values, weights).flatten()
        credit = {
            name: torch.where(exists, score.per_part, torch.nan).unflatten(0, (-1, self.config.group))
            for name, score in scores.items()
            if score.per_part is not None
        }
        return gdpo(values, weights, credit=credit).flatten(0, 1).expand(exists.shape)

    def _draw(self, rng: np.random.Generator) -> list[int]:
        """Prompts of a round, drawn in proportion to their mean squared advantage last time
        (prioritized replay, Schaul et al., 2016): where all samples do equally well there is
        nothing to learn, and most prompts are like that."""
        weight = self.promise.clamp_min(0.02).square().numpy()
        count = min(self.config.prompts_per_iteration, len(weight))
        return rng.choice(len(weight), count, replace=False, p=weight / weight.sum()).tolist()

    def update(self, rollout: Rollout, advantages: Tensor) -> list[PolicyStats]:
        """The optimiser steps of one round."""
        config = self.config
        for group in self.optimizer.param_groups:
            # Adam's first steps move every weight by the full rate, whatever the gradient's size:
            # they are kept short. So are the last, because what the noise of the final rollouts
            # adds is never averaged out.
            warm, left = (self.iteration + 1) / config.warmup, 1 - self.iteration / config.iterations
            group["lr"] = self.lr * 0.5**self.rollbacks * min(1.0, warm) * (0.02 + 0.98 * left)
        return (self._update_awm if config.objective == "awm" else self._update_grpo)(
            rollout, advantages, self.policy.held(rollout)
        )

    def _update_grpo(self, rollout: Rollout, advantages: Tensor, held: Tensor) -> list[PolicyStats]:
        config, steps = self.config, self._random_steps(self.iteration)
        min_std = min(std for std in config.sampling.stds() if std > 0)
        with torch.no_grad():
            reference = self.reference.log_probs(rollout, steps).means
        stats = []
        for piece in np.array_split(np.arange(len(steps)), min(config.updates, len(steps))):
            chosen = [steps[i] for i in piece]
            new = self.policy.log_probs(rollout, chosen)
            old, start = rollout.log_probs[chosen], reference[piece]
            loss, one = grpo_loss(
                new, old, advantages, start, held, clip=config.clip, kl_weight=self.kl, min_std=min_std
            )
            self._step(loss)
            stats.append(one)
        return stats

    def _update_awm(self, rollout: Rollout, advantages: Tensor, held: Tensor) -> list[PolicyStats]:
        config = self.config
        sigmas, noise = self._noise(rollout, self.iteration)
        with torch.no_grad():
            reference = self.reference.matching(rollout, sigmas, noise).velocities
            old = self.policy.matching(rollout, sigmas, noise).errors if config.updates > 1 else None
        stats = []
        for piece in np.array_split(np.arange(len(sigmas)), config.updates):
            new = self.policy.matching(rollout, sigmas[piece], noise[piece])
            before = new.errors.detach() if old is None else old[piece]
            loss, one = awm_loss(new, before, advantages, reference[piece], held, clip=config.clip, kl_weight=self.kl)
            self._step(loss)
            stats.append(one)
        return stats

    def _noise(self, rollout: Rollout, iteration: int) -> tuple[Tensor, Tensor]:
        """Noise levels (d, b), logit-normal as in supervised training, and noise (d, b, *state). A
        group shares both: what its samples have in common then cancels out of the gradient."""
        config, final = self.config, rollout.states[-1]
        rng = torch.Generator().manual_seed((config.seed * 1_000_003 + iteration + 1) * 10 + 1)
        groups = len(rollout) // config.group
        sigmas = torch.sigmoid(torch.randn(self.steps_per_update, groups, generator=rng))
        noise = torch.randn(self.steps_per_update, groups, *final.shape[1:], generator=rng)
        return tuple(t.repeat_interleave(config.group, 1).to(final.device) for t in (sigmas, noise))  # type: ignore[return-value]

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()


def _under(kind: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose name begins with ``kind`` and a dot, without it."""
    return {name.removeprefix(f"{kind}."): t for name, t in tensors.items() if name.startswith(f"{kind}.")}


def summarize(scores: dict[str, Scores]) -> dict[str, int | float]:
    """Mean value, share of good verdicts and number of failures of every reward."""
    out: dict[str, int | float] = {}
    for name, score in scores.items():
        out[name] = score.values.mean().item()
        if score.verdict is not None:
            out[f"{name}_share"] = score.verdict.float().mean().item()
        if score.failed:
            out[f"{name}_failed"] = score.failed
    return out
