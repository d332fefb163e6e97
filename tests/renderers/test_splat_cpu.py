"""The C++ kernels against the float64 reference. They are also repeatable, safe to fork, and leak
no memory."""

import ctypes
import dataclasses
import gc
import math
import multiprocessing

import pytest
import torch

from renderers import ScreenGradients, kernels, render, splat_cpu
from scenes.cameras import orbit
from scenes.gaussians import Gaussians
from tests.renderers import arm

pytestmark = pytest.mark.skipif(splat_cpu.unavailable() is not None, reason=str(splat_cpu.unavailable()))

BACKGROUND = (0.2, 0.5, 0.9)


def cpp(scene, cameras):
    return render(scene.to(torch.float32), cameras, background=BACKGROUND, backend="cpp")


def reference(scene, cameras):
    return render(scene.to(torch.float64), cameras.to(torch.float64), background=BACKGROUND, backend="torch")


def assert_matches_reference(scene, cameras, with_gradients):
    images, gradients = with_gradients(scene.to(torch.float32), cameras, cpp)
    expected_images, expected_gradients = with_gradients(scene.to(torch.float64), cameras, reference)
    for image, expected in zip(images, expected_images, strict=True):
        assert image.shape == expected.shape
        error = (image - expected).abs().amax(-1)
        # A pixel whose alpha is a rounding error away from a threshold may fall on the other side.
        assert (error > 2e-5).double().mean() <= 1e-4
        assert error.max() < 1e-2
    for field, expected in expected_gradients.items():
        assert gradients[field].isfinite().all()
        assert (gradients[field] - expected).norm() <= 1e-4 * expected.norm(), field


@pytest.fixture(scope="module")
def arm_library(tmp_path_factory):
    if reason := arm.missing():
        pytest.skip(reason)
    return arm.ArmLibrary(tmp_path_factory.mktemp("arm"))


@pytest.fixture(params=["baseline", "avx2", "avx512", "neon"])
def instruction_set(request, monkeypatch):
    library = kernels.library()
    if request.param == "neon" and library.rl3d_splat_kernels() != b"neon":
        library = request.getfixturevalue("arm_library")
        monkeypatch.setattr(kernels, "library", lambda: library)
        assert kernels.instruction_set() == "neon"
        yield "neon"
        return
    before = library.rl3d_splat_kernels()
    if not library.rl3d_splat_use_kernels(ctypes.c_char_p(request.param.encode())):
        pytest.skip(f"this processor or library has no {request.param}")
    yield request.param
    library.rl3d_splat_use_kernels(ctypes.c_char_p(before))


@pytest.mark.parametrize(
    ("batch", "own_cameras", "n", "width", "height"),
    [
        ((), False, 500, 64, 64),
        ((3,), False, 90, 45, 37),
        ((2,), True, 203, 33, 70),
        ((2, 1), True, 16, 7, 5),
        ((), False, 1, 1, 1),
    ],
)
def test_kernels_match_reference(
    instruction_set, batch, own_cameras, n, width, height, random_scene, make_cameras, with_gradients
):
    cameras = make_cameras(2, width, height, batch=batch if own_cameras else ())
    assert_matches_reference(random_scene(n, batch), cameras, with_gradients)


def _all_gradients(scene, cameras, **options):
    """The gradients of a fixed random function of every image, for features, cameras and
    background."""
    rng = torch.Generator().manual_seed(3)
    features = (
        torch.rand(*scene.batch_shape, scene.count, options.pop("width"), generator=rng)
        .to(scene.means)
        .requires_grad_()
    )
    viewmats, Ks = (t.to(scene.means).clone().requires_grad_() for t in (cameras.viewmats, cameras.Ks))
    background = torch.tensor(BACKGROUND).to(scene.means).requires_grad_()
    leaves = [
        t.clone().requires_grad_() for t in (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)
    ]
    views = render(
        Gaussians(*leaves),
        dataclasses.replace(cameras, viewmats=viewmats, Ks=Ks),
        features=features,
        background=background,
        outputs=("rgb", "alpha", "depth", "normal"),
        **options,
    )
    images = [views.rgb, views.alpha, views.depth, views.normal, views.features]
    weights = [torch.randn(i.shape, generator=rng).to(i) for i in images]
    inputs = {"features": features, "viewmats": viewmats, "Ks": Ks, "background": background}
    inputs |= dict(zip(("means", "quats", "scales", "opacities", "colors"), leaves, strict=True))
    gradients = torch.autograd.grad(images, list(inputs.values()), weights)
    return [i.detach() for i in images], dict(zip(inputs, gradients, strict=True))


