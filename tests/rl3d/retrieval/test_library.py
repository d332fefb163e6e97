"""Libraries: captions from every source, exact search, an index that follows the files, and one
line for each file that cannot be used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from renderers.assets import SplatAsset
from rl3d.retrieval import library as module
from rl3d.retrieval.library import FOLDER, INDEX, Library, search
from scenes.files import FileError
from scenes.files.assets import write_asset
from scenes.files.glb import write_glb, write_mesh_glb
from tests.rl3d.toys import tower


def cubes(*colors: int):
    """A tower of cubes as parts (p,)."""
    return tower(torch.tensor([colors]).T, torch.ones(len(colors), 1, dtype=torch.bool))[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three assets, each with its caption from another source."""
    folder = tmp_path / "library"
    write_asset(folder / "a.safetensors", cubes(0, 0).vectors(), "a red tower")
    write_glb(folder / "nested" / "green_frog_01.glb", cubes(1))
    write_glb(folder / "made" / "mesh.glb", cubes(2, 2, 2))
    (folder / "made" / "card.json").write_text(json.dumps({"prompt": "a blue sailing boat"}))
    return folder


def opened(folder: Path) -> tuple[Library, list[str]]:
    library = Library(folder)
    return library, library.notes


def test_captions_come_from_the_file_the_card_and_the_name(folder: Path) -> None:
    library, lines = opened(folder)
    assert lines == []
    assert [(e.file, e.caption) for e in library.entries] == [
        ("a.safetensors", "a red tower"),
        ("made/mesh.glb", "a blue sailing boat"),
        ("nested/green_frog_01.glb", "green frog"),
    ]
    assert [library.example(i).asset.parts.count for i in range(3)] == [2, 3, 1]
    torch.testing.assert_close(library.example(1).asset.parts[0].colors, cubes(2, 2, 2).colors)


@pytest.mark.parametrize("name", ["captions.csv", "captions.jsonl"])
def test_a_sidecar_comes_first_and_a_change_in_it_is_seen(folder: Path, name: str) -> None:
    def write(caption: str) -> None:
        rows = {
            "captions.csv": f'file,caption\nmade/mesh.glb,"{caption}"\n',
            "captions.jsonl": json.dumps({"file": "made/mesh.glb", "caption": caption}) + "\n",
        }
        (folder / name).write_text(rows[name])

    for caption in ("a ship, blue", "a violin"):
        write(caption)
        library, lines = opened(folder)
        assert library.entries[1].caption == caption and lines == []
    assert library.nearest(["a musical instrument"], 1)[0].tolist() == [[1]]


def test_the_nearest_caption_is_found(folder: Path) -> None:
    library, _ = opened(folder)
    indices, similarities = library.nearest(["a ship at sea", "an animal in a pond", "a red tower"], 2)
    assert indices[:, 0].tolist() == [1, 2, 0]
    assert (similarities[:, 0] > similarities[:, 1]).all() and similarities[2, 0] > 0.999
    with pytest.raises(ValueError, match="has 3 assets, so 4 cannot be retrieved"):
        library.nearest(["a ship"], 4)


def test_search_is_exact_over_blocks_and_queries() -> None:
    rng = torch.Generator().manual_seed(0)
    many = torch.nn.functional.normalize(torch.randn(2 * module.BLOCK + 77, 32, generator=rng), dim=-1).half()
    queries = torch.nn.functional.normalize(torch.randn(module.QUERIES + 3, 32, generator=rng), dim=-1)
    indices, values = search(many, queries, 7)
    exact, order = (queries.double() @ many.double().T).sort(1, descending=True)
    assert torch.equal(indices, order[:, :7])
    torch.testing.assert_close(values, exact[:, :7].float())


def test_equal_captions_come_in_order_and_do_not_depend_on_the_batch() -> None:
    rng = torch.Generator().manual_seed(1)
    some = torch.nn.functional.normalize(torch.randn(6, 32, generator=rng), dim=-1).half()
    many, query = some.repeat(2000, 1), some[2:3].float()
    alone = search(many, query, 5)
    assert alone[0].tolist() == [[2, 8, 14, 20, 26]]
    batch = search(many, torch.cat([some[:2].float(), query, some[3:].float()]), 5)
    assert torch.equal(batch[0][2:3], alone[0]) and torch.equal(batch[1][2:3], alone[1])


