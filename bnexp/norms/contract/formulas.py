"""What the formulas of norms are made of, in plain operations; no layer computes with any of it.

Moments are two passes written out, and derivatives are left to autograd, which sees the formula and no
hand-written backward pass. Shapes: x is (N, C, *), a name in _C is (C,).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bnexp.norms.contract.promises import Given, Knobs, State


def batch_axes(x: Tensor) -> tuple[int, ...]:
    """Return the axes over which a batch norm measures: all but the channels."""
    return (0, *range(2, x.dim()))


def positions(x: Tensor) -> tuple[int, ...]:
    """Return the spatial axes, () in a dense layer."""
    return tuple(range(2, x.dim()))


def across(v_C: Tensor, x: Tensor) -> Tensor:
    """Return v seen as (1, C, 1, ...), to broadcast along the channels of x."""
    return v_C.reshape(1, -1, *(1 for _ in x.shape[2:]))


def moments(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance over `axes`, which are kept with size 1."""
    n = math.prod(x.shape[axis] for axis in axes)
    mean = x.sum(axes, keepdim=True) / n
    return mean, ((x - mean) ** 2).sum(axes, keepdim=True) / n


def standardized(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Return (x - mean) / sqrt(var + eps), with mean and biased var over `axes`."""
    mean, var = moments(x, axes)
    return (x - mean) / (var + eps).sqrt()


def affine(xhat: Tensor, state: State) -> Tensor:
    """Return weight * xhat + bias by channel, without those that are not there."""
    y = xhat * across(state["weight"], xhat) if "weight" in state else xhat
    return y + across(state["bias"], xhat) if "bias" in state else y


def by_running_statistics(given: Given) -> Tensor:
    """Return weight * (x - running_mean) / sqrt(running_var + eps) + bias; both are constants.

    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, Alg. 2, line 11.
    """
    mean, var = (across(given.state[name], given.x) for name in ("running_mean", "running_var"))
    return affine((given.x - mean) / (var + given.knobs["eps"]).sqrt(), given.state)


def by_group(x: Tensor, groups: int) -> Tensor:
    """Return x as (N, groups, channels of a group, *), a view."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def weighted(values: Sequence[Tensor], start: Tensor, momentum: float | None) -> Tensor:
    """Return a running average after k values, as a weighted sum over all of them.

    The i-th value (from 0) weighs momentum * (1 - momentum)^(k - 1 - i) and the start (1 - momentum)^k;
    without a momentum each weighs 1 / k and the start nothing.
    """
    k = len(values)
    weights = [1 / k if momentum is None else momentum * (1 - momentum) ** (k - 1 - i) for i in range(k)]
    of_start = 0.0 if momentum is None else (1 - momentum) ** k
    return torch.stack([of_start * start, *(w * v for w, v in zip(weights, values, strict=True))]).sum(0)


def averaged_moments(batches: Sequence[Tensor], start: State, knobs: Knobs) -> dict[str, Tensor]:
    """Return running mean and variance after batches, as far as the layer keeps them, and their count.

    The variance of a batch sums squares over n - 1, or over n where the knob `running_var` is biased.
    """
    means, variances = [], []
    for x in batches:
        n = x.numel() // x.shape[1]
        mean, biased = moments(x, batch_axes(x))
        means.append(mean.flatten())
        variances.append(biased.flatten() * (1 if knobs.get("running_var") == "biased" else n / (n - 1)))
    averaged = {"running_mean": means, "running_var": variances}
    averages = {n: weighted(v, start[n], knobs["momentum"]) for n, v in averaged.items() if n in start}
    if "num_batches_tracked" in start:
        averages["num_batches_tracked"] = start["num_batches_tracked"] + len(batches)
    return averages


def unmoved(batches: Sequence[Tensor], start: State, knobs: Knobs) -> dict[str, Tensor]:
    """Return the buffers of a layer that never moves them."""
    return dict(start)
