"""Muon makes torch's steps, and its updates are nearly orthogonal."""

from __future__ import annotations

import pytest
import torch

from rl3d.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16)])
def test_it_makes_the_steps_of_torch(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    start, wanted = torch.randn(shape), torch.randn(shape)
    ends = []
    for kind, settings in ((Muon, {}), (torch.optim.Muon, {"adjust_lr_fn": "match_rms_adamw"})):
        p = torch.nn.Parameter(start.clone())
        optimizer = kind([p], lr=0.05, weight_decay=0.1, **settings)
        for _ in range(10):
            optimizer.zero_grad()
            (p - wanted).square().sum().backward()
            optimizer.step()
        ends.append(p.detach() - start)
    mine, theirs = ends
    assert (mine - theirs).norm() / theirs.norm() < 0.03  # torch's is rounded to 8 bits
    assert theirs.norm() > 1


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("shape", [(20, 60), (60, 20)])
def test_singular_values_come_near_1(shape: tuple[int, int], bfloat16: bool) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonal(matrix, bfloat16)
    values = torch.linalg.svdvals(result)
    assert result.dtype == matrix.dtype and values.min() > 0.6 and values.max() < 1.3
    inside = u.T @ result @ v.T  # the same singular vectors
    assert (inside - inside.diag().diag()).abs().max() < (0.05 if bfloat16 else 1e-4)
    assert s.max() / s.min() > 2


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"matrices, got a parameter of shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.zeros(3))])
