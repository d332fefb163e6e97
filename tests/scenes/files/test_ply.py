"""3DGS .ply: against gsplat's exporter and plyfile, other people's layouts, and files that are
wrong."""

import numpy as np
import plyfile
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenes.files import FileError
from scenes.files.ply import read_ply, write_ply
from scenes.files.splats import read_gaussians, write_gaussians
from scenes.gaussians import SH_C0, Gaussians

FIELDS = ("means", "quats", "scales", "opacities", "colors", "sh_rest")


def assert_same(one: Gaussians, two: Gaussians, **tolerance) -> None:
    for name in FIELDS:
        torch.testing.assert_close(
            getattr(one, name),
            getattr(two, name),
            **(tolerance or {"rtol": 1e-5, "atol": 1e-6}),
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("k", [0, 3, 8, 15])
@pytest.mark.parametrize("n", [0, 1, 40])
def test_round_trip(tmp_path, make_scene, n, k):
    scene = make_scene(n, k)
    write_ply(tmp_path / "a.ply", scene)
    # Without Gaussians no harmonic is left to say which degree it was.
    assert_same(read_ply(tmp_path / "a.ply"), scene if n else make_scene(0, 0))


def gsplat_bytes(scene: Gaussians) -> bytes:
    export_splats = pytest.importorskip("gsplat.exporter").export_splats
    rest = torch.zeros(scene.count, 0, 3) if scene.sh_rest is None else scene.sh_rest
    sh0 = ((scene.colors - 0.5) / SH_C0).unsqueeze(1)
    return export_splats(scene.means, scene.scales.log(), scene.quats, scene.opacities.logit(), sh0, rest, format="ply")


@pytest.mark.parametrize("k", [0, 3, 8, 15])
def test_gsplats_file_is_read(tmp_path, make_scene, k):
    scene = make_scene(40, k)
    (tmp_path / "theirs.ply").write_bytes(gsplat_bytes(scene))
    assert_same(read_ply(tmp_path / "theirs.ply"), scene)


@pytest.mark.parametrize("k", [0, 3, 8, 15])
def test_our_file_holds_what_gsplats_does_column_by_column(tmp_path, make_scene, k):
    scene = make_scene(40, k)
    write_ply(tmp_path / "ours.ply", scene)
    (tmp_path / "theirs.ply").write_bytes(gsplat_bytes(scene))
    ours, theirs = (plyfile.PlyData.read(tmp_path / name)["vertex"].data for name in ("ours.ply", "theirs.ply"))
    names = [name for name in theirs.dtype.names if not name.startswith("f_rest")]
    for name in names:
        assert ours.dtype[name] == np.dtype("<f4")
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-5, atol=2e-6, err_msg=name)
    for channel in range(3):  # ours has room for degree 3, theirs for the scene's: both run through a channel first
        for i in range(15):
            expected = theirs[f"f_rest_{channel * k + i}"] if i < k else np.zeros(40)
            np.testing.assert_array_equal(ours[f"f_rest_{channel * 15 + i}"], expected)


def test_the_layout_is_that_of_the_reference_code(tmp_path, make_scene):
    write_ply(tmp_path / "a.ply", make_scene())
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    columns = [
        "x",
        "y",
        "z",
        "nx",
        "ny",
        "nz",
        *(f"f_dc_{i}" for i in range(3)),
        *(f"f_rest_{i}" for i in range(45)),
        "opacity",
    ]
    columns += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    assert lines == [
        "ply",
        "format binary_little_endian 1.0",
        "element vertex 40",
        *(f"property float {c}" for c in columns),
    ]
    assert len(body) == 40 * 62 * 4


def test_extreme_values_stay_finite(tmp_path, make_scene):
    scene = make_scene(4)
    scene = Gaussians(
        scene.means, 3 * scene.quats, torch.zeros(4, 3), torch.tensor([0.0, 1.0, 1e-9, 0.5]), torch.full((4, 3), 2.0)
    )
    write_ply(tmp_path / "a.ply", scene)
    rows = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"].data
    assert all(np.isfinite(rows[name]).all() for name in rows.dtype.names)
    again = read_ply(tmp_path / "a.ply")
    torch.testing.assert_close(again.opacities, scene.opacities, rtol=0, atol=2e-6)
    assert again.scales.max() < 1e-11 and again.colors.allclose(torch.tensor(2.0))
    torch.testing.assert_close(again.quats, scene.quats / 3)


