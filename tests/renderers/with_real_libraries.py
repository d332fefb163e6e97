"""Draws meshes with PyTorch3D and Kaolin, whichever is installed, and compares: ``python
tests/renderers/with_real_libraries.py``.

Not part of the test run: the package index carries no builds of either.
"""

import sys

import torch
import trimesh

from renderers import backends, render
from scenes.cameras import orbit
from scenes.mesh import Mesh


def main() -> int:
    sphere, box = trimesh.creation.icosphere(subdivisions=3, radius=0.4), trimesh.creation.box((0.5, 0.3, 0.7))
    shapes = [Mesh(torch.tensor(m.vertices).float(), torch.tensor(m.faces)) for m in (sphere, box)]
    scene, cameras = Mesh.stack(shapes), orbit(3, size=96, target=(0.0, 0.0, 0.0))
    failed = 0
    for name in ("pytorch3d", "kaolin"):
        if (state := backends()[name].state) != "available":
            print(f"{name}: {state}")
            continue
        device = "cuda" if torch.cuda.is_available() else "cpu"
        ours = render(scene, cameras, backend="mesh-torch")
        theirs = render(scene.to(device), cameras.to(device), backend=name)
        differing = ((ours.depth - theirs.depth.cpu()).abs() > 1e-3).double().mean().item()
        verdict = "agrees" if differing < 5e-3 else "DIFFERS"
        failed += verdict != "agrees"
        print(f"{name} {verdict}: {100 * differing:.3f} % of the pixels have another depth")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
