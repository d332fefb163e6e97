"""The page of ``rl3d prefer``: two assets side by side, seen by linked cameras, and a button for
each answer. Rewards can answer instead of a person."""

from __future__ import annotations

import html
import itertools
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rewards.base import Reward
from rewards.mix import check_needs, parse
from rl3d.configs import as_paths, at_least, check_seed
from rl3d.generators.load import load_generator, sampling_options
from rl3d.preferences import Choice, Pair, append_pair, read_pairs
from rl3d.prompts import corpus_prompts, read_prompts
from rl3d.scoring import score_assets
from rl3d.viewer.server import Viewer, open_server, run_until_stopped
from rl3d.viewer.stage import Stage
from rl3d.viewer.subjects import Subject, is_empty
from scenes.asset import Asset
from scenes.files import FileError, make_folder

if TYPE_CHECKING:
    import viser

PROMPTS = 2000
AT_ONCE, SCORED_AT_ONCE = 4, 32
"""Pairs that are made at once for a person, and for rewards."""
EQUAL = 0.01
"""Rewards that differ by less find two assets equally good."""
MOST_ALIKE = 32
"""Pairs in a row that are passed over because they look the same."""
ANSWERS: dict[str, Choice] = {"left is better": "left", "right is better": "right", "equally good": "equal"}


@dataclass(frozen=True)
class PreferConfig:
    """Settings of ``rl3d prefer``."""

    out: Path = Path("preferences.jsonl")
    """File that the choices are added to."""
    checkpoint: Path | None = None
    """Weights file, or folder of a training run. Default: the generator's own weights."""
    generator: str | None = None
    """Name of the generator, or my_file:MyGenerator. Default: the checkpoint's, or the
    embedded one."""
    against: Path | None = None
    """A second checkpoint. One asset of every pair is then made with it."""
    prompts: Path | None = None
    """Text file with one prompt per line. Default: captions of the corpus's training split."""
    rewards: str = ""
    """Rewards that answer instead of a person, NAME=WEIGHT,...: the asset with the larger sum is
    better. Sums that differ by less than 0.01 are equal. Empty: a page."""
    count: int = 500
    """Pairs that --rewards answer. As many as the file has already are passed over first."""
    seed: int = 0
    """Seed of prompts, samples and sides. Another one gives other pairs."""
    sampling: Any = None
    """The generator's sampling options. None: its defaults."""
    host: str = "127.0.0.1"
    """Address to listen on. The default is reachable from this machine only."""
    port: int = 8080
    """Port to listen on; 0 takes any free one."""

    def __post_init__(self) -> None:
        as_paths(self, "out", "checkpoint", "against", "prompts")
        check_seed(self)
        at_least(self, count=1)
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must lie between 0 and 65535, got {self.port}")


def answer_by_rewards(config: PreferConfig) -> Iterator[Pair]:
    """Add ``config.count`` pairs that the rewards have answered to ``config.out``; gives each.
    FileError or ValueError with one line, before anything is made, for a file that is not one of
    pairs and for rewards that the assets cannot have."""
    rewards = parse(config.rewards)
    session = Session(config)
    for generator in session.generators:
        check_needs([reward for reward, _ in rewards], generator.gives, generator.name)
    make_folder(config.out.parent)
    for _ in range(len(read_pairs(config.out)) if config.out.exists() else 0):
        session.next()  # the file has these already, if it was begun with the same settings
    return _answered(session, rewards, config.count)


def _answered(session: Session, rewards: list[tuple[Reward, float]], count: int) -> Iterator[Pair]:
    left = count
    while left:
        pairs = [session.next() for _ in range(min(left, SCORED_AT_ONCE))]
        sums = []
        for assets in ([pair.left for pair in pairs], [pair.right for pair in pairs]):
            together = type(assets[0]).concatenate(assets)
            scores = score_assets([r for r, _ in rewards], [pair.prompt for pair in pairs], together)
            sums.append(torch.stack([weight * scores[r.name].values.cpu() for r, weight in rewards]).sum(0))
        for pair, better in zip(pairs, (sums[0] - sums[1]).tolist(), strict=True):
            choice: Choice = "equal" if abs(better) < EQUAL else "left" if better > 0 else "right"
            answered = replace(pair, choice=choice)
            session.keep(answered)
            yield answered
        left -= len(pairs)


