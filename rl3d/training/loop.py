"""The training loop. ``begin`` puts a run together, ``iterate`` is the loop itself."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from rewards.mix import Constraints, Gates, check_needs, parse
from rl3d.algorithms.base import Draw, Experience
from rl3d.generators.adapters import ADAPTER, add_adapter, check_base, merged, save_adapter
from rl3d.generators.base import Generator
from rl3d.generators.load import load_generator, save_generator
from rl3d.prompts import caption_kinds, corpus_prompts, read_prompts
from rl3d.retrieval import use_library
from rl3d.scoring import VIEW_AZIMUTH_DEG
from rl3d.training.collect import Means, Scorer, summarize, training_options
from rl3d.training.config import TrainConfig, as_saved, save_config
from rl3d.training.guard import MAX_ROLLBACKS, Guard
from rl3d.training.keeping import Keeping
from rl3d.training.logging import RunLog
from rl3d.training.processes import Processes
from rl3d.training.prompts import PromptPool, most_to_learn
from rl3d.training.self_check import self_check
from rl3d.training.state import State, checkpoints
from scenes.files import FileError, check_folder, make_folder

MAX_ALIKE, LEAST_SPREAD = 10, 1e-6
"""Iterations without any difference between samples that end a run, and the least difference."""
MAX_SKIPPED = 5
"""Updates in a row that may be left out because their gradient is not finite."""
CORPUS_PROMPTS = 3000
"""Number of corpus captions of a run without a prompt file: few enough that prompts of high
priority come back often."""


@dataclass
class Run:
    """A run that has begun: all that the loop works with."""

    config: TrainConfig
    state: State
    scorer: Scorer
    guard: Guard | None
    log: RunLog
    processes: Processes
    keeping: Keeping | None = None
    interrupted: bool = False
    """Set from outside: the loop ends after the iteration in work, and saves."""
    alarms: list[str] = field(default_factory=list)
    """Of the last iteration."""
    differed: bool = False
    """Whether the rewards of any two samples of a prompt have differed."""
    skipped: int = 0
    """Updates in a row that were left out."""

    @property
    def done(self) -> bool:
        return self.interrupted or self.state.stopped or self.state.iteration >= self.config.iterations

    def describe(self, experience: Experience) -> dict[str, float]:
        """Figures of the samples of an iteration."""
        out = summarize(experience.judgement.scores) if experience.judgement else {}
        if experience.asset is not None and experience.asset.parts is not None:
            out["parts"] = experience.asset.parts.exists.sum(-1).float().mean().item()
        changing = self.state.constraints.targets | self.state.gates.running
        return out | {f"{name}_weight": self.scorer.weights[name] for name in changing}

    def watch(self, kl: float) -> None:
        """Let the guard read the averaged weights when it is time, and act on its alarms."""
        self.alarms, state = [], self.state
        last = state.iteration == self.config.iterations
        if self.guard is None or not (last or state.iteration % self.config.guard_every == 0):
            return
        with state.averaged() as policy:
            reading = self.guard.read(policy)
        self.alarms = self.guard.alarms(reading, kl)
        self.log.guard({"iteration": state.iteration, **reading.means(), "alarms": self.alarms})
        if self.config.guard == "stop":
            state.stopped = bool(self.alarms)
        elif self.config.guard == "rollback" and not self.alarms:
            state.mark_good()
        elif self.config.guard == "rollback":
            state.roll_back()
            state.stopped = state.rollbacks >= MAX_ROLLBACKS

    def check_spread(self, experience: Experience) -> None:
        """ValueError with one line if no samples of a prompt have differed in ``MAX_ALIKE``
        iterations from the start: the rewards then teach nothing."""
        judgement, objective = experience.judgement, self.config.objective
        if judgement is None or not objective.compares:
            return
        groups = judgement.rewards.view(-1, self.config.group_size)
        alike = self.processes.gather((groups.amax(1) - groups.amin(1)).flatten()) < LEAST_SPREAD
        self.differed = self.differed or not bool(alike.all())
        if not self.differed and self.state.iteration == MAX_ALIKE - 1:
            raise ValueError(
                f"{self.config.out}: in {MAX_ALIKE} iterations all samples of a prompt scored the same, so there is "
                "nothing to learn: choose other --rewards or --prompts, or more noise with --sampling"
            )

    def step(self, grad_norm: Tensor) -> bool:
        """Let the optimiser step, unless the gradient is not finite; ValueError with one line when
        that happens ``MAX_SKIPPED`` times in a row. Returns whether it stepped."""
        if grad_norm.isfinite():
            self.state.optimizer.step()
            self.skipped = 0
            return True
        self.skipped += 1
        if self.skipped == MAX_SKIPPED:
            where = f"{self.config.out}: in iteration {self.state.iteration + 1} the gradient is not finite"
            why = f"for the {MAX_SKIPPED}th update in a row"
            raise ValueError(f"{where} {why}; the last checkpoint is kept: lower --lr, or look at the rewards")
        return False

    def result(self) -> nn.Module:
        """The averaged weights as a plain network."""
        return merged(self.state.ema) if self.config.adapter_rank else self.state.ema

    def save(self) -> None:
        """Write the result, what resumes the run, a contact sheet and the report."""
        config, state = self.config, self.state
        if not self.processes.main:
            return
        header = {"training": as_saved(config), "step": state.iteration}
        if config.adapter_rank:
            save_adapter(config.out / ADAPTER, state.policy, state.ema, **header)
        save_generator(config.weights, state.policy, self.result(), **header)
        state.save(config.out / "checkpoints")
        with state.averaged() as policy:
            self.log.sheet(policy, state.prompts.prompts, state.iteration)
        self.log.report()


def begin(
    config: TrainConfig, *, resume: bool = False, policy: Generator | None = None, processes: Processes | None = None
) -> Run:
    """Check everything that can be checked before anything is written, then make the folder.

    With ``resume`` the run goes on from its newest checkpoint, or begins again if it has none yet.
    ``policy`` stands in for the generator of the settings. ValueError (FileError) in one line for
    whatever cannot be done;
    """
    processes = processes or Processes()
    if resume and not config.out.is_dir():
        raise FileError(f"{config.out}: there is no such folder to resume: correct --out, or leave --resume out")
    check_folder(config.out)
    rewards = parse(config.rewards)
    weights = {reward.name: weight for reward, weight in rewards}
    gates, constraints = Gates(config.gates, weights), Constraints(config.constraints, weights)
    found = checkpoints(config.out / "checkpoints")
    if found and not resume:
        raise FileError(f"{config.out}: holds a run already: add --resume to go on with it, or choose another folder")
    if policy is None:
        named, adapter = config.generator or None, config.adapter
        policy = load_generator(config.checkpoint, config.device, generator=named, pretrained=True, adapter=adapter)
    config.objective.check(policy)
    check_needs([reward for reward, _ in rewards], policy.gives, policy.name)
    use_library(policy, config)
    if config.adapter_rank:
        if found:
            check_base(config.out / ADAPTER, policy)
        add_adapter(policy, config.adapter_rank, config.seed)
    config = replace(config, generator=policy.name)  # a resumed run then knows it
    options = training_options(policy, config)
    policy.bfloat16 = config.bfloat16
    own = config.objective.prompts()
    if own is not None and (config.prompts or config.kinds):
        raise ValueError("the prompts of a run with --pairs are those of the pairs: leave --prompts and --kinds out")
    if own is not None and (config.redraw or config.gates or config.constraints or config.sampling):
        raise ValueError(
            "a run with --pairs samples nothing: leave --redraw, --gates, --constraints and --sampling out"
        )
    if config.ewc and config.adapter_rank:
        raise ValueError("--ewc does not hold an adapter, whose weights begin at 0: use --replay")
    if own is not None:
        prompts = own
    elif config.prompts:
        prompts = read_prompts(config.prompts)
    else:
        prompts = corpus_prompts(CORPUS_PROMPTS, config.seed, caption_kinds(config.kinds))
    candidates = config.prompts_per_iteration * (1 + config.redraw)
    if config.redraw and candidates > len(prompts):
        raise ValueError(
            f"--redraw {config.redraw} needs {candidates} prompts an iteration, and there are {len(prompts)}: lower "
            "--redraw or --prompts-per-iteration"
        )
    optimizer = torch.optim.AdamW(policy.parameters(), lr=config.objective.lr, betas=(0.9, 0.99), weight_decay=0.0)
    memory = config.objective.memory(policy)
    state = State(policy, optimizer, PromptPool(prompts), constraints, gates, memory)
    guard = (
        Guard(rewards, config.held_out, config.seed, config.kl_limit, avoid=prompts) if config.guard != "off" else None
    )
    if guard:
        check_needs(guard.rewards, policy.gives, policy.name)
        guard.start = guard.read(policy)  # before a resumed run takes over its weights
    keeping = None
    if config.replay or config.ewc:
        kept = read_prompts(config.keep_prompts) if config.keep_prompts else corpus_prompts(CORPUS_PROMPTS, config.seed)
        keeping = Keeping(policy, kept, config.seed, replay=config.replay, ewc=config.ewc)
    scorer = Scorer([reward for reward, _ in rewards], gates, constraints, processes)
    # With the weights of the start: what an objective remembers of a run is another policy.
    self_check(policy, config, scorer, prompts[0], options, copy.deepcopy(memory))
    if found:
        state.resume(found[-1])
    if config.guard == "rollback" and not state.good:
        state.mark_good()
    if processes.main:
        make_folder(config.out)
        save_config(config)
    log = RunLog(config.out, state.iteration, writes=processes.main)
    return Run(config, state, scorer, guard, log, processes, keeping)


def learning_rate(config: TrainConfig, state: State) -> float:
    """Peak rate, warmed up and falling to a fiftieth, halved by every rollback.

    Adam's first steps move every weight by the full rate for any size of the gradient, so the rate
    starts low. It ends low because the noise of the last rollouts is not averaged out.
    """
    warm, left = (state.iteration + 1) / config.warmup, 1 - state.iteration / config.iterations
    return config.objective.lr * 0.5**state.rollbacks * min(1.0, warm) * (0.02 + 0.98 * left)


def iterate(run: Run) -> Iterator[dict[str, float]]:
    """The loop. Yields the metrics of every iteration.

    It saves every ``save_every`` iterations, at the end, and where its caller leaves it.
    """
    config, state, processes = run.config, run.state, run.processes
    policy, optimizer, objective = state.policy, state.optimizer, config.objective
    options, saved = training_options(policy, config), state.iteration
    try:
        if state.iteration == 0:
            run.log.sheet(policy, state.prompts.prompts, 0)
        while not run.done:
            started = time.monotonic()
            # Draw prompts, and move the camera a little, so that the policy cannot overfit to one
            # view. All views stay close to those of the scorer's training.
            rng = np.random.default_rng([config.seed, state.iteration])
            drawn = state.prompts.draw(config.prompts_per_iteration * (1 + config.redraw), rng)
            prompts = [state.prompts.prompts[i] for i in drawn]
            azimuth_deg = VIEW_AZIMUTH_DEG + float(rng.uniform(-15, 15))
            who = state.iteration, config.seed, azimuth_deg
            draw = Draw(
                prompts,
                config.group_size,
                *who,
                options,
                updates=config.num_minibatches,
                micro_batch=config.micro_batch,
                memory=state.memory,
                gather=processes.gather,
            )

            # Collect: sample, decode, render, score; advantages.
            experience = objective.collect(policy, processes.shard(draw, 1 + config.redraw), run.scorer)
            run.check_spread(experience)
            collected = time.monotonic()

            # Gather what all processes need to know.
            state.prompts.update(drawn, processes.gather(experience.among_prompt))
            batch, redrawn = most_to_learn(experience, 1 + config.redraw)

            # Minibatches: an optimiser step each. Gradients accumulate over its pieces.
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, state)
            means, skipped = Means(), 0
            for minibatch in batch.minibatches(config.num_minibatches, rng):
                optimizer.zero_grad()
                for piece in minibatch.pieces(config.micro_batch):
                    loss, figures = objective.loss(policy, piece)
                    (loss * (len(piece) / len(minibatch))).backward()
                    means.add(figures, len(piece))
                if run.keeping is not None:
                    loss, figures = run.keeping.loss(policy, state.iteration)
                    loss.backward()
                    means.add(figures, len(minibatch))
                processes.average_gradients(policy.parameters())
                grad_norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
                if run.step(grad_norm):
                    means.add({"grad_norm": grad_norm}, len(minibatch))
                else:
                    skipped += 1

            # Average the weights, and report.
            state.average(config.reference_decay)
            state.iteration += 1
            objective.remember(policy, state.memory, state.iteration)
            figures = processes.mean(run.describe(experience) | means.means() | redrawn, len(experience))
            if skipped:
                figures["skipped_updates"] = skipped
            ended, reward_s = time.monotonic(), run.scorer.seconds
            seconds = {"seconds": ended - started, "rollout_s": collected - started - reward_s}
            seconds |= {"reward_s": reward_s, "update_s": ended - collected}
            metrics = {"iteration": state.iteration, **figures, **seconds}
            run.log.metrics(metrics)

            # Guard, and save.
            run.watch(metrics.get("kl", 0.0))
            if run.done or state.iteration % config.save_every == 0:
                run.save()
                saved = state.iteration
            yield metrics
        if saved != state.iteration:  # interrupted after the last look
            run.save()
    except GeneratorExit:
        if saved != state.iteration:
            run.save()
        raise
    finally:
        run.log.close()
