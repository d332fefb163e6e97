"""Every format of Gaussians: what is read back is what was written, within what the format can
hold, and damaged files are refused."""

import io
import json
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenes.cameras import orbit
from scenes.files import FileError
from scenes.files.sog import write_sog
from scenes.files.splats import READERS, SILENT, read_gaussians, write_gaussians
from scenes.files.spz import write_spz
from scenes.gaussians import Gaussians, transformed

# Largest error of means (metres), log scales, opacities, colours, rotations (1 - |dot|), and
# harmonics, of the scenes made here.
TOLERANCE = {
    ".ply": (0, 1e-5, 1e-6, 1e-6, 1e-6, 0),
    ".splat": (0, 1e-6, 1 / 500, 1 / 500, 2e-4, None),
    ".spz": (0.5 / 4096 + 1e-6, 0.5 / 16 + 1e-6, 1 / 500, 0.0038, 1e-5, 0.07),
    ".sog": (2e-4, 0.06, 1 / 500, 0.02, 5e-5, 0.05),
    **dict.fromkeys((".splat.glb", ".usda", ".usdc"), (0, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6)),
}


def gentle(scene: Gaussians) -> Gaussians:
    """With harmonics that .spz can hold, which are at most 1."""
    rest = None if scene.sh_rest is None else 0.2 * scene.sh_rest.clamp(-4, 4)
    return Gaussians(scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, rest)


@pytest.mark.parametrize("k", [0, 3, 8, 15])
@pytest.mark.parametrize("n", [0, 1, 1000, 200_000])
@pytest.mark.parametrize("suffix", READERS)
def test_round_trip(tmp_path, make_scene, suffix, n, k):
    scene = gentle(make_scene(n, k))
    write_gaussians(tmp_path / f"a{suffix}", scene)
    again = read_gaussians(tmp_path / f"a{suffix}")
    means, logs, opacities, colors, turn, rest = TOLERANCE[suffix]
    assert again.count == n
    if n == 0:
        return
    assert (again.means - scene.means).abs().max() <= means + 1e-6 * scene.means.abs().max()
    assert (again.scales.log() - scene.scales.log()).abs().max() <= logs
    assert (again.opacities - scene.opacities).abs().max() <= opacities
    assert (again.colors - scene.colors).abs().max() <= colors
    assert (1 - (again.quats * scene.quats).sum(-1).abs()).max() <= turn
    if rest is not None and k:
        assert again.sh_degree == scene.sh_degree
        if suffix == ".sog" and n > 65_536:  # similar Gaussians share their harmonics
            assert (again.sh_rest - scene.sh_rest).square().mean() < 0.9 * scene.sh_rest.var()
        else:
            assert (again.sh_rest - scene.sh_rest).abs().max() <= rest


@pytest.mark.parametrize("suffix", READERS)
def test_scenes_are_turned_upright(tmp_path, make_scene, suffix):
    """A capture's up axis, -y, becomes z here. Its front, which a camera looking along z sees,
    faces -y."""
    scene = gentle(make_scene(100, 15))
    write_gaussians(tmp_path / f"a{suffix}", scene)
    if suffix not in SILENT:
        with pytest.raises(FileError, match="stores its up axis; do not give one"):
            read_gaussians(tmp_path / f"a{suffix}", "y-down")
        return
    x, y, z = read_gaussians(tmp_path / f"a{suffix}").means.unbind(-1)
    for axes, turned in (("y-down", [x, z, -y]), ("y-up", [x, -z, y])):
        means = read_gaussians(tmp_path / f"a{suffix}", axes).means
        torch.testing.assert_close(means, torch.stack(turned, -1), atol=1e-5, rtol=1e-5)


def test_an_spz_is_what_its_layout_says(tmp_path):
    """Byte for byte, by hand: one Gaussian, turned a quarter about z, at (1, 2, -3) of the .ply's
    axes."""
    half = 0.5**0.5
    scene = Gaussians(
        torch.tensor([[1.0, 2, -3]]),
        torch.tensor([[half, 0, 0, half]]),
        torch.tensor([[1.0, 1, 1]]),
        torch.tensor([1.0]),
        torch.full((1, 3), 0.5),
    )
    write_spz(tmp_path / "a.spz", scene)
    data = zlib.decompress((tmp_path / "a.spz").read_bytes(), wbits=31)
    assert data[:16] == struct.pack("<4sIIBBBB", b"NGSP", 3, 1, 0, 12, 0, 0)
    places = [int.from_bytes(data[16 + 3 * i : 19 + 3 * i], "little", signed=True) for i in range(3)]
    assert places == [4096, -2 * 4096, 3 * 4096]
    assert data[25] == 255 and list(data[26:29]) == [128] * 3 and list(data[29:32]) == [160] * 3
    packed = int.from_bytes(data[32:], "little")
    # xyzw = (0, 0, -h, h): z and w tie, the first is the largest, and turned positive it makes w
    # negative.
    assert (
        packed >> 30 == 2
        and packed & 1023 == 512 + 511
        and (packed >> 10) & 0xFFFFF in (0, 1 << 19, 1 << 9, (1 << 19) + (1 << 9))
    )


