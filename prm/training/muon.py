"""Muon (Jordan et al. 2024) in float32: torch's own uses bfloat16, which older CPUs only emulate."""

from __future__ import annotations

from typing import Any

import torch

COEFFICIENTS = 3.4445, -4.775, 2.0315
"""Of the quintic iteration, which raises small singular values quickly (Jordan et al. 2024)."""
MOMENTUM = 0.95
OUTPUT = {"score", "lm_head"}
"""Names of output layers in transformers."""


class Muon(torch.optim.AdamW):
    """Muon for the matrices in parameter groups with `"matrices": True`, AdamW for the other groups.

    The update matches torch's Muon with `adjust_lr_fn="match_rms_adamw"`, so that one learning rate suits
    both optimizers.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for matrix in group["params"] if group.get("matrices") else ():
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:  # AdamW needs "step" when it loads a state
                    state.update(step=torch.tensor(0.0), mean=torch.zeros_like(matrix))
                mean = state["mean"]
                mean.lerp_(matrix.grad, 1 - MOMENTUM)
                update = orthogonal(matrix.grad.lerp(mean, MOMENTUM))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-0.2 * group["lr"] * max(matrix.shape) ** 0.5)
                matrix.grad = None  # so that AdamW skips it
        return super().step(closure)


def orthogonal(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """The matrix with its singular values moved close to 1, by Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def muon(model: torch.nn.Module, *, lr: float, weight_decay: float, beta2: float) -> Muon:
    """Muon for the weights of linear layers, AdamW for embeddings, output layers and everything else.

    Biases and norms get no weight decay. Parameters that require no gradient are left out.
    """
    linear = {
        id(part.weight)
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and not OUTPUT & set(name.split("."))
    }
    live = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in live if id(p) in linear]
    others = [p for p in live if id(p) not in linear]
    groups = [
        {"params": matrices, "matrices": True, "weight_decay": weight_decay},
        {"params": [p for p in others if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
    ]
    return Muon([group for group in groups if group["params"]], lr=lr, betas=(0.9, beta2))