def serve(config: PreferConfig, *, block: bool = True) -> Viewer:
    """Add choices to ``config.out`` until Ctrl-C. Every browser is shown pairs of its own.

    FileError with one line, before anything is served, if the file is not one of pairs.
    """
    session = Session(config)
    make_folder(config.out.parent)
    server, url = open_server(config.host, config.port)
    viewer = Viewer(server, url)
    asking: dict[int, Asking] = {}

    @server.on_client_connect
    def _(client: viser.ClientHandle) -> None:
        asking[client.client_id] = Asking(client, session)

    @server.on_client_disconnect
    def _(client: viser.ClientHandle) -> None:
        if page := asking.pop(client.client_id, None):
            page.stage.ended.set()

    if block:
        run_until_stopped(viewer, f"collecting choices into {config.out}")
    return viewer


class Session:
    """What all browsers share: the pairs still to be shown, and the file."""

    def __init__(self, config: PreferConfig) -> None:
        if config.out.exists() and config.out.stat().st_size:
            read_pairs(config.out)
        self.config = config
        self.generators = [load_generator(config.checkpoint, generator=config.generator)]
        if config.against is not None:
            self.generators.append(load_generator(config.against))
        self.options = [sampling_options(generator, config.sampling) for generator in self.generators]
        prompts = read_prompts(config.prompts) if config.prompts else corpus_prompts(PROMPTS, config.seed)
        self.pairs = self._make(prompts)
        self.making, self.writing = threading.Lock(), threading.Lock()

    def next(self) -> Pair:
        with self.making:
            return next(self.pairs)

    def _make(self, prompts: list[str]) -> Iterator[Pair]:
        sides = random.Random(self.config.seed)
        makers = [(self.generators[k % len(self.generators)], self.options[k % len(self.options)]) for k in (0, 1)]
        alike, at_once = 0, SCORED_AT_ONCE if self.config.rewards else AT_ONCE
        for start in itertools.count(step=at_once):
            chosen = [prompts[i % len(prompts)] for i in range(start, start + at_once)]
            first = 2 * start + 1000 * self.config.seed
            made = []
            for k, (generator, options) in enumerate(makers):
                seeds = list(range(first + k * at_once, first + (k + 1) * at_once))
                made.append(generator.generate(chosen, seeds=seeds, options=options).to("cpu").detach())
            for i, prompt in enumerate(chosen):
                assets = [asset[i : i + 1] for asset in made]
                if any(is_empty(asset) for asset in assets):
                    continue
                # A simple prompt may give the same asset twice: there is nothing to choose.
                alike = alike + 1 if _look_alike(*assets) else 0
                if not alike or alike > MOST_ALIKE:
                    sides.shuffle(assets)
                    yield Pair(prompt, assets[0], assets[1], "equal")

    def keep(self, pair: Pair) -> None:
        """Add a choice to the file."""
        with self.writing:
            append_pair(self.config.out, pair)


def _look_alike(first: Asset, second: Asset) -> bool:
    one, other = first.gaussians(), second.gaussians()
    return torch.equal(one.means, other.means) and torch.equal(one.colors, other.colors)


class Asking:
    """One browser's page."""

    def __init__(self, client: viser.ClientHandle, session: Session) -> None:
        self.client, self.session, self.stage, self.given = client, session, Stage(client), 0
        gui = client.gui
        self.prompt = gui.add_html("")
        buttons = {label: gui.add_button(label, disabled=True) for label in ANSWERS}
        self.skip = gui.add_button("skip", disabled=True, color="gray")
        self.buttons = [*buttons.values(), self.skip]
        self.count = gui.add_markdown("")
        for label, button in buttons.items():
            button.on_click(lambda _, choice=ANSWERS[label]: self._answer(choice))
        self.skip.on_click(lambda _: self._answer(None))
        self._show()

    def _show(self) -> None:
        self.pair = self.session.next()
        if self.stage.ended.is_set():
            return
        self.stage.set([Subject.seen(self.pair.left, "left"), Subject.seen(self.pair.right, "right")])
        self.stage.show_as("splats")
        with self.client.atomic():
            self.prompt.content = (
                f'<div style="font-size:14px;padding:0 10px">Which is the better<br>'
                f"<strong>{html.escape(self.pair.prompt)}</strong></div>"
            )
            self.count.content = f"{self.given} given"
            for button in self.buttons:
                button.disabled = False

    def _answer(self, choice: Choice | None) -> None:
        for button in self.buttons:  # a second click must not count for the next pair
            button.disabled = True
        try:
            if choice is not None:
                self.session.keep(replace(self.pair, choice=choice))
                self.given += 1
        except FileError as error:
            self.client.add_notification("That did not work", str(error), color="red", auto_close_seconds=15)
        self._show()