def test_an_spz_of_version_4_is_the_same_columns_apart(tmp_path, make_scene):
    import zstandard

    scene = gentle(make_scene(50, 8))
    write_spz(tmp_path / "a.spz", scene)
    data = zlib.decompress((tmp_path / "a.spz").read_bytes(), wbits=31)
    start, streams = 16, []
    for width in (9, 1, 3, 3, 4, 24):
        streams.append(zstandard.compress(data[start : start + 50 * width]))
        start += 50 * width
    sizes = b"".join(struct.pack("<QQ", len(s), 50 * w) for s, w in zip(streams, (9, 1, 3, 3, 4, 24), strict=True))
    extension = b"whatever"
    header = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, 50, 2, 12, 2, 6, 32 + len(extension))
    whole = header + extension + sizes + b"".join(streams)
    (tmp_path / "b.spz").write_bytes(whole)
    for a, b in zip(
        vars(read_gaussians(tmp_path / "a.spz")).values(),
        vars(read_gaussians(tmp_path / "b.spz")).values(),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for cut in range(0, len(whole) - 1, 7):
        (tmp_path / "b.spz").write_bytes(whole[:cut])
        with pytest.raises(FileError):
            read_gaussians(tmp_path / "b.spz")
    bomb = header + extension + struct.pack("<QQ", 100, 2**40) * 6 + bytes(600)
    (tmp_path / "b.spz").write_bytes(bomb)
    with pytest.raises(FileError, match="not of 50 Gaussians"):
        read_gaussians(tmp_path / "b.spz")


def test_a_scene_is_turned_with_its_harmonics(make_scene):
    """Seen by a camera that turns along, a turned scene is the same picture."""
    from renderers import render
    from scenes.cameras import Cameras

    scene = gentle(make_scene(60, 15))
    scene = Gaussians(
        0.3 * scene.means, scene.quats, 0.3 * scene.scales + 0.03, scene.opacities, scene.colors, scene.sh_rest
    )
    axis = torch.tensor([0.3, -0.5, 0.8])
    rotation = torch.linalg.matrix_exp(
        torch.tensor([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]]) * 1.3
    )
    moved = transformed(scene, rotation, torch.tensor([0.1, 0.2, 0.3]), scale=1.5)
    rig = orbit(2, size=32)
    back = torch.eye(4)
    back[:3, :3], back[:3, 3] = rotation.T / 1.5, -rotation.T @ torch.tensor([0.1, 0.2, 0.3]) / 1.5
    views = rig.viewmats @ back
    views[..., :3, :] *= 1.5  # the same lengths in the camera
    before, after = render(scene, rig), render(moved, Cameras(views, rig.Ks, 32, 32))
    torch.testing.assert_close(after.rgb, before.rgb, atol=2e-3, rtol=0)
    assert before.alpha.max() > 0.5


