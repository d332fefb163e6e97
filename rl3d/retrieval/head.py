"""The retriever's head: a small change of a prompt's embedding, learned by ``rl3d
train-retriever``. Captions of the library keep their embeddings, so an index stays as it is."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rewards.text.minilm import DIM
from rl3d.checkpoints import load_network
from scenes.files import FileError
from scenes.files.tensors import read_tensors, write_tensors

KIND = "retriever"
RANK = 16


class RetrieverHead(nn.Module):
    """x + B A x at unit length. It starts as the identity, because B is 0."""

    def __init__(self, rank: int = RANK) -> None:
        super().__init__()
        self.down = nn.Linear(DIM, rank, bias=False)
        self.up = nn.Linear(rank, DIM, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, pooled: Float[Tensor, "n 384"]) -> Float[Tensor, "n 384"]:
        return F.normalize(pooled + self.up(self.down(pooled)), dim=-1)


def save_head(path: Path, head: RetrieverHead, **header: object) -> None:
    """Write a head with what is known of it."""
    write_tensors(path, head.state_dict(), {"kind": KIND, **header})


def load_head(path: Path) -> RetrieverHead:
    """The head in a file; FileError with one line for any other file."""
    head = RetrieverHead()
    try:
        tensors, header, _ = read_tensors(path, "a retriever")
        if header.get("kind") != KIND:
            raise FileError(f"{path}: holds no retriever")
        load_network(head, tensors, path)
    except FileError as error:
        raise FileError(f"{error}: remove the file, or run rl3d train-retriever again") from error
    return head.eval().requires_grad_(False)
