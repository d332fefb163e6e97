"""What a page shows until its own program draws: a picture of the first asset, where the browser's splats will stand.

viser's program takes a browser a second or more to start, and where there is no GPU the first frames of splats take as long again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from rl3d.pictures import photographs
from rl3d.viewer.stage import FOV_DEG, pinhole, sphere_of, start_position
from rl3d.viewer.subjects import data_url
from scenes.cameras import look_at
from scenes.gaussians import Gaussians

SIZE = 1024
"""Of the picture, in pixels; the page shows it as high as its window."""
PANEL = 388
"""Width of viser's panel, in CSS pixels, when it is docked and its controls are "large": the scene has the rest."""

_MARKUP = """
<div id="first-sight" style="position:fixed;z-index:1;top:0;left:0;bottom:0;right:%dpx;overflow:hidden;background:#fff;pointer-events:none">
<img src="%s" alt="" style="position:absolute;left:50%%;height:100%%;transform:translateX(-50%%)"></div>
<script>
// Goes when the browser has drawn splats for half a second (its first frames are unsorted), when a hand wants to turn them, or in the end.
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
    """HTML of the picture, seen from ``start_position``, and of what takes it away again."""
    centre, radius = sphere_of(bounds)
    view = look_at(torch.from_numpy(start_position(centre, radius)).float()[None], torch.from_numpy(centre).float())
    camera = pinhole(view, math.radians(FOV_DEG), SIZE, SIZE)
    ((image,),) = photographs(splats, camera)
    return _MARKUP % (PANEL, data_url(image, "webp"))


@contextlib.contextmanager
def shown_first(folder: Path, extra: str) -> Iterator[None]:
    """A viser server that starts within this serves its page from ``folder``, with ``extra`` at the start of the body.

    ``viser.infra.WebsockServer`` takes the folder to serve; ``ViserServer`` does not pass the parameter on.
    """
    import viser

    own = Path(viser.__file__).parent / "client/build/index.html"
    if not extra or not own.is_file():
        yield
        return
    (folder / "index.html").write_text(own.read_text(encoding="utf-8").replace("<body>", f"<body>{extra}", 1), encoding="utf-8")
    original = viser.infra.WebsockServer

    class FromFolder(original):
        def __init__(self, *args, **settings) -> None:
            super().__init__(*args, **(settings | {"http_server_root": folder}))

    viser.infra.WebsockServer = FromFolder
    try:
        yield
    finally:
        viser.infra.WebsockServer = original