def test_a_glb_of_others_stands_upright(tmp_path, make_scene):
    """Without a node that turns it, what is up in glTF is up in ours; quantised attributes and
    strides are understood."""
    scene = make_scene(5, 3)
    write_gaussians(tmp_path / "a.splat.glb", scene)
    data = (tmp_path / "a.splat.glb").read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    tree = json.loads(data[20 : 20 + size])
    del tree["nodes"][0]["rotation"]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + data[20 + size :]
    (tmp_path / "b.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)
    again = read_gaussians(tmp_path / "b.glb")
    x, y, z = scene.means.unbind(-1)
    torch.testing.assert_close(again.means, torch.stack([x, -z, y], -1))
    expected = transformed(scene, torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
    torch.testing.assert_close(again.sh_rest, expected.sh_rest, atol=1e-5, rtol=1e-4)


def spoiled(data: bytes, draw_bytes: list[tuple[float, int]], keep: float) -> bytes:
    out = bytearray(data)
    for place, value in draw_bytes:
        out[int(place * (len(out) - 1))] = value
    return bytes(out[: int(keep * len(out))])


USUAL = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
DAMAGE = {
    "changes": st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    "keep": st.one_of(st.just(1.0), st.floats(0, 1)),
}


@pytest.mark.parametrize("suffix", [suffix for suffix in READERS if not suffix.startswith(".usd")])
@settings(max_examples=100, **USUAL)
@given(inside=st.booleans(), **DAMAGE)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, make_scene, suffix, changes, keep, inside):
    damage(tmp_path, make_scene, suffix, changes, keep, inside)


@pytest.mark.parametrize("suffix", [".usda", ".usdc"])
@settings(max_examples=8, **USUAL)
@given(**DAMAGE)
def test_damaged_usd_files_are_read_or_refused_in_one_line(tmp_path, make_scene, suffix, changes, keep):
    """Half a second each, for a process of OpenUSD's own."""
    damage(tmp_path, make_scene, suffix, changes, keep, inside=False)


def damage(tmp_path, make_scene, suffix: str, changes: list[tuple[float, int]], keep: float, inside: bool) -> None:
    path = tmp_path / f"a{suffix}"
    write_gaussians(path, make_scene(9, 3))
    data = path.read_bytes()
    if inside and suffix == ".spz":  # damage what the checksum would hide
        data = zlib.compress(spoiled(zlib.decompress(data, wbits=31), changes, keep), wbits=31)
    elif inside and suffix == ".sog":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        target = sorted(files)[len(changes) % len(files)]
        files[target] = spoiled(files[target], changes, keep)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        data = out.getvalue()
    else:
        data = spoiled(data, changes, keep)
    path.write_bytes(data)
    try:
        scene = read_gaussians(path)
    except FileError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert all(t.isfinite().all() for t in (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors))


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    header = struct.pack("<4sIIBBBB", b"NGSP", 3, 2**31, 3, 12, 0, 0)
    (tmp_path / "a.spz").write_bytes(zlib.compress(header + bytes(10_000_000), wbits=31))
    with pytest.raises(FileError, match="2147483648 Gaussians"):
        read_gaussians(tmp_path / "a.spz")
    scene = Gaussians(torch.zeros(4, 3), torch.ones(4, 4), torch.ones(4, 3), torch.ones(4), torch.ones(4, 3))
    write_sog(tmp_path / "a.sog", scene)
    with zipfile.ZipFile(tmp_path / "a.sog") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.sog", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, bytes(200_000_000) if name == "means_l.webp" else content)
    with pytest.raises(FileError, match="more than its Gaussians can need"):
        read_gaussians(tmp_path / "b.sog")
    from PIL import Image

    huge = io.BytesIO()
    Image.fromarray(np.zeros((4000, 4000, 4), np.uint8)).save(huge, "WEBP", lossless=True)
    with zipfile.ZipFile(tmp_path / "c.sog", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, huge.getvalue() if name == "means_l.webp" else content)
    with pytest.raises(FileError, match="16000000 pixels for 4 entries"):
        read_gaussians(tmp_path / "c.sog")


def test_a_sog_packed_otherwise_or_damaged_within_is_refused(tmp_path):
    scene = Gaussians(torch.zeros(4, 3), torch.ones(4, 4), torch.ones(4, 3), torch.ones(4), torch.ones(4, 3))
    write_sog(tmp_path / "a.sog", scene)
    with zipfile.ZipFile(tmp_path / "a.sog") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for method, message in (
        (zipfile.ZIP_DEFLATED, "or damaged"),
        (zipfile.ZIP_LZMA, "packed in a way"),
        (zipfile.ZIP_BZIP2, "packed in a way"),
    ):
        with zipfile.ZipFile(tmp_path / "b.sog", "w", method) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        data = bytearray((tmp_path / "b.sog").read_bytes())
        data[50:90] = bytes(b ^ 0x5A for b in data[50:90])
        (tmp_path / "b.sog").write_bytes(data)
        with pytest.raises(FileError, match=message) as error:
            read_gaussians(tmp_path / "b.sog")
        assert "\n" not in str(error.value)


def test_a_glb_of_nodes_that_name_each_other_is_refused_at_once(tmp_path):
    count = 4000
    tree = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_gaussian_splatting"],
        "scenes": [{"nodes": [0]}],
        "nodes": [{"children": [0] * count}] + [{}] * count,
    }
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    (tmp_path / "a.splat.glb").write_bytes(
        struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text
    )
    with pytest.raises(FileError, match="do not form a tree"):
        read_gaussians(tmp_path / "a.splat.glb")


def test_a_sog_reads_no_files_outside_the_archive(tmp_path):
    """Its meta.json may name any file: only members of the archive are ever read."""
    scene = Gaussians(torch.zeros(4, 3), torch.ones(4, 4), torch.ones(4, 3), torch.ones(4), torch.ones(4, 3))
    write_sog(tmp_path / "a.sog", scene)
    with zipfile.ZipFile(tmp_path / "a.sog") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(files["meta.json"])
    meta["quats"]["files"] = ["../../etc/passwd"]
    with zipfile.ZipFile(tmp_path / "b.sog", "w") as archive:
        for name, content in {**files, "meta.json": json.dumps(meta).encode()}.items():
            archive.writestr(name, content)
    with pytest.raises(FileError, match=r"it has no \.\./\.\./etc/passwd"):
        read_gaussians(tmp_path / "b.sog")
