""".splat: against gsplat's exporter, within the precision of bytes, and files that are wrong."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenes.files import FileError
from scenes.files.splat import read_splat, write_splat
from scenes.gaussians import SH_C0, Gaussians


def assert_near(one: Gaussians, two: Gaussians) -> None:
    torch.testing.assert_close(one.means, two.means, rtol=0, atol=0)
    torch.testing.assert_close(one.scales, two.scales, rtol=1e-6, atol=0)
    # gsplat cuts where we round: one step of a byte.
    torch.testing.assert_close(one.colors, two.colors, rtol=0, atol=1.01 / 255)
    torch.testing.assert_close(one.opacities, two.opacities, rtol=0, atol=1.01 / 255)
    assert ((one.quats * two.quats).sum(-1) > 0.999).all(), "the same rotation within about 3 degrees"


def test_round_trip(tmp_path, make_scene):
    scene = make_scene()
    write_splat(tmp_path / "a.splat", scene)
    assert (tmp_path / "a.splat").stat().st_size == 32 * 40
    assert_near(read_splat(tmp_path / "a.splat"), scene)


def test_gsplats_file_is_read_and_holds_the_same_rows(tmp_path, make_scene):
    export_splats = pytest.importorskip("gsplat.exporter").export_splats
    scene = make_scene()
    sh0 = ((scene.colors - 0.5) / SH_C0).unsqueeze(1)
    theirs = export_splats(
        scene.means,
        scene.scales.log(),
        scene.quats,
        scene.opacities.logit(),
        sh0,
        torch.zeros(40, 0, 3),
        format="splat",
    )
    (tmp_path / "theirs.splat").write_bytes(theirs)
    read = read_splat(tmp_path / "theirs.splat")
    order = [int((scene.means == mean).all(-1).nonzero()) for mean in read.means]  # theirs is sorted along a curve
    assert sorted(order) == list(range(40))
    assert_near(read, scene.select(torch.tensor(order)))
    write_splat(tmp_path / "ours.splat", scene.select(torch.tensor(order)))
    ours, other = (
        np.frombuffer((tmp_path / name).read_bytes(), np.uint8).reshape(40, 32)
        for name in ("ours.splat", "theirs.splat")
    )
    assert np.array_equal(ours[:, :12], other[:, :12])
    assert np.abs(ours[:, 24:].astype(int) - other[:, 24:]).max() <= 1


def test_full_ranges(tmp_path, make_scene):
    scene = make_scene(4)
    quats = torch.eye(4) * torch.tensor([[1.0], [-1.0], [5.0], [1e-3]])
    wide = Gaussians(
        scene.means, quats, torch.zeros(4, 3), torch.tensor([0.0, 1, 0, 1]), torch.tensor([[-1.0, 0, 2]]).expand(4, 3)
    )
    write_splat(tmp_path / "a.splat", wide)
    again = read_splat(tmp_path / "a.splat")
    assert again.opacities.tolist() == [0, 1, 0, 1] and again.colors[0].tolist() == [0, 0, 1]
    torch.testing.assert_close(again.quats, torch.nn.functional.normalize(quats, dim=-1))


def test_wrong_files_are_refused(tmp_path):
    path = tmp_path / "a.splat"
    with pytest.raises(FileError, match="No such file"):
        read_splat(path)
    path.write_bytes(b"\0" * 33)
    with pytest.raises(FileError, match="33 bytes are not a whole number of 32-byte splats"):
        read_splat(path)
    path.write_bytes(np.array([0, 0, 0, -1, 1, 1, 0, 0], "<f4").tobytes())
    with pytest.raises(FileError, match="negative scales"):
        read_splat(path)
    path.write_bytes(np.array([0, np.inf, 0, 1, 1, 1, 0, 0], "<f4").tobytes())
    with pytest.raises(FileError, match="1 of 1 Gaussians have means that are not finite numbers"):
        read_splat(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path, data):
    (tmp_path / "a.splat").write_bytes(data)
    try:
        scene = read_splat(tmp_path / "a.splat")
    except FileError as error:
        assert "\n" not in str(error)
    else:
        assert scene.means.isfinite().all() and scene.quats.norm(dim=-1).allclose(torch.tensor(1.0))