@pytest.mark.parametrize(("width", "antialiased", "batch"), [(1, False, (2,)), (5, True, ()), (20, False, ())])
def test_features_normals_cameras_and_background_match_reference(
    instruction_set, width, antialiased, batch, random_scene, make_cameras
):
    scene, cameras = random_scene(120, batch), make_cameras(2, 45, 37, batch=batch)
    options = {"width": width, "antialiased": antialiased}
    images, gradients = _all_gradients(scene.to(torch.float32), cameras, backend="cpp", **options)
    expected_images, expected_gradients = _all_gradients(scene.to(torch.float64), cameras, backend="torch", **options)
    for image, expected in zip(images, expected_images, strict=True):
        assert image.shape == expected.shape
        assert ((image - expected).abs().amax(-1) > 2e-5).double().mean() <= 1e-4
    for name, expected in expected_gradients.items():
        assert (gradients[name] - expected).norm() <= 1e-4 * expected.norm(), name


def test_cameras_whose_jacobian_is_clamped_have_gradients(random_scene):
    """Gaussians far outside the image: there the limits move with the intrinsics."""
    scene, cameras = random_scene(300), orbit(2, size=48, radius=0.3, fov_deg=60.0)
    _, gradients = _all_gradients(scene.to(torch.float32), cameras, backend="cpp", width=1)
    _, expected = _all_gradients(scene.to(torch.float64), cameras, backend="torch", width=1)
    for name in ("viewmats", "Ks"):
        assert (gradients[name] - expected[name]).norm() <= 1e-4 * expected[name].norm(), name


def test_antialiased_keeps_the_light_of_a_speck():
    """A Gaussian much smaller than a pixel covers what it would cover without blur: its area, not
    the blur's."""
    scale, opacity = 1e-2, 1.0
    scene = Gaussians(
        torch.tensor([[0.0, 0.0, 0.45]]),
        torch.eye(4)[:1],
        torch.full((1, 3), scale),
        torch.tensor([opacity]),
        torch.ones(1, 3),
    )
    cameras = orbit(1, size=33, radius=2.1, target=(0.0, 0.0, 0.45))
    pixels = cameras.Ks[0, 0, 0].item() * scale / 2.1
    expected = 2 * math.pi * pixels**2 * opacity
    views = render(scene, cameras, antialiased=True, backend="cpp")
    assert views.alpha.sum().item() == pytest.approx(expected, rel=0.05)
    assert render(scene, cameras, backend="cpp").alpha.sum().item() > 5 * expected


def test_screen_gradients_match_reference(random_scene, make_cameras):
    found = []
    for dtype, backend in ((torch.float32, "cpp"), (torch.float64, "torch")):
        scene, screen = random_scene(60, (2,), dtype=dtype), ScreenGradients()
        scene = dataclasses.replace(scene, means=scene.means.requires_grad_())
        views = render(scene, make_cameras(2, 33, 40).to(dtype), screen=screen, backend=backend)
        (views.rgb**2).sum().backward()
        found.append(screen)
    cpp, reference = found
    assert cpp.mean.shape == (2, 2, 60, 2)
    for name in ("mean", "absolute"):
        difference = getattr(cpp, name) - getattr(reference, name)
        assert difference.norm() <= 1e-4 * getattr(reference, name).norm(), name
    assert (cpp.absolute >= cpp.mean.abs() - 1e-5).all()