def write_table(path, columns: dict[str, np.ndarray], before: list | None = None, **options) -> None:
    """A .ply from another program, by plyfile."""
    table = np.empty(len(next(iter(columns.values()))), [(name, values.dtype.str) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    plyfile.PlyData([*(before or []), plyfile.PlyElement.describe(table, "vertex")], **options).write(path)


def columns_of(scene: Gaussians) -> dict[str, np.ndarray]:
    out = dict(zip("xyz", scene.means.T.numpy(), strict=True))
    out |= {f"f_dc_{i}": c for i, c in enumerate(((scene.colors - 0.5) / SH_C0).T.numpy())}
    out |= {"opacity": scene.opacities.logit().numpy()}
    out |= {f"scale_{i}": c for i, c in enumerate(scene.scales.log().T.numpy())} | {
        f"rot_{i}": c for i, c in enumerate(scene.quats.T.numpy())
    }
    return out


def test_other_orders_types_columns_and_elements(tmp_path, make_scene):
    scene = make_scene()
    columns = columns_of(scene)
    shuffled = {name: columns[name] for name in sorted(columns)}
    doubles = {name: values.astype("f8") for name, values in columns.items()}
    extra = {"segment": np.arange(40, dtype="u1"), **columns, "label": np.arange(40, dtype="i4")}
    cameras = plyfile.PlyElement.describe(np.zeros(3, [("a", "f8"), ("b", "u1")]), "camera")
    variants = [
        (shuffled, {}),
        (doubles, {}),
        (extra, {}),
        (columns, {"byte_order": ">"}),
        (columns, {"before": [cameras]}),
        (columns, {"comments": ["by us"]}),
    ]
    for i, (table, options) in enumerate(variants):
        write_table(tmp_path / f"{i}.ply", table, **options)
        assert_same(read_ply(tmp_path / f"{i}.ply"), scene)


def test_unnormalised_and_zero_quaternions(tmp_path, make_scene):
    scene = make_scene(3)
    columns = columns_of(scene)
    for i, scale in enumerate((1e-25, 1e15)):
        for c in range(4):
            columns[f"rot_{c}"][i] *= scale
    for c in range(4):
        columns[f"rot_{c}"][2] = 0
    write_table(tmp_path / "a.ply", columns)
    quats = read_ply(tmp_path / "a.ply").quats
    torch.testing.assert_close(quats[:2], make_scene(3).quats[:2])
    assert quats[2].tolist() == [1, 0, 0, 0]


def test_header_with_windows_line_ends(tmp_path, make_scene):
    scene = make_scene()
    write_ply(tmp_path / "a.ply", scene)
    head, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)
    (tmp_path / "b.ply").write_bytes((head + b"end_header\n").replace(b"\n", b"\r\n") + body)
    assert_same(read_ply(tmp_path / "b.ply"), scene)


GOOD_HEADER = "ply\nformat binary_little_endian 1.0\nelement vertex 1\n" + "".join(
    f"property float {c}\n"
    for c in "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is not a .ply file"),
        (b"solid cube", "it is not a .ply file"),
        (b"ply\nformat binary_little_endian 1.0\n", "its header has no end"),
        (b"ply\n" + b"comment " * 20000 + b"\nend_header\n", "its header has no end"),
        (b"ply\nelement vertex 1\nproperty float x\nend_header\n", "its header names no format"),
        (b"ply\nformat binary_little_endian 1.0\nend_header\n", "its header names no vertices"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n",
            "it is a text .ply; save it as binary_little_endian",
        ),
        (
            b"ply\nformat binary_little_endian 1.0\nelement vertex -5\nend_header\n",
            "a line that is not understood: 'element vertex -5'",
        ),
        (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty half x\nend_header\n",
            "not understood: 'property half x'",
        ),
        (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nproperty float x\nend_header\n",
            "names a column twice",
        ),
        (
            b"ply\nformat binary_little_endian "
            b"1.0\nelement vertex "
            b"1\nproperty float "
            b"x\nproperty uchar "
            b"red\nend_header\n",
            r"it has no y, z, f_dc_0, f_dc_1 \.\.\.;",
        ),
        (
            b"ply\nformat binary_little_endian 1.0\nelement face 1\nproperty list "
            b"uchar int "
            b"vertex_indices\nend_header\n",
            "it looks like a mesh",
        ),
        ((GOOD_HEADER + "end_header\n").encode() + b"\0" * 55, "its header says 1 Gaussians but only 0 are there"),
        (
            (GOOD_HEADER.replace("vertex 1", "vertex 999999999999") + "end_header\n").encode() + b"\0" * 560,
            "says 999999999999 Gaussians but only 10",
        ),
        ((GOOD_HEADER + "property float f_rest_0\nend_header\n").encode() + b"\0" * 60, "1 f_rest columns"),
        (
            (GOOD_HEADER + "end_header\n").encode() + b"\0" * 24 + np.float32(np.nan).tobytes() + b"\0" * 28,
            "1 of 1 Gaussians have opacities that are not finite",
        ),
        (
            (GOOD_HEADER + "end_header\n").encode() + b"\0" * 28 + np.float32(1e9).tobytes() + b"\0" * 24,
            "scales that are not finite",
        ),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, data, message):
    path = tmp_path / "wrong.ply"
    path.write_bytes(data)
    with pytest.raises(FileError, match=message) as error:
        read_ply(path)
    assert str(error.value).startswith(f"cannot read {path}: ") and "\n" not in str(error.value)


