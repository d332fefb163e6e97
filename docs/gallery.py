"""Makes docs/gallery.md and its pictures from the shipped generators: ``python docs/gallery.py``.

The prompts are drawn from the corpus's held-out split, which no weights were trained on, and a few
are written by hand; every asset is the first that came out (seed 0): none was picked, and none left
out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rewards.mix import parse
from rl3d.assets import FINAL_GAUSSIANS
from rl3d.corpus import prompts as held_out_prompts
from rl3d.corpus.sampling import sample_spec
from rl3d.generators.base import Generator
from rl3d.generators.load import BUILT_IN, DEFAULT, load_generator
from rl3d.pictures import Picture, photographs, previews, render_sheet
from rl3d.scoring import score_assets
from scenes.asset import Asset
from scenes.cameras import orbit
from scenes.files import atomic_write

HERE = Path(__file__).parent
OWN = (
    "a red armchair with white legs",
    "a tall blue lighthouse",
    "a snowman with a carrot nose",
    "a yellow sports car",
    "a green Christmas tree with a golden star",
    "a brown dog",
)
"""Prompts as a person might write them."""
TURNING = ("a red armchair with white legs", "a snowman with a carrot nose", "a yellow sports car")
OBJECTS, SCENES, SHARED = 64, 48, 32
"""Prompts of the sheets: objects of one category each, scenes of several things, and all
generators."""


def held_out(count: int, seed: int) -> list[str]:
    """Captions of the held-out split, no category twice."""
    rng, found = np.random.default_rng(seed), {}
    while len(found) < count:
        spec = sample_spec(rng, "heldout")
        found.setdefault(spec.category if spec.kind == "single" else spec.caption, spec.caption)
    return list(found.values())


def made(generator: Generator, prompts: Sequence[str]) -> tuple[Asset, str]:
    """The first asset of each prompt, and how many of them stand in one piece."""
    asset = generator.generate(list(prompts), seeds=[0] * len(prompts))
    scores = score_assets([reward for reward, _ in parse("stability=1,connected=1")], list(prompts), asset)
    good = torch.ones(len(prompts), dtype=torch.bool)
    for score in scores.values():
        assert score.verdict is not None
        good &= score.verdict
    return asset, f"{int(good.sum())} of {len(prompts)}"


@torch.no_grad()
def pictures(asset: Asset, size: int) -> list[Image.Image]:
    images = []
    for i in range(len(asset)):
        images += previews(asset[i : i + 1].gaussians(FINAL_GAUSSIANS, fine=True), size)
    return images


def sheet(name: str, prompts: Sequence[str], assets: dict[str, Asset], columns: int = 8, size: int = 176) -> str:
    """Write images/NAME.webp; a row of each generator under one another. Returns its Markdown."""
    images = {label: pictures(asset, size) for label, asset in assets.items()}
    rows, labels = [], []
    for start in range(0, len(prompts), columns):
        for label, some in images.items():
            last = label == list(images)[-1]
            cells = zip(some[start : start + columns], prompts[start : start + columns], strict=True)
            rows.append([Picture(image, prompt if last else "") for image, prompt in cells])
            labels.append(label)
    picture = render_sheet(rows, labels=labels if len(images) > 1 else (), size=size)
    with atomic_write(HERE / f"images/{name}.webp") as temporary:
        picture.save(temporary, quality=80, method=6)
    return f"![{len(prompts)} prompts](images/{name}.webp)"


def turning(asset: Asset, prompts: Sequence[str]) -> str:
    """Write images/turning.webp of some assets. Returns its Markdown."""
    frames = []
    for prompt in TURNING:
        scene = asset[prompts.index(prompt) : prompts.index(prompt) + 1].gaussians(FINAL_GAUSSIANS, fine=True)
        frames.append(photographs(scene, orbit(36, size=320))[0])
    rows = [Image.fromarray(np.concatenate([np.asarray(f) for f in row], 1)) for row in zip(*frames, strict=True)]
    with atomic_write(HERE / "images/turning.webp") as temporary:
        rows[0].save(temporary, save_all=True, append_images=rows[1:], duration=60, loop=0, quality=70, method=6)
    return f"![{', '.join(TURNING)}, turning](images/turning.webp)"


def main() -> None:
    generators = {name: load_generator(generator=name) for name in BUILT_IN}
    embedded = generators[DEFAULT]
    objects = [*OWN, *held_out(OBJECTS - len(OWN), seed=0)]
    scenes = [item.caption for item in held_out_prompts(SCENES, 0, kinds=("scene",))]
    shared = [item.caption for item in held_out_prompts(SHARED, 1)]
    asset, standing = made(embedded, objects)
    several, several_standing = made(embedded, scenes)
    families = {name: made(generator, shared) for name, generator in generators.items()}
    lines = [
        "# Gallery",
        "",
        "Every asset is the first that came out, seed 0: none was picked, none left out. Held-out prompts",
        "are those whose combinations no weights were trained on. `python docs/gallery.py` makes this page.",
        "",
        "## Objects",
        "",
        f"By `{DEFAULT}`, the default generator: {len(OWN)} prompts written by hand and {OBJECTS - len(OWN)} held-out",
        f"ones, each single object of another category. {standing} stand and hold together.",
        "",
        turning(asset, objects),
        "",
        sheet("gallery", objects, {DEFAULT: asset}),
        "",
        "## Several things",
        "",
        f"By `{DEFAULT}`: {SCENES} held-out scenes of two to four objects. {several_standing} stand and hold together.",
        "",
        sheet("scenes", scenes, {DEFAULT: several}),
        "",
        "## All generators side by side",
        "",
        f"The same {SHARED} held-out prompts of all kinds, by each generator that comes with rl3d. "
        + " ".join(f"By `{name}`, {good} stand and hold together." for name, (_, good) in families.items()),
        "",
        sheet("families", shared, {name: one for name, (one, _) in families.items()}),
        "",
    ]
    with atomic_write(HERE / "gallery.md") as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    print(HERE / "gallery.md")


if __name__ == "__main__":
    main()
