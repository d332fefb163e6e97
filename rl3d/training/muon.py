"""Muon, the optimiser of hidden matrices, in the number format that this machine is fast in."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from rl3d.devices import has_bfloat16

COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
"""Of the Newton-Schulz iteration (Jordan et al., Muon, 2024)."""


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal (Jordan et al., Muon, 2024), as long as a step of
    AdamW (Liu et al., Muon is scalable for LLM training, 2025).

    It makes the same steps as ``torch.optim.Muon(adjust_lr_fn="match_rms_adamw")``, but for
    rounding. That one always multiplies in bfloat16, which CPUs without instructions for it do 20
    to 40 times slower than float32: a training step of part flow took 7.0 s
    instead of 1.8 s.

    Args:
        params: matrices.
        lr: learning rate.
        weight_decay: decoupled, times ``lr``.
        momentum: decay of the mean of gradients; Nesterov's step is made.

    Raises:
        ValueError: a parameter is no matrix.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95
    ) -> None:
        matrices = list(params)
        for p in matrices:
            if p.dim() != 2:
                raise ValueError(f"Muon is for matrices, got a parameter of shape {tuple(p.shape)}")
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                mean = state["momentum_buffer"]
                mean.lerp_(p.grad, 1 - momentum)
                update = orthogonal(p.grad.lerp(mean, momentum))
                p.mul_(1 - lr * group["weight_decay"])
                p.add_(update, alpha=-0.2 * lr * max(p.shape) ** 0.5)


def orthogonal(matrix: Float[Tensor, "m n"], bfloat16: bool | None = None) -> Float[Tensor, "m n"]:
    """Nearly U V^T of ``matrix`` = U S V^T: its singular values are between about 0.7 and 1.2.
    ``bfloat16`` None means where that is faster."""
    a, b, c = COEFFICIENTS
    fast = has_bfloat16() if bfloat16 is None else bfloat16
    x = matrix.bfloat16() if fast else matrix
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
