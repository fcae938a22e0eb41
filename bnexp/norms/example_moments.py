"""Moments within one example, for norms that are written out.

Shapes: x is (N, C, *); a name in _NC is one value per channel of an example, (N, C).

Everything builds new tensors, so autograd, torch.func and torch.compile see through it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def over_positions(v_NC: Tensor, ndim: int) -> Tensor:
    """Return (N, C) seen as (N, C, 1, ...), to broadcast along the positions of a tensor of ndim axes."""
    return v_NC if ndim == 2 else v_NC.view(*v_NC.shape, *(1,) * (ndim - 2))


def moments_NC(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance of each channel of each example; variance 0 for one value.

    Squares are taken of centred values: E[x^2] - E[x]^2 loses the variance where mean/std is large.
    """
    if x.dim() == 2:
        return x, torch.zeros_like(x)
    dims = tuple(range(2, x.dim()))
    mean_NC = x.mean(dims)
    return mean_NC, (x - over_positions(mean_NC, x.dim())).square().mean(dims)


def mean_square_NC(x: Tensor) -> Tensor:
    """Return the mean of x^2 of each channel of each example.

    As a norm squared, which keeps nothing of x's size for the backward pass.
    """
    if x.dim() == 2:
        return x.square()
    dims = tuple(range(2, x.dim()))
    root_NC: Tensor = torch.linalg.vector_norm(x, dim=dims)
    return root_NC.square() / math.prod(x.shape[2:])


def pooled_var(mean: Tensor, var: Tensor, dim: int) -> Tensor:
    """Return the biased variance of equally large parts taken together, from each part's along `dim`.

    It is the mean of their variances plus the variance of their means, so x is not read a second time.
    Source: Chan, Golub & LeVeque 1983, The American Statistician 37(3), eq. 1.5 for equal sizes.
    """
    return var.mean(dim) + (mean - mean.mean(dim, keepdim=True)).square().mean(dim)
