"""Pictures of assets for people: previews, turntables and contact sheets.

A preview is drawn at twice its size and averaged down, which makes the edges of splats crisp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import renderers
from scenes.cameras import Cameras, orbit
from scenes.files import FileError, atomic_write
from scenes.gaussians import Gaussians

WHITE = (1.0, 1.0, 1.0)
_INK, _FAINT, _LINE = (28, 28, 30), (110, 110, 116), (226, 226, 230)


@dataclass(frozen=True)
class Picture:
    """One cell of a contact sheet. ``score``, a number or a short text, is shown under the
    caption."""

    image: Image.Image
    caption: str = ""
    score: float | int | str | None = None


def to_image(rgb: Float[Tensor, "h w 3"]) -> Image.Image:
    """An image from sRGB values in [0, 1]."""
    return Image.fromarray((rgb.detach().clamp(0, 1) * 255).round().byte().cpu().numpy())


def photographs(scene: Gaussians, cameras: Cameras) -> list[list[Image.Image]]:
    """Images [scene][camera] on white, of one scene or of a batch of scenes."""
    batched = scene if scene.batch_shape else Gaussians.stack([scene])
    with torch.no_grad():
        rgb = renderers.render(batched.detach(), cameras.to(batched.device), background=WHITE).rgb
    return [[to_image(image) for image in views] for views in rgb]


def previews(
    scenes: Gaussians, size: int = 512, *, azimuth_deg: float = 35.0, elevation_deg: float = 20.0
) -> list[Image.Image]:
    """One picture of each scene of a batch, from the side and slightly above."""
    cameras = orbit(1, size=2 * size, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)
    return [views[0].reduce(2) for views in photographs(scenes, cameras)]


def preview(
    scene: Gaussians, size: int = 512, *, azimuth_deg: float = 35.0, elevation_deg: float = 20.0
) -> Image.Image:
    """A picture of one scene, from the side and slightly above."""
    if scene.batch_shape:
        raise ValueError("preview takes a single scene; previews takes a batch")
    return previews(scene, size, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)[0]


def save_image(path: str | Path, image: Image.Image) -> None:
    """Write an image in the format of the suffix, completely or not at all."""
    if Path(path).suffix.lower() not in Image.registered_extensions():
        raise FileError(f"cannot write {path}: images go to .png, .jpg or .webp files")
    with atomic_write(path) as temporary:
        image.save(temporary)


def turntable(path: str | Path, scene: Gaussians, frames: int = 48, size: int = 256, fps: int = 24) -> None:
    """Write one turn around a scene, as an H.264 .mp4 or as an animated .webp that loops without a
    jump."""
    kind = Path(path).suffix.lower()
    if kind not in (".mp4", ".webp"):
        raise FileError(f"cannot write {path}: a turntable goes to an .mp4 or a .webp file")
    if size % 2 or size < 16:
        raise ValueError(f"yuv420p video needs an even size of at least 16, got {size}")
    if scene.batch_shape:
        raise ValueError("turntable takes a single scene; index the batch first")
    import imageio_ffmpeg  # imported here, because images need no video library

    images = photographs(scene, orbit(frames, size=size))[0]
    if kind == ".webp":
        with atomic_write(path) as temporary:
            images[0].save(
                temporary, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, quality=85
            )
        return
    # macro_block_size 2 keeps the size; the default would scale it to a multiple of 16. Quality 8
    # of 10 keeps splats sharp.
    options = {"fps": fps, "codec": "libx264", "pix_fmt_out": "yuv420p", "quality": 8, "macro_block_size": 2}
    with atomic_write(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), (size, size), output_params=["-movflags", "+faststart"], **options
        )
        writer.send(None)
        for image in images:
            writer.send(np.asarray(image).tobytes())
        writer.close()


def poster(scene: Gaussians, title: str, facts: Sequence[tuple[str, str]], size: int = 900) -> Image.Image:
    """A large picture of a scene, three small ones from other sides below it, and its prompt and
    figures."""
    side = size // 3
    large = preview(scene, size)
    small = [photograph.reduce(2) for photograph in photographs(scene, orbit(3, size=2 * side, azimuth_deg=125.0))[0]]
    heading, text = _font(size / 24), _font(size / 40)
    margin, line = size // 24, round(size / 24 * 1.35)
    titles = _wrap(title, heading, size - 2 * margin)
    picture = Image.new(
        "RGB", (size, size + side + margin + len(titles) * line + (line if facts else 0) + margin), "white"
    )
    picture.paste(large, (0, 0))
    for i, image in enumerate(small):
        picture.paste(image, (i * side, size))
    draw, y = ImageDraw.Draw(picture), size + side + margin
    for words in titles:
        draw.text((margin, y), words, font=heading, fill=_INK)
        y += line
    draw.text((margin, y), "   ".join(f"{name} {value}" for name, value in facts), font=text, fill=_FAINT)
    return picture


def render_sheet(
    rows: Sequence[Sequence[Picture | Image.Image]],
    *,
    header: Sequence[str] = (),
    labels: Sequence[str] = (),
    title: str = "",
    size: int = 224,
) -> Image.Image:
    """A contact sheet: rows of pictures on white, each with its caption and score below.

    ``header`` names the columns, ``labels`` the rows, ``title`` the sheet. Pictures are scaled to
    fit ``size`` pixels. Text is wrapped.
    """
    cells = [[cell if isinstance(cell, Picture) else Picture(cell) for cell in row] for row in rows]
    columns = max((len(row) for row in cells), default=0)
    if not columns:
        raise ValueError("a contact sheet needs at least one picture")
    if (labels and len(labels) != len(cells)) or len(header) > columns:
        raise ValueError(
            f"{len(labels)} labels and {len(header)} headings do not fit {len(cells)} rows of {columns} pictures"
        )
    font, small, large = _font(max(12, size / 16)), _font(max(11, size / 18)), _font(max(16, size / 11))
    gap = max(8, size // 20)
    line = lambda f: round(f.size * 1.3)  # noqa: E731

    label_texts = [_wrap(text, font, size // 2) for text in labels]
    label_width = max((font.getlength(t) for lines in label_texts for t in lines), default=0)
    left = gap + (round(label_width) + gap if label_texts else 0)
    width = left + columns * (size + gap)
    title_lines = _wrap(title, large, width - 2 * gap)
    head_lines = [_wrap(text, font, size) for text in header]
    head_height = max(map(len, head_lines), default=0) * line(font)
    captions = [[_wrap(cell.caption, small, size) for cell in row] for row in cells]
    scored = [any(cell.score is not None for cell in row) for row in cells]
    row_heights = [
        size + max((len(c) for c in row), default=0) * line(small) + (line(font) if has_score else 0)
        for row, has_score in zip(captions, scored, strict=True)
    ]
    top = gap + (len(title_lines) * line(large) + gap if title_lines else 0)
    first = top + (head_height + gap // 2 if head_lines else 0)
    sheet = Image.new("RGB", (width, first + sum(row_heights) + gap * len(cells)), "white")
    draw = ImageDraw.Draw(sheet)

    def write(lines: list[str], x: float | int, y: float | int, face, fill, anchor: str = "la") -> float | int:
        for text in lines:
            draw.text((x, y), text, font=face, fill=fill, anchor=anchor)
            y += line(face)
        return y

    write(title_lines, gap, gap, large, _INK)
    for i, lines in enumerate(head_lines):
        # The last line of every heading is just above its picture.
        write(lines, left + i * (size + gap) + size / 2, top + head_height - len(lines) * line(font), font, _INK, "ma")
    y = first
    for r, row in enumerate(cells):
        if label_texts:
            write(label_texts[r], left - gap, y + (size - len(label_texts[r]) * line(font)) / 2, font, _INK, "ra")
        for c, cell in enumerate(row):
            x = left + c * (size + gap)
            image = _fit(cell.image, size)
            sheet.paste(image, (x + (size - image.width) // 2, y + (size - image.height) // 2))
            draw.rectangle((x, y, x + size - 1, y + size - 1), outline=_LINE)
            below = write(captions[r][c], x, y + size + 2, small, _FAINT)
            if cell.score is not None:
                text = cell.score if isinstance(cell.score, str) else f"{cell.score:.3g}"
                write([text], x, below, font, _INK)
        y += row_heights[r] + gap
    return sheet


def _font(size: float | int) -> ImageFont.FreeTypeFont:
    """The font of pillow, which is the same on every machine."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "pillow was built without FreeType"
    return font


def _fit(image: Image.Image, size: int) -> Image.Image:
    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    scale = size / max(image.size)
    if scale == 1:
        return image
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of at most ``width`` pixels. A word that is longer than a line is broken."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        current = ""
        for word in paragraph.split():
            if font.getlength(joined := f"{current} {word}".strip()) <= width:
                current = joined
                continue
            if current:
                lines.append(current)
            while font.getlength(word) > width and len(word) > 1:
                cut = max(1, next(i for i in range(len(word), 0, -1) if i == 1 or font.getlength(word[:i]) <= width))
                lines.append(word[:cut])
                word = word[cut:]
            current = word
        if current:
            lines.append(current)
    return lines
