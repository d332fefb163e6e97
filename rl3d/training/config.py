"""Settings of a training run, and the file that keeps them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from rl3d.algorithms.base import Objective
from rl3d.algorithms.load import find_objective, usual_objective
from rl3d.configs import as_paths, at_least, check_seed, from_file
from rl3d.devices import has_bfloat16
from rl3d.generators.adapters import parse_adapters, shown
from rl3d.generators.load import RESULT, generator_class
from rl3d.prompts import caption_kinds
from rl3d.retrieval import RetrievalConfig
from scenes.files import FileError, atomic_write
from scenes.files.trees import parse_yaml


@dataclass(frozen=True)
class TrainConfig(RetrievalConfig):
    """Settings of one reinforcement-learning run."""

    out: Path = Path("runs/train")
    """Folder of the run."""
    generator: str = ""
    """Generator to train: a name, or module:Class of your own. Empty: that of --checkpoint, or the
    embedded one."""
    checkpoint: Path | None = None
    """Weights to start from, also those of the reference policy: a file, or the folder of a run.
    Default: the generator's own weights."""
    adapter: str = ""
    """Adapters to merge into the weights of the start, FILE=WEIGHT,...: each an
    adapter.safetensors, or the folder of a run with --adapter-rank. A file alone has the weight
    1."""
    adapter_rank: int = 0
    """Train an adapter (LoRA) of this rank on every linear layer, and hold the weights. It is saved
    beside the run's result as adapter.safetensors. 0: train all weights."""
    rewards: str = "stability=1,connected=1,alignment=0.5"
    """Rewards and weights, NAME=WEIGHT,... A weight of 0 is measured but not optimised."""
    gates: str = ""
    """alignment=stability+connected: alignment counts only where the verdicts of both are good.
    alignment=connected>0.95: it counts once the running mean of connected has passed 0.95 (a
    curriculum)."""
    constraints: str = ""
    """alignment=0.55: the weight of the reward rises while its mean is below the target, and falls,
    down to 0, while it is above (dual ascent)."""
    prompts: Path | None = None
    """Text file with one training prompt a line. None: captions of the corpus's training split."""
    kinds: str = ""
    """Kinds of those captions: some of single, relation, count, composition, scene. Empty: all."""
    objective: Objective = None  # pyright: ignore[reportAssignmentType]  # set below
    """How the policy learns, with the objective's own settings. Default: the generator's usual
    one."""
    sampling: Any = None
    """How rollouts are drawn: the generator's options. None: the objective chooses the generator's
    defaults, or those for exploration."""
    reference_decay: float = 1.0
    """Share of the reference policy that stays in an iteration; the policy replaces the rest. 1: it
    stays the start of the run. 0.9: it follows as a moving average (EMA). 0: it is the policy of
    the iteration before."""
    replay: float = 0.0
    """Weight of replay: on samples of the run's start, for prompts of all kinds, the generator
    keeps predicting what the start predicts."""
    ewc: float = 0.0
    """Weight of elastic weight consolidation: weights stay near the start's, those the most on
    which its samples depend."""
    keep_prompts: Path | None = None
    """Text file with the prompts of --replay and --ewc. None: captions of the corpus's training
    split, of all kinds."""
    iterations: int = 240
    """Iterations of sampling, scoring and updating."""
    prompts_per_iteration: int = 12
    """Prompts learnt from in an iteration."""
    redraw: int = 0
    """Further prompts drawn for each of them. The one whose samples differ most is learnt from
    (dynamic sampling)."""
    group_size: int = 8
    """Samples of each prompt. Their mean reward is the baseline."""
    num_minibatches: int = 1
    """Optimiser steps per iteration, each on other groups. With more than one, the importance ratio
    compares with the policy that drew the samples."""
    micro_batch: int = 0
    """Samples of one forward and backward pass. Gradients accumulate over a minibatch, so memory
    does not bound it. 0: the whole minibatch at once."""
    warmup: int = 10
    """Iterations over which the learning rate rises."""
    seed: int = 0
    """Seed of prompts and noise."""
    save_every: int = 20
    """Iterations between checkpoints and contact sheets."""
    guard: Literal["off", "warn", "stop", "rollback"] = "warn"
    """What happens if a held-out reward falls while the trained ones rise, or if diversity, shapes
    or the KL change too much. warn: print it. stop: save and end. rollback: return to the last good
    weights with half the learning rate, and stop at the third rollback."""
    guard_every: int = 20
    """Iterations between the guard's readings, on prompts, seeds and cameras of its own."""
    held_out: str = ""
    """Rewards that only the guard measures, NAME,... Those of weight 0 in --rewards are held out
    too."""
    kl_limit: float = 0.5
    """KL to the reference policy above which the guard raises an alarm."""
    bfloat16: bool = field(default_factory=has_bfloat16)
    """Matrix products in bfloat16. Default: where that is faster."""
    device: str = "cpu"
    """Where the generator and the renderer run: cpu, cuda or cuda:N. The simulator stays on the
    CPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        as_paths(self, "out", "checkpoint", "prompts", "keep_prompts")
        ones = ("iterations", "prompts_per_iteration", "num_minibatches", "save_every", "warmup", "guard_every")
        at_least(self, **dict.fromkeys(ones, 1), micro_batch=0, adapter_rank=0, redraw=0, replay=0, ewc=0, kl_limit=0)
        check_seed(self)
        if not 0 <= self.reference_decay <= 1:
            raise ValueError(f"--reference-decay must be from 0 to 1, got {self.reference_decay}")
        parse_adapters(self.adapter)
        caption_kinds(self.kinds)
        if self.objective is None:
            kind = generator_class(self.checkpoint, self.generator or None)
            object.__setattr__(self, "objective", usual_objective(kind))
        if self.group_size < 2:
            raise ValueError(
                f"--group-size must be at least 2: a sample is compared with the others of its prompt, "
                f"got {self.group_size}"
            )

    @property
    def weights(self) -> Path:
        """The file of the run's result, which ``--checkpoint`` takes."""
        return self.out / RESULT