def test_absolute_screen_gradient_is_the_sum_over_pixels(random_scene, make_cameras):
    """Each pixel rendered on its own: the sum of absolute gradients equals the kernel's."""
    scene, cameras = random_scene(12), make_cameras(1, 7, 6)

    def pulls(pixel=None):
        screen = ScreenGradients()
        views = render(
            dataclasses.replace(scene, means=scene.means.clone().requires_grad_()),
            cameras,
            screen=screen,
            backend="cpp",
        )
        squared = views.rgb.square().sum(-1).flatten()
        (squared.sum() if pixel is None else squared[pixel]).backward()
        return screen

    together, apart = pulls(), [pulls(pixel) for pixel in range(42)]
    torch.testing.assert_close(together.mean, torch.stack([p.mean for p in apart]).sum(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        together.absolute, torch.stack([p.mean.abs() for p in apart]).sum(0), atol=1e-5, rtol=1e-4
    )


def test_several_chunks_of_gaussians_are_one_image(random_scene, make_cameras, monkeypatch):
    """More Gaussians than one chunk of the projection holds, alone and in a batch, on one thread
    and on several."""
    scene, cameras = random_scene(20_000), make_cameras(1, 70, 50)
    monkeypatch.setattr(kernels, "thread_count", lambda: 1)
    one = render(scene, cameras, backend="cpp")
    monkeypatch.setattr(kernels, "thread_count", lambda: 3)
    several = render(scene, cameras, backend="cpp")
    assert torch.equal(one.rgb, several.rgb) and torch.equal(one.depth, several.depth)
    shuffled = render(
        scene.select(torch.randperm(20_000, generator=torch.Generator().manual_seed(0))), cameras, backend="cpp"
    )
    torch.testing.assert_close(shuffled.rgb, one.rgb, atol=1e-4, rtol=0)  # a few have the very same depth


@pytest.mark.parametrize("degree", [1, 3])
def test_view_dependent_colors_match_reference(degree, random_scene, make_cameras, with_gradients):
    assert_matches_reference(random_scene(60, (2,), sh_degree=degree), make_cameras(2, 40, 30), with_gradients)


def test_opaque_scene_ends_pixels_as_reference_does(random_scene, make_cameras, with_gradients):
    scene = random_scene(400)
    scene = dataclasses.replace(scene, opacities=torch.ones(400), scales=4 * scene.scales)
    assert_matches_reference(scene, make_cameras(1, 48, 48), with_gradients)


def test_large_and_thin_gaussians_match_reference(random_scene, make_cameras, with_gradients):
    scene = random_scene(40)
    scales = torch.cat([torch.tensor([[2.0, 1.0, 0.5]]).expand(20, 3), torch.tensor([[0.5, 1e-4, 1e-4]]).expand(20, 3)])
    scene = dataclasses.replace(scene, scales=scales, opacities=0.5 * scene.opacities)
    assert_matches_reference(scene, make_cameras(2, 70, 50), with_gradients)


def test_camera_inside_the_scene(random_scene, with_gradients):
    """Gaussians behind the camera, astride the near plane, and far outside the frustum where the
    Jacobian is clamped."""
    assert_matches_reference(random_scene(300), orbit(2, size=48, radius=0.3, fov_deg=60.0), with_gradients)


def test_degenerate_gaussians(random_scene, make_cameras, with_gradients):
    scene = random_scene(40)
    scene.opacities[:5] = 0.0
    scene.scales[5:15] = 0.0
    scene.quats[15:25] = 0.0
    scene.quats[25:30] *= 1e-6
    _, gradients = with_gradients(scene, make_cameras(1, 40, 40), cpp)
    assert gradients["opacities"][:5].eq(0).all()
    assert gradients["quats"][15:25].eq(0).all()  # at zero the rotation has no direction to turn in
    scene.quats[25:30] *= (
        1e6  # the reference's own gradient is 1e6 times larger there, and would hide the others in the norm
    )
    assert_matches_reference(scene, make_cameras(1, 40, 40), with_gradients)


def test_gaussian_in_the_camera_plane_and_overflowing_ones_are_not_drawn(random_scene, make_cameras, with_gradients):
    cameras = make_cameras(1, 40, 40)
    scene = random_scene(20)
    scene.means[0] = cameras.positions[0]
    scene.means[1] = torch.tensor([1e30, -1e30, 1e30])
    scene.scales[2] = 1e25
    images, gradients = with_gradients(scene, cameras, cpp)
    expected, _ = with_gradients(scene.select(torch.arange(3, 20)), cameras, cpp)
    assert all(torch.equal(a, b) for a, b in zip(images, expected, strict=True))
    assert all(g.isfinite().all() and g[:3].eq(0).all() for g in gradients.values())


@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_empty_scene_is_background(backend, random_scene, make_cameras):
    views = render(random_scene(0, (2,)), make_cameras(3, 40, 20), background=BACKGROUND, backend=backend)
    assert torch.equal(views.rgb, torch.tensor(BACKGROUND).expand(2, 3, 20, 40, 3))
    assert views.alpha.eq(0).all() and views.depth.eq(0).all()


def test_expected_depth_of_a_faint_gaussian_is_its_depth():
    """alpha is summed, not taken as 1 - transmittance: at 1/200 the depth keeps its digits."""
    n = torch.ones(1)
    scene = Gaussians(
        torch.tensor([[0.0, 0.0, 0.45]]), torch.eye(4)[:1], torch.full((1, 3), 0.3), n / 200, torch.ones(1, 3)
    )
    views = cpp(scene, orbit(1, size=33, radius=2.1, target=(0.0, 0.0, 0.45)))
    torch.testing.assert_close(views.depth[0, 16, 16], torch.tensor([2.1]), rtol=3e-7, atol=0)


def test_images_and_gradients_do_not_depend_on_threads_or_batch(
    random_scene, make_cameras, with_gradients, monkeypatch
):
    scene, cameras = random_scene(150, (3,)), make_cameras(2, 40, 40)
    monkeypatch.setattr(kernels, "thread_count", lambda: 1)
    images, gradients = with_gradients(scene, cameras, cpp)
    monkeypatch.setattr(kernels, "thread_count", lambda: 4)
    for _ in range(3):
        again_images, again_gradients = with_gradients(scene, cameras, cpp)
        assert all(torch.equal(a, b) for a, b in zip(images, again_images, strict=True))
        assert all(torch.equal(gradients[f], again_gradients[f]) for f in gradients)
    alone = cpp(scene[1], cameras)
    assert all(
        torch.equal(image[1], getattr(alone, name))
        for image, name in zip(images, ("rgb", "alpha", "depth"), strict=True)
    )
    leaves = scene[1].to(torch.float32)
    leaves = dataclasses.replace(leaves, means=leaves.means.clone().requires_grad_())
    batched = dataclasses.replace(scene, means=scene.means.clone().requires_grad_())
    cpp(leaves, cameras).rgb.square().sum().backward()
    cpp(batched, cameras).rgb.square().sum().backward()
    assert torch.equal(leaves.means.grad, batched.means.grad[1])


def _render_in_child(scene, cameras, expected, queue):
    queue.put(torch.equal(cpp(scene, cameras).rgb, expected))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_can_render(random_scene, make_cameras, monkeypatch):
    monkeypatch.setattr(kernels, "thread_count", lambda: 3)
    scene, cameras = random_scene(50), make_cameras(4, 20, 20)
    expected = cpp(scene, cameras).rgb  # starts the parent's threads, which the child does not inherit
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_render_in_child, args=(scene, cameras, expected, queue))
    child.start()
    child.join(20)
    alive = child.is_alive()
    child.kill()
    assert not alive and child.exitcode == 0
    assert queue.get()


