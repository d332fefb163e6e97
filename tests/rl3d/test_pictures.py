"""Pictures: the layout of a sheet, previews that show the asset, and a turntable that turns."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from rl3d.pictures import Picture, _wrap, preview, previews, render_sheet, save_image, to_image, turntable
from scenes.files import FileError
from scenes.gaussians import Gaussians
from scenes.parts import Parts


def scene(red: float = 0.9, count: int = 600) -> Gaussians:
    """A box that is wider than deep, so that it looks different from the side."""
    vectors = torch.zeros(1, 19)
    vectors[:, [0, 10, 14]] = 1
    vectors[:, 1:3] = 0.2
    vectors[:, 6] = 0.4
    vectors[:, 7:10] = torch.tensor([0.4, 0.1, 0.4]).log()
    vectors[:, 16] = red
    return Parts.from_vectors(vectors).gaussians(count)


def solid(color: str, size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, color)


def count(image: Image.Image, color: tuple[int, int, int]) -> int:
    return int((np.asarray(image) == color).all(-1).sum())


def test_to_image_rounds_and_clamps():
    pixels = np.asarray(to_image(torch.tensor([[[-1.0, 0.5, 2.0]]])))
    assert pixels.tolist() == [[[0, 128, 255]]]


def test_preview_shows_the_asset_on_white():
    image = preview(scene(), 96)
    assert image.size == (96, 96)
    pixels = np.asarray(image).astype(int)
    assert (pixels[0] == 255).all() and (pixels[:, 0] == 255).all()
    red = (pixels[..., 0] > 2 * pixels[..., 1]) & (pixels[..., 0] > 60)
    assert 0.1 < red.mean() < 0.6
    assert red[40:56, 40:56].all(), "the asset stands in the middle"


def test_previews_of_a_batch_are_those_of_its_scenes():
    one, two = scene(0.9), scene(0.3)
    together = previews(Gaussians.stack([one, two]), 64)
    for image, alone in zip(together, (one, two), strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(preview(alone, 64)))
    with pytest.raises(ValueError, match="previews takes a batch"):
        preview(Gaussians.stack([one]), 64)


def test_sheet_has_every_picture_once_and_text_below():
    colors = ["#ff0000", "#00ff00", "#0000ff"]
    rows = [[Picture(solid(c), "a caption that is long enough to wrap", 0.25) for c in colors[:2]], [solid(colors[2])]]
    sheet = render_sheet(rows, header=["one", "two"], labels=["first", "second"], title="A title", size=100)
    for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert count(sheet, color) == 98 * 98, "a picture fills its cell inside a border of one pixel"
    plain = render_sheet([[solid(c) for c in colors[:2]], [solid(colors[2])]], size=100)
    assert sheet.height > plain.height and sheet.width > plain.width
    assert plain.getpixel((plain.width - 1, plain.height - 1)) == (255, 255, 255)


def test_sheet_keeps_proportions_and_puts_transparency_on_white():
    wide = Image.new("RGBA", (64, 32), (255, 0, 0, 255))
    clear = Image.new("RGBA", (32, 32), (0, 0, 255, 0))
    sheet = render_sheet([[wide, clear]], size=100)
    assert count(sheet, (255, 0, 0)) == 98 * 50
    assert count(sheet, (0, 0, 255)) == 0


def test_sheet_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one picture"):
        render_sheet([[]])
    with pytest.raises(ValueError, match="2 labels"):
        render_sheet([[solid("red")]], labels=["a", "b"])


@pytest.mark.parametrize(
    "text",
    [
        "a short one",
        "many words that go over several lines of a narrow column",
        "x" * 90,
        "",
        "two\nlines",
        "é à 木の椅子",
    ],
)
@pytest.mark.parametrize("width", [40, 120])
def test_wrapping_loses_nothing_and_fits(text, width):
    font = ImageFont.load_default(14)
    lines = _wrap(text, font, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(font.getlength(line) <= width for line in lines)


def test_turntable_is_a_video_that_turns(tmp_path):
    import imageio_ffmpeg

    path = tmp_path / "turntable.mp4"
    turntable(path, scene(), frames=8, size=62, fps=8)
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    frames = [np.frombuffer(frame, np.uint8).reshape(62, 62, 3) for frame in reader]
    assert meta["size"] == (62, 62) and meta["fps"] == 8 and "yuv420p" in meta["pix_fmt"] and len(frames) == 8
    widths = [int(((f[..., 0] > 2.0 * f[..., 1]) & (f[..., 0] > 60)).any(0).sum()) for f in frames]
    assert max(widths) > 1.3 * min(widths)
    assert [p.name for p in tmp_path.iterdir()] == ["turntable.mp4"]


def test_pictures_with_nowhere_to_go(tmp_path):
    with pytest.raises(FileError, match=r"images go to \.png"):
        save_image(tmp_path / "a.txt", solid("red"))
    with pytest.raises(FileError, match=r"goes to an \.mp4 or a \.webp file"):
        turntable(tmp_path / "a.gif", scene(), frames=1)
    with pytest.raises(ValueError, match="even size"):
        turntable(tmp_path / "a.mp4", scene(), frames=1, size=63)
    with pytest.raises(FileError, match="Not a directory"):
        (tmp_path / "file").touch()
        save_image(tmp_path / "file" / "a.png", solid("red"))
