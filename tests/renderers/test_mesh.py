"""Meshes against closed forms: a ball's outline, depth and normals, the gradient of its area, and
what its triangles share."""

import math
import types
from dataclasses import replace

import pytest
import torch
import trimesh

from renderers import kernels, mesh, render
from scenes.cameras import Cameras, orbit
from scenes.mesh import Mesh

FOCAL, SIZE, DISTANCE = 80.0, 64, 3.0


def ball(radius: float = 0.5, subdivisions: int = 4, **fields) -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    vertices = torch.tensor(shape.vertices, dtype=torch.float64)
    return Mesh(vertices, torch.tensor(shape.faces), **fields)


def straight_ahead(size: int = SIZE, focal: float = FOCAL, distance: float = DISTANCE) -> Cameras:
    """One camera on the -z axis that looks at the origin along +z, x to the right and y down."""
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[2, 3] = distance
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(viewmat[None], K[None], size, size)


def outline_area(radius: float, focal: float = FOCAL, distance: float = DISTANCE) -> float:
    """Pixels inside the circle in which a pinhole on the axis sees a ball."""
    return math.pi * (focal * radius) ** 2 / (distance**2 - radius**2)


@pytest.fixture(params=["mesh-cpp", "mesh-torch"])
def backend(request):
    if reason := mesh.RASTERIZERS[request.param][1]():
        pytest.skip(reason)
    return request.param


def test_a_ball_has_its_outline_depth_and_normals(backend):
    views = render(ball(), straight_ahead(), outputs=("normal",), backend=backend)
    offset = (torch.arange(SIZE, dtype=torch.float64) + 0.5 - SIZE / 2) / FOCAL
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    a = 1 + x**2 + y**2
    discriminant = DISTANCE**2 - a * (DISTANCE**2 - 0.25)
    inside = discriminant > 0.02
    depth = (DISTANCE - discriminant.clamp_min(0).sqrt()) / a
    assert (views.alpha[0, ..., 0][inside] == 1).all()
    assert (views.alpha[0, ..., 0][discriminant < -0.05] == 0).all()
    assert (views.depth[0, ..., 0] - depth)[inside].abs().max() < 5e-3
    assert views.alpha.sum().item() == pytest.approx(outline_area(0.5), rel=0.005)
    point = torch.stack([x * depth, y * depth, depth - DISTANCE], -1) / 0.5
    assert views.normal is not None
    assert (views.normal[0] * point).sum(-1)[inside].min() > 0.99


def test_gradient_of_the_outlines_area_is_the_circles():
    """An outline crosses a few dozen rows and columns of pixels, so one size errs by some percent;
    twelve sizes together do not."""
    shape, ratios = ball(), []
    for size in torch.linspace(0.9, 1.1, 12, dtype=torch.float64):
        scale = size.clone().requires_grad_()
        area = render(replace(shape, vertices=shape.vertices * scale), straight_ahead()).alpha.sum()
        (gradient,) = torch.autograd.grad(area, scale)
        radius, step = 0.5 * size.item(), 1e-3
        assert area.item() == pytest.approx(outline_area(radius), rel=0.005)
        expected = (outline_area(0.5 * (size.item() + step)) - outline_area(0.5 * (size.item() - step))) / (2 * step)
        ratios.append(gradient.item() / expected)
    assert all(0.92 < ratio < 1.08 for ratio in ratios)
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.015)


def test_gradients_match_finite_differences(make_cameras):
    """Everything that moves the image, to second order, where no pixel changes hands."""
    rng = torch.Generator().manual_seed(0)
    shape = ball(subdivisions=1)
    texture = torch.rand(5, 4, 3, generator=rng, dtype=torch.float64)
    fields = {
        "vertices": shape.vertices + torch.tensor([0.02, -0.01, 0.47], dtype=torch.float64),
        "colors": torch.rand(shape.vertices.shape, generator=rng, dtype=torch.float64),
        "normals": torch.nn.functional.normalize(shape.vertices, dim=-1),
        "uvs": 0.1 + 0.8 * torch.rand(len(shape.vertices), 2, generator=rng, dtype=torch.float64),
        "texture": texture,
    }
    cameras = make_cameras(2, 17, 13).to(torch.float64)
    viewmats, Ks = cameras.viewmats.clone(), cameras.Ks.clone()
    background = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64)

    def image(values: dict[str, torch.Tensor]) -> torch.Tensor:
        names = ("vertices", "colors", "normals", "uvs", "texture")
        drawn = Mesh(faces=shape.faces, **{name: values[name] for name in names})
        rig = replace(cameras, viewmats=values["viewmats"], Ks=values["Ks"])
        views = render(drawn, rig, background=values["background"], outputs=("normal",))
        return torch.cat([views.rgb, views.alpha, views.depth, views.normal], -1)

    inputs = {**fields, "viewmats": viewmats, "Ks": Ks, "background": background}
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    drawn = image(leaves)
    weights = torch.randn(drawn.shape, generator=rng, dtype=torch.float64)
    gradients = dict(zip(leaves, torch.autograd.grad((drawn * weights).sum(), list(leaves.values())), strict=True))
    for name, value in inputs.items():
        direction = torch.randn(value.shape, generator=rng, dtype=torch.float64)
        step = 1e-6
        moved = [((image({**inputs, name: value + sign * step * direction})) * weights).sum() for sign in (1, -1)]
        numeric = (moved[0] - moved[1]).item() / (2 * step)
        assert (gradients[name] * direction).sum().item() == pytest.approx(numeric, rel=1e-4, abs=1e-4), name


