"""Meshes against closed forms: a ball's outline, depth and normals, the gradient of its area, and
what its triangles share."""

import math
import types
from dataclasses import replace

import numpy as np
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


class _Meshes:
    """PyTorch3D's batch of meshes, as far as the rasteriser reads it."""

    def __init__(self, verts, faces):
        assert verts.ndim == faces.ndim == 3 and len(verts) == len(faces)
        self.verts, self.faces = verts.numpy().astype(float), faces.numpy()


def _rasterize_meshes(
    meshes,
    image_size=256,
    blur_radius=0.0,
    faces_per_pixel=8,
    bin_size=None,
    max_faces_per_bin=None,
    perspective_correct=False,
    clip_barycentric_coords=False,
    cull_backfaces=False,
    z_clip_value=None,
    cull_to_frustum=False,
):
    """PyTorch3D's rasteriser in plain numpy, for hard edges and one face a pixel: pix_to_face
    (numbered through the batch), zbuf, bary_coords, dists.

    Normalised coordinates point left and up; the shorter side spans -1 to 1.
    """
    assert blur_radius == 0 and faces_per_pixel == 1 and not cull_backfaces
    h, w = image_size
    count = meshes.faces.shape[1]
    pix_to_face = np.full((len(meshes.verts), h, w, 1), -1)
    zbuf, bary = np.full(pix_to_face.shape, -1.0), np.full((*pix_to_face.shape, 3), -1.0)
    for n, (verts, faces) in enumerate(zip(meshes.verts, meshes.faces)):
        assert z_clip_value is None or verts[:, 2].min() > z_clip_value, "clipping is not imitated"
        for row in range(h):
            for column in range(w):
                at = np.array([(w - 2 * column - 1), (h - 2 * row - 1)]) / min(h, w)
                weights, inside = _barycentric(verts[faces][..., :2], at)
                z = verts[faces][..., 2]
                if perspective_correct:
                    weights = weights / z
                    weights = weights / weights.sum(-1, keepdims=True)
                depth = np.where(inside, (weights * z).sum(-1), np.inf)
                if inside.any():
                    best = depth.argmin()
                    pix_to_face[n, row, column] = n * count + best
                    zbuf[n, row, column], bary[n, row, column] = depth[best], weights[best]
    return torch.tensor(pix_to_face), torch.tensor(zbuf), torch.tensor(bary), torch.zeros(pix_to_face.shape)


def _kaolin_rasterize(
    height, width, face_vertices_z, face_vertices_image, face_features, valid_faces=None, multiplier=None, eps=None
):
    """Kaolin's rasteriser in plain numpy: interpolated features, and the face of each pixel, -1 for
    none.

    Image coordinates point right and up and span -1 to 1 both ways. z is interpolated linearly on
    the screen; the largest one wins.
    """
    z, corners = face_vertices_z.numpy().astype(float), face_vertices_image.numpy().astype(float)
    features = face_features.numpy()
    found = np.full((len(z), height, width), -1)
    image = np.zeros((*found.shape, features.shape[-1]))
    for n in range(len(z)):
        valid = np.ones(z.shape[1], bool) if valid_faces is None else valid_faces[n].numpy()
        for row in range(height):
            for column in range(width):
                at = np.array([(2 * column + 1 - width) / width, (height - 2 * row - 1) / height])
                weights, inside = _barycentric(corners[n], at)
                depth = np.where(inside & valid, (weights * z[n]).sum(-1), -np.inf)
                if (inside & valid).any():
                    best = found[n, row, column] = depth.argmax()
                    image[n, row, column] = weights[best] @ features[n, best]
    return torch.tensor(image), torch.tensor(found)


def _barycentric(corners, at):
    """Barycentric coordinates (f, 3) of a point in triangles (f, 3, 2), and in which of them it
    lies."""
    a, b, c = np.moveaxis(corners - at, 1, 0)
    pairs = ((b, c), (c, a), (a, b))
    areas = np.stack([p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in pairs], -1)
    total = areas.sum(-1, keepdims=True)
    weights = areas / np.where(np.abs(total) < 1e-12, 1, total)
    return weights, (weights > 0).all(-1) & (np.abs(total[:, 0]) >= 1e-12)


