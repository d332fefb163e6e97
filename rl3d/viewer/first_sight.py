"""What a page shows until the browser draws: a picture of the first asset, in place of its splats.

viser's program takes a second or more to start. Without a GPU the first frames of splats take as
long again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Float

from rl3d.pictures import photographs
from rl3d.viewer.stage import FOV_DEG, sphere_of, start_position
from rl3d.viewer.subjects import data_url
from scenes.cameras import look_at, pinhole
from scenes.gaussians import Gaussians

HEIGHT = 1024
"""Height of the picture in pixels. The page shows it as high as its window, twice as wide, cut at
the sides."""
PANEL = 388
"""Width of viser's panel, in CSS pixels, if it is docked and its controls are "large". The scene
has the rest. In windows narrower than 36 em the panel is at the bottom."""

_MARKUP = """
<style>
#first-sight {position:fixed; z-index:1; inset:0 %dpx 0 0; overflow:hidden; background:#fff;
  pointer-events:none}
@media (max-width: 36em) {#first-sight {right:0}}
#first-sight img {position:absolute; left:50%%; height:100%%; transform:translateX(-50%%)}
</style>
<div id="first-sight"><img src="%s" alt=""></div>
<script>
// Removed when the browser has drawn splats for half a second (its first frames are unsorted), at the
// first input of the user, or after 20 seconds.
(() => {
  const api = window.WebGL2RenderingContext?.prototype, draw = api?.drawElementsInstanced;
  const events = ["pointerdown", "wheel", "keydown"];
  let first = 0, frames = 0;
  const end = () => {
    document.getElementById("first-sight")?.remove();
    events.forEach(name => removeEventListener(name, end, true));
    if (draw) api.drawElementsInstanced = draw;
  };
  events.forEach(name => addEventListener(name, end, true));
  setTimeout(end, 20000);
  if (draw) api.drawElementsInstanced = function (...values) {
    draw.apply(this, values);
    first ||= performance.now();
    if (++frames > 3 && performance.now() > first + 500) end();
  };
})();
</script>
"""


def markup(splats: Gaussians, bounds: Float[np.ndarray, "2 3"]) -> str:
    """HTML of the picture, seen from ``start_position``, and of the script that removes it. An
    empty text if the scene is empty.

    The picture has no harmonics, because viser draws none.
    """
    centre, radius = sphere_of(bounds)
    view = look_at(torch.from_numpy(start_position(centre, radius)).float()[None], torch.from_numpy(centre).float())
    camera = pinhole(view, FOV_DEG, 2 * HEIGHT, HEIGHT)
    ((image,),) = photographs(replace(splats, sh_rest=None), camera)
    if image.convert("L").getextrema() == (255, 255):
        return ""
    return _MARKUP % (PANEL, data_url(image, "webp"))


@contextlib.contextmanager
def shown_first(extra: str) -> Iterator[TemporaryDirectory[str] | None]:
    """A viser server that starts inside this context serves its page with ``extra`` at the start
    of the body, from the folder that is yielded.

    ``viser.infra.WebsockServer`` has a parameter for the folder, but ``ViserServer`` does not pass
    it on. Known versions of viser have one page in one file. For another one None is yielded, and
    viser's own page is served."""
    import viser

    build = Path(viser.__file__).parent / "client/build"
    page = (
        (build / "index.html").read_text(encoding="utf-8")
        if [f.name for f in build.glob("*")] == ["index.html"]
        else ""
    )
    original = getattr(viser.infra, "WebsockServer", None)
    if (
        not extra
        or "<body>" not in page
        or original is None
        or "http_server_root" not in signature(original.__init__).parameters
    ):
        yield None
        return
    served = TemporaryDirectory(prefix="rl3d-")
    folder = Path(served.name)
    (folder / "index.html").write_text(page.replace("<body>", f"<body>{extra}", 1), encoding="utf-8")

    class FromFolder(original):
        def __init__(self, *args, **settings) -> None:
            super().__init__(*args, **(settings | {"http_server_root": folder}))

    viser.infra.WebsockServer = FromFolder
    try:
        yield served
    finally:
        viser.infra.WebsockServer = original
