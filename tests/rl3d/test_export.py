"""Export of asset folders, splats and meshes."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from renderers.baking import vertex_normals
from renderers.surface import extract
from rl3d import GenerateConfig, generate
from rl3d.export import export, label
from rl3d.pictures import poster
from scenes.files import FileError
from scenes.files.glb import Y_UP, chunks, read_parts, write_glb
from scenes.files.ply import read_ply, write_ply
from scenes.files.splat import read_splat, write_splat
from scenes.files.splats import read_gaussians
from scenes.gaussians import transformed
from scenes.parts import (
    CENTRE_X,
    COLOR,
    METALLIC,
    PATTERN,
    PATTERNS,
    ROUGHNESS,
    SECOND_COLOR,
    Parts,
)


@pytest.fixture
def parts() -> Parts:
    vectors = torch.zeros(1, 19)
    vectors[:, [0, 1, 2, 10, 14]] = 1
    vectors[:, 7:10] = -1.5
    return Parts.from_vectors(vectors)


@pytest.fixture
def asset(tmp_path, parts):
    folder = tmp_path / "ball"
    folder.mkdir()
    write_ply(folder / "scene.ply", parts.gaussians(100))
    write_glb(folder / "mesh.glb", parts)
    return folder


def test_an_asset_becomes_any_format(asset, tmp_path, parts):
    out = tmp_path / "made" / "on the way"
    for suffix in (".ply", ".splat", ".GLB"):
        export(asset, out / f"ball{suffix}")
    assert read_ply(out / "ball.ply").count == read_splat(out / "ball.splat").count == 100
    assert (out / "ball.GLB").read_bytes() == (asset / "mesh.glb").read_bytes()
    volume = trimesh.load_scene(out / "ball.GLB").to_mesh().volume
    assert volume == pytest.approx(float(parts.masses()[0]), rel=0.02)


def test_printers_get_millimetres_and_engines_metres(asset, tmp_path, parts):
    volume = float(parts.masses()[0])
    for suffix, unit in ((".stl", 1000.0), (".3mf", 1000.0), (".obj", 1.0)):
        export(asset, tmp_path / f"a{suffix}")
        mesh = trimesh.load_scene(tmp_path / f"a{suffix}").to_mesh()
        mesh.merge_vertices(merge_norm=True, merge_tex=True)
        assert mesh.volume == pytest.approx(volume * unit**3, rel=0.02), suffix
    assert (tmp_path / "a.mtl").is_file()
    low, high = trimesh.load_mesh(tmp_path / "a.stl").bounds
    expected = parts.gaussians(2000).means
    assert torch.tensor(high - low).allclose(1000 * (expected.amax(0) - expected.amin(0)).double(), rtol=0.05), (
        "z is up"
    )


@pytest.fixture(scope="module")
def armchair(tmp_path_factory):
    """A generated asset, as a user exports it."""
    folder = tmp_path_factory.mktemp("generated") / "armchair"
    (made,) = generate("a red armchair with white legs", GenerateConfig(out=folder))
    return folder, made.asset.parts[0]


def test_parts_become_one_solid_without_inner_walls(armchair, tmp_path):
    folder, parts = armchair
    export(folder, tmp_path / "solid.glb", united=True)
    solid = trimesh.load_scene(tmp_path / "solid.glb").to_mesh()
    solid.merge_vertices(merge_norm=True, merge_tex=True)
    assert solid.is_watertight and solid.is_winding_consistent
    # The volume of the union, from random points that are inside some part.
    low, high = solid.bounds
    points = (
        torch.rand(400_000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor(high - low).float()
        + torch.tensor(low).float()
    )
    ours = points[:, [0, 2, 1]] * torch.tensor([1.0, -1.0, 1.0])  # y up to z up
    there = parts.present()
    inside = (there.distance(ours.expand(there.count, -1, 3)) < 0).any(0).float().mean()
    assert solid.volume == pytest.approx(float(inside) * float(torch.tensor(high - low).prod()), rel=0.01)
    assert solid.volume < 0.999 * float(there.masses()[0].sum()), "parts overlap, the union does not count that twice"


@pytest.mark.parametrize(
    ("prompt", "united"), [("", False), ("", True), ("a christmas tree", True), ("a blue robot with an antenna", False)]
)
def test_a_textured_mesh_looks_like_the_splats(armchair, tmp_path, prompt, united):
    from renderers import render
    from scenes.cameras import orbit
    from scenes.mesh import Mesh

    folder = tmp_path / "asset" if prompt else armchair[0]
    if prompt:
        generate(prompt, GenerateConfig(out=folder))
    export(folder, tmp_path / "baked.glb", united=united, texture=512)
    baked = trimesh.load_scene(tmp_path / "baked.glb", process=False).to_mesh()
    material = baked.visual.material
    assert isinstance(material.baseColorTexture, Image.Image) and material.baseColorTexture.size == (512, 512)
    assert material.metallicFactor == 0 and 0.5 < material.roughnessFactor <= 1
    vertices = torch.tensor(baked.vertices).float()[:, [0, 2, 1]] * torch.tensor([1.0, -1.0, 1.0])
    picture = torch.tensor(np.asarray(material.baseColorTexture.convert("RGB")) / 255.0).float()
    mesh = Mesh(vertices, torch.tensor(baked.faces), uvs=torch.tensor(baked.visual.uv).float(), texture=picture)
    rig = orbit(8, size=256)
    splats, triangles = render(read_ply(folder / "scene.ply"), rig), render(mesh, rig)
    psnr = -10 * (splats.rgb - triangles.rgb).square().mean((1, 2, 3)).log10()
    assert psnr.min() > 25, psnr


def test_splats_become_a_mesh_with_a_budget_and_a_texture(armchair, tmp_path):
    folder, parts = armchair
    export(folder / "scene.ply", tmp_path / "scan.glb", max_faces=5000, texture=256)
    scan = trimesh.load_scene(tmp_path / "scan.glb").to_mesh()
    assert len(scan.faces) <= 5000 and scan.visual.material.baseColorTexture.size == (256, 256)
    surface = torch.tensor(trimesh.sample.sample_surface(scan, 3000, seed=0)[0]).float()[:, [0, 2, 1]] * torch.tensor(
        [1.0, -1.0, 1.0]
    )
    there = parts.present()
    off = there.distance(surface.expand(there.count, -1, 3)).amin(0).abs()
    extent = float((surface.amax(0) - surface.amin(0)).max())
    assert off.mean() < 0.01 * extent, "the extracted surface lies on the parts'"
    export(folder, tmp_path / "solid.glb", united=True)
    points, near = (
        trimesh.sample.sample_surface(mesh, count, seed=0)[0]
        for mesh, count in ((trimesh.load_scene(tmp_path / "solid.glb").to_mesh(), 3000), (scan, 100_000))
    )
    assert cKDTree(near).query(points)[0].mean() < 0.01 * extent, "and the parts' on the extracted one"


def decoded(path, count: int):
    """Points on a textured .glb, z up, decoded as glTF 2.0 specifies: normals of the faces, of the
    vertices, and of the normal map, each (count, 3)."""
    data = path.read_bytes()
    tree, binary = chunks(data)
    (primitive,) = tree["meshes"][0]["primitives"]

    def numbers(index: int) -> np.ndarray:
        accessor = tree["accessors"][index]
        start = tree["bufferViews"][accessor["bufferView"]].get("byteOffset", 0) + accessor.get("byteOffset", 0)
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        dtype = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
        return np.frombuffer(binary, dtype, width * accessor["count"], start).reshape(-1, width)

    def unit(vectors: np.ndarray) -> np.ndarray:
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    view = tree["bufferViews"][
        tree["images"][tree["textures"][tree["materials"][0]["normalTexture"]["index"]]["source"]]["bufferView"]
    ]
    picture = (
        np.asarray(Image.open(io.BytesIO(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]])))
        / 255
        * 2
        - 1
    )
    vertices = {name: numbers(index).astype(float) for name, index in primitive["attributes"].items()}
    faces = numbers(primitive["indices"]).reshape(-1, 3)
    shape = trimesh.Trimesh(vertices["POSITION"], faces, process=False)
    points, index = trimesh.sample.sample_surface(shape, count, seed=0)
    weights = trimesh.triangles.points_to_barycentric(shape.triangles[index], points)[..., None]
    normal, uv, tangent = (
        (weights * vertices[name][faces[index]]).sum(1) for name in ("NORMAL", "TEXCOORD_0", "TANGENT")
    )
    normal, along = unit(normal), unit(tangent[:, :3])
    across = np.cross(normal, along) * tangent[:, 3:]
    place = (
        np.stack([uv[:, 1] * picture.shape[0], uv[:, 0] * picture.shape[1]]) - 0.5
    )  # texture coordinates count from the top
    texel = np.stack([map_coordinates(picture[..., i], place, order=1, mode="nearest") for i in range(3)], -1)
    mapped = unit(texel[:, :1] * along + texel[:, 1:2] * across + texel[:, 2:] * normal)
    turn = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    return [torch.tensor(np.asarray(t)).float() @ turn for t in (points, shape.face_normals[index], normal, mapped)]


def off_deg(parts: Parts, points, faces, normals):
    """Angle between the normals and those of the parts. Of the parts near a point, the one that
    faces most like the face counts."""
    there = parts.present()
    places = points.expand(there.count, -1, 3)
    exact = there.normals(places)
    nearest = (there.distance(places).abs() + 0.02 * (1 - (exact * faces).sum(-1))).argmin(0)
    return (exact[nearest, torch.arange(len(points))] * normals).sum(-1).clamp(-1, 1).acos().rad2deg()


@pytest.mark.parametrize("united", [False, True])
def test_a_normal_map_holds_the_normals_of_the_parts(armchair, tmp_path, united):
    folder, parts = armchair
    export(folder, tmp_path / "a.glb", texture=512, united=united)
    points, faces, normals, mapped = decoded(tmp_path / "a.glb", 5000)
    without, with_map = (off_deg(parts, points, faces, n) for n in (normals, mapped))
    assert with_map.mean() < 1 and with_map.quantile(0.95) < 3
    assert with_map.mean() < without.mean() / 3
    material = trimesh.load_scene(tmp_path / "a.glb").to_mesh().visual.material
    assert material.normalTexture.size == material.baseColorTexture.size == (512, 512)


def test_a_mesh_of_few_faces_is_lit_as_what_it_was(armchair, tmp_path):
    """500 faces with a normal map, lit from the side, compared with the mesh before simplification
    and with the parts."""
    folder, parts = armchair
    export(folder / "scene.ply", tmp_path / "a.glb", texture=512, max_faces=500)
    points, faces, normals, mapped = decoded(tmp_path / "a.glb", 5000)
    without, with_map = (off_deg(parts, points, faces, n) for n in (normals, mapped))
    assert with_map.mean() < 0.6 * without.mean()
    dense = extract(read_ply(folder / "scene.ply"))
    of_vertices = vertex_normals(dense)
    near = of_vertices[torch.from_numpy(cKDTree(dense.vertices.numpy()).query(points.numpy())[1])]
    light = torch.nn.functional.normalize(torch.tensor([0.5, -0.6, 0.62]), dim=0)
    error = [((n @ light).clamp_min(0) - (near @ light).clamp_min(0)).square().mean().sqrt() for n in (normals, mapped)]
    assert error[1] < 0.6 * error[0]


def test_a_mesh_of_another_program_has_no_normal_map(tmp_path):
    """Its finer surface is unknown."""
    (tmp_path / "a.glb").write_bytes(trimesh.Scene(trimesh.creation.icosphere(subdivisions=2)).export(file_type="glb"))
    export(tmp_path / "a.glb", tmp_path / "b.glb", texture=64)
    tree, _ = chunks((tmp_path / "b.glb").read_bytes())
    assert (
        "normalTexture" not in tree["materials"][0]
        and "TANGENT" not in tree["meshes"][0]["primitives"][0]["attributes"]
    )


def test_a_simulator_takes_the_body_and_lets_it_stand(armchair, tmp_path):
    """MuJoCo loads both formats. The mass is that of the union, and on a floor the chair does not
    move."""
    import mujoco

    folder, parts = armchair
    export(folder, tmp_path / "solid.glb", united=True)
    solid = trimesh.load_scene(tmp_path / "solid.glb").to_mesh()
    solid.merge_vertices(merge_norm=True, merge_tex=True)
    for suffix in (".xml", ".urdf"):
        export(folder, tmp_path / f"chair{suffix}")
        assert len(list((tmp_path / f"chair_{suffix[1:]}_parts").glob("*.stl"))) == int(parts.exists.sum())
        if suffix == ".urdf":  # a URDF's first link is the ground: the chair gets one to be free of
            free = '<joint name="free" type="floating"><parent link="ground"/><child link="chair"/></joint>'
            text = (tmp_path / "chair.urdf").read_text()
            (tmp_path / "chair.urdf").write_text(text.replace("</robot>", f'<link name="ground"/>{free}</robot>'))
        spec = mujoco.MjSpec.from_file(str(tmp_path / f"chair{suffix}"))
        model = spec.compile()
        assert model.body_mass[1] == pytest.approx(500 * solid.volume, rel=1e-3)
        assert model.body_ipos[1][2] == pytest.approx(solid.center_mass[1], abs=1e-3), "z is up"
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[5, 5, 0.1])
        model = spec.compile()
        data = mujoco.MjData(model)
        data.qpos[2] = 0.01
        for _ in range(1000):
            mujoco.mj_step(model, data)
        assert abs(data.qpos[3]) > 0.999 and abs(data.qpos[2]) < 0.03, "it stands where it was put"


def test_the_meshes_of_another_body_do_not_stay(asset, armchair, tmp_path):
    for folder, count in ((armchair[0], int(armchair[1].exists.sum())), (asset, 1)):
        export(folder, tmp_path / "body.urdf")
        assert len(list((tmp_path / "body_urdf_parts").iterdir())) == count
    (tmp_path / "body_urdf_parts" / "mine.txt").write_text("kept")
    before = (tmp_path / "body.urdf").read_bytes()
    with pytest.raises(FileError, match="is not the meshes of a body that rl3d wrote"):
        export(armchair[0], tmp_path / "body.urdf")
    assert (tmp_path / "body_urdf_parts" / "mine.txt").exists() and (tmp_path / "body.urdf").read_bytes() == before


def test_a_capture_is_turned_upright(asset, tmp_path):
    upright = read_ply(asset / "scene.ply")
    lying = transformed(upright, torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))  # its z is -y now
    write_ply(tmp_path / "capture.ply", lying)
    export(tmp_path / "capture.ply", tmp_path / "stands.ply", axes="y-down")
    torch.testing.assert_close(read_ply(tmp_path / "stands.ply").means, upright.means)
    for source in (asset, asset / "mesh.glb"):
        with pytest.raises(FileError, match="axes is for files of splats"):
            export(source, tmp_path / "b.glb", axes="y-down")


def test_options_that_do_not_apply_are_refused(asset, tmp_path):
    for source, target, options, message in (
        ("scene.ply", "a.glb", {"united": True}, "splats have none"),
        ("", "a.glb", {"max_faces": 9}, "max_faces is for meshes made from splats"),
        ("", "a.glb", {"texture": 100_000}, "16 to 8192 texels"),
        ("", "a.spz", {"texture": 64}, "are for meshes"),
    ):
        with pytest.raises(FileError, match=message):
            export(asset / source, tmp_path / target, **options)
    assert not list(tmp_path.glob("a.*"))


def test_an_obj_names_its_texture_after_itself(asset, tmp_path):
    export(asset, tmp_path / "my ball.obj", texture=64)
    assert {p.name for p in tmp_path.glob("my ball*")} == {"my ball.obj", "my ball.mtl", "my ball_texture.png"}
    assert trimesh.load_mesh(tmp_path / "my ball.obj").visual.material.image.size == (64, 64)


@pytest.fixture
def striped(tmp_path, parts) -> Path:
    """A ball with stripes and a metal ball, as the folder of an asset."""
    vectors = parts.vectors().repeat(2, 1)
    vectors[1, CENTRE_X] = 1.0
    vectors[0, COLOR], vectors[0, SECOND_COLOR] = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.2, 0.9])
    vectors[0, PATTERN.start + PATTERNS.index("stripes")] = 1.0
    vectors[1, COLOR], vectors[1, METALLIC], vectors[1, ROUGHNESS] = 0.6, 1.0, 0.3
    (tmp_path / "striped").mkdir()
    write_glb(tmp_path / "striped" / "mesh.glb", Parts.from_vectors(vectors))
    return tmp_path / "striped"


@pytest.mark.parametrize("united", [False, True])
def test_a_baked_texture_has_patterns_and_finishes(striped, tmp_path, united):
    export(striped, tmp_path / "baked.glb", texture=256, united=united)
    baked = trimesh.load_scene(tmp_path / "baked.glb").to_mesh()
    seen = baked.visual.to_color().vertex_colors[:, :3] / 255
    parts = read_parts("mesh.glb", (striped / "mesh.glb").read_bytes())
    places = torch.tensor(baked.vertices @ Y_UP[:3, :3]).float()
    normals = torch.tensor(baked.vertex_normals @ Y_UP[:3, :3]).float()
    part = (places[:, 0] > 0.5).long()
    expected = parts.painted(part, places, normals)
    off = (torch.tensor(seen) - expected).abs().amax(-1)
    assert (off < 0.1).float().mean() > 0.9 and all((part == i).any() for i in (0, 1))
    plain = parts.plain(parts.colors).painted(part, places, normals)
    assert ((plain - expected).abs().amax(-1) > 0.1).float().mean() > 0.3, "without materials it looks otherwise"


def test_materials_of_other_formats(striped, tmp_path):
    export(striped, tmp_path / "a.obj")
    assert "map_Kd a_texture.png" in (tmp_path / "a.mtl").read_text()
    picture = np.array(Image.open(tmp_path / "a_texture.png").convert("RGB")).reshape(-1, 3)
    np.testing.assert_allclose(np.unique(picture, axis=0) / 255, [[0.1, 0.2, 0.9], [0.8, 0.1, 0.1]], atol=1 / 255)
    usd = pytest.importorskip("pxr.Usd")
    export(striped, tmp_path / "a.usda")
    stage = usd.Stage.Open(str(tmp_path / "a.usda"))
    prims = [prim for prim in stage.Traverse() if prim.GetTypeName() == "Mesh"]
    shown = max((np.array(prim.GetAttribute("primvars:displayColor").Get()) for prim in prims), key=len)
    linear = [[0.0100, 0.0331, 0.7874], [0.6038, 0.0100, 0.0100]]  # of both colours
    np.testing.assert_allclose(np.unique(shown.round(2), axis=0), np.round(linear, 2), atol=0.011)


def test_textures_of_several_parts_keep_their_names(striped, tmp_path):
    parts = read_parts("mesh.glb", (striped / "mesh.glb").read_bytes())
    write_glb(striped / "mesh.glb", replace(parts, patterns=parts.patterns[[0, 0]].roll(1, -1)))
    export(striped, tmp_path / "b.obj")
    pictures = sorted(p.name for p in tmp_path.glob("b*.png"))
    assert pictures == ["b_part_00.png", "b_part_01.png"]
    assert all(f"map_Kd {name}" in (tmp_path / "b.mtl").read_text() for name in pictures)


def test_pictures(armchair, tmp_path):
    folder, _ = armchair
    for suffix in (".webp", ".png", ".mp4"):
        export(folder, tmp_path / f"a{suffix}")
    turn = Image.open(tmp_path / "a.webp")
    assert turn.n_frames == 72 and turn.size == (384, 384) and turn.info["loop"] == 0
    poster = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    assert poster.shape[1] == 900 and poster.shape[0] > 1200
    red = (poster[..., 0] > poster[..., 1] + 60) & (poster[..., 0] > poster[..., 2] + 60)
    assert red[:900].mean() > 0.05 and all(red[900:1200, 300 * i : 300 * (i + 1)].mean() > 0.05 for i in range(3)), (
        "from four sides"
    )
    assert (poster[1210:].max(-1) < 80).sum() > 500, "words"
    export(folder / "scene.ply", tmp_path / "b.png")


def test_usd_holds_both(armchair, tmp_path):
    pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom, UsdValidation

    folder, parts = armchair
    for suffix in (".usda", ".usdc"):
        export(folder, tmp_path / f"a{suffix}")
        stage = Usd.Stage.Open(str(tmp_path / f"a{suffix}"))
        assert UsdGeom.GetStageUpAxis(stage) == "Z" and UsdGeom.GetStageMetersPerUnit(stage) == 1
        kinds = [prim.GetTypeName() for prim in stage.Traverse()]
        assert kinds.count("ParticleField3DGaussianSplat") == 1 and kinds.count("Mesh") == int(parts.exists.sum())
        validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
        found = UsdValidation.ValidationContext(validators).Validate(stage)
        assert len(validators) > 20 and not found, [error.GetMessage() for error in found]
        again = read_gaussians(tmp_path / f"a{suffix}")
        torch.testing.assert_close(again.means, read_ply(folder / "scene.ply").means)


def test_single_files_are_exported(asset, tmp_path):
    export(asset / "scene.ply", tmp_path / "a.splat")
    export(tmp_path / "a.splat", tmp_path / "b.ply")
    torch.testing.assert_close(read_ply(tmp_path / "b.ply").means, read_ply(asset / "scene.ply").means)
    export(asset / "mesh.glb", asset / "mesh.glb")
    assert len(trimesh.load_scene(asset / "mesh.glb").geometry) == 1


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("ball", ".glb", "that is a suffix alone; give the file a name"),
        ("ball", "a.fbx", r"the suffix must be one of \.ply, \.splat, .*\.3mf"),
        ("missing", "a.ply", "there is no such file or folder"),
        ("empty", "a.ply", "the folder has no scene.ply"),
        ("empty", "a.glb", "the folder has no mesh.glb"),
        ("clear.ply", "a.glb", r"cannot export .*clear\.ply to \.glb: its splats show no surface"),
        ("ball/mesh.glb", "a.ply", "it is a mesh"),
        ("text.txt", "a.ply", "give an asset's folder"),
        ("text.glb", "a.glb", "it is not a .glb file"),
        ("ball", "text.txt/a.ply", "cannot write .*text.txt/a.ply: Not a directory"),
        ("ball", "empty.glb", "it is a folder"),
    ],
)
def test_impossible_requests_are_refused_in_one_line(asset, tmp_path, parts, source, target, message):
    for name in ("empty", "empty.glb"):
        (tmp_path / name).mkdir()
    clear = parts.gaussians(10)
    write_ply(tmp_path / "clear.ply", replace(clear, opacities=torch.full_like(clear.opacities, 1e-3)))
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "text.glb").write_text("text")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileError, match=message) as error:
        export(tmp_path / source, tmp_path / target)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_splats_become_a_closed_mesh(asset, tmp_path, parts):
    """From a file, and from a folder without a mesh: as red and as large as the splats."""
    export(asset / "scene.ply", tmp_path / "a.glb")
    (asset / "mesh.glb").unlink()
    export(asset, tmp_path / "b.glb")
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    mesh = trimesh.load_scene(tmp_path / "a.glb").to_mesh()
    mesh.merge_vertices(merge_norm=True)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(float(parts.masses()[0]), rel=0.15)


def test_splats_of_another_program(tmp_path, parts):
    write_splat(tmp_path / "scan.splat", parts.gaussians(10))
    export(str(tmp_path / "scan.splat"), str(tmp_path / "scan.ply"))
    assert read_ply(tmp_path / "scan.ply").count == 10


def test_a_card_of_any_size_fits_on_a_poster(asset, parts):
    values = {"good": 0.5, "x" * 1000: 1.0, "huge": 10**400, "none": None, **{str(i): 0.1 for i in range(99)}}
    card = {"prompt": "w" * 300_000, "rewards": {name: {"value": value} for name, value in values.items()}}
    (asset / "card.json").write_text(json.dumps(card))
    title, facts = label(asset)
    assert title == "w" * 400 and facts[:2] == [("good", "0.50"), ("x" * 40, "1.00")] and len(facts) == 8
    assert poster(parts.gaussians(10), title, facts, size=90).height < 2000


@pytest.mark.parametrize("suffix", [".urdf", ".glb"])
def test_flat_splats_have_no_body_and_no_texture(tmp_path, suffix):
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2], [0, 2, 1]], process=False)
    (tmp_path / "a.glb").write_bytes(trimesh.Scene(flat).export(file_type="glb"))
    with pytest.raises(FileError) as error:
        export(tmp_path / "a.glb", tmp_path / f"b{suffix}", **({"texture": 16} if suffix == ".glb" else {}))
    assert "\n" not in str(error.value)


def test_an_empty_splat_file_is_a_scene_without_gaussians(tmp_path):
    """The format has no header, so an empty file is an empty scene."""
    source = tmp_path / "a.splat"
    source.touch()
    for suffix in (".ply", ".splat", ".spz", ".sog", ".splat.glb", ".usdc"):
        export(source, tmp_path / f"b{suffix}")
        export(tmp_path / f"b{suffix}", tmp_path / "c.splat")
        assert (tmp_path / "c.splat").read_bytes() == b""
    export(source, tmp_path / "b.png")
    with pytest.raises(FileError, match="show no surface"):
        export(source, tmp_path / "b.glb")