def test_neighbours_leave_no_gap(backend):
    """A wall of triangles, of which every pixel sees exactly one, wherever the edges fall."""
    steps = torch.linspace(-2, 2, 14, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    vertices = torch.stack([x, y, torch.zeros_like(x)], -1).view(-1, 3)
    corner = (torch.arange(13)[:, None] * 14 + torch.arange(13)).flatten()
    faces = torch.cat(
        [torch.stack([corner, corner + 1, corner + 14], -1), torch.stack([corner + 1, corner + 15, corner + 14], -1)]
    )
    for distance in (2.0, 3.1, 3.7):
        views = render(Mesh(vertices, faces), straight_ahead(distance=distance), backend=backend)
        assert views.alpha.eq(1).all()
        torch.testing.assert_close(views.depth, torch.full_like(views.depth, distance), atol=1e-9, rtol=0)


def test_triangles_through_the_camera_are_cut_at_the_near_plane(backend):
    """The ground under the camera: its horizon is in the middle of the image, and it fills all
    below."""
    ground = torch.tensor(
        [[-100.0, 0.5, -100], [100, 0.5, -100], [100, 0.5, 100], [-100, 0.5, 100]], dtype=torch.float64
    )
    views = render(Mesh(ground, torch.tensor([[0, 1, 2], [0, 2, 3]])), straight_ahead(distance=0.0), backend=backend)
    alpha = views.alpha[0, ..., 0]
    assert alpha[33:].eq(1).all() and alpha[:32].eq(0).all()
    rows = torch.arange(34, SIZE, dtype=torch.float64) + 0.5 - SIZE / 2
    torch.testing.assert_close(views.depth[0, 34:, 10, 0], 0.5 * FOCAL / rows)


def test_colors_and_texture_are_interpolated_in_perspective(backend):
    """A plane that leans away: a texture coordinate grows evenly along the plane, not along the
    image."""
    near, far = 1.0, 4.0
    vertices = torch.tensor([[-0.5, 0, near], [0.5, 0, near], [0.5, 0, far], [-0.5, 0, far]], dtype=torch.float64)
    vertices[:, 1] = 0.4 * vertices[:, 2] - 0.6
    ramp = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]], dtype=torch.float64)
    views = render(
        Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), colors=ramp), straight_ahead(distance=0.0), backend=backend
    )
    seen = views.alpha[0, ..., 0] == 1
    depth = views.depth[0, ..., 0]
    torch.testing.assert_close(views.rgb[0, ..., 0][seen], ((depth - near) / (far - near))[seen])


def test_batches_are_their_meshes(backend):
    shapes = [ball(0.5, 2), ball(0.3, 1)]
    batch = Mesh.stack(shapes)
    cameras = straight_ahead(20, 25.0)
    both = render(batch, cameras, backend=backend)
    for i, shape in enumerate(shapes):
        assert torch.equal(both.rgb[i], render(shape, cameras, backend=backend).rgb)
        assert torch.equal(both.depth[i], render(batch[i], cameras, backend=backend).depth)


def test_rasterizers_agree(random_scene):
    if reason := kernels.unavailable():
        pytest.skip(reason)
    rng = torch.Generator().manual_seed(1)
    vertices, faces = torch.rand(60, 3, generator=rng) - 0.5, torch.randint(0, 60, (80, 3), generator=rng)
    cameras = orbit(3, size=40, radius=0.9, target=(0.0, 0.0, 0.0))  # some triangles reach behind the camera
    K = torch.stack([cameras.Ks[:, i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))], -1)[None]
    points = (vertices @ cameras.viewmats[:, :3, :3].transpose(-1, -2) + cameras.viewmats[:, :3, 3].unsqueeze(-2))[None]
    one, other = (draw(points, faces[None], K, 40, 40) for draw in (mesh.rasterize_cpp, mesh.rasterize_torch))
    assert (one != other).double().mean() < 1e-3
    assert (one >= 0).double().mean() > 0.5


