"""One browser's page: its controls, and what they do to its stage. Every browser has its own page.
All share the studio and the files."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rewards.physics.simulate import drop
from rl3d.charts import charts
from rl3d.report import picture
from rl3d.runs import progress_text, read_run, sheets_of
from rl3d.viewer.library import Entry
from rl3d.viewer.stage import Stage, heat
from rl3d.viewer.studio import MOST, Studio, per_part_rewards
from rl3d.viewer.subjects import Subject, card, data_url, is_empty, thumbnail
from scenes.asset import Asset
from scenes.files import FileError

if TYPE_CHECKING:
    import viser

CARDS = 6
"""Cards on a page of the gallery."""
KEPT = 24
"""Generated assets that a page keeps; older ones are dropped."""
NOTHING = "nothing"
BOTH = "both, side by side"
ASSET_FORMATS = (
    ".glb",
    ".ply",
    ".spz",
    ".sog",
    ".splat",
    ".splat.glb",
    ".usdc",
    ".stl",
    ".3mf",
    ".mp4",
    ".png",
    ".zip",
)
PER_PART = "per part: "
_ROOM = np.array([[-0.4, -0.4, 0.0], [0.4, 0.4, 0.8]])
"""Lowest and highest corner of the room that a growing asset is given; metres."""


class _GoneError(Exception):
    """The browser has left while an asset was made for it."""


class Page:
    """The controls of one client. Callbacks run in viser's threads; the stage locks its own
    changes."""

    def __init__(
        self, client: viser.ClientHandle, entries: dict[str, Entry], studio: Studio, first: Subject | None
    ) -> None:
        self.client, self.studio = client, studio
        self.entries: dict[str, Entry | Subject] = dict(entries)
        self.stage = Stage(client)
        self.shown: list[Subject] = []
        self.growing = False
        """Whether the stage has an asset that is being made. The controls of ``shown`` are off."""
        self._changing = threading.RLock()
        """Held while the stage gets something else. Clicks and a growing asset come in different
        threads."""
        self.page = 0
        self.sheets = 0
        with client.atomic():
            tabs = client.gui.add_tab_group()
            build = {"run": self._build_run} if studio.run else {}
            look, make = {"look": self._build_look}, {"make": self._build_make}
            build |= look | make if entries else make | look
            for name, fill in (build | {"gallery": self._build_gallery}).items():
                with tabs.add_tab(name):
                    fill()
        if first is not None:
            self.show([first])
        self.turn_page(0)

    def close(self) -> None:
        """The browser is gone."""
        self.stage.ended.set()

    @property
    def gone(self) -> bool:
        return self.stage.ended.is_set()

    # looking

    def _build_look(self) -> None:
        gui, names = self.client.gui, self._names()
        self.choice = gui.add_dropdown("asset", names or (NOTHING,), visible=len(names) > 1)
        self.beside = gui.add_dropdown(
            "beside it", (NOTHING, *names), visible=len(names) > 1, hint="a second one, seen from the same side"
        )
        self.way = gui.add_dropdown("show", ("splats",), visible=False)
        self.scale = gui.add_html(_SCALE, visible=False)
        self.caption = gui.add_html(card("nothing here yet: make something", {}))
        with gui.add_folder("simulate", visible=False) as self.simulator:
            self.height = gui.add_slider("height, cm", min=0, max=50, step=1, initial_value=10)
            self.fall = gui.add_button("drop", hint="let it fall, then lean gravity by 5 degrees once around")
            self.back = gui.add_button("put back", visible=False)
            self.verdict = gui.add_markdown("", visible=False)
        with gui.add_folder("download", visible=False) as self.downloads:
            self.taken = gui.add_dropdown("of", (NOTHING,), visible=False)
            self.format = gui.add_dropdown("format", ASSET_FORMATS, hint=".zip: the whole folder of the asset")
            self.download = gui.add_button("download")
        self.choice.on_update(self._guarded(self._choose))
        self.beside.on_update(self._guarded(self._choose))
        self.way.on_update(self._guarded(self._show_as))
        self.fall.on_click(self._guarded(self._drop))
        self.back.on_click(self._guarded(self._put_back))
        self.taken.on_update(self._guarded(self._offer))
        self.download.on_click(self._guarded(self._download))

    def _names(self) -> tuple[str, ...]:
        return tuple(self.entries)

    def _subject(self, name: str) -> Subject:
        entry = self.entries[name]
        return entry if isinstance(entry, Subject) else Subject.read(entry)

    def _choose(self) -> None:
        names = [self.choice.value] + ([self.beside.value] if self.beside.value != NOTHING else [])
        if [s.name for s in self.shown] == names or names[0] not in self.entries:
            return
        known = {s.name: s for s in self.shown}
        self.show([known.get(name) or self._subject(name) for name in names])

    def show(self, subjects: list[Subject]) -> None:
        """One subject, or two side by side."""
        with self._changing, self.client.atomic():
            self.shown = subjects
            self._grow(False)
            if self.choice.value != subjects[0].name and subjects[0].name in self.entries:
                self.choice.value = subjects[0].name
            beside = subjects[1].name if len(subjects) > 1 else NOTHING
            if self.beside.value != beside and (beside in self.entries or beside == NOTHING):
                self.beside.value = beside
            self.stage.set(subjects)
            ways = self.stage.ways()
            if all(s.parts is not None for s in subjects):
                self.per_part = [per_part_rewards(s.asset, s.prompt) for s in subjects if s.asset is not None]
                ways += [PER_PART + name for name in self.per_part[0]]
            self.way.options, self.way.visible = tuple(ways) or ("splats",), len(ways) > 1
            if self.way.value not in self.way.options:
                self.way.value = self.way.options[0]
            self._show_as()
            captions = [card(s.name if len(subjects) > 1 else s.prompt, s.rewards) for s in subjects]
            self.caption.content = (
                '<div style="display:flex">' + "".join(f'<div style="flex:1">{c}</div>' for c in captions) + "</div>"
            )
            self.simulator.visible = all(s.asset is not None for s in subjects)
            self.verdict.visible = self.back.visible = False
            self.downloads.visible = True
            self.taken.options, self.taken.visible = tuple(dict.fromkeys(s.name for s in subjects)), len(subjects) > 1
            self._offer()

    def _show_as(self) -> None:
        with self._changing:
            if self.growing:
                return
            way, tints = self.way.value, None
            self.scale.visible = way.startswith(PER_PART)
            if way.startswith(PER_PART):
                name = way.removeprefix(PER_PART)
                way, tints = "parts", [heat(np.clip(np.array(found[name]), 0, 1)) for found in self.per_part]
            self.stage.show_as(way, tints)

    def _drop(self) -> None:
        shown = self.shown
        recordings = [drop(s.asset, self.height.value / 100) for s in shown if s.asset is not None]
        with self._changing:
            if self.growing or self.shown is not shown:  # the stage changed while the simulator was busy
                return
            self.stage.split(recordings)
            if not self.stage.can_fall():
                self.way.value = self.way.options[0]
                self._show_as()
            self.back.visible, self.verdict.visible = True, False
        if not self.stage.play(recordings):
            return
        self.verdict.content = "; ".join(
            f"it {'stood' if r.tilt_deg < 10 else 'fell over'}: tilted by {r.tilt_deg:.1f}° at most" for r in recordings
        )
        self.verdict.visible = True

    def _put_back(self) -> None:
        self.stage.put_back()
        self.back.visible = self.verdict.visible = False

    def _taken(self) -> Subject:
        """The subject to download, of two that are shown."""
        return next((s for s in self.shown if s.name == self.taken.value), self.shown[0])

    def _offer(self) -> None:
        """Update the list of formats."""
        self.format.options = _formats(self._taken())

    def _download(self) -> None:
        subject, kind = self._taken(), self.format.value
        stem = "".join(c if c.isalnum() else "-" for c in Path(subject.name).stem) or "asset"
        data = subject.packed() if kind == ".zip" else subject.exported(kind)
        self.client.send_file_download(f"{stem}{kind}", data, save_immediately=True)

    # making

    def _build_make(self) -> None:
        gui = self.client.gui
        self.prompt = gui.add_text("prompt", "a red armchair with white legs", multiline=True)
        names = tuple(self.studio.generators)
        choices = (*names, BOTH) if len(names) > 1 else names
        hint = "before and after reinforcement learning, with the same seeds"
        self.generator = gui.add_dropdown("generator", choices, hint=hint)
        self.count = gui.add_slider("assets", min=1, max=MOST, step=1, initial_value=1)
        self.seed = gui.add_number("seed", 0, min=0, max=2**31, step=1)
        self.generate = gui.add_button("generate")
        self.bar = gui.add_progress_bar(0, visible=False)
        self.note = gui.add_markdown("", visible=False)
        self.generate.on_click(self._guarded(self._generate))

    def _generate(self) -> None:
        names = list(self.studio.generators) if self.generator.value == BOTH else [self.generator.value]
        prompt, count, seed = " ".join(self.prompt.value.split()), int(self.count.value), int(self.seed.value)
        self.generate.disabled, self.bar.value, self.bar.visible, self.note.visible = True, 0, True, False
        try:
            made: list[list[Subject]] = []
            for i, name in enumerate(names):
                tell = functools.partial(self._progress, i, len(names))
                assets = self.studio.make(prompt, count, seed, name, tell, self._partial)
                label = f"{prompt} · {name} · " if len(names) > 1 or self.studio.run else f"{prompt} · "
                made.append([Subject.of(asset, f"{label}seed {asset.seed}") for asset in assets])
            if self.gone:
                return
            for subject in (s for group in zip(*reversed(made), strict=True) for s in group):
                self.entries.pop(subject.name, None)
                self.entries[subject.name] = subject
            kept = [name for name, entry in self.entries.items() if isinstance(entry, Subject)]
            for name in kept[:-KEPT]:
                del self.entries[name]
            with self.client.atomic():
                self.choice.options, self.beside.options = self._names(), (NOTHING, *self._names())
                self.choice.visible = self.beside.visible = len(self.entries) > 1
            # Show the asset with the best rewards. Of two generators, the earlier weights are on
            # the left.
            best = max(range(count), key=lambda k: sum(made[0][k].rewards.values()))
            self.show([group[best] for group in reversed(made)])
            self.turn_page((len(self.entries) - 1) // CARDS)
            self.note.content = f"seed {seed + best} is shown, the gallery has all {count}" if count > 1 else ""
            self.note.visible = count > 1
        except _GoneError:
            pass
        finally:
            if not self.gone:
                self.generate.disabled, self.bar.visible = False, False
                self._clear_growth()

    def _progress(self, i: int, of: int, done: float) -> None:
        if self.gone:
            raise _GoneError
        self.bar.value = 100 * (i + done) / of

    def _partial(self, made: Asset) -> None:
        """Show what there is of the first asset that is being made."""
        if self.gone:
            raise _GoneError
        if is_empty(made):
            return
        begun = Subject.seen(made.to("cpu").detach(), "", draft=True)
        # It will grow: the camera takes the place that suits an asset of a metre.
        low, high = np.minimum(begun.bounds[0], _ROOM[0]), np.maximum(begun.bounds[1], _ROOM[1])
        begun = replace(begun, bounds=np.stack([low, high]))
        with self._changing, self.client.atomic():
            self.stage.set([begun], aim=not self.growing)
            self.stage.show_as("splats")
            self._grow(True)

    def _grow(self, growing: bool) -> None:
        """Note whether the stage has an asset that is being made."""
        self.growing, self.caption.visible = growing, not growing
        opens = [button for _, button in self.cards]
        for control in (self.choice, self.beside, self.way, self.fall, self.back, self.download, *opens):
            control.disabled = growing

    def _clear_growth(self) -> None:
        """Replace an asset that could not be finished by what was shown before."""
        with self._changing:
            if self.growing and self.shown:
                self.show(self.shown)
            elif self.growing:
                self._grow(False)
                self.stage.set([])

    # the gallery

    def _build_gallery(self) -> None:
        gui = self.client.gui
        self.range = gui.add_markdown("")
        self.turn = gui.add_button_group("page", ("‹ before", "next ›"))
        self.cards = [(gui.add_html("", visible=False), gui.add_button("open", visible=False)) for _ in range(CARDS)]
        self.turn.on_click(
            self._guarded(lambda: self.turn_page(self.page + (1 if self.turn.value.startswith("next") else -1)))
        )
        for i, (_, button) in enumerate(self.cards):
            button.on_click(self._guarded(functools.partial(self._open, i)))

    def turn_page(self, page: int) -> None:
        """Show the page of the gallery with this number, or the nearest one."""
        names = self._names()
        pages = max(1, -(-len(names) // CARDS))
        self.page = min(max(page, 0), pages - 1)
        here = names[self.page * CARDS : (self.page + 1) * CARDS]
        filled = [self._card(name) for name in here]
        with self.client.atomic():
            if names:
                self.range.content = f"{self.page * CARDS + 1} to {self.page * CARDS + len(here)} of {len(names)}"
            else:
                self.range.content = "nothing here yet: make something"
            self.turn.visible = pages > 1
            for (content, button), text in zip(self.cards, [*filled, *[""] * (CARDS - len(here))], strict=True):
                content.content, content.visible, button.visible = text, bool(text), bool(text)

    def _card(self, name: str) -> str:
        entry = self.entries[name]
        try:
            image = thumbnail(entry)
            rewards = entry.rewards if isinstance(entry, Subject) else entry.rewards()
            prompt = entry.prompt if isinstance(entry, Subject) else entry.prompt()
        except FileError as error:
            return card(str(error), {})
        title = f"{name}: {prompt}" if prompt and prompt not in name else name
        return card(title, rewards, data_url(image) if image else "")

    def _open(self, i: int) -> None:
        names = self._names()
        if (k := self.page * CARDS + i) < len(names):
            self.show([self._subject(names[k])])

    # a training run

    def _build_run(self) -> None:
        gui = self.client.gui
        self.state = gui.add_html("")
        self.curves = gui.add_html("")
        self.sheet = gui.add_slider("sheet", min=0, max=1, step=1, initial_value=0, visible=False)
        self.picture = gui.add_html("")
        self.sheet.on_update(self._guarded(self._sheet))
        self.follow()

    def follow(self) -> None:
        """Show what the run has written so far."""
        assert self.studio.run
        settings, metrics = read_run(self.studio.run)
        sheets = len(sheets_of(self.studio.run))
        with self.client.atomic():
            self.state.content = card(f"{self.studio.run.resolve().name}: {progress_text(settings, metrics)}", {})
            self.curves.content = (
                f'<div style="font-size:12px;padding:0 10px">{charts(metrics, 360)}</div>' if metrics else ""
            )
            newest = self.sheet.value == self.sheets - 1 or not self.sheets
            if sheets and sheets != self.sheets:
                self.sheets = sheets
                self.sheet.max, self.sheet.visible = max(sheets - 1, 1), sheets > 1
                if newest:
                    self.sheet.value = sheets - 1
                self._sheet()

    def _sheet(self) -> None:
        assert self.studio.run
        sheets = sheets_of(self.studio.run)
        if sheets:
            path = sheets[min(int(self.sheet.value), len(sheets) - 1)]
            self.picture.content = f'<div style="padding:0 10px">{picture(path, f"iteration {int(path.stem)}")}</div>'

    def _guarded(self, action: Callable[[], None]) -> Callable[[Any], None]:
        """A callback whose errors are shown in the page, unless the browser has left."""

        def run(_: object) -> None:
            try:
                action()
            except (ValueError, OSError) as error:
                if not self.gone:
                    self.client.add_notification(
                        "That did not work", " ".join(str(error).split()), color="red", auto_close_seconds=15
                    )

        return run


def _formats(subject: Subject) -> tuple[str, ...]:
    """The formats in which a subject can be downloaded."""
    if subject.splats is not None and (subject.glb is not None or subject.parts is not None):
        return ASSET_FORMATS
    if subject.splats is not None:
        return (".ply", *(name for name in ASSET_FORMATS if name != ".ply"))
    return (".glb", ".usdc", ".stl", ".3mf", ".zip")


_SCALE = (
    '<div style="font-size:12px;padding:0 10px;display:flex;gap:6px;align-items:center">at fault'
    '<span style="flex:1;height:8px;border-radius:3px;background:linear-gradient(to right,'
    + ",".join(f"rgb({','.join(str(round(255 * float(c))) for c in heat(np.array(x)))})" for x in np.linspace(0, 1, 9))
    + ')"></span>good</div>'
)