def as_saved(config: TrainConfig) -> dict[str, Any]:
    """The settings as plain values. Paths are names: the file may go to other machines."""
    objective = {"name": config.objective.name, **asdict(config.objective)}
    values = asdict(config) | {"objective": objective, "adapter": shown(config.adapter)}
    return json.loads(json.dumps(values, default=lambda path: path.name))


def save_config(config: TrainConfig) -> None:
    """Write config.yaml into the run's folder, with its paths in full."""
    saved: dict[str, Any] = as_saved(config) | _paths(config) | {"adapter": config.adapter}
    saved["objective"] |= _paths(config.objective)
    with atomic_write(config.out / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(saved, sort_keys=False))


def _paths(config: Any) -> dict[str, str]:
    return {name: str(value) for name, value in vars(config).items() if isinstance(value, Path)}


def saved_config(out: Path) -> TrainConfig:
    """The settings of the run in a folder, from its config.yaml; FileError if there are none."""
    path = out / "config.yaml"
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
        objective = dict(values["objective"])
        objective = from_file(find_objective(objective.pop("name")), objective)
        sampling, generator = values["sampling"], generator_class(generator=values["generator"] or None)
        if sampling is not None:
            sampling = from_file(type(generator.default_options), sampling)
        known = {name: value for name, value in values.items() if name not in ("objective", "sampling", "out")}
        return replace(from_file(TrainConfig, known), out=out, objective=objective, sampling=sampling)
    except OSError as error:
        raise FileError(f"{out}: holds no run (there is no config.yaml)") from error
    except (ValueError, TypeError, KeyError) as error:
        raise FileError(f"{path}: not the settings of a training run ({error})") from error