def test_compressed_ply_says_what_to_do(tmp_path, make_scene):
    export_splats = pytest.importorskip("gsplat.exporter").export_splats
    s = make_scene(300)
    data = export_splats(
        s.means,
        s.scales.log(),
        s.quats,
        s.opacities.logit(),
        s.colors.unsqueeze(1),
        torch.zeros(300, 0, 3),
        format="ply_compressed",
    )
    (tmp_path / "a.ply").write_bytes(data)
    with pytest.raises(FileError, match=r"compressed \.ply; save it uncompressed"):
        read_ply(tmp_path / "a.ply")


def test_missing_files_folders_and_suffixes(tmp_path, make_scene):
    with pytest.raises(FileError, match="No such file"):
        read_ply(tmp_path / "none.ply")
    with pytest.raises(FileError, match="Is a directory"):
        read_ply(tmp_path)
    with pytest.raises(FileError, match=r"Gaussians come from \.ply, \.splat, .* files"):
        read_gaussians(tmp_path / "a.obj")
    with pytest.raises(FileError, match=r"Gaussians go to \.ply, \.splat, .* files"):
        write_gaussians(tmp_path / "a.obj", make_scene())


def test_a_scene_that_is_not_finite_or_a_batch_is_not_written(tmp_path, make_scene):
    scene = make_scene()
    scene.means[[2, 2, 7], [0, 1, 2]] = torch.nan
    with pytest.raises(FileError, match="2 of 40 Gaussians have means that are not finite numbers"):
        write_ply(tmp_path / "a.ply", scene)
    with pytest.raises(ValueError, match="index it first"):
        write_ply(tmp_path / "a.ply", Gaussians.stack([make_scene()]))
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_are_read_or_refused(tmp_path, make_scene, data):
    path = tmp_path / "a.ply"
    write_ply(path, make_scene(6, 3))
    good = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        good = good[: data.draw(st.integers(0, len(good)))]
    header = max(1, good.find(b"end_header") + 12)
    for _ in range(data.draw(st.integers(0, 6))):
        # Half of the blows go to the header, where one byte changes the meaning of all others.
        reach = data.draw(st.sampled_from([min(header, len(good)), len(good)]))
        if reach:
            good[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(good)
    try:
        scene = read_ply(path)
    except FileError as error:
        assert "\n" not in str(error)
    else:
        assert all(getattr(scene, name) is None or getattr(scene, name).isfinite().all() for name in FIELDS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [
                *GOOD_HEADER.splitlines(),
                "element face 3",
                "element vertex 0",
                "property list uchar int i",
                "end_header",
                "comment",
                "\0é",
            ]
        )
    )
)
def test_any_header_is_read_or_refused(tmp_path, lines):
    path = tmp_path / "a.ply"
    path.write_bytes("\n".join(["ply", *lines, "end_header", ""]).encode("utf-8") + b"\0" * 100)
    try:
        read_ply(path)
    except FileError as error:
        assert "\n" not in str(error)
