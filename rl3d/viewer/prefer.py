"""Serves the page of ``rl3d prefer``: two assets side by side, seen by linked cameras, and a button
for each answer."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rl3d.assets import Asset
from rl3d.generators.load import load_generator
from rl3d.generators.part_flow import DEFAULT_SAMPLING
from rl3d.preferences import Choice, Pair, read_pairs
from rl3d.prompts import corpus_prompts, read_prompts
from rl3d.viewer.server import Viewer, open_server, run_until_stopped
from rl3d.viewer.stage import Stage
from rl3d.viewer.subjects import Subject
from scenes.files import FileError, make_folder
from scenes.files.atomic import reason

if TYPE_CHECKING:
    import viser

    from rl3d.cli.prefer import PreferConfig

PROMPTS = 2000
AT_ONCE = 4
"""Pairs made in one go."""
ANSWERS: dict[str, Choice] = {"left is better": "left", "right is better": "right", "equally good": "equal"}


def serve(config: PreferConfig, *, block: bool = True) -> Viewer:
    """Collect choices into ``config.out`` until Ctrl-C; every browser gets pairs of its own."""
    if config.out.exists() and config.out.stat().st_size:
        read_pairs(config.out)  # a file of something else is not added to
    make_folder(config.out.parent)
    session = Session(config)
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
        self.config = config
        self.generators = [load_generator(path) for path in (config.checkpoint, config.against) if path is not None]
        prompts = read_prompts(config.prompts) if config.prompts else corpus_prompts(PROMPTS, config.seed)
        self.pairs = self._make(prompts)
        self.making, self.writing = threading.Lock(), threading.Lock()

    def next(self) -> Pair:
        with self.making:
            return next(self.pairs)

    def _make(self, prompts: list[str]) -> Iterator[Pair]:
        sides = random.Random(self.config.seed)
        for start in itertools.count(step=AT_ONCE):
            chosen = [prompts[i % len(prompts)] for i in range(start, start + AT_ONCE)]
            first = 2 * start + 1000 * self.config.seed
            seeds = [list(range(first + k * AT_ONCE, first + (k + 1) * AT_ONCE)) for k in (0, 1)]
            made = [
                g.generate(chosen, seeds=s, sampling=DEFAULT_SAMPLING)
                for g, s in zip(itertools.cycle(self.generators), seeds)
            ]
            for i, prompt in enumerate(chosen):
                assets = [parts[i].present().detach().vectors() for parts in made]
                if min(map(len, assets)):
                    sides.shuffle(assets)
                    yield Pair(prompt, assets[0], assets[1], "equal")

    def keep(self, pair: Pair) -> None:
        """Add a choice to the file, whole."""
        with self.writing:
            try:
                with self.config.out.open("a", encoding="utf-8") as file:
                    file.write(pair.line())
            except OSError as error:
                raise FileError(f"cannot write {self.config.out}: {reason(error)}") from error


class Asking:
    """One browser's page."""

    def __init__(self, client: viser.ClientHandle, session: Session) -> None:
        self.client, self.session, self.stage, self.given = client, session, Stage(client), 0
        gui = client.gui
        self.prompt = gui.add_markdown("")
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
        self.stage.set([_subject(self.pair, side) for side in ("left", "right")])
        self.stage.look("splats")
        with self.client.atomic():
            self.prompt.content = f"Which is the better\n\n**{self.pair.prompt}**"
            self.count.content = f"{self.given} given"
            for button in self.buttons:
                button.disabled = False

    def _answer(self, choice: Choice | None) -> None:
        for button in self.buttons:  # a second click must not answer for the next pair
            button.disabled = True
        try:
            if choice is not None:
                self.session.keep(replace(self.pair, choice=choice))
                self.given += 1
        except FileError as error:
            self.client.add_notification("That did not work", str(error), color="red", auto_close_seconds=15)
        self._show()


def _subject(pair: Pair, side: str) -> Subject:
    from scenes.parts import Parts

    parts = Parts.from_vectors(getattr(pair, side))
    asset = Asset(pair.prompt, parts, 0, DEFAULT_SAMPLING, {}, {}, 0, 1)
    made = Subject.of(asset, side)
    assert np.isfinite(made.bounds).all()
    return made