def test_spawned_worker_can_render(random_scene, make_cameras):
    scene, cameras = random_scene(50), make_cameras(2, 20, 20)
    expected = render(scene, cameras)
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        views = workers.apply_async(render, (scene, cameras)).get(timeout=60)
    assert torch.equal(views.rgb, expected.rgb)


def _live_handles():
    gc.collect()
    return sum(type(o) is splat_cpu._Handle for o in gc.get_objects())


def test_memory_of_a_forward_pass_is_given_back(random_scene, make_cameras):
    scene, cameras = random_scene(20), make_cameras(1, 16, 16)
    before = _live_handles()
    leaf = dataclasses.replace(scene, colors=scene.colors.clone().requires_grad_())
    views = cpp(leaf, cameras)
    assert _live_handles() == before + 1
    del views  # backward never called
    assert _live_handles() == before
    loss = cpp(leaf, cameras).rgb.sum()
    (first,) = torch.autograd.grad(loss, leaf.colors, retain_graph=True)
    (second,) = torch.autograd.grad(loss, leaf.colors)
    assert torch.equal(first, second)
    del loss
    assert _live_handles() == before
    with torch.no_grad():
        cpp(leaf, cameras)
    assert _live_handles() == before


def test_second_derivative_is_refused(random_scene, make_cameras):
    scene = random_scene(5)
    leaf = dataclasses.replace(scene, colors=scene.colors.clone().requires_grad_())
    (gradient,) = torch.autograd.grad(
        cpp(leaf, make_cameras(1, 8, 8)).rgb.square().sum(), leaf.colors, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
