"""Derivatives by four-point differences: the witness that knows no calculus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

STEP = 1e-4
# f'(0) h = (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12, exact for polynomials up to degree 4
STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))


def gradient(function: Callable[[Tensor], Tensor], at: Tensor, *, mapped: bool = False) -> Tensor:
    """Return the derivative of a scalar function by every element of `at`.

    Args:
        mapped: evaluate all differences in one torch.vmap, which the function must bear.
    """
    units = torch.eye(at.numel(), dtype=at.dtype, device=at.device).view(-1, *at.shape)
    found = torch.zeros(at.numel(), dtype=at.dtype, device=at.device)
    for steps, share in STENCIL:
        moved = at.detach() + steps * STEP * units
        values = torch.vmap(function)(moved) if mapped else torch.stack([function(one) for one in moved])
        found += share / STEP * values.detach()
    return found.view(at.shape)


def along(function: Callable[[float], Sequence[Tensor]]) -> list[Tensor]:
    """Return the derivative at 0 of a function of one number that gives several tensors."""
    values = [(share, function(steps * STEP)) for steps, share in STENCIL]
    parts = zip(*(tensors for _, tensors in values), strict=True)
    shares = [share for share, _ in values]
    return [
        torch.stack([share * tensor.detach() for share, tensor in zip(shares, each, strict=True)]).sum(0)
        / STEP
        for each in parts
    ]
