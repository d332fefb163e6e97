"""The trained retriever: it learns to prefer assets that raise the score."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rl3d.cli import main
from rl3d.retrieval import Library
from rl3d.retrieval.head import RetrieverHead, load_head
from rl3d.retrieval.library import RETRIEVER
from rl3d.training.train_retriever import TEMPERATURE, RetrieverTraining, Trials, contrastive_loss, train_retriever
from scenes.files import FileError
from scenes.files.assets import write_asset
from tests.rl3d.retrieval.test_library import cubes
from tests.rl3d.toys import PAINT

TOY = "tests.rl3d.toys:ExampleToy"
PLACES = ("garden harbour market desert forest castle kitchen station river school museum beach factory stable library "
          "airport village hospital theatre office prison temple bakery mountain valley island tunnel bridge palace "
          "cellar").split()  # fmt: skip


def library_of(folder: Path) -> Path:
    """For every place a red and a blue tower. The red ones help where red is rewarded."""
    for place in PLACES:
        for color, word in ((0, "quick"), (2, "slow")):
            write_asset(
                folder / f"{word}_{place}.safetensors", cubes(*[color] * 4).vectors(), f"a {word} {place} tower"
            )
    return folder


@pytest.fixture
def config(tmp_path: Path) -> RetrieverTraining:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"a tower in the {place}" for place in PLACES))
    return RetrieverTraining(
        library_of(tmp_path / "library"), generator=TOY, prompts=prompts, rewards="tests.rl3d.toys:Red=1", candidates=4
    )


def test_it_learns_which_assets_help(config: RetrieverTraining) -> None:
    fractions: list[float] = []
    found = train_retriever(config, fractions.append)
    assert found.prompts >= 15 and found.best.prompts >= 4
    assert found.retrieved.mean > found.nearest.mean + 0.2
    assert found.retrieved.mean > 0.9 * found.best.mean
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert found.path == config.library / RETRIEVER
    library = Library(config.library)
    indices, _ = library.nearest(["a tower in the orchard", "a tower in the cathedral"], 2)
    colors = [library.example(i).asset.parts.colors[0, 0] for i in indices.flatten().tolist()]
    assert all(torch.equal(color, PAINT[0]) for color in colors)


def test_the_command_reports_the_gain(config: RetrieverTraining, capsys) -> None:
    arguments = ["--library", str(config.library), "--prompts", str(config.prompts), "--generator", TOY]
    assert main(["train-retriever", *arguments, "--rewards", config.rewards, "--candidates", "4"]) == 0
    out = capsys.readouterr().out
    assert "retrieved - nearest" in out and f"saved: {config.library / RETRIEVER}" in out


def test_captions_of_the_library_and_the_corpus_are_prompts(config: RetrieverTraining) -> None:
    from dataclasses import replace

    found = train_retriever(replace(config, prompts=None, num_prompts=40, steps=5))
    assert found.prompts + found.best.prompts <= 40


def test_what_cannot_be_learned_from_is_refused(config: RetrieverTraining, tmp_path: Path, capsys) -> None:
    library = ["--library", str(config.library)]
    assert main(["train-retriever", *library, "--generator", "part-flow"]) == 2
    assert "generator 'part-flow' does not retrieve" in capsys.readouterr().err
    assert main(["train-retriever", *library, "--generator", TOY, "--candidates", "60"]) == 2
    assert "too few for --candidates 60" in capsys.readouterr().err
    few = ["--num-prompts", "3", "--rewards", config.rewards]
    assert main(["train-retriever", *library, "--generator", TOY, *few]) == 2
    assert "3 different prompts are too few" in (error := capsys.readouterr().err) and "add --num-prompts" in error
    (tmp_path / "few.txt").write_text("a red tower\na green tower\n")
    assert main(["train-retriever", *library, "--generator", TOY, "--prompts", str(tmp_path / "few.txt")]) == 2
    assert (
        "2 different prompts are too few: 2 to fit and 0 held out by their hash" in (error := capsys.readouterr().err)
        and f"write more prompts into {tmp_path / 'few.txt'}" in error
    )


def test_the_loss_is_infonce() -> None:
    embeddings = torch.eye(384)[:5].half()
    queries = torch.nn.functional.normalize(torch.rand(2, 384, generator=torch.Generator().manual_seed(0)), dim=-1)
    # Prompt 0: positive 0, negative 1 (no gain), asset 2 helped too and is left out.
    # Prompt 1: positive 3, negatives 4 (no gain) and 2 (made well, though it helped).
    trials = Trials(
        queries,
        torch.tensor([[0, 1, 2], [4, 2, 3]]),
        torch.tensor([[0.5, -0.1, 0.2], [-0.2, 0.1, 0.4]]),
        torch.tensor([[True, False, False], [False, True, True]]),
    )
    near = (queries / TEMPERATURE).double()
    expected = [
        torch.logsumexp(near[0, [0, 1, 3]], 0) - near[0, 0],
        torch.logsumexp(near[1, [3, 4, 2, 0]], 0) - near[1, 3],
    ]
    torch.testing.assert_close(
        contrastive_loss(queries, trials, embeddings).double(), torch.stack(expected).mean(), atol=1e-5, rtol=0
    )


def test_a_head_starts_as_the_identity_and_a_strange_file_is_refused(tmp_path: Path) -> None:
    unit = torch.nn.functional.normalize(torch.randn(3, 384, generator=torch.Generator().manual_seed(0)), dim=-1)
    torch.testing.assert_close(RetrieverHead()(unit), unit)
    write_asset(tmp_path / "a.safetensors", cubes(0).vectors(), "a cube")
    with pytest.raises(FileError, match="holds no retriever: remove the file, or run rl3d train-retriever again"):
        load_head(tmp_path / "a.safetensors")