STAND_INS = {
    "pytorch3d": {
        "pytorch3d": {},
        "pytorch3d.renderer": {},
        "pytorch3d.renderer.mesh": {"rasterize_meshes": _rasterize_meshes},
        "pytorch3d.structures": {"Meshes": _Meshes},
    },
    "kaolin": {"kaolin": {}, "kaolin.render": {}, "kaolin.render.mesh": {"rasterize": _kaolin_rasterize}},
}


@pytest.fixture(params=STAND_INS)
def library(request, monkeypatch) -> str:
    """A stand-in for a library that the package index lacks. It shares no code with ours."""
    _install(monkeypatch, STAND_INS[request.param])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return request.param


def _crossing() -> tuple[Mesh, Cameras]:
    """Two scenes of steep triangles that run through each other, with nothing symmetric: the images
    are not square and their centres are off."""
    rng = torch.Generator().manual_seed(3)
    vertices = 1.6 * torch.rand(2, 36, 3, generator=rng) - 0.8
    faces = torch.arange(36).view(1, 12, 3).repeat(2, 1, 1)
    faces[1, -2:] = 0  # the second scene is smaller
    cameras = orbit(2, size=24, radius=2.4, target=(0.1, 0.0, 0.1))
    Ks = cameras.Ks.clone()
    Ks[:, 0, 2], Ks[:, 1, 2], Ks[:, 1, 1] = 19.0, 10.0, 1.2 * Ks[:, 1, 1]
    colors = torch.rand(2, 36, 3, generator=rng)
    return Mesh(vertices, faces, colors), replace(cameras, Ks=Ks, width=34)


def _differing(backend: str) -> float:
    """Fraction of the pixels that a backend draws otherwise than ``mesh-torch``."""
    scene, cameras = _crossing()
    ours, theirs = (render(scene, cameras, backend=name) for name in ("mesh-torch", backend))
    assert 0.3 < (ours.alpha > 0).double().mean() < 0.9
    other = ((ours.rgb - theirs.rgb).abs().amax(-1) > 1e-4) | ((ours.depth - theirs.depth).abs().amax(-1) > 1e-4)
    return other.double().mean().item()


def test_other_libraries_draw_the_same(library):
    assert _differing(library) < 2e-3


@pytest.mark.parametrize("fault", ["left", "up", "depth", "shorter side"])
def test_a_wrong_convention_would_show(library, fault, monkeypatch):
    right = mesh._normalized

    def wrong(points, K, width, height):
        out = right(points, K, width, height)
        if fault == "shorter side":
            return out * out.new_tensor([height / width, height / width, 1.0])
        if fault == "depth":
            return torch.cat([out[..., :2], 5.0 - out[..., 2:]], -1)
        return out * out.new_tensor([-1.0, 1.0, 1.0] if fault == "left" else [1.0, -1.0, 1.0])

    monkeypatch.setattr(mesh, "_normalized", wrong)
    assert _differing(library) > 0.1


def test_faces_are_numbered_within_their_mesh(library):
    scene, cameras = _crossing()
    K = torch.stack([cameras.Ks[:, i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))], -1).expand(2, -1, -1)
    rotation, translation = cameras.viewmats[:, :3, :3], cameras.viewmats[:, :3, 3]
    points = scene.vertices.unsqueeze(1) @ rotation.transpose(-1, -2) + translation.unsqueeze(-2)
    ours, theirs = (
        rasterize(points, scene.faces, K, 34, 24) for rasterize in (mesh.rasterize_torch, mesh.RASTERIZERS[library][0])
    )
    assert ours.max() > 8 and (ours == -1).any()
    assert (ours != theirs).double().mean() < 2e-3


def _install(monkeypatch, modules):
    for name, members in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        module.__spec__ = types.SimpleNamespace(name=name, loader=None)
        monkeypatch.setitem(__import__("sys").modules, name, module)
