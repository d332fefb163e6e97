"""Makes docs/gallery.md and its pictures from the shipped generator: ``python docs/gallery.py``.

The prompts are drawn from the corpus's held-out split, which no weights were trained on, and a few
are written by hand; every asset is the first that came out (seed 0): none was picked, and none left
out."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rewards.mix import parse
from rl3d.assets import FINAL_GAUSSIANS
from rl3d.corpus.sampling import sample_spec
from rl3d.generators.load import load_generator
from rl3d.pictures import Picture, photographs, previews, render_sheet
from rl3d.scoring import score_assets
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


def held_out(count: int, seed: int) -> list[str]:
    """Captions of the held-out split, no category twice."""
    rng, found = np.random.default_rng(seed), {}
    while len(found) < count:
        spec = sample_spec(rng, "heldout")
        found.setdefault(spec.category, spec.caption)
    return list(found.values())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--prompts", type=int, default=42, help="prompts of the held-out split")
    count = arguments.parse_args().prompts
    generator, rewards = load_generator(), [reward for reward, _ in parse("stability=1,connected=1,alignment=1")]
    prompts = [*OWN, *held_out(count, seed=0)]
    asset = generator.generate(prompts, seeds=[0] * len(prompts))
    scores = score_assets(rewards, prompts, asset)
    with torch.no_grad():
        scenes = asset.gaussians(FINAL_GAUSSIANS, fine=True)
        images = [image for i in range(len(prompts)) for image in previews(scenes[[i]], 224)]
    values = {name: score.values for name, score in scores.items()}
    cells = [
        Picture(image, prompt, "  ".join(f"{name} {values[name][i]:.2f}" for name in ("stability", "connected")))
        for i, (image, prompt) in enumerate(zip(images, prompts, strict=True))
    ]
    sheet = render_sheet([cells[i : i + 6] for i in range(0, len(cells), 6)], size=224)
    save(HERE / "images/gallery.webp", sheet)
    frames = [
        [images[0] for images in zip(*[photographs(scenes[[prompts.index(p)]], orbit(36, size=320))[0]])]
        for p in TURNING
    ]
    turning = [Image.fromarray(np.concatenate([np.asarray(f) for f in row], 1)) for row in zip(*frames)]
    with atomic_write(HERE / "images/turning.webp") as temporary:
        turning[0].save(temporary, save_all=True, append_images=turning[1:], duration=60, loop=0, quality=70, method=6)
    stand = float(((scores["stability"].verdict) & (scores["connected"].verdict)).float().mean())  # type: ignore[operator]
    lines = [
        "# Gallery",
        "",
        f"What the shipped generator makes of {len(OWN)} prompts written by hand and of {count} held-out "
        "ones, one of each category drawn.",
        "Every asset is the first that came out, seed 0: none was picked, none left out.",
        f"Of these {len(prompts)}, {100 * stand:.0f} % stand and hold together. `python docs/gallery.py` "
        "makes this page.",
        "",
        f"![{', '.join(TURNING)}, turning](images/turning.webp)",
        "",
        "![All prompts](images/gallery.webp)",
        "",
    ]
    with atomic_write(HERE / "gallery.md") as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    print(HERE / "gallery.md")


def save(path: Path, image: Image.Image) -> None:
    with atomic_write(path) as temporary:
        image.save(temporary, quality=80, method=6)


if __name__ == "__main__":
    main()
