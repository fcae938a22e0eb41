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


def moments_NC(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean of each channel of each example in two parts, and its biased variance.

    The mean is pivot + rest: pivot is the mean as first found, a constant to autograd, and rest what its
    rounding left over. Squares are taken of x - pivot: E[x^2] - E[x]^2 loses the variance where mean/std is
    large. One value has variance 0.
    """
    if x.dim() == 2:
        return x.detach(), x - x.detach(), torch.zeros_like(x)
    dims = tuple(range(2, x.dim()))
    pivot_NC = x.detach().mean(dims)
    shifted = x - over_positions(pivot_NC, x.dim())
    rest_NC = shifted.mean(dims)
    return pivot_NC, rest_NC, (shifted.square().mean(dims) - rest_NC.square()).clamp_min(0)


def mean_square_NC(x: Tensor) -> Tensor:
    """Return the mean of x^2 of each channel of each example.

    As a norm squared, which keeps nothing of x's size for the backward pass.
    """
    if x.dim() == 2:
        return x.square()
    dims = tuple(range(2, x.dim()))
    root_NC: Tensor = torch.linalg.vector_norm(x, dim=dims)
    return root_NC.square() / math.prod(x.shape[2:])


def pooled_var(pivot: Tensor, rest: Tensor, var: Tensor, dim: int) -> Tensor:
    """Return the biased variance of equally large parts taken together, from the moments of each along `dim`.

    It is the mean of their variances plus the variance of their means, so x is not read a second time. The
    means come in two parts as from `moments_NC`: with mean/std = 1e3 in float32 a rounded mean is off by up
    to 3e-5 deviations, and the variance of such means by 1e-5.
    Source: Chan, Golub & LeVeque 1983, The American Statistician 37(3), eq. 1.5 for equal sizes.
    """
    offsets = (pivot - pivot.mean(dim, keepdim=True)) + rest
    return var.mean(dim) + (offsets - offsets.mean(dim, keepdim=True)).square().mean(dim)
