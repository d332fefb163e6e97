"""``renderers.render``: shapes, the choice of a backend, and error messages."""

import dataclasses
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import renderers
from renderers import backends, kernels, render


@pytest.mark.parametrize("backend", ["cpp", "torch"])
@pytest.mark.parametrize(("batch", "own"), [((), False), ((2,), False), ((2,), True), ((2, 3), True), ((0,), False)])
def test_shapes_are_as_stated(backend, batch, own, random_scene, make_cameras):
    if backends()[backend].state != "available":
        pytest.skip(backends()[backend].state)
    cameras = make_cameras(2, 9, 6, batch=batch if own else ())
    views = render(random_scene(8, batch), cameras, backend=backend)
    assert views.rgb.shape == (*batch, 2, 6, 9, 3)
    assert views.alpha.shape == views.depth.shape == (*batch, 2, 6, 9, 1)


def test_background_may_differ_between_views(random_scene, make_cameras):
    scene, cameras = random_scene(30, (2,)), make_cameras(3, 20, 16)
    background = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0))
    views = render(scene, cameras, background=background)
    black = render(scene, cameras, background=(0, 0, 0))
    torch.testing.assert_close(
        views.rgb, black.rgb + (1 - views.alpha) * background[:, :, None, None], atol=1e-6, rtol=0
    )


def test_an_unknown_backend_is_refused(random_scene, make_cameras):
    with pytest.raises(
        ValueError, match=re.escape("unknown renderer backend 'opengl' for splats: choose one of gsplat, cpp, torch")
    ):
        render(random_scene(1), make_cameras(1, 4, 4), backend="opengl")


def test_backends_says_why_not():
    found = backends()
    assert [name for name, b in found.items() if b.draws == "splats"] == ["gsplat", "cpp", "torch"]
    assert [name for name, b in found.items() if b.draws == "meshes"] == [
        "mesh-cpp",
        "mesh-torch",
        "pytorch3d",
        "kaolin",
    ]
    assert found["torch"].state == found["volume"].state == found["mesh-torch"].state == "available"
    if not torch.cuda.is_available():
        assert found["gsplat"].state in ("no CUDA device", "gsplat is not installed: pip install gsplat")


def test_unavailable_backend_is_one_clear_line(random_scene, make_cameras):
    if torch.cuda.is_available():
        pytest.skip("gsplat may be available here")
    with pytest.raises(RuntimeError, match="renderer backend 'gsplat' cannot draw: "):
        render(random_scene(1), make_cameras(1, 4, 4), backend="gsplat")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_input_is_named(value, random_scene, make_cameras):
    scene, cameras = random_scene(8, (2,)), make_cameras(1, 4, 4)
    scene.scales[1, 5, 2] = value
    message = f"Gaussians.scales holds {value} at index (1, 5, 2): the renderer takes finite numbers only"
    with pytest.raises(ValueError, match=re.escape(message)):
        render(scene, cameras)
    Ks = cameras.Ks.clone()
    Ks[0, 0, 0] = value
    with pytest.raises(ValueError, match=re.escape(f"Cameras.Ks holds {value} at index (0, 0, 0)")):
        render(random_scene(8), dataclasses.replace(cameras, Ks=Ks))


def test_large_finite_values_are_not_refused(random_scene, make_cameras):
    """Their sum overflows, they do not."""
    scene = random_scene(8)
    scene.means[:] = 3e38
    assert render(scene, make_cameras(1, 4, 4)).alpha.eq(0).all()


def test_cameras_of_another_batch_are_refused(random_scene, make_cameras):
    with pytest.raises(ValueError, match=re.escape("cameras have batch shape (3,), the scene has (2,)")):
        render(random_scene(4, (2,)), make_cameras(1, 4, 4, batch=(3,)))


def test_unknown_output_is_refused(random_scene, make_cameras):
    with pytest.raises(ValueError, match="unknown output 'normals': choose among rgb, alpha, depth, normal"):
        render(random_scene(1), make_cameras(1, 4, 4), outputs=("rgb", "normals"))


def test_features_of_another_scene_are_refused(random_scene, make_cameras):
    with pytest.raises(ValueError, match=re.escape("features must have shape (8,) and a last dimension, got (7, 2)")):
        render(random_scene(8), make_cameras(1, 4, 4), features=torch.zeros(7, 2))


def test_missing_library_warns_once_and_draws_with_torch(random_scene, make_cameras, monkeypatch, caplog):
    monkeypatch.setattr(kernels, "_load", lambda: "its C++ library is not compiled")
    renderers._warn_once.cache_clear()
    scene, cameras = random_scene(4), make_cameras(1, 8, 8)
    with caplog.at_level(logging.WARNING):
        views = render(scene, cameras)
        render(scene, cameras)
    message = (
        "the fast CPU renderer is missing (its C++ library is not compiled); drawing with the slow backend 'torch'"
    )
    assert [r.getMessage() for r in caplog.records] == [message]
    assert torch.equal(views.rgb, render(scene, cameras, backend="torch").rgb)


def test_import_leaves_optional_backends_alone():
    code = "import sys, renderers; assert not {'gsplat', 'pytorch3d', 'nerfstudio', 'kaolin'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(renderers.__file__).parents[1])