def test_degenerate_meshes(backend):
    cameras = straight_ahead(9, 10.0)
    line = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), torch.tensor([[0, 1, 2], [0, 0, 0]]))
    nothing = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long))
    behind = Mesh(torch.tensor([[0.0, 0, -9], [1, 0, -9], [0, 1, -9]]), torch.tensor([[0, 1, 2]]))
    huge = Mesh(1e30 * torch.tensor([[0.0, 0, 1], [1, 0, 1], [0, 1, 1]]), torch.tensor([[0, 1, 2]]))
    for shape in (line, nothing, behind, huge):
        views = render(shape, cameras, backend=backend)
        assert views.rgb.isfinite().all() and views.depth.isfinite().all()
        if shape is not huge:
            assert views.alpha.eq(0).all() and views.rgb.eq(1).all()
    with pytest.raises(ValueError, match=r"Mesh\.vertices holds nan at index"):
        render(replace(line, vertices=line.vertices * math.nan), cameras, backend=backend)
    with pytest.raises(ValueError, match=r"Mesh\.faces must hold indices of 3 vertices, got 0 to 3"):
        replace(line, faces=torch.tensor([[0, 1, 3]]))


def test_pytorch3d_gets_its_own_conventions(monkeypatch):
    """A stand-in with PyTorch3D's signature and coordinates (left, up, shorter side -1 to 1),
    drawing with our rasteriser."""

    class Meshes:
        def __init__(self, verts, faces):
            self.verts, self.faces = verts, faces

    def rasterize_meshes(meshes, image_size, blur_radius, faces_per_pixel, z_clip_value, cull_backfaces):
        h, w = image_size
        half = min(h, w) / 2
        x, y = w / 2 - meshes.verts[..., 0] * half, h / 2 - meshes.verts[..., 1] * half
        z = meshes.verts[..., 2]
        points = torch.stack([x * z, y * z, z], -1).unsqueeze(1)
        K = torch.tensor([1.0, 1, 0, 0]).expand(len(points), 1, 4)
        found = mesh.rasterize_torch(points, meshes.faces, K, w, h).squeeze(1)
        packed = torch.where(found >= 0, found + torch.arange(len(found)).view(-1, 1, 1) * meshes.faces.shape[1], -1)
        return packed.unsqueeze(-1), None, None, None

    modules = {
        "pytorch3d": {},
        "pytorch3d.renderer": {},
        "pytorch3d.renderer.mesh": {"rasterize_meshes": rasterize_meshes},
    }
    _install(monkeypatch, {**modules, "pytorch3d.structures": {"Meshes": Meshes}})
    _assert_same_pictures("pytorch3d")


def test_kaolin_gets_its_own_conventions(monkeypatch):
    """A stand-in with Kaolin's signature and coordinates (right, up, -1 to 1 both ways, z
    negative)."""

    def rasterize(height, width, face_vertices_z, face_vertices_image, face_features, valid_faces):
        x = (face_vertices_image[..., 0] + 1) * width / 2
        y = (1 - face_vertices_image[..., 1]) * height / 2
        z = -face_vertices_z
        points = torch.stack([x * z, y * z, z], -1)
        points = torch.where(valid_faces[..., None, None], points, 0)
        b, f = points.shape[:2]
        faces = torch.arange(3 * f).view(1, f, 3).expand(b, f, 3)
        K = torch.tensor([1.0, 1, 0, 0]).expand(b, 1, 4)
        return None, mesh.rasterize_torch(points.view(b, 1, 3 * f, 3), faces, K, width, height).squeeze(1)

    _install(monkeypatch, {"kaolin": {}, "kaolin.render": {}, "kaolin.render.mesh": {"rasterize": rasterize}})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    _assert_same_pictures("kaolin")


def _install(monkeypatch, modules):
    for name, members in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        module.__spec__ = types.SimpleNamespace(name=name, loader=None)
        monkeypatch.setitem(__import__("sys").modules, name, module)


def _assert_same_pictures(backend):
    shapes = Mesh.stack([ball(0.5, 2), ball(0.3, 1)]).to(torch.float32)
    cameras = orbit(2, size=30, radius=2.0, target=(0.0, 0.0, 0.1))
    cameras = replace(cameras, width=44)
    ours, theirs = (render(shapes, cameras, backend=name) for name in ("mesh-torch", backend))
    assert (ours.alpha > 0).double().mean() > 0.02
    assert ((ours.rgb - theirs.rgb).abs().amax(-1) > 1e-4).double().mean() < 2e-3
    assert ((ours.depth - theirs.depth).abs() > 1e-4).double().mean() < 2e-3
