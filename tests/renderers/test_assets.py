"""Assets of splats and fields against the assets of parts that they were made from."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from renderers import assets
from renderers.assets import FieldAsset, SplatAsset
from scenes.asset import Asset, Convex, PartAsset, Pose
from scenes.gaussians import Gaussians, rotations
from scenes.parts import Parts
from scenes.radiance_field import HashField, PartField, VoxelField

BOX, BALL = (0.1, 0.1), (1.0, 1.0)


def part(exponents, centre, half, color=(0.8, 0.3, 0.1)) -> list[float]:
    return [1.0, *exponents, 0.0, *centre, *(math.log(h) for h in half), 1, 0, 0, 0, 1, 0, *color]


def asset(*parts: list[float]) -> Parts:
    return Parts.from_vectors(torch.tensor(parts, dtype=torch.float32))


def chair() -> Parts:
    legs = [part(BOX, (x, y, 0.2), (0.02, 0.02, 0.2)) for x in (-0.23, 0.23) for y in (-0.23, 0.23)]
    return asset(part(BOX, (0, 0, 0.42), (0.25, 0.25, 0.02)), part(BOX, (0, 0.23, 0.7), (0.25, 0.02, 0.27)), *legs)


def cubes() -> Parts:
    return asset(part(BOX, (-0.3, 0, 0.15), (0.15,) * 3), part(BOX, (0.3, 0, 0.2), (0.2,) * 3, (0.1, 0.2, 0.9)))


def ball() -> Parts:
    return asset(part(BALL, (0.1, 0, 0.4), (0.4,) * 3))


def with_crumb() -> Parts:
    return asset(part(BOX, (0, 0, 0.3), (0.3,) * 3), part(BALL, (0.1, 0.1, 0.8), (0.02,) * 3))


def splats(parts: Parts) -> Gaussians:
    return parts.gaussians(6000, inset=0.45)


def field(parts: Parts) -> PartField:
    return PartField(parts, density=500.0, softness=0.003)


def made(kind: str, *scenes: Parts) -> SplatAsset | FieldAsset:
    return SplatAsset.of([splats(p) for p in scenes]) if kind == "splats" else FieldAsset([field(p) for p in scenes])


def centre_of_mass(pieces: list[Convex]) -> np.ndarray:
    return np.average([c.centroid for c in pieces], axis=0, weights=[c.volume for c in pieces])


@pytest.fixture(scope="module", params=["splats", "field"])
def kind(request) -> str:
    return request.param


SHAPES = {"chair": chair, "cubes": cubes, "ball": ball, "crumb": with_crumb}


@pytest.fixture(scope="module")
def batch(kind) -> SplatAsset | FieldAsset:
    return made(kind, *(shape() for shape in SHAPES.values()))


@pytest.mark.parametrize("shape", SHAPES)
def test_bodies_are_those_of_the_parts(batch, shape):
    b = list(SHAPES).index(shape)
    found, wanted = batch.bodies()[b], PartAsset(SHAPES[shape]()[None]).bodies()[0]
    of_body = {k: [c for c in found if c.body == k] for k in sorted({c.body for c in found})}
    true = {k: [c for c in wanted if c.body == k] for k in sorted({c.body for c in wanted})}
    assert len(of_body) == len(true)
    for pieces in of_body.values():
        centre = centre_of_mass(pieces)
        same = min(true.values(), key=lambda other: float(np.linalg.norm(centre_of_mass(other) - centre)))
        np.testing.assert_allclose(centre, centre_of_mass(same), atol=0.012)
        volume = sum(c.volume for c in same)
        large = volume > 1e-3
        assert sum(c.volume for c in pieces) == pytest.approx(volume, rel=0.1 if large else 0.35)
        assert min(c.bottom for c in pieces) == pytest.approx(min(c.bottom for c in same), abs=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_hulls_are_small_and_their_vertices_lie_on_the_surface(batch, shape):
    b = list(SHAPES).index(shape)
    surface = cKDTree(batch.meshes()[b].vertices.numpy())
    for piece in batch.bodies()[b]:
        assert piece.solid == "hull" and piece.hull is not None and 4 <= len(piece.hull) <= 64
        assert piece.bottom == piece.hull[:, 2].min()
        np.testing.assert_array_equal(piece.position, piece.centroid)
        assert surface.query(piece.hull)[0].max() < 0.02


def test_meshes_are_closed_and_colored(batch):
    import trimesh

    for mesh, shape in zip(batch.meshes(), SHAPES.values(), strict=True):
        closed = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
        assert closed.is_watertight and closed.is_winding_consistent
        assert closed.volume == pytest.approx(float(shape().masses()[0].sum()), rel=0.1)
    blue = batch.meshes()[1].colors[batch.meshes()[1].vertices[:, 0] > 0].median(0).values
    assert blue[2] > 2 * blue[0]


def test_a_crumb_is_its_own_body_and_in_the_mesh(batch):
    b = list(SHAPES).index("crumb")
    small, large = sorted(batch.bodies()[b], key=lambda c: c.volume)
    assert small.body != large.body
    np.testing.assert_allclose(small.centroid, [0.1, 0.1, 0.8], atol=0.005)
    assert batch.meshes()[b].vertices[:, 2].max() == pytest.approx(0.82, abs=0.008)


def test_pieces_that_nearly_touch_are_one_body():
    def bodies(gap: float) -> int:
        far = asset(part(BOX, (-0.15, 0, 0.15), (0.15,) * 3), part(BOX, (0.15 + gap, 0, 0.15), (0.15,) * 3))
        return len({c.body for c in SplatAsset.of([splats(far)]).bodies()[0]})

    assert bodies(0.004) == 1
    assert bodies(0.04) == 2


def test_bodies_repeat(kind):
    first, second = (made(kind, chair()).bodies()[0] for _ in range(2))
    assert len(first) == len(second) > 3
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.hull, b.hull)


def test_the_surface_is_extracted_once(kind, monkeypatch):
    calls = []
    true = assets.extract
    monkeypatch.setattr(assets, "extract", lambda *a, **k: calls.append(1) or true(*a, **k))
    scenes = made(kind, cubes(), with_crumb())
    some = scenes[torch.tensor([1])]  # chosen before anything is computed
    some.bodies()
    assert len(calls) == 1
    for same in (scenes, scenes.to("cpu"), scenes.detach(), scenes[[1, 0]], scenes[:1]):
        same.meshes(), same.bodies()
    assert len(calls) == 2
    assert scenes[[1, 0]].meshes()[0] is scenes.meshes()[1]


def test_selecting(kind):
    scenes = made(kind, cubes(), with_crumb(), ball())
    assert isinstance(scenes, Asset) and scenes.parts is None and scenes.motion is None
    assert len(scenes) == 3 and scenes.device.type == "cpu"
    everything = scenes.gaussians(500).means
    for index, wanted in (
        (slice(1, 3), [1, 2]),
        ([2, 0], [2, 0]),
        (torch.tensor([1]), [1]),
        (torch.tensor([True, False, True]), [0, 2]),
    ):
        torch.testing.assert_close(scenes[index].gaussians(500).means, everything[wanted], rtol=0, atol=0)
    with pytest.raises(IndexError, match="an asset stays a batch"):
        scenes[torch.tensor(1)]


def empty(count: int = 0) -> Gaussians:
    return Gaussians(
        torch.zeros(count, 3), torch.ones(count, 4), torch.ones(count, 3), torch.zeros(count), torch.zeros(count, 3)
    )


def test_scenes_without_anything_to_see():
    broken = splats(ball())
    broken.means[7, 1] = math.nan
    blown = splats(ball())
    blown.scales[7, 1] = math.inf
    scenes = SplatAsset.of([empty(), empty(5), broken, splats(cubes()), blown])
    bodies = scenes.bodies()
    assert [len(some) for some in bodies] == [0, 0, 0, 2, 0]
    assert [len(mesh.faces) > 0 for mesh in scenes.meshes()] == [False, False, False, True, False]
    pose = Pose(np.eye(3), np.array([0, 0, 1.0]))
    still = scenes.moved([{0: pose}] * 5).gaussians()
    torch.testing.assert_close(still.means[2], scenes.scene.means[2], equal_nan=True, rtol=0, atol=0)


def test_fields_without_anything_to_see():
    low, high = torch.zeros(3), torch.ones(3)
    clear = VoxelField(torch.zeros(4, 4, 4), torch.rand(4, 4, 4, 3), low, high)
    fog = VoxelField(torch.full((4, 4, 4), 0.1), torch.rand(4, 4, 4, 3), low, high)
    broken = VoxelField(torch.full((4, 4, 4), math.nan), torch.rand(4, 4, 4, 3), low, high)
    endless = VoxelField(torch.full((4, 4, 4), 90.0), torch.rand(4, 4, 4, 3), low, high + math.inf)
    solid = VoxelField(torch.full((4, 4, 4), 90.0), torch.rand(4, 4, 4, 3), low, high)
    scenes = FieldAsset([clear, fog, broken, endless, solid])
    assert [len(some) for some in scenes.bodies()] == [0, 0, 0, 0, 1]
    assert scenes.bodies()[-1][0].volume == pytest.approx(1, rel=0.05)
    shown = scenes.gaussians(100)
    assert shown.means.isfinite().all()
    assert [(row > 0).all().item() for row in shown.opacities] == [False, False, False, False, True]


def test_gaussians_of_splats_are_the_scene_itself_with_its_gradient():
    scene = Gaussians.stack([splats(cubes()), splats(ball())])
    leaf = scene.means.clone().requires_grad_()
    scenes = SplatAsset(Gaussians(leaf, scene.quats, scene.scales, scene.opacities, scene.colors))
    scenes.meshes()
    assert scenes.gaussians(10, fine=True) is scenes.scene
    assert not scenes.detach().gaussians().means.requires_grad
    scenes[[1]].gaussians().means.sum().backward()
    assert leaf.grad is not None and leaf.grad[1].eq(1).all() and leaf.grad[0].eq(0).all()


def test_padding_shows_nothing():
    scenes = SplatAsset.of([splats(cubes()), ball().gaussians(100)])
    assert scenes.gaussians().means.shape == (2, 6000, 3)
    assert (scenes.gaussians().opacities[1, 100:] == 0).all()


def test_gaussians_of_a_field_follow_its_surface():
    """The gradient of a mean is that of the surface point: a ball grows along its normals."""

    def at(log_radius: torch.Tensor) -> PartField:
        vector = torch.tensor([part(BALL, (0, 0, 0.5), (0.3,) * 3)])
        return field(Parts.from_vectors(torch.cat([vector[:, :7], log_radius.expand(1, 3), vector[:, 10:]], 1)))

    log_radius = torch.tensor(math.log(0.3), requires_grad=True)
    scene = FieldAsset([at(log_radius)]).gaussians(800)
    means = scene.means[0]
    outward = (means.detach() - torch.tensor([0, 0, 0.5])) / 0.3
    assert (outward.norm(dim=-1) - 1).abs().max() < 0.02
    (growth,) = torch.autograd.grad((means * outward).sum(-1).mean(), log_radius)
    assert growth.item() == pytest.approx(0.3, rel=0.03)  # d radius / d log radius
    torch.testing.assert_close(scene.colors[0], torch.tensor([0.8, 0.3, 0.1]).expand(800, 3), atol=1e-4, rtol=0)
    assert not FieldAsset([at(log_radius)]).detach().gaussians(10).means.requires_grad


def test_colors_of_a_field_have_gradients():
    density, colors = torch.full((6, 6, 6), 200.0), torch.full((6, 6, 6, 3), 0.4, requires_grad=True)
    scene = FieldAsset([VoxelField(density, colors, torch.zeros(3), torch.ones(3))]).gaussians(300)
    scene.colors.sum().backward()
    assert colors.grad is not None and colors.grad.sum().item() == pytest.approx(900, rel=1e-4)


def test_fine_gaussians_lie_deeper():
    coarse, fine = (FieldAsset([field(ball())]).gaussians(400, fine=fine).means[0] for fine in (False, True))
    centre = torch.tensor([0.1, 0, 0.4])
    assert ((coarse - centre).norm(dim=-1) - (fine - centre).norm(dim=-1) > 0.005).all()


def test_a_batched_field_is_split():
    corners = torch.tensor([[0.0, 0, 0], [1, 1, 1]])
    fields = VoxelField(torch.full((2, 3, 3, 3), 90.0), torch.rand(2, 3, 3, 3, 3), corners, corners + 0.5)
    scenes = FieldAsset.of(fields)
    assert [round(some[0].centroid[0], 2) for some in scenes.bodies()] == [0.25, 1.25]
    with pytest.raises(ValueError, match=r"takes single fields.*FieldAsset\.of"):
        FieldAsset([fields])
    with pytest.raises(ValueError, match="a batch of scenes"):
        FieldAsset.of(fields[0])
    with pytest.raises(ValueError, match="at least one field"):
        FieldAsset([])


def test_a_decoder_is_detached_and_its_own_stays():
    decoder = torch.nn.Linear(4, 4)
    corner = torch.zeros(3)
    scenes = FieldAsset([HashField(torch.rand(2, 64, 2), decoder, corner, corner + 1)])
    assert scenes.gaussians(20).colors.requires_grad
    assert not scenes.detach().gaussians(20).colors.requires_grad
    assert decoder.weight.requires_grad


def quarter_turn() -> np.ndarray:
    return np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def test_splats_move_with_their_body():
    scene = splats(cubes())
    scene = Gaussians(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, torch.rand(6000, 3, 3) - 0.5
    )
    scenes = SplatAsset.of([scene, splats(ball())])
    left = min(scenes.bodies()[0], key=lambda c: c.centroid[0]).body
    pose = Pose(quarter_turn(), np.array([0.0, 0.0, 0.5]))
    moved = scenes.moved([{left: pose}, {}]).gaussians()
    mine = scene.means[:, 0] < 0
    assert 1000 < mine.sum() < 5000
    expected = torch.where(mine[:, None], scene.means @ torch.tensor(pose.rotation.T).float(), scene.means)
    expected[mine, 2] += 0.5
    torch.testing.assert_close(moved.means[0], expected, atol=1e-6, rtol=0)
    turned = torch.tensor(pose.rotation).float() @ rotations(scene.quats)
    torch.testing.assert_close(rotations(moved.quats[0])[mine], turned[mine], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved.quats[0][~mine], scene.quats[~mine], atol=0, rtol=0)
    # Degree 1 is a vector (-y, z, -x); a quarter turn about z takes x to y.
    assert scene.sh_rest is not None and moved.sh_rest is not None
    y, z, x = scene.sh_rest.unbind(1)
    torch.testing.assert_close(moved.sh_rest[0][mine], torch.stack([x, z, -y], 1)[mine], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved.sh_rest[0][~mine], scene.sh_rest[~mine], atol=0, rtol=0)
    torch.testing.assert_close(moved.means[1], scenes.scene.means[1], atol=0, rtol=0)


def test_the_bodies_of_moved_splats_are_where_the_pose_puts_them():
    scenes = SplatAsset.of([splats(cubes())])
    right = max(scenes.bodies()[0], key=lambda c: c.centroid[0])
    pose = Pose(quarter_turn(), np.array([0.0, 0.1, 0.2]))
    after = scenes.moved([{right.body: pose}]).bodies()[0]
    large = max(after, key=lambda c: c.volume)
    np.testing.assert_allclose(large.centroid, pose.rotation @ right.centroid + pose.translation, atol=0.01)
    assert large.volume == pytest.approx(right.volume, rel=0.05)


def test_a_moved_field_is_moved_splats():
    scenes = FieldAsset([field(cubes())])
    moved = scenes.moved([{c.body: Pose(np.eye(3), np.array([0, 0, 1.0])) for c in scenes.bodies()[0]}])
    assert isinstance(moved, SplatAsset)
    still = scenes.gaussians(fine=True)
    torch.testing.assert_close(moved.gaussians().means, still.means + torch.tensor([0, 0, 1.0]))
    with pytest.raises(ValueError, match="each of the 1 scenes, got 0"):
        scenes.moved([])