def test_only_new_and_changed_files_are_read_again(folder: Path, monkeypatch) -> None:
    first, _ = opened(folder)
    read: list[str] = []
    real = module.read_asset
    monkeypatch.setattr(module, "read_asset", lambda path: (read.append(path.name), real(path))[1])
    index = (folder / INDEX).stat().st_mtime_ns
    again, _ = opened(folder)
    assert read == [] and (folder / INDEX).stat().st_mtime_ns == index
    assert again.entries == first.entries and torch.equal(again.embeddings, first.embeddings)

    write_asset(folder / "a.safetensors", cubes(1).vectors(), "a green tower of one")
    write_asset(folder / "0.safetensors", cubes(3).vectors(), "a yellow cube")
    (folder / "nested" / "green_frog_01.glb").unlink()
    changed, _ = opened(folder)
    assert sorted(read) == ["0.safetensors", "a.safetensors"]
    assert changed.captions == ["a yellow cube", "a green tower of one", "a blue sailing boat"]
    os.rename(folder / FOLDER, folder / ".old")
    fresh, _ = opened(folder)
    assert fresh.entries == changed.entries
    torch.testing.assert_close(fresh.embeddings, changed.embeddings, atol=1e-3, rtol=0)


def test_an_interrupted_build_goes_on(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)
    monkeypatch.setattr(module, "SAVE_EVERY_S", -1.0)
    read: list[str] = []
    real = module.read_asset

    def stops(path: Path):
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(module, "read_asset", stops)
    with pytest.raises(KeyboardInterrupt):
        opened(folder)
    read.clear()
    library, _ = opened(folder)
    assert len(read) < 3 and "green_frog_01.glb" in read and len(library) == 3


def test_files_that_cannot_be_used_are_one_line_each(folder: Path) -> None:
    (folder / "cut.glb").write_bytes((folder / "made" / "mesh.glb").read_bytes()[:300])
    (folder / "text.safetensors").write_text("no tensors")
    write_mesh_glb(folder / "mesh_only.glb", SplatAsset.of([cubes(0).gaussians(500)]).meshes()[0])
    library, lines = opened(folder)
    assert len(library) == 3 and all("\n" not in line for line in lines)
    assert sum("cut.glb: it is cut off" in line for line in lines) == 1
    assert sum("text.safetensors: not an asset of parts" in line for line in lines) == 1
    assert sum("mesh_only.glb: it has no parts" in line for line in lines) == 1
    summary = f"library {folder}: 3 assets; not used: 3 files, 2 unreadable, 1 without parts: "
    summary += "cut.glb, mesh_only.glb, text.safetensors"
    assert lines[-1] == summary and len(lines) == 4
    assert opened(folder)[1] == [summary]  # nothing is read again


@pytest.mark.parametrize("damage", ["cut", "other numbers"])
def test_a_damaged_index_is_made_again(folder: Path, damage: str) -> None:
    from scenes.files.tensors import read_tensors, write_tensors

    first, _ = opened(folder)
    tensors, header, _ = read_tensors(folder / INDEX)
    if damage == "cut":
        (folder / INDEX).write_bytes((folder / INDEX).read_bytes()[:500])
    else:
        write_tensors(folder / INDEX, tensors | {"embeddings": tensors["embeddings"][:1]}, header)
    again, lines = opened(folder)
    assert again.entries == first.entries and len(lines) == 1 and "so the index is made again" in lines[0]


def test_a_library_that_cannot_be_used_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no such folder"):
        opened(tmp_path / "none")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(FileError, match=r"a\.txt: it is a file; name a folder"):
        opened(tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="holds no usable asset"):
        opened(tmp_path / "empty")
    (folder / "captions.csv").write_text("name,text\na.glb,a cube\n")
    with pytest.raises(
        FileError, match=r"captions\.csv: line 1 does not name the columns: begin with the line file,cap"
    ):
        opened(folder)
    (folder / "captions.jsonl").write_text("{}")
    with pytest.raises(FileError, match=r"has both captions\.csv and captions\.jsonl"):
        opened(folder)


def test_a_file_that_goes_later_is_one_line(folder: Path) -> None:
    library, _ = opened(folder)
    (folder / "a.safetensors").unlink()
    with pytest.raises(FileError, match="no such file"):
        library.example(0)
