"""What the norms of single examples must compute: float64 numpy from the papers' formulas.

Sums are exactly rounded (see `oracles.moments`); nothing is shared with bnexp.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from oracles import Array, moments
from torch import Tensor, nn


def draw(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) + 0.7).to(dtype)


def stir(norm: nn.Module) -> nn.Module:
    """Give every parameter and floating buffer of the float64 layer values that all differ."""
    norm = norm.double()
    with torch.no_grad():
        for seed, parameter in enumerate(norm.parameters(), 100):
            parameter.copy_(draw(tuple(parameter.shape), seed))
        for seed, buffer in enumerate(norm.buffers(), 200):
            if buffer.is_floating_point():
                buffer.copy_(draw(tuple(buffer.shape), seed).abs() + 0.2)
    return norm


def standardized(x: Array, eps: float) -> Array:
    mean, var = moments(x)
    return (x - mean) / math.sqrt(var + eps)


def layer(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    return np.stack([weight * standardized(example, eps) + bias for example in x])


def layer_pixel(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    y = np.empty_like(x)
    for example, *position in np.ndindex(x.shape[0], *x.shape[2:]):
        index = (example, slice(None), *position)
        y[index] = weight * standardized(x[index], eps) + bias
    return y


def rms(x: Array, weight: Array, eps: float) -> Array:
    y = np.empty_like(x)
    for example, *position in np.ndindex(x.shape[0], *x.shape[2:]):
        index = (example, slice(None), *position)
        y[index] = weight * x[index] / math.sqrt(_mean_square(x[index]) + eps)
    return y


def instance(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    y = np.empty_like(x)
    for index in np.ndindex(x.shape[:2]):
        y[index] = weight[index[1]] * standardized(x[index], eps) + bias[index[1]]
    return y


def frn(x: Array, weight: Array, bias: Array, tau: Array, eps: float) -> Array:
    """Singh & Krishnan 2020, eq. 1-4, with |eps| as given."""
    y = np.empty_like(x)
    for index in np.ndindex(x.shape[:2]):
        c = index[1]
        linear = weight[c] * x[index] / math.sqrt(_mean_square(x[index]) + eps) + bias[c]
        y[index] = np.where(linear > tau[c], linear, tau[c])
    return y


def evonorm_b0(x: Array, var: Array, weight: Array, bias: Array, v: Array, eps: float) -> Array:
    """Liu et al. 2020, Table 1, by given variances of the channels."""
    y = np.empty_like(x)
    for index in np.ndindex(x.shape[:2]):
        c = index[1]
        line = v[c] * x[index] + math.sqrt(moments(x[index])[1] + eps)
        floor = math.sqrt(var[c] + eps)
        y[index] = weight[c] * x[index] / np.where(line > floor, line, floor) + bias[c]
    return y


def evonorm_s0(x: Array, groups: int, weight: Array, bias: Array, v: Array, eps: float) -> Array:
    """Liu et al. 2020, Table 1."""
    y, size = np.empty_like(x), x.shape[1] // groups
    for n, c in np.ndindex(x.shape[:2]):
        first = c // size * size
        deviation = math.sqrt(moments(x[n, first : first + size])[1] + eps)
        gate = 1 / (1 + np.exp(-v[c] * x[n, c]))
        y[n, c] = weight[c] * x[n, c] * gate / deviation + bias[c]
    return y


def batch_vars(x: Array) -> Array:
    return np.array([moments(x[:, channel])[1] for channel in range(x.shape[1])])


def _mean_square(values: Array) -> float:
    return math.fsum(float(value) ** 2 for value in values.flat) / values.size
